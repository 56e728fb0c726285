"""Gates as exporters write them, compiled: folding keeps the function, every executor agrees."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_models
from engine_equality import assert_same
from lava_examples import assert_equal_on_lava
from onnx_models import node
from snn_compile.errors import CompileErrors, UnsupportedError
from snn_compile.ir.quantized import ProductDeltaNeurons, ProductNeurons
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model, compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.sim import ann, engine, reference

SHAPE = (2, 6, 6)


def real(*shape):
    draw = np.random.default_rng(shape)
    return (draw.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


ONE_BY_ONE = {"down": real(2, 4, 1, 1), "up": real(4, 2, 1, 1)}
EXCITED = [node("Conv", "p down", "d"), node("Relu", "d", "e"), node("Conv", "e up", "u")]

GATES = {
    "excited-legacy": (
        [node("GlobalAveragePool", "r", "p"), *EXCITED, node("Sigmoid", "u", "g"),
         node("Mul", "g r", "m")],
        ONE_BY_ONE,
    ),
    "excited-dynamo": (
        [node("ReduceMean", "r", "p", axes=[-1, -2], keepdims=1), *EXCITED,
         node("HardSigmoid", "u", "g", alpha=1 / 6, beta=0.5), node("Mul", "r g", "m")],
        ONE_BY_ONE,
    ),
    "excited-by-hand": (
        [node("GlobalAveragePool", "r", "p"), *EXCITED, node("Add", "u three", "v"),
         node("Clip", "v zero six", "w"), node("Div", "w six", "g"), node("Mul", "r g", "m")],
        ONE_BY_ONE | {k: np.float32(v) for k, v in (("three", 3), ("zero", 0), ("six", 6))},
    ),
    "by-position": (
        [node("Conv", "r spot", "t"), node("Sigmoid", "t", "g"), node("Mul", "r g", "m")],
        {"spot": real(1, 4, 1, 1)},
    ),
    "of-two-layers": (
        [node("Conv", "r left", "l"), node("Conv", "r right", "k"), node("Tanh", "l", "t"),
         node("Sigmoid", "k", "g"), node("Mul", "t g", "m")],
        {"left": real(4, 4, 1, 1), "right": real(4, 4, 1, 1)},
    ),
    "of-linear-values": (
        [node("Conv", "r left", "l"), node("Conv", "r right", "k"), node("Mul", "l k", "m")],
        {"left": real(4, 4, 1, 1), "right": real(4, 4, 1, 1)},
    ),
    "of-halves": (
        [node("Conv", "r wide", "l"), node("Split", "l", "a b", axis=1), node("Sigmoid", "b", "g"),
         node("Mul", "a g", "m")],
        {"wide": real(8, 4, 1, 1)},
    ),
    "in-a-row": (
        [node("Conv", "r left", "l"), node("Relu", "l", "k"), node("Mul", "r k", "n"),
         node("Mul", "n r", "m")],
        {"left": real(4, 4, 1, 1)},
    ),
}  # fmt: skip


def network(kind):
    gate, constants = GATES[kind]
    nodes = [
        node("Conv", "x first", "c", pads=[1] * 4),
        node("Relu", "c", "r"),
        *gate,
        node("Conv", "m last", "f"),
        node("Flatten", "f", "y"),
    ]
    given = {"first": real(4, 2, 3, 3), "last": real(3, 4, 4, 4), **constants}
    return onnx_models.model(nodes, ("N", *SHAPE), given)


def samples(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype(np.float32)


def saved(folder, kind):
    path = folder / f"{kind}.onnx"
    path.write_bytes(network(kind).SerializeToString())
    return path


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("coding", ["graded", "sigma-delta"])
def test_compiled(tmp_path, kind, coding):
    made, x = network(kind), samples(6, seed=1)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    imported = onnx_models.imported(made).ann
    for stage in (imported, FOLDING(imported).graph):
        np.testing.assert_allclose(ann.evaluate(stage, x), expected, rtol=1e-3, atol=1e-4)
    model = compile_model(path, calibrate=samples(32), emit=(), target="unlimited", coding=coding)
    kinds = [type(node) for node in model.program.populations]
    assert ProductNeurons in kinds or ProductDeltaNeurons in kinds
    frames = model.encoding(x)
    found = engine.run(model.program, frames, record=True)
    assert_same(found, reference.run(model.program, frames, record=True))
    error = np.sqrt(((model.run(x) - expected) ** 2).mean()) / expected.std()
    assert error < 0.05


@pytest.mark.parametrize("kind", GATES)
def test_checked_without_data(tmp_path, kind):
    check_model(saved(tmp_path, kind), CompileOptions(coding="graded", target="unlimited"))


@pytest.mark.parametrize("coding", ["rate", "sync", "radix", "signed"])
def test_spikes_are_refused(tmp_path, coding):
    path = saved(tmp_path, "in-a-row")
    with pytest.raises((CompileErrors, UnsupportedError)) as caught:
        check_model(path, CompileOptions(coding=coding, target="unlimited"))
    errors = getattr(caught.value, "errors", [caught.value])
    assert [error.code for error in errors] == ["no-product"] * 2
    assert all("graded" in error.hint for error in errors)


@pytest.mark.lava
@pytest.mark.parametrize("kind", ["excited-legacy"])
def test_lava(tmp_path, kind):
    path = saved(tmp_path, kind)
    model = compile_model(path, calibrate=samples(24), emit=("lava",), coding="graded")
    assert_equal_on_lava(model, tmp_path / "net.snn")
