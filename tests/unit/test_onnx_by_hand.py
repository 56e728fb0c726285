"""Linear operators of a few numbers whose results anybody can write down."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import evaluate_all, imported, model, node


def f(*values):
    return np.float32(values)


def i(*values):
    return np.array(values, np.int64)


ROW, SQUARE = [1, 2, 3], [[1, 2], [3, 4]]

CASES = {
    "transposed, 1-D": (node("ConvTranspose", "x w", "y", strides=[2]), [[1, 2]], [[1, 10, 2, 20]],
                        {"w": f([[1, 10]])}),
    "transposed, overlapping": (node("ConvTranspose", "x w", "y"), [[1, 2]], [[1, 12, 20]],
                                {"w": f([[1, 10]])}),
    "transposed, cut": (node("ConvTranspose", "x w", "y", strides=[2], pads=[1, 1]), [[1, 2]],
                        [[10, 2]], {"w": f([[1, 10]])}),
    "transposed, filled": (node("ConvTranspose", "x w b", "y", strides=[2], output_padding=[1]),
                           [[1, 2]], [[6, 15, 7, 25, 5]], {"w": f([[1, 10]]), "b": f(5)}),
    "transposed, dilated": (node("ConvTranspose", "x w", "y", dilations=[2]), [[1, 2]],
                            [[1, 2, 10, 20]], {"w": f([[1, 10]])}),
    "transposed, 2-D": (node("ConvTranspose", "x w", "y", strides=[2, 2]), [[[1, 2]]],
                        [[[1, 2, 2, 4], [3, 4, 6, 8]]], {"w": f([SQUARE])}),
    "transposed, groups": (node("ConvTranspose", "x w", "y", group=2), [[1], [2]], [[3], [8]],
                           {"w": f([[3]], [[4]])}),
    "convolution, 3-D": (node("Conv", "x w", "y"), [[[[1]], [[2]], [[3]]]], [[[[21]], [[32]]]],
                         {"w": f([[[[1]], [[10]]]])}),
    "mean, 3-D": (node("AveragePool", "x", "y", kernel_shape=[2, 1, 1]), [[[[1]], [[2]], [[3]]]],
                  [[[[1.5]], [[2.5]]]], {}),
    "maximum, 3-D": (node("MaxPool", "x", "y", kernel_shape=[2, 1, 1]), [[[[-1]], [[-2]], [[-3]]]],
                     [[[[-1]], [[-2]]]], {}),
    "nearest": (node("Resize", "x - s", "y"), [[1, 2]], [[1, 1, 2, 2]], {"s": f(1, 1, 2)}),
    "linear": (node("Resize", "x - s", "y", mode="linear"), [[0, 4]], [[0, 1, 3, 4]],
               {"s": f(1, 1, 2)}),
    "linear, corners": (
        node("Resize", "x - - n", "y", mode="linear",
             coordinate_transformation_mode="align_corners"),
        [[0, 4]], [[0, 1, 2, 3, 4]], {"n": i(1, 1, 5)}),
    "linear, narrower": (node("Resize", "x - s", "y", mode="linear", antialias=1),
                         [[0, 8, 8, 0]], [[4, 4]], {"s": f(1, 1, 0.5)}),
    "reflect": (node("Pad", "x p", "y", mode="reflect"), [ROW], [[3, 2, 1, 2, 3, 2]],
                {"p": i(0, 0, 2, 0, 0, 1)}),
    "edge": (node("Pad", "x p", "y", mode="edge"), [ROW], [[1, 1, 2, 3, 3]],
             {"p": i(0, 0, 1, 0, 0, 1)}),
    "wrap": (node("Pad", "x p", "y", mode="wrap"), [ROW], [[3, 1, 2, 3, 1]],
             {"p": i(0, 0, 1, 0, 0, 1)}),
    "border": (node("Pad", "x p v", "y"), [ROW], [[7, 1, 2, 3]],
               {"p": i(0, 0, 1, 0, 0, 0), "v": np.float32(7)}),
    "border and crop": (node("Pad", "x p v", "y"), [ROW], [[2, 3, 7]],
                        {"p": i(0, 0, -1, 0, 0, 1), "v": np.float32(7)}),
    "tile": (node("Tile", "x r", "y"), [ROW], [ROW + ROW, ROW + ROW], {"r": i(1, 2, 2)}),
    "expand": (node("Expand", "x s", "y"), [[1], [2]], [[1, 1], [2, 2]], {"s": i(1, 2, 2)}),
    "gather": (node("Gather", "x c", "y", axis=2), [ROW], [[3, 1, 1]], {"c": i(-1, 0, 0)}),
    "gather of rows": (node("Gather", "x c", "y", axis=1), ROW, [[3, 1], [2, 2]],
                       {"c": i([2, 0], [1, 1])}),
    "mean": (node("ReduceMean", "x", "y", axes=[1]), SQUARE, [[2, 3]], {}),
    "sum": (node("ReduceSum", "x a", "y", keepdims=0), SQUARE, [3, 7], {"a": i(-1)}),
    "maximum": (node("ReduceMax", "x", "y", axes=[1], keepdims=0), [[-1, 2], [-3, 4]], [-1, 4], {}),
    "minimum": (node("ReduceMin", "x", "y", axes=[1], keepdims=0), [[-1, 2], [-3, 4]], [-3, 2], {}),
    "cumulated": (node("CumSum", "x a", "y"), ROW, [1, 3, 6], {"a": np.array(1)}),
    "cumulated, exclusive": (node("CumSum", "x a", "y", exclusive=1, reverse=1), ROW, [5, 3, 0],
                             {"a": np.array(1)}),
    "einsum": (node("Einsum", "x w", "y", equation="nab,b->na"), SQUARE, [21, 43],
               {"w": f(1, 10)}),
    "trace": (node("Einsum", "x", "y", equation="naa->na"), SQUARE, [1, 4], {}),
    "left product": (node("MatMul", "w x", "y"), SQUARE, [[31, 42]], {"w": f([1, 10])}),
    "lower triangle": (node("Trilu", "x", "y", upper=0), SQUARE, [[1, 0], [3, 4]], {}),
    "reversed": (node("ReverseSequence", "x n", "y", batch_axis=1, time_axis=2), SQUARE,
                 [[2, 1], [3, 4]], {"n": i(2, 1)}),
    "overlapping blocks": (node("Col2Im", "x n b", "y"), [[1, 2], [10, 20]], [[1, 12, 20]],
                           {"n": i(3), "b": i(2)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    operator, x, expected, constants = CASES[name]
    x, expected = f(x), f(expected)
    newer = operator.op_type in {"Col2Im", "Resize", "Pad"}
    made = model([operator], ("N", *x.shape[1:]), constants, opset=19 if newer else 14)
    (found,) = evaluate_all(imported(made), x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
