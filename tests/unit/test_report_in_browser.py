"""``report.html`` as a browser shows it: on any width, on paper, by keyboard, without scripts."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import Browser, overflowing, violations
from example_report import EXAMPLE, OBSERVED
from snn_compile.report import html, schema

REPORTS: dict[str, dict[str, Any]] = {
    "observed": OBSERVED,
    "older": EXAMPLE,
    "nothing": {"schema": 1},
}
PageOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> PageOf:
    folder = tmp_path_factory.mktemp("pages")

    def write(name: str) -> Path:
        path = folder / f"{name}.html"
        path.write_text(html.render(copy.deepcopy(REPORTS[name])), encoding="utf-8")
        return path

    return write


def pixels(shot: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)


OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"


def test_the_examples_are_valid_reports() -> None:
    assert [schema.complaint(report) for report in REPORTS.values()] == ["", "", ""]


@pytest.mark.parametrize(
    ("name", "dark"), [("observed", False), ("observed", True), ("older", True), ("nothing", False)]
)
def test_axe_has_nothing_against_it(
    browser: Browser, page_of: PageOf, name: str, dark: bool
) -> None:
    with browser.page(page_of(name), dark=dark) as page:
        page.evaluate(OPEN_ALL)
        assert violations(page) == []


def test_axe_sees_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "wrong.html"
    path.write_text("<title>x</title><p style='color:#ccc;background:#fff'>pale<img src='data:,'>")
    with browser.page(path) as page:
        found = {line.partition(":")[0] for line in violations(page)}
    assert {"color-contrast", "image-alt", "html-has-lang"} <= found


@pytest.mark.parametrize(
    "look", [{"width": 1280}, {"width": 390}, {"width": 794, "printed": True}], ids=str
)
def test_nothing_reaches_beyond_the_window(
    browser: Browser, page_of: PageOf, look: dict[str, Any]
) -> None:
    with browser.page(page_of("observed"), **look) as page:
        assert overflowing(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= look["width"]


def test_on_a_phone_no_table_loses_a_column(browser: Browser, page_of: PageOf) -> None:
    """Whatever does not fit is reached by scrolling its table, also by keyboard."""
    lost = """() => [...document.querySelectorAll('table')].flatMap(table => {
        const region = table.closest('.scroll') || table.parentElement;
        region.scrollLeft = region.scrollWidth;
        const right = region.getBoundingClientRect().right;
        return [...table.querySelectorAll('tr > :last-child')].filter(cell =>
            getComputedStyle(cell).display === 'none'
            || cell.getBoundingClientRect().right > right + 1
            || (table.scrollWidth > region.clientWidth + 1 && region.tabIndex !== 0)
        ).map(cell => cell.outerHTML);
    })"""
    with browser.page(page_of("observed"), width=390) as page:
        page.evaluate(OPEN_ALL)
        assert page.evaluate(lost) == []


def test_contents_and_layers_lead_to_their_sections(browser: Browser, page_of: PageOf) -> None:
    with browser.page(page_of("observed")) as page:
        titles = [one.inner_text() for one in page.locator("nav a").all()]
        assert titles == page.locator("section h2").all_inner_texts()
        assert len(titles) == 11
        for link in [*page.locator("nav a").all(), *page.locator(".graph a").all()]:
            link.click()
            target = page.evaluate("document.querySelector(':target').id")
            assert link.get_attribute("href") == f"#{target}"
            assert page.locator(f"#{target} :is(h2, h4)").first.is_visible()
            top = page.evaluate("document.querySelector(':target').getBoundingClientRect().top")
            assert -1 <= top < 900


def test_the_keyboard_alone_steps_through_the_messages(browser: Browser, page_of: PageOf) -> None:
    with browser.page(page_of("observed")) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.type") == "range":
                break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        words, cover = page.locator(".player output"), page.locator(".later").first
        assert words.inner_text().startswith("step 13 of 13")
        assert cover.get_attribute("width") == "0"
        page.keyboard.press("Home")
        assert words.inner_text() == "step 0 of 13: sample 0: 1 message, sample 1: 1 message"
        assert (cover.get_attribute("x"), cover.get_attribute("width")) == ("1", "13")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert words.inner_text().startswith("step 2 of 13: sample 0: 4 messages")
        page.get_by_role("button", name="Previous step").press("Enter")
        assert words.inner_text().startswith("step 1 of 13")
        for _ in range(7):
            page.get_by_role("button", name="Next step").press("Space")
        assert words.inner_text().startswith("step 8 of 13")
        assert words.inner_text().endswith("largest outputs: ship, dog")


def test_playing_ends_at_the_last_step(browser: Browser, page_of: PageOf) -> None:
    with browser.page(page_of("observed")) as page:
        play = page.get_by_role("button", name="Play")
        page.locator(".player input").fill("11")
        play.click()
        assert play.get_attribute("aria-pressed") == "true"
        page.wait_for_selector("button[data-play][aria-pressed=false]")
        assert page.locator(".player input").input_value() == "13"


def test_without_scripts_the_page_shows_the_same(browser: Browser, page_of: PageOf) -> None:
    """Apart from the controls that need the script, pixel for pixel."""
    shots = []
    for scripts in (True, False):
        with browser.page(page_of("observed"), scripts=scripts) as page:
            assert page.locator(".player").is_visible() == scripts
            without = ".player { display: none !important }"
            shots.append(pixels(page.screenshot(full_page=True, style=without)))
    assert shots[0].shape == shots[1].shape
    assert np.array_equal(*shots)


def test_the_raster_is_where_its_messages_are(browser: Browser, page_of: PageOf) -> None:
    """The input sends in each of its 8 steps, from the left edge on: a bar of that length."""
    with browser.page(page_of("observed")) as page:
        figure = page.locator(".raster svg").first
        place = """shape => {
            const box = shape.getBBox(), to = shape.getScreenCTM();
            return [to.a * box.x + to.e, to.a * box.width];
        }"""
        bar = figure.locator("path.strong").first.evaluate(place)
        band = figure.locator("rect.band").first.evaluate(place)
    assert bar == pytest.approx([band[0], band[1] * 8 / 14], abs=0.1)


def test_on_paper_everything_is_open_and_black_on_white(browser: Browser, page_of: PageOf) -> None:
    with browser.page(page_of("observed"), dark=True, printed=True) as page:
        assert page.locator("text=payload_bits").is_visible()  # an option at its default
        assert not page.locator(".player").is_visible()
        look = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        assert look == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


def test_light_and_dark_differ(browser: Browser, page_of: PageOf) -> None:
    means = []
    for dark in (False, True):
        with browser.page(page_of("observed"), dark=dark) as page:
            means.append(pixels(page.screenshot()).mean())
    assert means[0] > 200
    assert means[1] < 60
