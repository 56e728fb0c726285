"""Files that are no models, or contradict themselves: what is said about them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from onnx import TensorProto

from onnx_models import imported, ints, model, node, refused
from snn_compile.errors import (
    CompileError,
    CompileErrors,
    ModelError,
    UsageError,
)
from snn_frontends.onnx import OnnxFrontend

RNG = np.random.default_rng(3)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


IMAGE = ("N", 3, 8, 8)
F0 = np.float32(0)


@pytest.mark.parametrize("name", ["absent.onnx", "."])
def test_no_such_file(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        OnnxFrontend().read(tmp_path / name)
    assert caught.value.code == "no-such-file"


@pytest.mark.parametrize("content", [b"", b"import torch\n" * 9, b"\x80\x02}q\x00.", b"\x00" * 99])
def test_not_onnx(content):
    assert refused(content).code == "unreadable-model"


WHOLE = model(
    [node("Conv", "x w", "c", name="conv", pads=[1, 1, 1, 1]), node("Relu", "c", "y")],
    constants={"w": real(2, 3, 3, 3)},
).SerializeToString()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.8, 0.95])
def test_truncated(share):
    error = refused(WHOLE[: int(len(WHOLE) * share)])
    assert isinstance(error, ModelError)


def test_damage_never_escapes_as_another_exception():
    """Single bytes changed at random: a network, or a CompileError."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        content = bytearray(WHOLE)
        content[rng.integers(len(content))] = rng.integers(256)
        with contextlib.suppress(CompileError):
            imported(bytes(content))


def header(**changes):
    return model([node("Relu", "x", "y")], **changes)


def test_empty_graphs():
    assert refused(model([])).code == "empty-graph"
    assert refused(header(outputs="")).code == "empty-graph"


@pytest.mark.parametrize("elem_type", [TensorProto.COMPLEX64, TensorProto.STRING])
def test_input_types(elem_type):
    error = refused(header(elem_type=elem_type))
    assert (error.code, error.origin.node) == ("input-type", "x")


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floating_inputs_are_fine(elem_type):
    assert imported(header(elem_type=elem_type, output_type=elem_type)).ann.input.shape == (3, 8, 8)


def test_input_shapes():
    error = refused(header(shape=("N", 3, "height", 8)))
    assert (error.code, error.origin.node) == ("dynamic-shape", "x")
    assert error.message.startswith("axis 2 ('height') of the input has")
    assert error.hint.endswith("--input-shape x=1,3,HEIGHT,8")
    error = refused(header(shape=("N", "c.in", -1, 8)))
    assert error.code == "dynamic-shape"
    assert error.message.startswith("axes 1 ('c.in'), 2 of the input have")
    assert error.hint.endswith("--input-shape x=1,CIN,SIZE2,8")
    error = refused(header(shape=("N",)))
    assert error.code == "dynamic-shape"
    assert error.hint.endswith("--input-shape x=N")
    made = header()
    made.graph.input[0].type.tensor_type.ClearField("shape")
    error = refused(made)
    assert error.code == "dynamic-shape"
    assert error.hint.endswith("--input-shape x=1,...")


def test_numbers_of_inputs():
    imported_all = imported(header(more_inputs=["mask", "state"]))
    assert [node.id for node in imported_all.ann.inputs] == ["x"], "nothing reads the others"
    made = header()
    del made.graph.input[:]
    assert refused(made).code == "no-input"


def test_a_constant_output():
    error = refused(
        model([node("Relu", "x", "y"), node("Neg", "c", "z")], constants={"c": F0}, outputs="y z")
    )
    assert (error.code, error.origin.node) == ("constant-output", "z")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("bad", "shape"),
    [
        (node("Conv", "x w", "y", name="bad"), (2, 3, 1, 1)),
        (node("MatMul", "x w", "y", name="bad"), (8, 2)),
        (node("Add", "x w", "y", name="bad"), (3, 1, 1)),
        (node("PRelu", "x w", "y", name="bad"), (3, 1, 1)),
        (node("BatchNormalization", "x w w w w", "y", name="bad"), (3,)),
    ],
)
def test_weights_that_are_not_finite(value, bad, shape):
    weight = np.full(shape, 0.5, np.float32)
    weight.flat[1] = value
    error = refused(model([bad], constants={"w": weight}))
    assert (type(error), error.code, error.origin.node) == (ModelError, "not-finite", "bad")
    assert "'w'" in error.message


def test_weights_that_overflow():
    weight = {"w": np.full((8, 2), 3e38, np.float32)}
    bad = node("Gemm", "x w", "y", name="bad", alpha=10.0)
    error = refused(model([bad], ("N", 8), weight))
    assert (error.code, error.origin.node) == ("not-finite", "bad")
    zeros = {"w": np.float32([0, 1])}
    error = refused(model([node("Div", "x w", "y", name="bad")], ("N", 2), zeros))
    assert (error.code, error.origin.node) == ("not-finite", "bad")
    negative = {"s": np.float32([1, -1])}
    bad = node("BatchNormalization", "x s s s s", "y", name="bad")
    assert refused(model([bad], ("N", 2), negative)).code == "not-finite"


@pytest.mark.parametrize(
    "bad",
    [
        node("LpPool", "x", "y", kernel_shape=[2, 2], strides=[0, 1]),
        node("DeformConv", "x w x", "y", strides=[0, 0]),
        node("DeformConv", "x w x", "y", group=0),
    ],
)
def test_zeros_that_crash_the_shape_inference_of_old_onnx(bad):
    made = model([bad], constants={"w": real(3, 3, 2, 2)}, opset=22)
    assert refused(made).code == "unsupported-op"


INVALID = {
    "transposed-strides": (
        node("ConvTranspose", "x w", "y", strides=[0, 0]),
        {"w": real(3, 3, 2, 2)},
    ),
    "transposed-group": (node("ConvTranspose", "x w", "y", group=0), {"w": real(3, 3, 2, 2)}),
    "tile": (node("Tile", "x r", "y"), {"r": ints(1, 0, 1, 1)}),
    "gather": (node("Gather", "x i", "y", axis=1), {"i": ints(0, 3)}),
    "einsum": (node("Einsum", "x", "y", equation="ab->a"), {}),
    "resize": (node("Resize", "x - s", "y"), {"s": np.float32([1, 1, 0.01, 1])}),
    "weights": (node("Conv", "x w", "y"), {"w": real(2, 4, 3, 3)}),
    "groups": (node("Conv", "x w", "y", group=2), {"w": real(3, 2, 3, 3)}),
    "kernel": (node("Conv", "x w", "y", kernel_shape=[2, 2]), {"w": real(2, 3, 3, 3)}),
    "too-large": (node("Conv", "x w", "y"), {"w": real(2, 3, 9, 3)}),
    "strides": (node("Conv", "x w", "y", strides=[0, 1]), {"w": real(2, 3, 3, 3)}),
    "pads": (node("MaxPool", "x", "y", kernel_shape=[2, 2], pads=[2, 0, 0, 0]), {}),
    "auto-pad": (node("MaxPool", "x", "y", kernel_shape=[2, 2], auto_pad="SOME"), {}),
    "bias": (node("Conv", "x w b", "y"), {"w": real(2, 3, 3, 3), "b": real(3)}),
    "gemm": (node("Gemm", "x w", "y"), {"w": real(2, 3)}),
    "matmul": (node("MatMul", "x w", "y"), {"w": real(2, 3)}),
    "norm": (node("BatchNormalization", "x s s s s", "y"), {"s": real(4) ** 2}),
    "shapes": (node("Add", "x c", "y"), {"c": real(5)}),
    "reshape": (node("Reshape", "x s", "y"), {"s": ints(-1, 7)}),
    "reshape-zero": (node("Reshape", "x s", "y"), {"s": ints(1, -1, 2, 2, 0)}),
    "axis": (node("Concat", "x x", "y", axis=4), {}),
    "perm": (node("Transpose", "x", "y", perm=[0, 1, 1, 2]), {}),
    "squeeze": (node("Squeeze", "x a", "y"), {"a": ints(1)}),
    "split": (node("Split", "x s", "y z", axis=1), {"s": ints(1, 1)}),
    "empty-slice": (node("Slice", "x s e a", "y"), {"s": ints(2), "e": ints(2), "a": ints(1)}),
    "missing-input": (node("Add", "x", "y"), {}),
    "attribute": (node("Relu", "x", "y", limit=3), {}),
    "attribute-type": (node("LeakyRelu", "x", "y", alpha="steep"), {}),
    "undefined": (node("Add", "x nowhere", "y"), {}),
    "no-kernel": (node("MaxPool", "x", "y"), {}),
    "fold": (node("Reshape", "c s", "y"), {"c": real(3), "s": ints(2)}),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name):
    bad, constants = INVALID[name]
    bad.name = "bad"
    error = refused(model([bad], constants=constants))
    if isinstance(error, CompileErrors):
        error = error.errors[0]
    assert isinstance(error, ModelError)
    assert error.code == "invalid-model"
    assert (error.origin.node, error.origin.op) == ("bad", bad.op_type)
    assert "\n" not in error.message


def test_damaged_tensors():
    made = model([node("Add", "x c", "y", name="bad")], constants={"c": real(8)})
    made.graph.initializer[0].raw_data = b"123"
    error = refused(made)
    assert (error.code, error.origin.node) == ("invalid-model", "bad")
    assert "'c'" in error.message


def test_graphs_that_are_not_graphs():
    cycle = model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")])
    assert refused(cycle).code == "cycle"
    assert "twice" in refused(model([node("Relu", "x", "y"), node("Neg", "x", "y")])).message
    assert "twice" in refused(model([node("Relu", "x", "x"), node("Neg", "x", "y")])).message
    assert "nowhere" in refused(model([node("Relu", "x", "y")], outputs="nowhere")).message


def test_missing_external_weights(tmp_path):
    import onnx

    made = model([node("MatMul", "x w", "y")], ("N", 64), {"w": real(64, 64)})
    path = tmp_path / "big.onnx"
    onnx.save(made, path, save_as_external_data=True, location="big.bin", size_threshold=0)
    (tmp_path / "big.bin").unlink()
    with pytest.raises(ModelError) as caught:
        OnnxFrontend().read(path)
    assert caught.value.code == "external-data"
