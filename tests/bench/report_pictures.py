"""The pictures of ``report.html`` in docs/images, from the examples.

    python tests/bench/report_pictures.py

The digits network in rate coding on a wide window, a phone, a dark one and on paper, and in graded
coding for the README. Needs Chromium (CONTRIBUTING, "Pages in a browser"). Fonts are those of the
machine. Half a minute.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from browser import started  # noqa: E402  (the path is set above)
from snn_compile.cli import main as snn_compile  # noqa: E402

IMAGES, EXAMPLES = ROOT / "docs" / "images", ROOT / "examples"
MOST_BYTES, COLOURS = 200_000, (256, 128, 64, 32, 16)

RATE: dict[str, dict[str, Any]] = {
    "report-1280": {"width": 1280},
    "report-390": {"width": 390, "height": 844},
    "report-dark": {"width": 1280, "dark": True},
    "report-print": {"width": 794, "printed": True},
}
GRADED = {"report-digits-graded": {"width": 1100}}
TOP, PAPER = 1500, 4 * 1123
"""Heights of the README's picture, which shows the head of the page only, and of four sheets."""


def compiled(folder: Path, *options: str) -> Path:
    """The report of the digits network, without a path of this machine in it."""
    data = [f"--{kind}=digits_{kind}.npz" for kind in ("calibrate", "evaluate")]
    target = str(folder / "digits.snn")
    words = ["digits_cnn.onnx", *data, "-o", target, "--no-emit", "-q", *options]
    assert snn_compile(words) == 0
    return Path(target) / "report.html"


def save(name: str, shot: bytes) -> None:
    """A picture in few colours, which flat pages do not miss."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    if name == "report-print":
        picture = picture.crop((0, 0, picture.width, PAPER))
    path = IMAGES / f"{name}.png"
    for colours in COLOURS:
        few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        size = path.stat().st_size
        if size < MOST_BYTES:
            break
    else:
        raise SystemExit(f"{name} takes {size:,} bytes")
    print(f"{path.relative_to(ROOT)}  {picture.width}x{picture.height}  {size:,} bytes")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, started() as browser:
        rate = compiled(Path(folder), "--coding", "rate", "-T", "32")
        for name, look in RATE.items():
            with browser.page(rate, **look) as page:
                save(name, page.screenshot(full_page=True))
        graded = compiled(Path(folder))
        for name, look in GRADED.items():
            with browser.page(graded, height=TOP, **look) as page:
                save(name, page.screenshot())


if __name__ == "__main__":
    import os

    os.chdir(EXAMPLES)
    main()
