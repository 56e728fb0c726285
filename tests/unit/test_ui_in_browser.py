"""The page of ``snn-compile ui`` in a real browser, from end to end."""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest

import browser as browsers
from browser import Browser
from served import Page, served
from snn_compile.bundle import CompiledModel
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.sealed import read_seal
from snn_compile.sim import reference

FLIPPED = ("relu2", 1, 2, (3, 1, 4))
"""Layer, stimulus, step and neuron of the one message that the recording has wrong."""
HOSTILE = """<!doctype html><title>waiting</title><script>
const tries = [() => document.cookie, () => localStorage.length, () => parent.name,
               () => fetch("/", {credentials: "include"}).then(a => a.text()),
               () => fetch("/check?name=x.onnx", {method: "PUT", body: "x"}).then(a => a.text())];
Promise.allSettled(tries.map(async one => one())).then(all =>
  document.title = all.map(one => one.status === "fulfilled" ? one.value : "no").join("|"));
</script>"""


def record(folder: Path, path: Path) -> None:
    """Record two stimuli with one message flipped."""
    compiled = CompiledModel.load(folder)
    program, frames = compiled.program, compiled.stimulus[:2]
    messages = {
        k: np.array(v) for k, v in reference.run(program, frames, record=True).messages.items()
    }
    layer, stimulus, step, neuron = FLIPPED
    messages[layer][stimulus, step][neuron] = 1 - messages[layer][stimulus, step][neuron]
    about = About(read_seal(folder), program.window.coding, program.window.n_steps, "board 7")
    with TraceWriter(path, about, series_of(program), frames) as writer:
        writer.add(messages)
        writer.close()


@pytest.fixture(scope="module")
def folder(digits_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, a recording of the first with one message flipped, and a hostile report."""
    made = tmp_path_factory.mktemp("shown")
    for steps in ("4", "8"):
        source = digits_folder("--no-emit", "--coding", "rate", "-T", steps)
        shutil.copytree(source, made / f"T{steps}.snn")
    record(made / "T4.snn", made / "board.npz")
    (made / "hostile.snn").mkdir()
    (made / "hostile.snn" / "model.snn").write_bytes(b"-")
    (made / "hostile.snn" / "report.html").write_text(HOSTILE)
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with served(folder) as found:
        yield found


@contextmanager
def opened(browser: Browser, page: Page, **look: object) -> Iterator[Any]:
    """The first page; on a busy machine, what is computed for another one takes its time."""
    with browser.page(page.address, offline=False, **look) as tab:
        tab.set_default_timeout(300_000)
        yield tab


def rows(tab) -> list[str]:
    return tab.locator("#networks tbody td.name").all_inner_texts()


def test_tables_are_sorted_and_networks_compared_with_the_keyboard_alone(
    browser: Browser, page: Page
) -> None:
    with opened(browser, page) as tab:
        assert "token" not in tab.url
        assert tab.locator("th[aria-sort=descending]").inner_text() == "written"
        head = tab.get_by_role("columnheader", name="steps")
        head.get_by_role("button").focus()
        for state, first in (("ascending", "T4.snn"), ("descending", "T8.snn")):
            tab.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == state
            assert rows(tab) == [first, *({"T4.snn", "T8.snn"} - {first}), "hostile.snn"]
        assert tab.locator("th[aria-sort=none]").count() == 11
        for name in ("T4.snn", "T8.snn"):
            tab.get_by_label(f"compare {name}").press("Space")
        assert tab.get_by_label("compare hostile.snn").is_disabled()
        assert "error[" in tab.locator(".broken").inner_text()
        assert browsers.violations(tab) == []
        tab.get_by_role("button", name="Compare the ticked").press("Enter")
        tab.get_by_role("region", name="figures").wait_for()
        assert tab.locator("h1").inner_text() == "T8.snn, T4.snn"  # as they stood there
        assert tab.get_by_role("cell", name="--timesteps").is_visible()
        assert browsers.violations(tab) == []


def test_without_scripts_it_sorts_and_keeps_what_is_ticked(browser: Browser, page: Page) -> None:
    with opened(browser, page, scripts=False) as tab:
        tab.get_by_label("compare T8.snn").check()
        for first in ("T4.snn", "T8.snn"):
            tab.get_by_role("button", name="steps").click()
            assert rows(tab)[0] == first
            assert tab.get_by_label("compare T8.snn").is_checked()
        assert not tab.get_by_label("Drop a model").is_visible()


@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_the_first_divergence_is_shown_where_it_happened(
    browser: Browser, page: Page, folder: Path, look: str
) -> None:
    layer, stimulus, step, neuron = FLIPPED
    width = 390 if look == "narrow" else 1280
    with opened(browser, page, width=width, dark=look == "dark") as tab:
        assert browsers.overflowing(tab) == []
        tab.get_by_role("link", name="board.npz").click()
        tab.locator(".chain").wait_for()
        text = tab.locator(".conclusion.wrong").inner_text()
        assert f"layer {layer}, stimulus {stimulus}, step {step}, neuron {list(neuron)}" in text
        assert tab.locator("[aria-current]").inner_text().startswith(layer)
        with Recording.open(folder / "board.npz") as recording:
            sent = int(recording.messages(layer, stimulus)[0, step][neuron])
        assert f"expected {1 - sent}, got {sent}" in text
        cell = tab.locator("td.here")
        assert cell.locator("del").inner_text() == str(1 - sent)
        assert cell.locator("ins").inner_text() == str(sent)
        assert tab.locator("td.other").count() == 0
        row = cell.locator("xpath=..")
        assert row.locator("th").inner_text() == f"[{', '.join(map(str, neuron))}]"
        assert row.locator("td").nth(step).get_attribute("class") == cell.get_attribute("class")
        assert tab.locator("svg .first").count() == 2
        assert (
            "message" in tab.get_by_role("heading", level=2).last.locator("xpath=..").inner_text()
        )
        assert browsers.overflowing(tab) == []
        if look != "narrow":
            assert browsers.violations(tab) == []


def test_a_session_is_run_from_the_page(browser: Browser, page: Page, folder: Path) -> None:
    with opened(browser, page) as tab:
        tab.get_by_role("link", name="T8.snn").click()
        assert browsers.violations(tab) == []
        tab.get_by_label("device").select_option("reference")
        tab.get_by_label("stimuli").fill("2")
        tab.get_by_role("button", name="Run").click()
        tab.locator(".conclusion.right").wait_for()
        assert "equal, bit for bit" in tab.locator(".conclusion").inner_text()
        assert tab.locator(".chain .same").count() == 3
        tab.get_by_role("link", name="T8.snn").click()
        assert "equal, bit for bit" in tab.get_by_role("region", name="verification").inner_text()
        tab.get_by_role("link", name="The whole report").click()
        tab.wait_for_url("**/T8.snn/report.html")
        assert "digits_cnn" in tab.locator("h1").inner_text()  # what its script says fails the test
    report = json.loads((folder / "T8.snn" / "report.json").read_text())
    assert [one["against"] for one in report["verification"]] == ["reference"]


def test_what_runs_is_followed(browser: Browser, page: Page, folder: Path) -> None:
    def write(done: int) -> None:
        stage = {"stage": "evaluate", "state": "running", "done": done, "total": 80}
        place = folder / ".new.snn.work"
        place.mkdir(exist_ok=True)
        record = {
            "schema": 1, "tool": "", "model": "m.onnx", "output": "new.snn", "pid": os.getpid(),
            "host": platform.node(), "started": "2026-01-01T00:00:00+00:00", "updated": "",
            "state": "running", "identity": {},
            "stages": [{**stage, "seconds": 1.0, "remaining": 5.0}],
        }  # fmt: skip
        (place / "new").write_text(json.dumps(record))
        (place / "new").replace(place / "progress.json")

    with opened(browser, page) as tab:
        tab.get_by_label("compare T4.snn").check()
        write(20)
        bar = tab.get_by_role("progressbar", name="evaluate of new.snn")
        bar.wait_for()
        assert bar.get_attribute("value") == "20"
        assert "20 of 80 · 0:00:01 · about 0:00:05 left" in tab.locator("#running").inner_text()
        assert browsers.violations(tab) == []
        write(60)
        tab.locator("progress[value='60']").wait_for()
        shutil.rmtree(folder / ".new.snn.work")
        bar.wait_for(state="detached")
        assert tab.get_by_label("compare T4.snn").is_checked()


def test_a_dropped_model_is_checked(browser: Browser, page: Page, examples: Path) -> None:
    with opened(browser, page) as tab:
        assert tab.get_by_label("Drop a model").get_attribute("type") == "file"
        model = base64.b64encode((examples / "digits_mlp.onnx").read_bytes()).decode()
        tab.evaluate(
            """model => {
                const data = new DataTransfer();
                const bytes = Uint8Array.from(atob(model), c => c.charCodeAt(0));
                data.items.add(new File([bytes], "dropped.onnx"));
                const event = new DragEvent("drop", {bubbles: true, dataTransfer: data});
                document.body.dispatchEvent(event);
            }""",
            model,
        )
        tab.locator("#checked.right").wait_for()
        found = tab.get_by_role("status").inner_text()
        assert found.startswith("dropped.onnx can be compiled: ")
        assert "0 unsupported" in found
        assert browsers.violations(tab) == []


def test_a_strangers_report_reaches_nothing(browser: Browser, page: Page) -> None:
    context = browser.chromium.new_context()
    try:
        tab = context.new_page()
        tab.goto(page.address)
        tab.goto(urljoin(page.address, "/files/hostile.snn/report.html"))
        tab.wait_for_function("document.title !== 'waiting'")
        # Nothing but what any page may know of itself: the name of its window.
        assert tab.title() == "no|no||no|no"
        assert [one["httpOnly"] for one in context.cookies()] == [True]
    finally:
        context.close()
