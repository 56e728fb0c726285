"""Operators that move values, imported and compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import NEWEST, OPSETS, assert_same, ints, model, node, ops

INT_MAX = np.iinfo(np.int64).max
INT_MIN = np.iinfo(np.int64).min


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize(
    "target", [(0, -1), (-1, 192), (0, 0, 64), (0, 3, 8, 8), (0, 24, 0), (-1, 3, 4, 4, 4)]
)
def test_reshape(opset, batch, target):
    made = model([node("Reshape", "x s", "y")], (batch, 3, 8, 8), {"s": ints(*target)}, opset=opset)
    assert_same(made)


def test_reshape_with_allowzero():
    made = model(
        [node("Reshape", "x s", "y", allowzero=1)], (2, 3, 8, 8), {"s": ints(2, -1)}, opset=NEWEST
    )
    assert_same(made)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("axis", [1, -3])
def test_flatten(opset, axis):
    if axis > 0 or opset >= 11:
        assert ops(assert_same(model([node("Flatten", "x", "y", axis=axis)], opset=opset))) == [
            "Reshape"
        ]


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 1, 3, 2), (0, 3, 1, 2)])
def test_transpose(perm):
    assert ops(assert_same(model([node("Transpose", "x", "y", perm=perm)]))) == ["Transpose"]


@pytest.mark.parametrize("opset", OPSETS)
def test_squeeze_and_unsqueeze(opset):
    if opset < 13:
        nodes = [node("Squeeze", "x", "s", axes=[2]), node("Unsqueeze", "s", "y", axes=[1, 4])]
        made = model(nodes, ("N", 4, 1, 5), opset=opset)
    else:
        nodes = [node("Squeeze", "x a", "s"), node("Unsqueeze", "s b", "y")]
        made = model(nodes, ("N", 4, 1, 5), {"a": ints(-2), "b": ints(1, -1)}, opset=opset)
    assert ops(assert_same(made)) == ["Reshape", "Reshape"]


def test_squeeze_without_axes_keeps_an_open_batch():
    assert_same(model([node("Squeeze", "x", "y")], ("N", 4, 1, 1)))


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("opset", [7, 13, NEWEST])
def test_concat(axis, opset):
    nodes = [node("Relu", "x", "r"), node("Concat", "x r x", "y", axis=axis)]
    assert ops(assert_same(model(nodes, opset=opset))) == ["Relu", "Concat"]


@pytest.mark.parametrize("names", ["x z", "z x", "z x z r", "x c", "c x r c", "x z c r"])
def test_concat_with_constants(names):
    constants = {
        "z": np.zeros((2, 2, 8, 8), np.float32),
        "c": np.repeat(np.random.default_rng(0).normal(size=(1, 3, 8, 8)), 2, axis=0).astype("f4"),
    }
    nodes = [node("Relu", "x", "r"), node("Concat", names, "y", axis=1)]
    assert_same(model(nodes, (2, 3, 8, 8), constants))


bounds = st.sampled_from([0, 1, 2, 5, 7, 100, INT_MAX, -1, -2, -3, -100, INT_MIN])


@settings(max_examples=150, deadline=None)
@given(bounds, bounds, st.sampled_from([1, 2, 3, -1, -2]), st.sampled_from([1, 2, -1]))
def test_slice(start, end, step, axis):
    size = (3, 8, 9)[axis - 1 if axis > 0 else axis]
    if not range(size)[start:end:step]:
        return
    constants = {"s": ints(start), "e": ints(end), "a": ints(axis), "t": ints(step)}
    made = model([node("Slice", "x s e a t", "y")], ("N", 3, 8, 9), constants)
    assert_same(made)


@pytest.mark.parametrize(
    "part",
    [{"starts": [1, 0], "ends": [3, -1], "axes": [2, 3]}, {"starts": [0, 1], "ends": [INT_MAX, 2]}],
)
def test_slice_with_attributes(part):
    assert_same(model([node("Slice", "x", "y", **part)], opset=9))


def test_slice_of_everything_is_nothing():
    constants = {"s": ints(0, 0), "e": ints(INT_MAX, 8)}
    assert ops(assert_same(model([node("Slice", "x s e", "y")], ("N", 8), constants))) == []


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("sizes", [None, (1, 5, 2)])
def test_split(opset, sizes):
    if sizes is None:
        inputs, attributes, constants, outputs = "x", {}, {}, "y z"
        attributes = {"num_outputs": 2} if opset >= 18 else {}
    elif opset < 13:
        inputs, attributes, constants, outputs = "x", {"split": sizes}, {}, "y z w"
    else:
        inputs, attributes, constants, outputs = "x s", {}, {"s": ints(*sizes)}, "y z w"
    cut = node("Split", inputs, outputs, "cut", axis=2, **attributes)
    result = assert_same(model([cut], ("N", 2, 8), constants, outputs, opset))
    assert "cut.0" in result.ann.graph


def test_split_into_uneven_parts():
    cut = node("Split", "x", "y z", axis=1, num_outputs=2)
    assert_same(model([cut], ("N", 5), outputs="y z", opset=18))


def test_parts_of_a_split_that_nobody_reads_are_not_there():
    made = model([node("Split", "x", "a y", "cut", axis=1)], ("N", 8))
    assert [n.id for n in assert_same(made).ann.graph] == ["x", "cut.1", "y"]


@pytest.mark.parametrize("opset", OPSETS)
def test_pad(opset):
    pads = [0, 1, 2, 0, 0, 0, -1, 3]
    if opset < 11:
        made = model([node("Pad", "x", "y", pads=pads)], opset=opset)
    else:
        constants = {"p": ints(*pads), "v": np.float32(0)}
        made = model([node("Pad", "x p v", "y")], constants=constants, opset=opset)
    assert ops(assert_same(made)) == ["Pad"]


def test_pad_along_named_axes():
    constants = {"p": ints(1, 2, 0, 1), "a": ints(-1, 1)}
    assert_same(model([node("Pad", "x p - a", "y")], constants=constants, opset=18))


def test_pad_with_nothing_is_nothing():
    made = model([node("Pad", "x p", "y")], constants={"p": ints(*[0] * 8)})
    assert ops(assert_same(made)) == []


@pytest.mark.parametrize("index", [0, 2, -1])
def test_gather_of_one_index(index):
    made = model([node("Gather", "x i", "y", axis=2)], constants={"i": np.array(index)})
    assert ops(assert_same(made)) == ["Slice", "Reshape"]


def test_gather_of_a_run():
    made = model([node("Gather", "x i", "y", axis=1)], constants={"i": ints(1, 2)})
    assert ops(assert_same(made)) == ["Slice"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    made = model([node("DepthToSpace", "x", "y", blocksize=2, mode=mode)], ("N", 8, 3, 5))
    assert_same(made)


def test_space_to_depth():
    assert_same(model([node("SpaceToDepth", "x", "y", blocksize=2)], ("N", 3, 4, 6)))


def test_channel_shuffle():
    nodes = [
        node("Reshape", "x a", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t b", "y"),
    ]
    constants = {"a": ints(0, 2, 3, 4, 4), "b": ints(0, 6, 4, 4)}
    result = assert_same(model(nodes, ("N", 6, 4, 4), constants))
    assert ops(result) == ["Reshape", "Transpose", "Reshape"]


@pytest.mark.parametrize("how", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("scale", [1 / 3, 0.3, 0.7, 2 / 3])
def test_nearest_neighbours_on_the_border_between_two(how, scale):
    resize = node("Resize", "x - s", "y", nearest_mode=how)
    scales = np.float32([1, 1, scale, 1])
    assert_same(model([resize], ("N", 1, 12, 1), {"s": scales}))
