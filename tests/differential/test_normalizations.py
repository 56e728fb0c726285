"""Normalizations as operators and as exporters write them out: function, integers, error."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import onnx_models
from engine_equality import assert_same
from lava_examples import assert_equal_on_lava
from onnx_models import ints, node
from snn_compile.errors import CompileError
from snn_compile.ir import ann as ops
from snn_compile.ir.quantized import ProductDeltaNeurons, ProductNeurons
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model, compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.sim import ann, engine, reference

SHAPE = (4, 5, 6)
DRAW = np.random.default_rng(3)


def real(*shape):
    return (DRAW.normal(size=shape) + (len(shape) == 1)).astype(np.float32)


PARAMETERS = {
    "w": real(4, 4, 3, 3) / 3, "g4": real(4), "b4": real(4), "g6": real(6), "b6": real(6),
    "g3": real(5, 6), "eps": np.float32(1e-5), "two": np.float32(2), "tiny": np.float32(1e-12),
    "hw": ints(2, 3), "last": ints(-1), "one": ints(1), "grouped": ints(0, 2, -1),
    "ones2": np.ones(2, np.float32), "zeros2": np.zeros(2, np.float32),
    "full": ints(1, 4, 5, 6), "halves": ints(0, 2, 10, 6),
    "unit": np.float32(1), "f": real(9, 120) / 8, "wide": real(4, 7) / 2, "narrow": real(7, 4) / 2,
}  # fmt: skip
CENTRED = [node("ReduceMean", "c", "m", axes=[-1]), node("Sub", "c m", "d")]
KINDS = {
    "layer": (17, [node("LayerNormalization", "c g6 b6", "n", axis=-1)]),
    "layer-of-two-axes": (17, [node("LayerNormalization", "c g3", "n", axis=2, epsilon=1e-3)]),
    "layer-of-rectified": (17, [node("Relu", "c", "r"), node("LayerNormalization", "r g6", "n")]),
    "layer-of-channels": (17, [
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("LayerNormalization", "t g4 b4", "l"),
        node("Transpose", "l", "n", perm=[0, 3, 1, 2]),
    ]),
    "block-of-channels": (17, [
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("LayerNormalization", "t g4 b4", "l"),
        node("MatMul", "l wide", "u"), node("Tanh", "u", "v"), node("MatMul", "v narrow", "o"),
        node("Transpose", "o", "p", perm=[0, 3, 1, 2]), node("Add", "c p", "n"),
    ]),
    "instance": (13, [node("InstanceNormalization", "c g4 b4", "n")]),
    "group": (21, [node("GroupNormalization", "c g4 b4", "n", num_groups=2)]),
    "group-by-reshape": (13, [
        node("Reshape", "c grouped", "q"), node("InstanceNormalization", "q ones2 zeros2", "i"),
        node("Shape", "c", "s"), node("Reshape", "i s", "n"),
    ]),
    "mask-of-what-was-normalized": (21, [
        node("Relu", "c", "r"), node("GroupNormalization", "r g4 b4", "l", num_groups=1),
        node("Sigmoid", "l", "s"), node("Reshape", "s halves", "t"),
        node("Reshape", "r halves", "u"), node("Mul", "t u", "n"),
    ]),
    "local-response": (13, [node("LRN", "c", "n", size=3, alpha=0.9, bias=1.5)]),
    "wide-response": (13, [node("LRN", "c", "n", size=5, alpha=0.9, beta=0.5)]),
    "euclidean": (13, [node("LpNormalization", "c", "n", axis=1)]),
    "manhattan": (13, [node("LpNormalization", "c", "n", axis=-1, p=1)]),
    "mean-variance": (13, [node("MeanVarianceNormalization", "c", "n", axes=[2, 3])]),
    "rms": (23, [node("RMSNormalization", "c g6", "n")]),
    "by-hand": (13, [
        *CENTRED, node("Pow", "d two", "q"), node("ReduceMean", "q", "v", axes=[-1]),
        node("Add", "v eps", "e"), node("Sqrt", "e", "r"), node("Div", "d r", "h"),
        node("Mul", "h g6", "k"), node("Add", "k b6", "n"),
    ]),
    "by-reciprocal": (13, [
        *CENTRED, node("Mul", "d d", "q"), node("ReduceMean", "q", "v", axes=[-1]),
        node("Add", "v eps", "e"), node("Sqrt", "e", "r"), node("Reciprocal", "r", "i"),
        node("Mul", "d i", "n"),
    ]),
    "by-norm": (13, [
        node("ReduceL2", "c", "l", axes=[1], keepdims=1), node("Clip", "l tiny", "k"),
        node("Expand", "k full", "e"), node("Div", "c e", "n"),
    ]),
}  # fmt: skip


ROUGH = {"layer-of-rectified": 0.1, "mask-of-what-was-normalized": 0.06}
"""Rows of six rectified values are often almost 0, so that all of them is rounding. Products of
heavy tails exceed those of few samples: with 512 of them the error is 0.02."""


def network(kind):
    """A convolution, the normalization, and a dense layer."""
    opset, nodes = KINDS[kind]
    nodes = [
        node("Conv", "x w", "c", pads=[1] * 4),
        *nodes,
        node("Flatten", "n", "z"),
        node("Gemm", "z f", "y", transB=1),
    ]
    used = {name for each in nodes for name in each.input}
    constants = {k: v for k, v in PARAMETERS.items() if k in used}
    return onnx_models.model(nodes, ("N", *SHAPE), constants, opset=opset)


def samples(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled(tmp_path, kind):
    """The same function at every stage, and the same integers in every executor."""
    made, x = network(kind), samples(8, seed=1)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    imported = onnx_models.imported(made).ann
    folded = FOLDING(imported).graph
    for stage in (imported, folded):
        np.testing.assert_allclose(ann.evaluate(stage, x), expected, rtol=1e-3, atol=1e-4)
    assert any(isinstance(n, ops.Activation) and n.payload_bits == 16 for n in folded.graph)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    model = compile_model(path, calibrate=samples(64), emit=(), target="unlimited", coding="graded")
    frames = model.encoding(x)
    found = engine.run(model.program, frames, record=True)
    assert_same(found, reference.run(model.program, frames, record=True))
    error = np.sqrt(((model.run(x) - expected) ** 2).mean()) / expected.std()
    assert error < ROUGH.get(kind, 0.04)


@pytest.mark.parametrize(
    "kind",
    ["layer-of-channels", "group", "by-hand", "local-response", "mask-of-what-was-normalized"],
)
def test_checked_without_data(tmp_path, kind):
    path = tmp_path / "net.onnx"
    path.write_bytes(network(kind).SerializeToString())
    check_model(path, CompileOptions(coding="graded", target="unlimited"))


@pytest.mark.parametrize("share", [0.1, 100])
def test_an_arm_that_dwarfs_the_other(tmp_path, share):
    """Without data, a wide layer seems to; payloads of 16 bits give up bits, not the network."""
    draw, n = np.random.default_rng(3), 4096
    nodes = [
        node("Gemm", "x a", "h"),
        node("LayerNormalization", "h g", "l"),
        node("Gemm", "l b", "u"),
        node("Relu", "u", "r"),
        node("Gemm", "r c", "k"),
        node("Add", "h k", "s"),
        node("LayerNormalization", "s g", "y"),
    ]
    constants = {
        "a": draw.normal(size=(8, 8)).astype(np.float32),
        "b": draw.normal(size=(8, n)).astype(np.float32),
        "c": np.float32(share) * draw.uniform(-1, 1, (n, 8)).astype(np.float32),
        "g": np.ones(8, np.float32),
    }
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_models.model(nodes, ("N", 8), constants, opset=17).SerializeToString())
    check_model(path, CompileOptions(coding="graded", target="unlimited"))


def test_sigma_delta(tmp_path):
    path, x = tmp_path / "net.onnx", samples(6, seed=1)
    path.write_bytes(network("layer").SerializeToString())
    given = {"calibrate": samples(32), "emit": (), "target": "unlimited"}
    graded, changes = (compile_model(path, coding=c, **given) for c in ("graded", "sigma-delta"))
    error = np.abs(graded.run(x) - changes.run(x)).max() / np.abs(graded.run(x)).max()
    assert error < 0.05
    kinds = [type(n) for n in changes.program.populations]
    assert ProductDeltaNeurons in kinds
    assert ProductNeurons not in kinds
    frames = changes.encoding(x)
    run = engine.run(changes.program, frames, record=True)
    assert_same(run, reference.run(changes.program, frames, record=True))


@pytest.mark.parametrize("kind", ["layer", "instance", "by-hand"])
def test_the_stated_error(tmp_path, kind):
    """Each normalized payload, given the payloads that it is made from."""
    made, x = network(kind), samples(64)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    model = compile_model(path, calibrate=x, emit=(), target="unlimited", coding="graded")
    run = engine.run(model.program, model.encoding(x), record=True)
    products = [n for n in model.program.populations if isinstance(n, ProductNeurons)]
    square, normalized = products
    assert (square.high, normalized.high) == ((1 << 16) - 1, 255)
    (d,) = (v for k, v in run.messages.items() if k.endswith(("centred.carried", "d.carried")))
    q = run.messages[normalized.id][:, 0].astype(float)
    d = d[:, 0].astype(float)
    axes = (2, 3) if kind == "instance" else (3,)
    deviation = np.sqrt((d**2).mean(axis=axes, keepdims=True))
    exact = d / deviation
    unit = (q * exact).sum(axis=(0, 2, 3), keepdims=True) / (q**2).sum(
        axis=(0, 2, 3), keepdims=True
    )
    # Of the payload, the factor with its lines, and the mean of rounded squares, in shares.
    step = 2.0**square.shift.values / square.multiplier.values  # of d**2, per channel
    share = 0.01 + 0.25 * step[:, None, None] / deviation**2
    rounding = unit + np.abs(exact) * share
    judged = (np.abs(q) < 255) & (deviation > 0.05 * deviation.max())
    assert judged.mean() > 0.9
    assert (np.abs(q * unit - exact) <= rounding)[judged].all()


def test_contributed_operators():
    """onnxruntime's own: the sum of two values, and no mean."""
    x = samples(4)
    constants = {"w": PARAMETERS["w"], "g6": PARAMETERS["g6"]}
    first = node("Conv", "x w", "c", pads=[1] * 4)
    for op, inputs, centred in (
        ("SkipLayerNormalization", "c x g6", True),
        ("SkipSimplifiedLayerNormalization", "c x g6", False),
        ("SimplifiedLayerNormalization", "c g6", False),
    ):
        last = node(op, inputs, "y", domain="com.microsoft", epsilon=1e-5)
        made = onnx_models.model([first, last], ("N", *SHAPE), constants, opset=17)
        made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        found = ann.evaluate(onnx_models.imported(made).ann, x)
        plain = onnx_models.model([first], ("N", *SHAPE), {"w": constants["w"]}, outputs="c")
        c = onnx_models.session(plain).run(None, {"x": x})[0]
        c = c + x if "Skip" in op else c
        d = c - c.mean(axis=-1, keepdims=True) if centred else c
        expected = d / np.sqrt((d**2).mean(axis=-1, keepdims=True) + 1e-5) * constants["g6"]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (node("MeanVarianceNormalization", "x", "y"), "axis 0"),
        (node("LpNormalization", "x", "y", p=3), "p is 3"),
        (node("GroupNormalization", "x g4 g4", "y", num_groups=3), "no multiple"),
        (node("Div", "x x2", "y"), "dividing"),
    ],
)
def test_refused(each, words):
    nodes = [node("Conv", "x w", "x2", pads=[1] * 4), each, node("Conv", "y w", "z", pads=[1] * 4)]
    used = {name for n in nodes for name in n.input}
    constants = {k: v for k, v in PARAMETERS.items() if k in used}
    made = onnx_models.model(nodes, ("N", *SHAPE), constants, "z", opset=21)
    with pytest.raises(CompileError) as caught:
        onnx_models.imported(made)
    assert words in str(caught.value)


@pytest.mark.lava
def test_lava(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("layer").SerializeToString())
    model = compile_model(path, calibrate=samples(32), emit=("lava",), coding="graded")
    assert_equal_on_lava(model, tmp_path / "net.snn")
