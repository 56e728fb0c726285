"""Pages in a real browser: Chromium without a window, driven by Playwright, looked at by axe.

Nothing is downloaded: the browser is the system's (or the one that ``SNN_COMPILE_CHROMIUM`` names),
and axe's script comes with a Python package (or is the file that ``SNN_COMPILE_AXE`` names).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

_OVERFLOWING = """() => {
  const right = document.documentElement.clientWidth;
  const scrolls = e => e && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)
                             || scrolls(e.parentElement));
  return [...document.body.querySelectorAll('*')]
    .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > right + 1
                 && !scrolls(e.parentElement) && !e.closest('svg svg, svg *'))
    .map(e => e.outerHTML.slice(0, 120));
}"""


@dataclass(frozen=True)
class Browser:
    """A running browser; every page is opened in a profile of its own."""

    chromium: Chromium

    @contextmanager
    def page(
        self,
        address: str | Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        printed: bool = False,
        offline: bool = True,
    ) -> Iterator[Page]:
        """A page, loaded; what its scripts complain of fails the test.

        Args:
            address: a file or a URL.
            width: of the window, in CSS pixels; height likewise.
            height: see width.
            dark: whether the reader prefers dark pages.
            scripts: whether scripts run.
            printed: whether the style is that of paper.
            offline: whether the network is cut off, this machine's own included.
        """
        context = self.chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
            offline=offline,
        )
        try:
            page = context.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
            if printed:
                page.emulate_media(media="print")
            page.goto(address.as_uri() if isinstance(address, Path) else address)
            yield page
            assert not complaints, complaints
        finally:
            context.close()


@contextmanager
def started() -> Iterator[Browser]:
    """A browser, until the block ends.

    Playwright's loop runs in this thread until then, so no other loop can: keep the block short.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_program())
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


def missing() -> str:
    """What keeps pages from being looked at here; empty if nothing does."""
    if not find_spec("playwright"):
        return "no playwright: pip install playwright axe-playwright-python"
    if not _program():
        return "no Chromium: apt-get install chromium, or set SNN_COMPILE_CHROMIUM"
    if not _axe().is_file():
        return "no axe.min.js: pip install axe-playwright-python, or set SNN_COMPILE_AXE"
    return ""


def violations(page: Page) -> list[str]:
    """What axe has against a page by WCAG 2.2 A and AA and by its best practices, one line each."""
    page.evaluate(_axe().read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {violation['help']}: {node['target']} {node['html'][:200]} "
        f"{node.get('failureSummary', '')}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflowing(page: Page) -> list[str]:
    """Elements that reach beyond the window to the right and cannot be scrolled into view."""
    found: list[str] = page.evaluate(_OVERFLOWING)
    return found


def _program() -> str | None:
    named = os.environ.get("SNN_COMPILE_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _PROGRAMS)), None)


def _axe() -> Path:
    if named := os.environ.get("SNN_COMPILE_AXE"):
        return Path(named)
    package = find_spec("axe_playwright_python")
    origin = package.origin if package else None
    return Path(origin or "").parent / "axe.min.js"
