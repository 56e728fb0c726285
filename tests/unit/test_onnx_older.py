"""Operator sets 1 to 6, compared with the same network in set 13."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnx_models import assert_same, evaluate_all, imported, ints, model, node, ops, refused
from snn_compile import inspect_against
from snn_compile.errors import ModelError, UnsupportedError

RNG = np.random.default_rng(12)
OLD = range(1, 7)
IMAGE = ("N", 3, 6, 6)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def consumed(version, *inputs):
    return {"consumed_inputs": list(inputs)} if version < 6 else {}


def network(version):
    """As caffe and torch exported them then."""
    constants = {
        "k": real(4, 3, 3, 3), "b": real(4), "s": real(4), "m": real(4), "v": real(4) ** 2 + 1,
        "q": real(4), "u": real(4, 4), "w": real(16, 5), "z": real(5), "slope": real(4),
    }  # fmt: skip
    nodes = [
        node("Conv", "x k b", "c", kernel_shape=[3, 3]),
        node("Relu", "c", "r", **consumed(version, 0)),
        node("BatchNormalization", "r s m m v", "n", is_test=1, **consumed(version, 0, 0, 0, 1, 1)),
        node("Add", "n q", "a", broadcast=1, axis=1),
        node("PRelu", "a slope", "l", **consumed(version, 0, 0)),
        node("Mul", "l u", "g", broadcast=1), node("Dropout", "g", "d mask", is_test=1, ratio=0.5),
        node("MaxPool", "d", "p", kernel_shape=[2, 2], strides=[2, 2]),
    ]  # fmt: skip
    if version < 5:
        nodes.append(node("Reshape", "p", "f", shape=[-1, 16], **consumed(version, 0)))
    else:
        constants["to"] = ints(-1, 16)
        nodes.append(node("Reshape", "p to", "f"))
    nodes.append(node("Gemm", "f w z", "y", broadcast=1))
    return nodes, constants


def modern(constants):
    nodes = [
        node("Conv", "x k b", "c"), node("Relu", "c", "r"),
        node("BatchNormalization", "r s m m v", "n"), node("Add", "n q", "a"),
        node("PRelu", "a slope", "l"), node("Mul", "l u", "g"),
        node("MaxPool", "g", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "p to", "f"), node("Gemm", "f w z", "y"),
    ]  # fmt: skip
    column = {name: constants[name].reshape(4, 1, 1) for name in ("q", "slope")}
    return model(nodes, IMAGE, {**constants, **column, "to": ints(-1, 16)})


@pytest.mark.parametrize("version", OLD)
def test_a_network_of_each_set(version, tmp_path):
    nodes, constants = network(version)
    old = model(nodes, IMAGE, constants, opset=version)
    old.ir_version = 3
    for name, value in constants.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        old.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    x = real(2, 3, 6, 6)
    (expected,) = evaluate_all(assert_same(modern(constants)), x)
    (found,) = evaluate_all(imported(old), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    onnx.save(old, tmp_path / "net.onnx")
    assert inspect_against(tmp_path / "net.onnx").first is None


ONE = {
    "concatenation along axis 1": (
        [node("Concat", "x x", "y")], {}, lambda x: np.concatenate([x, x], 1),
    ),
    "a type by its name": ([node("Cast", "x", "y", to="FLOAT")], {}, lambda x: x),
    "padding": (
        [node("Pad", "x", "y", paddings=[0, 0, 1, 0, 0, 0, 0, 2])], {},
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2))),
    ),
    "scales of height and width": (
        [node("Upsample", "x", "y", height_scale=2.0, width_scale=1.0, mode="nearest")], {},
        lambda x: x.repeat(2, 2),
    ),
    "images": (
        [node("ImageScaler", "x", "y", scale=0.5, bias=[1.0, 2.0, 3.0])], {},
        lambda x: 0.5 * x + np.float32([1, 2, 3])[:, None, None],
    ),
    "a matrix in the middle": (
        [node("Mul", "x c", "y", broadcast=1, axis=1)], {"c": real(3, 6)},
        lambda x: None,
    ),
    "at the end": (
        [node("Sub", "x c", "y", broadcast=1, axis=-1)], {"c": np.float32([1.5])},
        lambda x: x - 1.5,
    ),
    "one result of a normalization": (
        [node("BatchNormalization", "x one zero zero one", "y", epsilon=0.0, is_test=0)],
        {"one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32)}, lambda x: x,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_single_operators(name):
    nodes, constants, expected = ONE[name]
    x = real(2, 3, 6, 6)
    wanted = expected(x) if expected(x) is not None else x * constants["c"][..., None]
    (found,) = evaluate_all(imported(model(nodes, IMAGE, constants, opset=1)), x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_file_that_states_no_operator_set():
    made = model([node("Relu", "x", "y")], IMAGE)
    del made.opset_import[:]
    assert ops(imported(made)) == ["Relu"]


REFUSED = {
    "dropout": node("Dropout", "x", "y", "bad", ratio=0.5),
    "statistics": node("BatchNormalization", "x s s s v", "y a b c d", "bad"),
    "computed": node("Add", "x r", "y", "bad", broadcast=1, axis=1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_newer_form(name):
    nodes = [node("Relu", "x", "r"), REFUSED[name]]
    error = refused(model(nodes, IMAGE, {"s": real(3), "v": real(3) ** 2}, opset=6))
    assert (type(error), error.origin.node) == (UnsupportedError, "bad")
    assert error.hint


def test_a_type_that_does_not_exist():
    error = refused(model([node("Cast", "x", "y", "bad", to="LONGER")], IMAGE, opset=1))
    assert (type(error), error.origin.node) == (ModelError, "bad")


@pytest.mark.parametrize("version", [0, -3])
def test_versions_that_do_not_exist(version):
    assert refused(model([node("Relu", "x", "y")], IMAGE, opset=version)).code == "opset"


def test_the_type_is_that_of_its_number():
    assert (
        ops(imported(model([node("Cast", "x", "y", to=TensorProto.FLOAT)], IMAGE, opset=6))) == []
    )
