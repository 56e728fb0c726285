"""Draws the pictures of the documentation again.

    python tests/pictures.py tree          the decision tree of docs/how-to/my-accuracy-dropped.md
    python tests/pictures.py gallery NAME  one of docs/gallery.md, from what its commands compiled

The pages say which command draws which picture; matplotlib is the extra ``plot``.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
INK, PAPER, LINE, ACCENT, SOFT = "#1d2733", "#ffffff", "#9aa7b5", "#0b6e8f", "#eef4f7"

START = "Accuracy is lower than it should be"
BRANCHES = [
    ("Within chance?", "compare A B --data", "more samples, then decide"),
    ("onnx is low", "warnings about data", "labels, normalization, axes, the export itself"),
    ("folded falls", "inspect --against onnxruntime", "the import: report it"),
    ("activations falls", "--activation-segments 64", "more lines for sigmoid, tanh, GELU"),
    ("rate falls", "--payload-bits, --timesteps, --thresholds", "more levels, or fewer cut off"),
    ("spiking falls", "--coding sync or signed, --timesteps", "spikes that come at a better time"),
    ("fixed falls", "--weight-bits, --rounding, tune", "finer weights, or trained ones"),
    ("the device is below fixed", "verify, hil", "the first message that differs"),
]
"""Of the tree, from the top: what is seen, what to type, what it changes."""


def tree() -> None:
    """Rungs from the top to the bottom; the first one that falls has its branch to the right."""
    row, left, height, widths = 62, 24, 40, (216, 318, 318)
    at = [left, left + widths[0] + 46, left + widths[0] + widths[1] + 92]
    width, bottom = at[2] + widths[2] + left, 84 + row * len(BRANCHES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" width="{width}"'
        f' height="{bottom}" font-family="system-ui, sans-serif" font-size="14" role="img">',
        f"<title>{START}: which rung falls first, and what helps</title>",
        f'<rect width="{width}" height="{bottom}" rx="10" fill="{PAPER}"/>',
        f'<text x="{left}" y="38" font-size="17" font-weight="600" fill="{INK}">{START}:'
        " what is the first of these that holds?</text>",
    ]
    for k, (seen, command, meaning) in enumerate(BRANCHES):
        y = 66 + row * k
        middle = y + height / 2
        if k + 1 < len(BRANCHES):
            x = at[0] + widths[0] / 2
            parts += [_arrow(x, y + height, x, y + row), _label(x + 8, y + height + 16, "no")]
        for here, there in ((0, 1), (1, 2)):
            parts.append(_arrow(at[here] + widths[here], middle, at[there], middle))
        parts.append(_label(at[0] + widths[0] + 8, middle - 5, "yes"))
        boxes = (
            (seen, SOFT, INK, "600"),
            (command, ACCENT, "#ffffff", "500"),
            (meaning, PAPER, INK, "400"),
        )
        for x, w, (text, fill, ink, weight) in zip(at, widths, boxes, strict=True):
            parts.append(
                f'<rect x="{x}" y="{y}" width="{w}" height="{height}" rx="6" fill="{fill}"'
                f' stroke="{LINE}"/><text x="{x + w / 2}" y="{middle + 5}" fill="{ink}"'
                f' font-weight="{weight}" text-anchor="middle">{escape(text)}</text>'
            )
    (IMAGES / "accuracy-tree.svg").write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    along = (-5, -3, -5, 3) if y == to_y else (-3, -5, 3, -5)
    head = f"M{to_x + along[0]} {to_y + along[1]}L{to_x} {to_y}L{to_x + along[2]} {to_y + along[3]}"
    return f'<path d="M{x} {y}L{to_x} {to_y}{head}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="12" fill="{INK}">{text}</text>'


def main(arguments: list[str]) -> int:
    """Draw what was asked for."""
    if arguments == ["tree"]:
        tree()
        return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
