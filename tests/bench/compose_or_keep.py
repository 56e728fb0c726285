"""Average pools composed with the next layer and split, against pools kept as neurons.

    python tests/bench/compose_or_keep.py    prints a table in Markdown

Three networks with random weights whose pools make neurons of many sources, and random images. The
error is that of the outputs against onnxruntime, as a share of their deviation over the images.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from onnx_models import model, node
from snn_compile import compile_model
from snn_compile.convert import insert_rectifiers
from snn_compile.errors import CompileError

N_CALIBRATE, N_EVALUATE = 64, 200
CODINGS = {"graded": {}, "sync": {"timesteps": 32}}


def head(random: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """The end of a mobile network: 7 x 7 maps averaged, then classes."""
    weights = {
        "a": _normal(random, 160, 8, 3, 3),
        "b": _normal(random, 100, 160),
        "c": _normal(random, 100),
    }
    nodes = [
        node("Conv", "x a", "p", "conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "p", "q"),
        node("GlobalAveragePool", "q", "r"),
        node("Flatten", "r", "s"),
        node("Gemm", "s b c", "y", "dense", transB=1),
    ]
    return model(nodes, ("N", 8, 14, 14), weights), (8, 14, 14)


def lenet(random: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Pools of 2 x 2 between convolutions, and before the classes."""
    weights = {
        "a": _normal(random, 32, 1, 5, 5),
        "b": _normal(random, 64, 32, 5, 5),
        "c": _normal(random, 10, 64 * 16),
        "d": _normal(random, 10),
    }
    nodes = [
        node("Conv", "x a", "p", "conv1"),
        node("Relu", "p", "q"),
        node("AveragePool", "q", "r", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "r b", "s", "conv2"),
        node("Relu", "s", "t"),
        node("AveragePool", "t", "u", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "u", "v"),
        node("Gemm", "v c d", "y", "dense", transB=1),
    ]
    return model(nodes, ("N", 1, 28, 28), weights), (1, 28, 28)


def keywords(random: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A network for spectrograms: maps of 25 x 5, averaged."""
    weights = {
        "a": _normal(random, 96, 1, 10, 4),
        "b": _normal(random, 96, 96, 1, 1),
        "c": _normal(random, 12, 96),
        "d": _normal(random, 12),
    }
    nodes = [
        node("Conv", "x a", "p", "conv1", strides=[2, 2], pads=[4, 1, 5, 1]),
        node("Relu", "p", "q"),
        node("Conv", "q b", "r", "conv2"),
        node("Relu", "r", "s"),
        node("GlobalAveragePool", "s", "t"),
        node("Flatten", "t", "u"),
        node("Gemm", "u c d", "y", "dense", transB=1),
    ]
    return model(nodes, ("N", 1, 49, 10), weights), (1, 49, 10)


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def rows() -> Iterator[str]:
    """A row for each network, coding and way."""
    for make in (head, lenet, keywords):
        random = np.random.default_rng(0)
        network, shape = make(random)
        x = random.random((N_CALIBRATE + N_EVALUATE, *shape)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            onnx.save(network, str(path))
            for coding, options in CODINGS.items():
                for way, better in (("composed", lambda *_: True), ("kept", lambda *_: False)):
                    with mock.patch.object(insert_rectifiers, "composes_better", better):
                        cells = _measured(path, x, {"coding": coding, **options})
                    yield f"| {make.__name__} | {coding} | {way} | " + " | ".join(cells) + " |"


def _measured(path: Path, x: np.ndarray, options: dict[str, object]) -> list[str]:
    images = x[N_CALIBRATE:]
    try:
        compiled = compile_model(
            path, calibrate=x[:N_CALIBRATE], evaluate=(images, None), emit=(), **options
        )
    except CompileError as error:
        return [f"refused: {error.code}", "", "", ""]
    found = compiled.report
    exact = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    error = compiled.run(images).reshape(exact.shape) - exact
    deviation = exact - exact.mean(axis=0)
    return [
        f"{found['resources']['cores']}",
        f"{found['cost']['synops_per_inference']:,.0f}",
        f"{100 * np.sqrt((error**2).mean() / (deviation**2).mean()):.1f} %",
        f"{found['total_steps']}",
    ]


def main() -> None:
    """Print the table."""
    print("| network | coding | pools | cores | synaptic operations | error | steps |")
    print("|---|---|---|---|---|---|---|")
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
