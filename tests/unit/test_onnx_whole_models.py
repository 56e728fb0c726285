"""Networks of the shapes in which verifiers, simulators and controllers are published."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import onnx
import pytest

from onnx_models import evaluate_all, imported, ints, model, node, session

RNG = np.random.default_rng(18)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def square(n):
    return (real(n, n) / np.sqrt(n)).astype(np.float32)


def compare(made, batch_axis=0, open_size=3):
    """Every output is onnxruntime's, whether the file's input is one sample or several."""
    result = imported(made)
    dims = made.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(dim.dim_value or open_size for dim in dims)
    x = real(*shape)
    one = prod(result.ann.input.shape) == x.size
    expected = session(made).run(None, {"x": x})
    rows = x.reshape(1, *result.ann.input.shape) if one else np.moveaxis(x, batch_axis, 0)
    for ours, theirs in zip(evaluate_all(result, rows), expected, strict=True):
        wanted = theirs if one or not theirs.ndim else np.moveaxis(theirs, batch_axis, 0)
        assert ours.size == wanted.size
        np.testing.assert_allclose(ours.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    return result


def layers(x, widths, start=0):
    """Nodes and constants of dense layers as MatMul, Add and Relu, and the name of the result."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    for k, (n_in, n_out) in enumerate(pairwise(widths), start):
        last = k - start == len(widths) - 2
        constants |= {f"w{k}": real(n_in, n_out) / np.float32(n_in**0.5), f"b{k}": real(n_out)}
        nodes += [node("MatMul", f"{x} w{k}", f"m{k}"), node("Add", f"m{k} b{k}", f"a{k}")]
        x = f"a{k}"
        if not last:
            nodes.append(node("Relu", x, f"r{k}"))
            x = f"r{k}"
    return nodes, constants, x


def renamed(nodes, old, new="y"):
    """The nodes with another name of the last result."""
    for one in nodes:
        one.output[:] = [new if name == old else name for name in one.output]
    return nodes


def acas_xu():
    nodes, constants, last = layers("f", (5, 6, 6, 5))
    constants["mean"] = real(1, 1, 1, 5)
    first = [node("Sub", "x mean", "s"), node("Flatten", "s", "f", axis=1)]
    return model(first + renamed(nodes, last), (1, 1, 1, 5), constants)


def converted_from_nnet():
    """Columns: the weights stand on the left, and biases have one column."""
    nodes = [
        node("MatMul", "w0 x", "m0"), node("Add", "m0 b0", "a0"), node("Relu", "a0", "r0"),
        node("MatMul", "w1 r0", "m1"), node("Add", "m1 b1", "y"),
    ]  # fmt: skip
    constants = {"w0": real(6, 5), "b0": real(6, 1), "w1": real(3, 6), "b1": real(3, 1)}
    return nodes, constants


def vector_times_left():
    nodes = [
        node("Flatten", "x", "f", axis=0), node("MatMul", "f w0", "m0"), node("Add", "m0 b0", "a0"),
        node("Relu", "a0", "r0"), node("MatMul", "r0 w1", "m1"), node("Reshape", "m1 s", "y"),
    ]  # fmt: skip
    constants = {"w0": real(20, 6), "b0": real(6), "w1": real(6, 3), "s": ints(3)}
    return model(nodes, (4, 5), constants)


def folded_batch(shape, batch):
    nodes = [
        node("Conv", "x k", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "p s", "f"), node("Gemm", "f w b", "y"),
    ]  # fmt: skip
    n = 4 * shape[2] * shape[3] // 4
    constants = {
        "k": real(4, shape[1], 3, 3), "s": ints(batch, n), "w": real(n, 5) / 8, "b": real(5),
    }  # fmt: skip
    return model(nodes, shape, constants)


def binary_signs():
    """Channels last in the file, signs instead of rectifiers, and a scaled product at the end."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t k", "c"),
        node("BatchNormalization", "c g b m v", "n"), node("Sign", "n", "s"),
        node("Add", "s tiny", "e"), node("Sign", "e", "s2"),
        node("MaxPool", "s2", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "p", "l", perm=[0, 2, 3, 1]), node("Reshape", "l flat", "f"),
        node("MatMul", "f w", "y"),
    ]  # fmt: skip
    constants = {
        "k": np.sign(real(4, 3, 3, 3)), "g": real(4) ** 2 + 1, "b": real(4), "m": real(4),
        "v": real(4) ** 2 + 1, "tiny": np.float32(0.1), "flat": ints(-1, 36),
        "w": np.sign(real(36, 5)),
    }  # fmt: skip
    return model(nodes, (1, 8, 8, 3), constants)


def lattice():
    """Maxima of minima of affine functions, without any layer that a rectifier closes."""
    nodes = [
        node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Reshape", "a s", "r"),
        node("ReduceMin", "r", "i", axes=[2], keepdims=0),
        node("ReduceMax", "i", "y", axes=[1], keepdims=1),
    ]  # fmt: skip
    return model(nodes, (1, 2), {"w": real(2, 12), "b": real(12), "s": ints(1, 3, 4)})


def sets_of_features():
    """Three sets in one input, each with a mask as its last column; their means are joined."""
    nodes, constants, joined = [], {"s1": ints(3), "last": ints(3), "end": ints(4)}, []
    constants |= {"axis2": ints(2), "one": np.float32(1), "zero": ints(0)}
    for k in range(2):
        inner, more, last = layers(f"v{k}", (3, 5, 5), start=10 * k)
        constants |= more | {f"from{k}": ints(2 * k), f"to{k}": ints(2 * k + 2), "axis1": ints(1)}
        nodes += [
            node("Slice", f"x from{k} to{k} axis1", f"part{k}"),
            node("Slice", f"part{k} zero s1 axis2", f"v{k}"),
            node("Slice", f"part{k} last end axis2", f"mask{k}"),
            *inner,
            node("Mul", f"{last} mask{k}", f"p{k}"),
            node("ReduceSum", f"p{k} axis1", f"sum{k}", keepdims=0),
            node("ReduceSum", f"mask{k} axis1", f"n{k}", keepdims=0),
            node("Max", f"n{k} one", f"d{k}"),
            node("Div", f"sum{k} d{k}", f"q{k}"),
        ]
        joined.append(f"q{k}")
    tail, more, last = layers("j", (10, 4, 1), start=50)
    nodes += [node("Concat", " ".join(joined), "j", axis=1), *renamed(tail, last, "z")]
    nodes.append(node("Sigmoid", "z", "y"))
    return model(nodes, (1, 4, 4), constants | more)


def controller():
    """A policy whose observation is split, scaled and joined again, with a limited action."""
    nodes = [
        node("Split", "x", "p v", axis=1), node("Mul", "p two", "q"),
        node("Concat", "v q", "j", axis=-1),
        node("Gemm", "j w b", "g", transB=1), node("Tanh", "g", "t"), node("Gemm", "t u", "o"),
        node("Clip", "o low high", "y"),
    ]  # fmt: skip
    constants = {
        "two": np.float32(2), "w": real(8, 4), "b": real(8), "u": real(8, 2),
        "low": np.float32(-1), "high": np.float32(1),
    }  # fmt: skip
    return model(nodes, (1, 4), constants)


def generator():
    nodes = [
        node("Gemm", "x w b", "g"), node("Reshape", "g s", "r"),
        node("BatchNormalization", "r gamma beta mean var", "n"), node("Relu", "n", "h"),
        node("ConvTranspose", "h k", "c", strides=[2, 2]), node("Tanh", "c", "y"),
    ]  # fmt: skip
    constants = {
        "w": real(5, 36), "b": real(36), "s": ints(1, 4, 3, 3), "gamma": real(4) ** 2,
        "beta": real(4), "mean": real(4), "var": real(4) ** 2 + 1, "k": real(4, 1, 2, 2),
    }  # fmt: skip
    return model(nodes, (1, 5), constants)


def power_flow():
    """Angles and magnitudes, products of sines and cosines."""
    nodes = [
        node("MatMul", "x w", "m"), node("Split", "m", "a v", axis=1), node("Sin", "a", "s"),
        node("Cos", "a", "c"), node("Mul", "v v", "vv"), node("Mul", "vv s", "p"),
        node("Mul", "vv c", "q"), node("Concat", "p q", "y", axis=1),
    ]  # fmt: skip
    return model(nodes, (1, 6), {"w": square(6)})


def residual_column():
    nodes, constants = converted_from_nnet()
    nodes = [node("Reshape", "x s", "x2"), *nodes[:-1], node("Add", "m1 b1", "z")]
    nodes[1].input[1] = "x2"
    nodes += [node("Squeeze", "z", "v"), node("Gather", "v first", "y", axis=0)]
    return model(nodes, (1, 5), constants | {"s": ints(5, 1), "first": ints(0, 2)})


MODELS = {
    "acas": acas_xu,
    "columns": lambda: model(converted_from_nnet()[0], (5, 1), converted_from_nnet()[1]),
    "columns of a batch": lambda: model(
        converted_from_nnet()[0], (1, 5, 1), converted_from_nnet()[1]
    ),
    "columns of an open batch": lambda: model(
        converted_from_nnet()[0], ("N", 5, 1), converted_from_nnet()[1]
    ),
    "a matrix that is flattened to a row": vector_times_left,
    "eight, folded into a constant": lambda: folded_batch((8, 3, 8, 8), 8),
    "sixty-four, folded into a constant": lambda: folded_batch((64, 1, 4, 4), 64),
    "one, folded into a constant": lambda: folded_batch((1, 3, 8, 8), 1),
    "one, folded into a constant of an open batch": lambda: folded_batch(("N", 3, 8, 8), -1),
    "signs": binary_signs,
    "lattice": lattice,
    "sets": sets_of_features,
    "controller": controller,
    "generator": generator,
    "power flow": power_flow,
    "column made and dropped": residual_column,
}


@pytest.mark.parametrize("name", MODELS)
def test_as_onnxruntime_runs_it(name):
    compare(MODELS[name]())


WITHOUT_BATCH = {
    "a vector": (
        (6,), [node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Relu", "a", "y")],
        {"w": real(6, 4), "b": real(4)},
    ),
    "a vector to one number": (
        (6,), [node("MatMul", "x w", "m"), node("Relu", "m", "y")], {"w": real(6)},
    ),
    "a vector by a matrix on the left": (
        (6,), [node("MatMul", "w x", "m"), node("Relu", "m", "y")], {"w": real(4, 6)},
    ),
    "a vector that becomes a row": (
        (6,), [node("Unsqueeze", "x zero", "u"), node("Gemm", "u w b", "y")],
        {"zero": ints(0), "w": real(6, 4), "b": real(4)},
    ),
    "an image without a batch": (
        (3, 6, 6),
        [
            node("Unsqueeze", "x zero", "u"), node("Conv", "u k", "c"), node("Relu", "c", "r"),
            node("GlobalAveragePool", "r", "g"), node("Squeeze", "g", "s"),
            node("MatMul", "s w", "y"),
        ],
        {"zero": ints(0), "k": real(4, 3, 3, 3), "w": real(4, 5)},
    ),
    "an image whose axis 0 is a channel": (
        (1, 6, 6),
        [
            node("Unsqueeze", "x zero", "u"), node("Conv", "u k", "c"), node("Relu", "c", "r"),
            node("Flatten", "r", "f"), node("Gemm", "f w", "g"), node("Squeeze", "g zero", "y"),
        ],
        {"zero": ints(0), "k": real(2, 1, 3, 3), "w": real(32, 5)},
    ),
    "a table of rows": (
        (4, 3), [node("Transpose", "x", "t"), node("MatMul", "t w", "m"), node("Relu", "m", "y")],
        {"w": real(4, 2)},
    ),
    "rows joined to others": (
        (3, 4), [node("Reshape", "x s", "r"), node("MatMul", "r w", "m"), node("Relu", "m", "y")],
        {"s": ints(2, 6), "w": real(6, 2)},
    ),
    "another constant for each row": (
        (2, 3), [node("Add", "x c", "a"), node("Where", "k a c", "y")],
        {"c": real(2, 3), "k": np.array([[True, False, True], [False, True, True]])},
    ),
    "one number": (
        (1, 1), [node("Gemm", "x w b", "g"), node("Tanh", "g", "t"), node("ReduceSum", "t", "y")],
        {"w": real(1, 4), "b": real(4)},
    ),
    "a number without axes": (
        (), [node("Reshape", "x s", "r"), node("MatMul", "r w", "m"), node("Relu", "m", "y")],
        {"s": ints(1, 1), "w": real(1, 4)},
    ),
    "dropped by Gather, never brought back": (
        (1, 3, 4), [node("Gather", "x i", "g"), node("MatMul", "g w", "m"), node("Relu", "m", "y")],
        {"i": np.array(0), "w": real(4, 2)},
    ),
    "dropped by Reshape, never brought back": (
        (1, 12), [node("Reshape", "x s", "r"), node("MatMul", "r w", "m"), node("Relu", "m", "y")],
        {"s": ints(-1), "w": real(12, 2)},
    ),
    "dropped by Squeeze, brought back at the end": (
        (1, 12),
        [
            node("Squeeze", "x zero", "s"), node("MatMul", "s w", "m"), node("Relu", "m", "r"),
            node("Unsqueeze", "r zero", "y"),
        ],
        {"zero": ints(0), "w": real(12, 2)},
    ),
    "summed away": (
        (1, 12), [node("Gemm", "x w", "g"), node("ReduceMean", "g", "y", keepdims=0)],
        {"w": real(12, 2)},
    ),
    "five axes": (
        (1, 2, 3, 4, 5),
        [node("Relu", "x", "r"), node("Flatten", "r", "f"), node("Gemm", "f w", "y")],
        {"w": real(120, 3)},
    ),
    "five axes of a volume": (
        (1, 2, 4, 4, 4),
        [node("Conv", "x k", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "y")],
        {"k": real(3, 2, 2, 2, 2)},
    ),
    "three axes of a signal": (
        (1, 2, 16),
        [node("Conv", "x k", "c"), node("Relu", "c", "r"), node("Squeeze", "r zero", "y")],
        {"k": real(3, 2, 3), "zero": ints(0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_BATCH)
def test_without_a_batch_axis(name):
    shape, nodes, constants = WITHOUT_BATCH[name]
    compare(model(nodes, shape, constants))


ELSEWHERE = {
    "steps first": (
        (5, "batch", 3),
        [node("MatMul", "x w", "m"), node("Relu", "m", "y")], {"w": real(3, 2)},
    ),
    "channels first": (
        (3, 6, "batch_size"),
        [
            node("Transpose", "x", "t", perm=[2, 0, 1]), node("Conv", "t k", "c"),
            node("Relu", "c", "r"), node("Transpose", "r", "y", perm=[1, 2, 0]),
        ],
        {"k": real(2, 3, 3)},
    ),
    "columns": ((4, "N"), [node("MatMul", "w x", "m"), node("Relu", "m", "y")], {"w": real(3, 4)}),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_batch_that_is_not_axis_0(name):
    shape, nodes, constants = ELSEWHERE[name]
    axis = next(k for k, size in enumerate(shape) if isinstance(size, str))
    compare(model(nodes, shape, constants), batch_axis=axis)
