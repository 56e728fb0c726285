"""Makes the pictures of the page of ``snn-compile ui`` in the documentation.

    python tests/bench/ui_pictures.py [--all FOLDER]

Compiles four networks, records a device with a flipped bit, and takes pictures of the first page,
with a record of progress as a running sweep would have it, and of the session. ``--all`` writes
all pages at 1280 and 390 pixels, light and dark, into a folder, and says what axe has against them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import browser as browsers  # noqa: E402  (after the path)
from served import Page, served  # noqa: E402
from snn_compile.cli import main  # noqa: E402

EXAMPLES = ROOT / "examples"
NETWORKS = {
    "digits-graded.snn": ("digits_cnn",),
    "digits-rate-8.snn": ("digits_cnn", "--coding", "rate", "-T", "8"),
    "mlp-w8.snn": ("digits_mlp",),
    "mlp-w2.snn": ("digits_mlp", "--weight-bits", "2"),
}
SESSION = "/session?network=digits-rate-8.snn&trace=board.npz"
PAGES = {
    "overview": "/",
    "network": "/network?name=digits-rate-8.snn",
    "compare": "/compare?network=mlp-w8.snn&network=mlp-w2.snn",
    "session": SESSION,
}
LOOKS = {"1280": {"width": 1280}, "390": {"width": 390}, "dark": {"dark": True}}


def prepare(folder: Path) -> None:
    """Networks, a recording and a record of progress."""
    for name, (model, *options) in NETWORKS.items():
        words = [str(EXAMPLES / f"{model}.onnx"), *options, "--no-emit", "-q"]
        assert main([*words, "-o", str(folder / name)]) == 0
    words = ["hil", str(folder / "digits-rate-8.snn"), "--stimuli", "20", "-q"]
    assert main([*words, "--device", "engine"]) == 0
    trace = ["--record", str(folder / "board.npz")]
    assert main([*words, "--device", "faulty:weight-bit@relu2", *trace]) == 7
    work = folder / ".grid.sweep.work"
    work.mkdir()
    began = datetime.now(UTC) - timedelta(minutes=4)
    common = {"done": 0, "total": None, "remaining": None}
    record = {
        "schema": 1, "tool": "", "model": "digits_cnn.onnx", "output": "grid.sweep",
        "pid": os.getpid(), "host": platform.node(), "started": began.isoformat(),
        "updated": began.isoformat(), "state": "running", "identity": {},
        "stages": [
            {"stage": "points", "state": "running", "done": 7, "total": 24, "seconds": 240.0,
             "remaining": 583.0},
            {**common, "stage": "rate-T8", "state": "done", "seconds": 31.0},
            {**common, "stage": "rate-T16", "state": "running", "seconds": 12.0},
        ],
    }  # fmt: skip
    (work / "progress.json").write_text(json.dumps(record))


@contextmanager
def opened(browser: browsers.Browser, page: Page, path: str, **look: object) -> Iterator[object]:
    """A page whose content is there."""
    with browser.page(page.address, offline=False, **look) as tab:
        if path != "/":
            tab.goto(urljoin(page.address, path))
            tab.locator("section").first.wait_for(timeout=120_000)
        else:
            tab.locator("header code").evaluate("e => e.textContent = '/home/me/experiments'")
        yield tab


def write_all(browser: browsers.Browser, page: Page, folder: Path) -> None:
    """Every page in every look."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in PAGES.items():
        for look, options in LOOKS.items():
            with opened(browser, page, path, **options) as tab:
                tab.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                print(name, look, browsers.violations(tab), browsers.overflowing(tab))


def write_pictures(browser: browsers.Browser, page: Page) -> None:
    """The pictures of the documentation, in few colours."""
    from PIL import Image

    pictures = {
        "overview": ("/", {"width": 1280, "height": 900}),
        "session": (SESSION, {"width": 1280, "height": 1400}),
        "narrow": ("/", {"width": 390, "height": 844}),
        "narrow-session": (SESSION, {"width": 390, "height": 844}),
        "dark": (SESSION, {"width": 1280, "height": 900, "dark": True}),
    }
    for name, (path, look) in pictures.items():
        target = ROOT / "docs" / "images" / f"ui-{name}.png"
        with opened(browser, page, path, **look) as tab:
            tab.screenshot(path=target)
        image = Image.open(target).convert("RGB").quantize(256)
        image.save(target, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        shown = Path(scratch, "experiments")
        shown.mkdir()
        prepare(shown)
        with served(shown) as page, browsers.started() as browser:
            if arguments.all:
                write_all(browser, page, arguments.all)
            else:
                write_pictures(browser, page)
