"""Inputs of integers, which a file casts to floating point, and of half precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_models import evaluate_all, imported, model, node, refused, session
from snn_compile import compile_model, inspect_against
from snn_compile.errors import UnsupportedError

RNG = np.random.default_rng(4)
NODES = [
    node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Cast", "t", "f", to=TensorProto.FLOAT),
    node("Mul", "f s", "g"), node("Conv", "g k", "c"), node("Relu", "c", "r"),
    node("GlobalAveragePool", "r", "p"), node("Flatten", "p", "h"), node("Gemm", "h w", "y"),
]  # fmt: skip
CONSTANTS = {
    "s": np.float32(1 / 64), "k": RNG.normal(size=(4, 2, 3, 3)).astype(np.float32),
    "w": RNG.normal(size=(4, 3)).astype(np.float32),
}  # fmt: skip
TYPES = (np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16, np.bool_)


def images(kind):
    made = model(
        NODES, ("N", 6, 6, 2), CONSTANTS, elem_type=helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    )
    x = RNG.integers(0, 2 if kind is np.bool_ else 100, (5, 6, 6, 2)).astype(kind)
    return made, x


@pytest.mark.parametrize("kind", TYPES)
def test_integers_that_are_cast(kind, tmp_path):
    made, x = images(kind)
    result = imported(made)
    (ours,) = evaluate_all(result, x)
    (theirs,) = session(made).run(None, {"x": x})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert [finding.code for finding in result.findings] == []
    onnx.save(made, tmp_path / "net.onnx")
    report = inspect_against(tmp_path / "net.onnx", x if kind is not np.bool_ else x.astype("u1"))
    assert report.first is None
    assert len(report.layers) >= 5


def test_bytes_enter_as_they_are(tmp_path):
    """Eight bits hold them all, so that nothing is rounded; data may be bytes, too."""
    made, x = images(np.uint8)
    onnx.save(made, tmp_path / "net.onnx")
    compiled = compile_model(tmp_path / "net.onnx", calibrate=x, emit=(), coding="graded")
    assert (compiled.encoding.unit == 1).all()
    assert (compiled.encoding.low, compiled.encoding.high) == (0, 255)
    np.testing.assert_array_equal(compiled.run(x), compiled.run(x.astype(np.float32)))


@pytest.mark.parametrize("op", ["Div", "Pow", "Add", "Mul"])
def test_arithmetic_of_integers_is_refused(op):
    """A quotient of integers is rounded, and their sums wrap around."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.int32))
    nodes = [node(op, "x two", "d", "bad"), node("Cast", "d", "y", to=TensorProto.FLOAT)]
    error = refused(model(nodes, ("N", 4), {"two": np.int32(2)}, elem_type=kind))
    assert (type(error), error.origin.node) == (UnsupportedError, "bad")


def test_inputs_in_bfloat16():
    kind = TensorProto.BFLOAT16
    weight = helper.make_tensor("w", kind, [4, 3], RNG.normal(size=12))
    made = model([node("MatMul", "x w", "y")], ("N", 4), elem_type=kind, output_type=kind)
    made.graph.initializer.append(weight)
    x = RNG.normal(size=(2, 4)).astype(np.float32)
    (found,) = evaluate_all(imported(made), x)
    exact = onnx.numpy_helper.to_array(weight).astype(np.float32)
    np.testing.assert_allclose(found, x @ exact, rtol=1e-5)


def test_text_is_no_input():
    made = model([node("Relu", "x", "y")], ("N", 4), elem_type=TensorProto.STRING)
    assert refused(made).code == "input-type"
