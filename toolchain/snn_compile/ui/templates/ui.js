// Sorts tables, asks again while something runs, and sends a dropped model to be checked.
"use strict";

const WAITS = document.querySelector("[data-again]");
const EVERY = WAITS ? 700 : 2000; // milliseconds

function order(table, key, falling) {
  const value = (row) => row.querySelector(`td[data-key="${key}"]`)?.dataset.sort;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const [p, q] = [Number(x), Number(y)];
    const sign = Number.isNaN(p) || Number.isNaN(q) ? (x > y) - (x < y) : p - q;
    return falling ? -sign : sign;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  for (const head of table.querySelectorAll("th[data-key]")) {
    const now = head.dataset.key === key;
    head.ariaSort = now ? (falling ? "descending" : "ascending") : "none";
  }
}

function sorted(table) {
  const head = table?.querySelector('th[aria-sort$="scending"]');
  return head && [head.dataset.key, head.ariaSort === "descending"];
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("th[data-key] button")?.parentElement;
  if (!head) return;
  event.preventDefault();
  const falls = head.ariaSort === "none" ? "falls" in head.dataset : head.ariaSort === "ascending";
  order(head.closest("table"), head.dataset.key, falls);
});

function replace(old, fresh) {
  const ticked = new Set([...old.querySelectorAll("input:checked")].map((box) => box.value));
  const by = sorted(old.querySelector("table.sortable"));
  const focus = document.activeElement;
  const kept = old.contains(focus) && (focus.value || focus.getAttribute("href"));
  old.replaceChildren(...fresh.childNodes);
  for (const box of old.querySelectorAll("input")) box.checked = ticked.has(box.value);
  const table = old.querySelector("table.sortable");
  if (by && table) order(table, ...by);
  if (kept) {
    const same = (one) => one.value === kept || one.getAttribute("href") === kept;
    [...old.querySelectorAll("input, button, a")].find(same)?.focus();
  }
}

const shown = new Map();

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const said = document.querySelector("[data-again]");
  if (said) {
    const now = page.querySelector("[data-again]");
    if (now) said.textContent = now.textContent;
    else location.reload();
    return;
  }
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const text = fresh.innerHTML;
    if (shown.get(fresh.id) === text) continue;
    const isFirst = !shown.has(fresh.id);
    shown.set(fresh.id, text);
    const old = document.getElementById(fresh.id);
    if (!isFirst || old.innerHTML !== text) replace(old, fresh);
  }
}

function repeat() {
  refresh().catch(() => {}).finally(() => setTimeout(repeat, EVERY));
}
if (document.querySelector("[data-live], [data-again]")) setTimeout(repeat, EVERY);

async function check(file) {
  const place = document.getElementById("checked");
  const most = Number(document.getElementById("target").dataset.most);
  if (file.size > most) {
    place.textContent = `${file.name} is larger than ${most >> 20} MiB`;
    return;
  }
  place.textContent = `Checking ${file.name} …`;
  const answer = await fetch(`/check?name=${encodeURIComponent(file.name)}`, { method: "PUT", body: file });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  place.replaceChildren(...(page.querySelector(".conclusion, .broken") ?? page.body).cloneNode(true).childNodes);
  place.className = page.querySelector(".conclusion")?.className ?? "broken";
}

const target = document.getElementById("target");
if (target) {
  target.hidden = false;
  const send = (file) => {
    if (file) check(file).catch(() => (document.getElementById("checked").textContent = "The page is not reached any more."));
  };
  document.getElementById("file").addEventListener("change", (event) => send(event.target.files[0]));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      target.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => send(event.dataTransfer.files[0]));
}
// The token need not stay in the address: the cookie has it.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}
