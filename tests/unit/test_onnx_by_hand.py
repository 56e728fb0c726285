"""Operators of a few numbers whose results anybody can write down."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from onnx_models import evaluate_all, imported, model, node
from snn_compile.errors import CompileError


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


def of_reversed(operator):
    """x, and x from its end to its beginning."""
    mirror = node("Slice", "x last first axis back", "r")
    return [mirror, node(operator, "x r", "y")]


MIRROR = {"last": i(-1), "first": i(-9), "axis": i(-1), "back": i(-1)}
CASES |= {
    # Kernels of 2, three apart; inputs two apart; one row more at the end: 2 + 3 + 1 + 1 places.
    "transposed, with all attributes": (
        node("ConvTranspose", "x w", "y", group=2, strides=[2], dilations=[3], output_padding=[1]),
        SQUARE, [[1, 0, 2, 10, 0, 20, 0], [3, 0, 4, 300, 0, 400, 0]],
        {"w": f([[1, 10]], [[1, 100]])}),
    # 1, 10, 102, 20, 200 less one, which is cut at the end or at the beginning.
    "transposed, same upper": (
        node("ConvTranspose", "x w", "y", strides=[2], auto_pad="SAME_UPPER"), [[1, 2]],
        [[1, 10, 102, 20]], {"w": f([[1, 10, 100]])}),
    "transposed, same lower": (
        node("ConvTranspose", "x w", "y", strides=[2], auto_pad="SAME_LOWER"), [[1, 2]],
        [[10, 102, 20, 200]], {"w": f([[1, 10, 100]])}),
    # 1 + 10 * 3 and 4 + 100 * 6.
    "convolution, 3-D, groups and dilation": (
        node("Conv", "x w", "y", group=2, dilations=[2, 1, 1]),
        [[[[1]], [[2]], [[3]]], [[[4]], [[5]], [[6]]]], [[[[31]]], [[[604]]]],
        {"w": f([[[[1]], [[10]]]], [[[[1]], [[100]]]])}),
    # Of 0, 0, 1, 2, 3.
    "convolution, filled on one side": (node("Conv", "x w", "y", strides=[2], pads=[2, 0]), [ROW],
                                        [[0, 21]], {"w": f([[1, 10]])}),
    # 2 * (1 + 20, 2 + 40) + 3 * (1, 1).
    "Gemm": (node("Gemm", "x w c", "y", transB=1, alpha=2.0, beta=3.0), [1, 2], [45, 87],
             {"w": f([1, 10], [2, 20]), "c": f(1, 1)}),
    # (5 - 3) / sqrt(3 + 1) * 2 + 1.
    "batch normalization": (node("BatchNormalization", "x s b m v", "y", epsilon=1.0), [[5]], [[3]],
                            {"s": f(2), "b": f(1), "m": f(3), "v": f(3)}),
    "mean, border counted": (
        node("AveragePool", "x", "y", kernel_shape=[2], pads=[1, 1], count_include_pad=1),
        [[2, 4]], [[1, 3, 2]], {}),
    "mean, border not counted": (node("AveragePool", "x", "y", kernel_shape=[2], pads=[1, 1]),
                                 [[2, 4]], [[2, 3, 4]], {}),
    "mean, overhanging": (
        node("AveragePool", "x", "y", kernel_shape=[2], strides=[2], ceil_mode=1),
        [[2, 4, 6]], [[3, 6]], {}),
    "maximum, dilated": (node("MaxPool", "x", "y", kernel_shape=[2], dilations=[2]),
                         [[1, 5, 2, 4, 3]], [[2, 5, 3]], {}),
    "maximum, a border below all numbers": (
        node("MaxPool", "x", "y", kernel_shape=[2], pads=[1, 1]), [[-3, -1]], [[-3, -1, -1]], {}),
    "maximum, global": (node("GlobalMaxPool", "x", "y"), [[-3, -1], [2, 1]], [[-1], [2]], {}),
    # Places 0, 1/2, 1, 3/2.
    "linear, asymmetric": (node("Resize", "x - s", "y", mode="linear",
                                coordinate_transformation_mode="asymmetric"),
                           [[0, 4]], [[0, 2, 4, 4]], {"s": f(1, 1, 2)}),
    # One place alone is 0 for pytorch, and 1/2 where pixels have halves.
    "linear, half pixel, to one": (node("Resize", "x - s", "y", mode="linear"), [[0, 4]], [[2]],
                                   {"s": f(1, 1, 0.5)}),
    "linear, half pixel of pytorch, to one": (
        node("Resize", "x - s", "y", mode="linear",
             coordinate_transformation_mode="pytorch_half_pixel"),
        [[0, 4]], [[0]], {"s": f(1, 1, 0.5)}),
    # 4 of 4.5 places, moved by 1 - 8/9: (n + 1/2) / 2.25 - 1/2 + 1/9 is -3, 5, 13 and 21 of 18.
    "linear, symmetric": (node("Resize", "x - s", "y", mode="linear",
                               coordinate_transformation_mode="half_pixel_symmetric"),
                          [[0, 18]], [[0, 5, 13, 18]], {"s": f(1, 1, 2.25)}),
    # From the middle to one and a half: places 1 and 3, of which the last is outside.
    "linear, cropped": (node("Resize", "x r - n", "y", mode="linear", extrapolation_value=9.0,
                             coordinate_transformation_mode="tf_crop_and_resize"),
                        [[0, 4, 8]], [[4, 9]], {"r": f(0, 0, 0.5, 1, 1, 1.5), "n": i(1, 1, 2)}),
    # Places 0, 1/2, 1, 3/2, 2, 5/2.
    "nearest, above": (node("Resize", "x - s", "y", nearest_mode="ceil",
                            coordinate_transformation_mode="asymmetric"),
                       [ROW], [[1, 2, 2, 3, 3, 3]], {"s": f(1, 1, 2)}),
    "nearest, below": (node("Resize", "x - s", "y", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric"),
                       [ROW], [[1, 1, 2, 2, 3, 3]], {"s": f(1, 1, 2)}),
    # Places 1/2 and 5/2.
    "nearest, half to the upper": (node("Resize", "x - s", "y", nearest_mode="round_prefer_ceil"),
                                   [[1, 2, 3, 4]], [[2, 4]], {"s": f(1, 1, 0.5)}),
    "nearest, half to the lower": (node("Resize", "x - s", "y", nearest_mode="round_prefer_floor"),
                                   [[1, 2, 3, 4]], [[1, 3]], {"s": f(1, 1, 0.5)}),
    # Half way, four neighbours weigh -3/32, 19/32, 19/32, -3/32; the last ones are repeated.
    "cubic": (node("Resize", "x - s", "y", mode="cubic"), [[0, 0, 8, 8]], [[-0.75, 8.75]],
              {"s": f(1, 1, 0.5)}),
    "upsampled": (node("Upsample", "x s", "y"), [[1, 2]], [[1, 1, 2, 2]], {"s": f(1, 1, 2)}),
    "reflect along one axis": (node("Pad", "x p - a", "y", mode="reflect"), SQUARE,
                               [[2, 1, 2, 1], [4, 3, 4, 3]], {"p": i(1, 1), "a": i(-1)}),
    "crop": (node("Pad", "x p", "y"), [ROW], [[2]], {"p": i(0, 0, -1, 0, 0, -1)}),
    # Four channels for each place of the block, or four places for each channel.
    "depth to space, DCR": (node("DepthToSpace", "x", "y", blocksize=2, mode="DCR"),
                            [[[n]] for n in range(8)], [[[0, 2], [4, 6]], [[1, 3], [5, 7]]], {}),
    "depth to space, CRD": (node("DepthToSpace", "x", "y", blocksize=2, mode="CRD"),
                            [[[n]] for n in range(8)], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]], {}),
    "space to depth": (node("SpaceToDepth", "x", "y", blocksize=2),
                       [SQUARE, [[5, 6], [7, 8]]], [[[n]] for n in (1, 5, 2, 6, 3, 7, 4, 8)], {}),
    # Rows (1, 2) and (3, 4) times columns (1, 2), (10, 20), (100, 200).
    "einsum, transposed": (node("Einsum", "x w", "y", equation="nij,jk->nki"), SQUARE,
                           [[5, 11], [50, 110], [500, 1100]],
                           {"w": f([1, 10, 100], [2, 20, 200])}),
    "cumulated, from the end": (node("CumSum", "x a", "y", reverse=1), ROW, [6, 5, 3],
                                {"a": np.array(1)}),
    "cumulated, without itself": (node("CumSum", "x a", "y", exclusive=1), ROW, [0, 1, 3],
                                  {"a": np.array(-1)}),
    "slice, backwards": (node("Slice", "x b e a s", "y"), [ROW], [[3, 1]],
                         {"b": i(-1), "e": i(-9), "a": i(-1), "s": i(-2)}),
    "where, of a constant mask": (node("Where", "m x c", "y"), ROW, [1, 7, 3],
                                  {"m": np.array([True, False, True]), "c": np.float32(7)}),
    "mean over two axes": (node("ReduceMean", "x", "y", axes=[1, 2]), SQUARE, [[2.5]], {}),
    "sum over the batch of rows": (node("ReduceSum", "x a", "y"), SQUARE, [[4, 6]], {"a": i(1)}),
    "sum of squares": (node("ReduceSumSquare", "x", "y", axes=[2], keepdims=0), SQUARE, [5, 25],
                       {}),
    "norm, absolute": (node("ReduceL1", "x", "y", axes=[1]), [-1, 2], [3], {}),
    "norm, Euclidean": (node("ReduceL2", "x", "y", axes=[1]), [-3, 4], [5], {}),
    # Two activations.
    "product": (of_reversed("Mul"), [1, 2, -3], [-3, 4, -3], MIRROR),
    "difference": (of_reversed("Sub"), ROW, [-2, 0, 2], MIRROR),
    "larger": (of_reversed("Max"), [1, 2, -3], [1, 2, 1], MIRROR),
    "smaller": (of_reversed("Min"), [1, 2, -3], [-3, 2, -3], MIRROR),
    "mean of two": (of_reversed("Mean"), [1, 2, -3], [-1, 2, -1], MIRROR),
    # Functions at points where they are rational, or known.
    "Clip, below": (node("Clip", "x a", "y"), [-1, 0, 2], [-0.5, 0, 2], {"a": np.float32(-0.5)}),
    "Clip, bounds of one sign": (node("Clip", "x a b", "y"), [-1, 1.5, 4], [1, 1.5, 3],
                                 {"a": np.float32(1), "b": np.float32(3)}),
    "Clip, bounds crossed": (node("Clip", "x a b", "y"), [-2, 0, 2], [-1, -1, -1],
                             {"a": np.float32(1), "b": np.float32(-1)}),
    "Sigmoid": (node("Sigmoid", "x", "y"), [0, log(3), -log(3)], [0.5, 0.75, 0.25], {}),
    "Tanh": (node("Tanh", "x", "y"), [0, log(2), -log(2)], [0, 0.6, -0.6], {}),
    "HardSigmoid": (node("HardSigmoid", "x", "y"), [-3, 0, 1, 3], [0, 0.5, 0.7, 1], {}),
    "HardSwish": (node("HardSwish", "x", "y"), [-3, -1, 0, 1, 3], [0, -1 / 3, 0, 2 / 3, 3], {}),
    "Erf": (node("Erf", "x", "y"), [0, 0.4769363, -0.4769363, 5], [0, 0.5, -0.5, 1], {}),
    # x * (1 + erf(x / sqrt(2))) / 2.
    "Gelu": (node("Gelu", "x", "y"), [0, 0.4769363 * sqrt(2), -0.4769363 * sqrt(2)],
             [0, 0.4769363 * sqrt(2) * 0.75, -0.4769363 * sqrt(2) * 0.25], {}),
    # log(1 + e^x).
    "Softplus": (node("Softplus", "x", "y"), [0, log(3), -log(3)], [log(2), log(4), log(4 / 3)],
                 {}),
    # Softplus is log(3) and log(sqrt(3)), whose hyperbolic tangents are 8/10 and 2/4.
    "Mish": (node("Mish", "x", "y"), [0, log(2), log(sqrt(3) - 1)],
             [0, 0.8 * log(2), 0.5 * log(sqrt(3) - 1)], {}),
    "Elu": (node("Elu", "x", "y", alpha=3.0), [-log(2), 0, 2], [-1.5, 0, 2], {}),
    "Celu": (node("Celu", "x", "y", alpha=2.0), [-2 * log(2), 0, 2], [-1, 0, 2], {}),
    "Selu": (node("Selu", "x", "y", alpha=3.0, gamma=2.0), [-log(2), 0, 2], [-3, 0, 4], {}),
    "Softsign": (node("Softsign", "x", "y"), [-3, 0, 1], [-0.75, 0, 0.5], {}),
    "ThresholdedRelu": (node("ThresholdedRelu", "x", "y", alpha=1.0), [0.5, 1, 2], [0, 0, 2], {}),
    "Shrink": (node("Shrink", "x", "y", lambd=1.0, bias=0.5), [-2, 1, 3], [-1.5, 0, 2.5], {}),
    "PRelu": (node("PRelu", "x s", "y"), [[-1, 2], [-1, 2]], [[-0.5, 2], [-2, 2]],
              {"s": f([0.5], [2])}),
    "Round": (node("Round", "x", "y"), [0.5, 1.5, 2.5, -1.5], [0, 2, 2, -2], {}),
    "Pow": (node("Pow", "x three", "y"), [-2, 0, 3], [-8, 0, 27], {"three": np.float32(3)}),
    "Pow of a base": (node("Pow", "three x", "y"), [-1, 0, 2], [1 / 3, 1, 9],
                      {"three": np.float32(3)}),
    # Normalizations; a mean of 2, a variance of 1 and epsilon 3: divided by 2.
    "instance": (node("InstanceNormalization", "x s b", "y", epsilon=3.0), [[1, 3], [3, 1]],
                 [[-1, 3], [5, 3]], {"s": f(4, 2), "b": f(1, 4)}),
    "layer": (node("LayerNormalization", "x s b", "y", epsilon=3.0), [1, 3], [-1, 5],
              {"s": f(4, 2), "b": f(1, 4)}),
    # A sum of squares over three channels at most: 8, 9 and 5, and one.
    "LRN": (node("LRN", "x", "y", size=3, alpha=3.0, beta=0.5, bias=1.0), [[2], [2], [1]],
            [[2 / 3], [2 / sqrt(10)], [1 / sqrt(6)]], {}),
    "LpNormalization": (node("LpNormalization", "x", "y", axis=1), [3, -4], [0.6, -0.8], {}),
}  # fmt: skip
OPSETS = {"Gelu": 20, "Upsample": 9, "LayerNormalization": 17, "HardSwish": 14, "Mish": 18}
NEWER = {"Col2Im", "Resize", "Pad"}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    operators, x, expected, constants = CASES[name]
    operators = operators if isinstance(operators, list) else [operators]
    x, expected = f(x), f(expected)
    kind = operators[-1].op_type
    opset = OPSETS.get(kind, 19 if kind in NEWER else 14)
    made = model(operators, ("N", *x.shape[1:]), constants, opset=opset)
    (found,) = evaluate_all(imported(made), x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("operator", ["GlobalLpPool", "LpPool"])
def test_a_pool_of_powers_is_refused_by_name(operator):
    attributes = {"kernel_shape": [2]} if operator == "LpPool" else {}
    with pytest.raises(CompileError) as caught:
        imported(model([node(operator, "x", "y", **attributes)], ("N", 1, 4)))
    assert operator in str(caught.value)
