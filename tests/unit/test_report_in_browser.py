"""``report.html`` as a browser shows it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from browser import Browser, overflowing
from example_report import EXAMPLE
from snn_compile.report import html


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.render(copy.deepcopy(EXAMPLE)), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_reaches_beyond_the_window(browser: Browser, page: Path, width: int) -> None:
    with browser.page(page, width=width) as shown:
        assert overflowing(shown) == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
