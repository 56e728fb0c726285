"""Pooling, imported and compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import NEWEST, OPSETS, assert_same, imported, model, node, ops
from snn_compile.errors import UnsupportedError


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_pools(data):
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    opset = data.draw(st.sampled_from(OPSETS))
    rank = data.draw(st.integers(1, 2))

    def pick(low, high):
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel, strides = pick(1, 4), pick(1, 3)
    attributes = {"kernel_shape": kernel, "strides": strides}
    mode = data.draw(st.sampled_from(["pads", "pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode == "pads":
        pads = pick(0, 3) + pick(0, 3)
        attributes["pads"] = [min(p, k - 1) for p, k in zip(pads, kernel * 2, strict=True)]
    else:
        attributes["auto_pad"] = mode
        # onnxruntime computes negative padding where windows leave gaps, and refuses it itself
        attributes["strides"] = [min(s, k) for s, k in zip(strides, kernel, strict=True)]
    if mode == "pads" and opset >= (10 if op == "MaxPool" else 19):
        attributes["dilations"] = pick(1, 2)
    if mode == "pads" and opset >= 10:
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    size = [n + 7 for n in pick(0, 4)]
    assert_same(model([node(op, "x", "y", **attributes)], ("N", 2, *size), opset=opset))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [("N", 3, 4, 5), ("N", 3, 7), (2, 3, 4, 4)])
@pytest.mark.parametrize("opset", [7, 13, NEWEST])
def test_global_pools(op, shape, opset):
    assert_same(model([node(op, "x", "y")], shape, opset=opset))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (("N", 3, 4, 5), [2, 3]),
        (("N", 3, 4, 5), [-1, -2]),
        (("N", 3, 4, 5), [3]),
        (("N", 3, 4, 5), [2]),
        (("N", 3, 6), [2]),
    ],
)
def test_reduce_mean(keepdims, opset, shape, axes):
    if opset < 11:
        axes = [axis % len(shape) for axis in axes]
    if opset < 18:
        mean = node("ReduceMean", "x", "y", axes=axes, keepdims=keepdims)
        result = assert_same(model([mean], shape, opset=opset))
    else:
        mean = node("ReduceMean", "x axes", "y", keepdims=keepdims)
        result = assert_same(model([mean], shape, {"axes": np.array(axes)}, opset=opset))
    assert "AveragePool" in ops(result)


def test_average_of_an_overhanging_window_counts_what_is_there():
    pool = node(
        "AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1]
    )
    result = assert_same(model([pool], ("N", 1, 6, 6), opset=NEWEST))
    assert result.ann.graph["y"].overhang == (1, 1)


def test_one_dimensional_pool_is_lifted():
    result = assert_same(model([node("MaxPool", "x", "y", kernel_shape=[2])], ("N", 3, 9)))
    assert ops(result) == ["Reshape", "MaxPool", "Reshape"]


BORDERED = {
    "maps": ((5, 5), [1, 1], [1, 1], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "one side, and pads": (
        (5, 5),
        [1, 0],
        [0, 1],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0], "ceil_mode": 1},
    ),
    "a line": ((7,), [1], [1], {"kernel_shape": [3], "strides": [2]}),
    "volumes": ((4, 4, 4), [1, 1, 0], [1, 1, 1], {"kernel_shape": [3, 3, 3], "strides": [1, 2, 2]}),
}


def bordered(value, size, before, after, *readers):
    pads = np.array([0, 0, *before, 0, 0, *after], np.int64)
    border = node("Pad", "x p v", "b")
    return model([border, *readers], ("N", 2, *size), {"p": pads, "v": np.float32(value)}, opset=19)


@pytest.mark.parametrize("value", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("name", BORDERED)
def test_a_border_below_all_values_is_a_pools_own_padding(name, value):
    size, before, after, attributes = BORDERED[name]
    pool = node("MaxPool", "b", "y", **attributes)
    result = assert_same(bordered(value, size, before, after, pool))
    assert set(ops(result)) <= {"MaxPool", "Reshape"}


@pytest.mark.parametrize(
    ("readers", "reason"),
    [
        ([node("Relu", "b", "y")], "not read by max pooling alone"),
        (
            [node("MaxPool", "b", "m", kernel_shape=[3], pads=[1, 1]), node("Add", "m b", "y")],
            "not read by max pooling alone",
        ),
        ([node("MaxPool", "b", "y", kernel_shape=[1])], "not smaller than its kernel"),
    ],
)
def test_a_border_below_all_values_elsewhere_is_refused(readers, reason):
    with pytest.raises(UnsupportedError, match=reason):
        imported(bordered(-np.inf, (4,), [1], [1], *readers))
