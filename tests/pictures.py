"""Draws the pictures of the documentation again.

    python tests/pictures.py tree                the tree of docs/how-to/my-accuracy-dropped.md
    python tests/pictures.py NAME FOLDER DATA    a picture of docs/gallery.md

The second takes a compiled folder and a data file, and draws the first sample: the input, what the
neurons sent, and the answer. It needs matplotlib (the extra ``plot``).
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile import CompiledModel, load
from snn_compile.samples.events import Recordings

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
    path = f"M{x} {y}L{to_x} {to_y}{head}"
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="12" fill="{INK}">{text}</text>'


ROWS = 600
"""Neurons in a raster at most, evenly spaced over all of them."""


def gallery(name: str, folder: str, data: str) -> None:
    """Input, messages and answer of the first sample of a data file."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    compiled = load(folder)
    x = _first_sample(compiled, np.load(data))
    run = compiled.simulate(x, record=True)
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.2), width_ratios=(1, 1.9, 1))
    _input(axes[0], x[0])
    _raster(axes[1], compiled, run.messages)
    _answer(axes[2], compiled.run(x)[0])
    figure.tight_layout()
    figure.savefig(IMAGES / f"gallery-{name}.png", dpi=96)


def _first_sample(compiled: CompiledModel, arrays: Any) -> np.ndarray:
    """(1, *input shape), of events those that each step has."""
    if "t_us" not in arrays:
        return arrays["x"][:1]
    recordings = Recordings.of(dict(arrays), "")
    program = compiled.program
    step_us = compiled.report["options"]["event_step"]["value"]
    rows = recordings.train_rows(program.inputs[0].shape, program.window.n_steps, step_us)
    return rows[:1].clip(max=1)


def _input(axis: Any, sample: np.ndarray) -> None:
    """Three channels as colours, others in grey; features of steps from left to right."""
    axis.set_title("input", fontsize=10)
    if sample.ndim == 4:  # a frame for each step
        sample = sample.sum(axis=0, dtype=float)
    if sample.ndim == 3 and len(sample) == 2:  # of both polarities
        brighter = sample[1] - sample[0]
        most = np.abs(brighter).max()
        axis.imshow(brighter, cmap="RdBu", vmin=-most, vmax=most)
    elif sample.ndim == 3 and len(sample) == 3:
        shown = sample - sample.min()
        axis.imshow((shown / shown.max()).transpose(1, 2, 0))
    elif sample.ndim == 2:
        axis.imshow(sample.T, cmap="gray", aspect="auto", origin="lower")
    else:
        maps = sample if sample.ndim == 3 else sample.reshape(1, 1, -1)
        axis.imshow(np.concatenate(maps, axis=-1), cmap="gray", aspect="auto")
    axis.set_xticks([])
    axis.set_yticks([])


def _raster(axis: Any, compiled: CompiledModel, messages: dict[Any, np.ndarray]) -> None:
    """A point for each message that is not 0, at its step; neurons by layer, from the input up."""
    program = compiled.program
    late = compiled.report["coding"] in ("sync", "radix")
    sending = [node for node in program.populations if node.id not in compiled.decodings]
    sending.sort(key=lambda node: program.depth[node.id])
    total = sum(int(np.prod(node.shape)) for node in sending)
    stride, bottom = max(1, total // ROWS), 0
    for number, node in enumerate(sending):
        sent = messages[node.id][0].reshape(program.window.n_steps, -1)[:, ::stride]
        step, neuron = np.nonzero(sent)
        first = program.depth[node.id] * (program.window.n_steps if late else 1)
        marker, size = ("|", 12) if len(sending) > 8 else ("s", 3)
        axis.scatter(first + step, bottom + neuron, s=size, marker=marker, color=f"C{number % 10}")
        bottom += sent.shape[1]
    axis.set_ylim(0, max(1, bottom))
    axis.set_xlabel("time step", fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel("neurons, by layer", fontsize=9)
    every = f", one neuron in {stride} of {total:,}" if stride > 1 else ""
    axis.set_title(f"messages that are not 0{every}", fontsize=10)
    axis.set_yticks([])


def _answer(axis: Any, output: np.ndarray) -> None:
    """A map as an image, a vector as bars."""
    axis.set_title("answer of the integers", fontsize=10)
    if output.ndim == 3:
        axis.imshow(output[0], cmap="gray")
        axis.set_xticks([])
        axis.set_yticks([])
        return
    values = output.ravel()
    if len(values) == 1:
        axis.set_axis_off()
        axis.text(0.5, 0.5, f"{values[0]:,g}", ha="center", fontsize=16)
        return
    colours = [ACCENT if k == values.argmax() else LINE for k in range(len(values))]
    axis.barh(np.arange(len(values)), values, color=colours)
    axis.invert_yaxis()
    axis.set_yticks(np.arange(len(values)))
    axis.set_ylabel("class", fontsize=9)


def main(arguments: list[str]) -> int:
    """Draw what was asked for."""
    if arguments == ["tree"]:
        tree()
    elif len(arguments) == 3:
        gallery(*arguments)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
