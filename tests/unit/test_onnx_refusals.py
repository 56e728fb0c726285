"""Everything that is refused: the code, the place, and that all of it comes at once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_models import NEWEST, imported, ints, model, node, refused
from snn_compile.errors import (
    CompileErrors,
    UnsupportedError,
)

RNG = np.random.default_rng(3)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


IMAGE = ("N", 3, 8, 8)
F0 = np.float32(0)

UNSUPPORTED = {
    "norm-of-batch": (node("LpNormalization", "x", "y", axis=0), IMAGE, {}, "axis 0"),
    "unknown-op": (node("Det", "x", "y"), IMAGE, {}, "--cut-at"),
    "conv-weights": (node("Conv", "x x", "y"), (3, 3, 8, 8), {}, "fixed"),
    "conv-4d": (node("Conv", "x w", "y"), ("N", 1, *[3] * 4), {"w": real(1, 1, *[2] * 4)}, "three"),
    "gemm-trans-a": (node("Gemm", "x w", "y", transA=1), ("N", 4), {"w": real(1, 4)}, "axis 0"),
    "gemm-left": (node("Gemm", "w x", "y"), ("N", 4), {"w": real(4, 1)}, "axis 0"),
    "matmul-left": (node("MatMul", "w x", "y"), ("N", 4), {"w": real(4, 1)}, "axis 0"),
    "matmul-two": (node("MatMul", "x x", "y"), (4, 4), {}, "convolutions"),
    "norm-training": (
        node("BatchNormalization", "x s s s s", "y", training_mode=1), IMAGE, {"s": real(3) ** 2},
        "eval",
    ),
    "enlarge": (node("Add", "x c", "y"), ("N", 1, 8), {"c": real(4, 1, 8)}, "repeat"),
    "dropout": (node("Dropout", "x r t", "y"), IMAGE, {"r": F0, "t": np.array(True)}, "eval"),
    "mean-batch": (node("ReduceMean", "x", "y", axes=[0]), IMAGE, {}, "axis 0"),
    "mean-all": (node("ReduceMean", "x", "y"), IMAGE, {}, "axis 0"),
    "pad-batch": (node("Pad", "x p", "y"), IMAGE, {"p": ints(1, *[0] * 7)}, "axis 0"),
    "flatten-batch": (node("Flatten", "x", "y", axis=0), IMAGE, {}, "axis 0"),
    "squeeze-batch": (node("Squeeze", "x a", "y"), ("N", 4), {"a": ints(0)}, "axis 0"),
    "concat-batch": (node("Concat", "x x", "y", axis=0), IMAGE, {}, "axis 0"),
    "split-batch": (node("Split", "x", "y z", axis=0), ("N", 2), {}, "axis 0"),
    "slice-batch": (node("Slice", "x s e", "y"), ("N", 2), {"s": ints(1), "e": ints(3)}, "axis 0"),
    "slice-open-batch": (node("Slice", "x s e", "y"), ("N", 2), {"s": ints(0), "e": ints(1)}, "0"),
    "cumsum-batch": (node("CumSum", "x i", "y"), IMAGE, {"i": np.array(0)}, "axis 0"),
    "resize-cropped": (
        node("Resize", "x r s", "y", coordinate_transformation_mode="tf_crop_and_resize"),
        IMAGE, {"r": np.float32([0, 0, 0, 0.2, 1, 1, 1, 0.8]), "s": np.float32([1, 1, 2, 1])},
        "Slice",
    ),
    "resize-kept": (
        node("Resize", "x - s", "y"), IMAGE, {"s": np.float32([1, 1, 2, 1.1])}, "Slice",
    ),
    "resize-aspect": (
        node("Resize", "x - - s", "y", keep_aspect_ratio_policy="not_larger", axes=[-2, -1]),
        IMAGE, {"s": ints(4, 7)}, "front",
    ),
    "resize-batch": (
        node("Resize", "x - s", "y"), IMAGE, {"s": np.float32([2, 1, 2, 2])}, "axis 0",
    ),
    "resize-corners": (
        node("Resize", "x - s", "y", mode="linear", coordinate_transformation_mode="align_corners"),
        IMAGE, {"s": np.float32([1, 1, 0.7, 0.7])}, "sizes",
    ),
    "tile-batch": (node("Tile", "x s", "y"), IMAGE, {"s": ints(2, 1, 1, 1)}, "axis 0"),
    "einsum-batch": (node("Einsum", "x", "y", equation="nchw->chw"), IMAGE, {}, "axis 0"),
    "einsum-two": (node("Einsum", "x x", "y", equation="nchw,nchw->n"), IMAGE, {}, "dense"),
    "gather-batch": (node("Gather", "x i", "y"), IMAGE, {"i": ints(0)}, "axis 0"),
    "cast-like-int": (node("CastLike", "x c", "y"), IMAGE, {"c": ints(1)}, "floating"),
    "cast-int": (node("Cast", "x", "y", to=TensorProto.INT32), IMAGE, {}, "floating"),
    "softmax-batch": (node("Softmax", "x", "y", axis=0), IMAGE, {}, "axis 0"),
    "pool-indices": (node("MaxPool", "x", "i y", kernel_shape=[2, 2]), IMAGE, {}, "first output"),
    "sequence": (node("SplitToSequence", "x", "y", axis=1), IMAGE, {}, "Split"),
    "optional": (node("Optional", "x", "y"), IMAGE, {}, "Concat"),
    "custom-ml": (node("Scaler", "x", "y", domain="ai.onnx.ml"), IMAGE, {}, "standard"),
    "custom-domain": (node("Relu", "x", "y", domain="com.acme"), IMAGE, {}, "standard"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported(name):
    bad, shape, constants, hint = UNSUPPORTED[name]
    bad.name = "bad"
    opset = NEWEST if bad.op_type in {"Gelu", "LayerNormalization", "CastLike", "Resize"} else 14
    error = refused(model([bad], shape, constants, opset=opset))
    assert isinstance(error, UnsupportedError)
    assert error.code == "unsupported-op"
    assert (error.origin.node, error.origin.op) == ("bad", bad.op_type)
    assert error.origin.file.endswith("net.onnx")
    assert hint in error.hint
    assert "\n" not in error.message


def test_custom_domain_is_named():
    error = refused(model([node("Fancy", "x", "y", domain="com.acme")]))
    assert "com.acme" in error.message


def test_softmax_in_the_middle():
    nodes = [node("Softmax", "x", "s", name="bad", axis=1), node("Relu", "s", "y")]
    error = refused(model(nodes))
    assert error.origin.node == "bad"
    assert "only a final Softmax" in error.message


@pytest.mark.parametrize("kind", ["Add", "Mul", "Max", "Sub"])
def test_activations_whose_samples_would_meet(kind):
    nodes = [node("ReduceMean", "x", "g", axes=[2, 3], keepdims=0), node(kind, "x g", "y", "bad")]
    error = refused(model(nodes, ("N", 8, 8, 8)))
    assert (error.code, error.origin.node) == ("unsupported-op", "bad")
    assert "batch" in error.hint


def test_activations_whose_shapes_do_not_fit():
    nodes = [node("Slice", "x s e a", "g"), node("Mul", "x g", "y", "bad")]
    constants = {"s": ints(0), "e": ints(3), "a": ints(3)}
    assert refused(model(nodes, constants=constants)).origin.node == "bad"


def test_what_only_control_flow_reads_is_looked_at():
    then = helper.make_graph(
        [node("Relu", "inner", "t")], "then", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    flow = helper.make_node("If", ["c"], ["y"], name="n2", then_branch=then, else_branch=then)
    made = model([node("Hardmax", "x", "inner", "n1"), flow], constants={"c": np.array(True)})
    assert refused(made).origin.node == "n1"


def test_everything_unsupported_comes_at_once():
    nodes = [
        node("Hardmax", "x", "a", name="n1"),
        node("Conv", "a w", "b", name="fine"),
        node("Fancy", "b", "c", name="n2", domain="com.acme"),
        node("Relu", "c", "d", name="after-unknown"),
        node("Shape", "d", "shape"),
        node("Gather", "shape zero", "size", name="shape-arithmetic"),
        node("Hardmax", "d", "e", name="n3"),
        node("Hardmax", "a", "f", name="n4"),
        node("Hardmax", "a", "g", name="n5"),
        node("Reshape", "e shape", "h"),
        node("Hardmax", "a", "up", name="n6"),
        node("GlobalLpPool", "up", "i", name="n7"),
        node("Cast", "size", "size_f", to=1),
        node("Sigmoid", "size_f", "k", name="of a constant that is not known"),
    ]
    constants = {
        "w": real(3, 3, 1, 1),
        "zero": np.array(0),
    }
    made = model(nodes, constants=constants, outputs="f g h i k")
    with pytest.raises(CompileErrors) as caught:
        imported(made)
    assert [e.origin.node for e in caught.value.errors] == [f"n{k}" for k in (1, 2, 3, 4, 5, 6, 7)]
    assert all(isinstance(e, UnsupportedError) for e in caught.value.errors)


# Files and headers.
