"""Small networks with several outputs, maps or real values, and data for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from onnx_models import model, node


def two_heads(folder: Path) -> Path:
    """A policy of four classes and a value, from eight numbers; the heads share a layer."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(8, 16)) / 2,
        "b": random.normal(size=16) / 4,
        "p": random.normal(size=(16, 4)),
        "v": random.normal(size=(16, 1)) / 2,
    }
    nodes = [
        node("MatMul", "x w", "m"),
        node("Add", "m b", "a"),
        node("Relu", "a", "r"),
        node("MatMul", "r p", "policy"),
        node("MatMul", "r v", "value"),
    ]
    return _saved(folder / "two_heads.onnx", nodes, ("N", 8), weights, "policy value")


def hosted(folder: Path) -> Path:
    """Two heads, one of which ends in operators that are left to the host."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(8, 16)) / 2,
        "o": random.normal(size=(16, 4)),
        "v": random.normal(size=(16, 1)) / 2,
        "two": np.array(2.0),
    }
    nodes = [
        node("MatMul", "x w", "m"),
        node("Relu", "m", "r"),
        node("MatMul", "r o", "p"),
        node("Softmax", "p", "s"),
        node("Mul", "s two", "policy"),
        node("MatMul", "r v", "value"),
    ]
    return _saved(folder / "hosted.onnx", nodes, ("N", 8), weights, "policy value")


def segmenter(folder: Path, classes: int = 3, outputs: str = "map") -> Path:
    """Classes of the pixels of an image of 8 x 8, and further outputs if asked for."""
    random = np.random.default_rng(1)
    weights = {
        "w": random.normal(size=(6, 2, 3, 3)) / 3,
        "v": random.normal(size=(classes, 6, 1, 1)),
    }
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "features"),
        node("Conv", "features v", "map"),
    ]
    return _saved(folder / "segmenter.onnx", nodes, ("N", 2, 8, 8), weights, outputs)


def regressor(folder: Path, last: str = "") -> Path:
    """Two real values from eight numbers; a last operator over them, if one is named."""
    random = np.random.default_rng(2)
    weights = {"w": random.normal(size=(8, 16)) / 2, "v": random.normal(size=(16, 2)) / 2}
    nodes = [
        node("MatMul", "x w", "m"),
        node("Relu", "m", "r"),
        node("MatMul", "r v", "z" if last else "y"),
    ]
    if last:
        nodes.append(node(last, "z", "y", axis=1))
    return _saved(folder / "regressor.onnx", nodes, ("N", 8), weights, "y", last == "ArgMax")


def uniform(n: int, *shape: int, seed: int = 3) -> np.ndarray:
    """Samples from 0 to 1."""
    return np.random.default_rng(seed).uniform(size=(n, *shape)).astype(np.float32)


def run_onnx(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a file, by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: x})
    return dict(zip(names, values, strict=True))


def _saved(path: Path, nodes, shape, weights, outputs: str, integers: bool = False) -> Path:
    constants = {name: value.astype(np.float32) for name, value in weights.items()}
    kind = onnx.TensorProto.INT64 if integers else onnx.TensorProto.FLOAT
    onnx.save(model(nodes, shape, constants, outputs, output_type=kind), str(path))
    return path
