"""Each linear operator between two layers, compiled: folding keeps the function, integers agree."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_models
from engine_equality import assert_same
from lava_examples import assert_equal_on_lava
from onnx_models import ints, node
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.sim import ann, engine, reference

SHAPE = (2, 6, 6)


def real(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32) / 3


TO_SEQUENCE = node("Reshape", "a seq", "s")
SEQUENCE = {"seq": ints(0, 4, 36)}

KINDS = {
    "transposed": ([node("ConvTranspose", "a w", "b", strides=[2, 2])], {"w": real(4, 3, 2, 2)}),
    "transposed-wide": (
        [node("ConvTranspose", "a w v", "b", strides=[2, 3], pads=[1, 0, 1, 2], group=2,
              output_padding=[1, 0], dilations=[2, 1])],
        {"w": real(4, 2, 3, 4), "v": real(4)},
    ),
    "transposed-norm": (
        [node("ConvTranspose", "a w", "t", strides=[2, 2], pads=[1] * 4),
         node("BatchNormalization", "t g v v g", "b")],
        {"w": real(4, 3, 3, 3), "g": np.abs(real(3)) + 1, "v": real(3)},
    ),
    "nearest": ([node("Resize", "a - c", "b")], {"c": np.float32([1, 1, 2, 2])}),
    "bilinear": ([node("Resize", "a - c", "b", mode="linear")], {"c": np.float32([1, 1, 2, 1.5])}),
    "cubic": ([node("Resize", "a - c", "b", mode="cubic")], {"c": np.float32([1, 1, 0.5, 2])}),
    "reflect": ([node("Pad", "a p", "b", mode="reflect")], {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)}),
    "border": ([node("Pad", "a p c", "b")], {"p": ints(*[0, 0, 1, 1] * 2), "c": np.float32(2)}),
    "tile": ([node("Tile", "a c", "b")], {"c": ints(1, 2, 1, 1)}),
    "shuffle": ([node("Gather", "a c", "b", axis=1)], {"c": ints(2, 0, 3, 1, 2)}),
    "to-space": ([node("DepthToSpace", "a", "b", blocksize=2)], {}),
    "channel-mean": ([node("ReduceMean", "a", "b", axes=[1])], {}),
    "channel-max": ([node("ReduceMax", "a", "b", axes=[1])], {}),
    "total": ([node("ReduceSum", "a c", "b")], {"c": ints(2)}),
    "cumulated": ([node("CumSum", "a c", "b")], {"c": np.array(3)}),
    "einsum": ([node("Einsum", "a c", "b", equation="nchw,dc->ndhw")], {"c": real(5, 4)}),
    "left-product": ([node("MatMul", "c a", "b")], {"c": real(5, 6)}),
    "moved-batch": (
        [TO_SEQUENCE, node("Transpose", "s", "t", perm=[2, 0, 1]), node("MatMul", "t w", "u"),
         node("Relu", "u", "r"), node("Transpose", "r", "v", perm=[1, 2, 0]),
         node("Reshape", "v back", "b")],
        SEQUENCE | {"w": real(4, 4), "back": ints(0, 4, 6, 6)},
    ),
    "merged-batch": (
        [node("Reshape", "a many", "m"), node("Conv", "m w", "c"), node("Relu", "c", "r"),
         node("Reshape", "r back", "b")],
        {"many": ints(-1, 2, 6, 6), "w": real(3, 2, 3, 3), "back": ints(-1, 6, 4, 4)},
    ),
    "volumes": (
        [node("Reshape", "a vol", "v"), node("Conv", "v w", "c", pads=[1] * 6),
         node("Relu", "c", "r"),
         node("MaxPool", "r", "p", kernel_shape=[2, 2, 2], strides=[1, 2, 2]),
         node("AveragePool", "p", "q", kernel_shape=[1, 2, 2], pads=[0, 1, 1, 0, 1, 1]),
         node("Reshape", "q back", "b")],
        {"vol": ints(0, 2, 2, 6, 6), "w": real(3, 2, 3, 3, 3), "back": ints(0, 3, 4, 4)},
    ),
    "signed-pool": (
        [node("Conv", "a w", "c"), node("MaxPool", "c", "b", kernel_shape=[3, 3], strides=[2, 2],
                                         pads=[1] * 4)],
        {"w": real(3, 4, 1, 1)},
    ),
}  # fmt: skip


def network(kind):
    """A convolution, the operators, and a dense layer."""
    middle, constants = KINDS[kind]
    constants = constants | {"w0": real(4, 2, 3, 3) * 2, "b0": real(4), "b1": real(3)}
    first = [node("Conv", "x w0 b0", "a0", pads=[1] * 4), node("Relu", "a0", "a")]
    probe = onnx_models.model([*first, *middle], ("N", *SHAPE), constants, outputs="b")
    x = np.zeros((1, *SHAPE), np.float32)
    shape = onnx_models.session(probe).run(None, {"x": x})[0].shape
    last = [node("Conv", "b w1 b1", "c1", pads=[1] * 4), node("Relu", "c1", "r1")]
    constants["w1"] = real(3, shape[1], 3, 3)
    constants["w2"] = real(4, 3 * shape[2] * shape[3])
    last += [node("Flatten", "r1", "f"), node("Gemm", "f w2", "y", transB=1)]
    return onnx_models.model([*first, *middle, *last], ("N", *SHAPE), constants)


def samples(n, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 1, (n, *SHAPE)).astype(np.float32)


def compiled(folder, kind, **options):
    path = folder / f"{kind}.onnx"
    path.write_bytes(network(kind).SerializeToString())
    return compile_model(path, calibrate=samples(24), emit=(), target="unlimited", **options)


def assert_engine_equal(model, x):
    frames = model.encoding(x)
    expected = reference.run(model.program, frames)
    assert_same(engine.run(model.program, frames), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_graded(tmp_path, kind):
    made = network(kind)
    x = samples(6, seed=1)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    imported = onnx_models.imported(made).ann
    for stage in (imported, FOLDING(imported).graph):
        np.testing.assert_allclose(ann.evaluate(stage, x), expected, rtol=1e-3, atol=1e-4)
    model = compiled(tmp_path, kind, coding="graded")
    assert_engine_equal(model, x)
    error = np.sqrt(((model.run(x) - expected) ** 2).mean()) / expected.std()
    assert error < 0.05


@pytest.mark.parametrize(
    ("coding", "kind"),
    [
        ("rate", "transposed"), ("sync", "nearest"), ("sigma-delta", "reflect"),
        ("radix", "merged-batch"), ("signed", "shuffle"),
    ],
)  # fmt: skip
def test_other_codings(tmp_path, coding, kind):
    model = compiled(tmp_path, kind, coding=coding)
    assert_engine_equal(model, samples(3, seed=1))


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.parametrize("kind", ["transposed-wide"])
def test_lava(tmp_path, kind):
    path = tmp_path / "net.onnx"
    path.write_bytes(network(kind).SerializeToString())
    model = compile_model(path, calibrate=samples(24), emit=("lava",), coding="graded")
    assert_equal_on_lava(model, tmp_path / "net.snn")
