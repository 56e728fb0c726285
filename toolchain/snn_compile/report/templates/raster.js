"use strict";
// Steps through the messages: what comes later is covered. Without this script all of them show.
(() => {
  const player = document.querySelector(".player");
  const steps = [...document.querySelectorAll(".steps li")].map((item) => item.textContent);
  const covers = [...document.querySelectorAll(".raster .later")];
  const range = player.querySelector("input");
  const words = player.querySelector("output");
  const play = player.querySelector("[data-play]");
  const last = Number(range.max);
  let timer = 0;

  function show(step) {
    range.value = String(Math.min(Math.max(step, 0), last));
    const shown = Number(range.value);
    for (const cover of covers) {
      cover.setAttribute("x", String(shown + 1));
      cover.setAttribute("width", String(last - shown));
    }
    words.textContent = steps[shown];
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    play.setAttribute("aria-pressed", "false");
  }

  function start() {
    if (Number(range.value) === last) show(0);
    timer = setInterval(() => {
      show(Number(range.value) + 1);
      if (Number(range.value) === last) stop();
    }, 300);
    play.setAttribute("aria-pressed", "true");
  }

  range.addEventListener("input", () => { stop(); show(Number(range.value)); });
  play.addEventListener("click", () => (timer ? stop() : start()));
  for (const button of player.querySelectorAll("[data-move]")) {
    button.addEventListener("click", () => {
      stop();
      show(Number(range.value) + Number(button.dataset.move));
    });
  }
  player.hidden = false;
  show(last);
})();
