"""Where the batch is: moved and moved back, merged with other axes, fixed, or not there at all."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import evaluate_all, imported, ints, model, node, session
from snn_compile.errors import UnsupportedError


def real(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def assert_equal(made, shape, *, batch_axis=0):
    """All outputs are onnxruntime's, sample by sample; the import."""
    result = imported(made)
    x = real(*shape)
    whole = len(made.graph.input[0].type.tensor_type.shape.dim) < len(shape)
    expected = session(made).run(None, {"x": x[0] if whole else x})
    for ours, theirs in zip(evaluate_all(result, x), expected, strict=True):
        theirs = np.moveaxis(theirs, batch_axis, 0)
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)
    return result


MOVED = {
    "recurrent order": [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("MatMul", "t w", "m"),
        node("Relu", "m", "r"), node("Transpose", "r", "y", perm=[1, 0, 2]),
    ],
    "an element of it": [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Gather", "t last", "y"),
    ],
    "sums along others": [
        node("Transpose", "x", "t", perm=[2, 1, 0]), node("ReduceSum", "t zero", "s", keepdims=0),
        node("Transpose", "s", "y"),
    ],
    "constants that broadcast": [
        node("Transpose", "x", "t", perm=[2, 0, 1]), node("Add", "t c", "a"),
        node("Mul", "a d", "m"), node("Transpose", "m", "y", perm=[1, 0, 2]),
    ],
    "joined and split": [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Split", "t", "a b c3", axis=0),
        node("Concat", "c3 a", "j", axis=2), node("Transpose", "j", "y", perm=[1, 2, 0]),
    ],
    "axes around it": [
        node("Unsqueeze", "x front", "u"), node("Transpose", "u", "t", perm=[0, 2, 1, 3]),
        node("Squeeze", "t front", "s"), node("Transpose", "s", "y", perm=[1, 0, 2]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_moved(name):
    constants = {
        "w": real(4, 5), "last": np.array(-1), "zero": ints(0), "front": ints(0),
        "c": real(4, 1, 3), "d": real(4, 1, 1),
    }  # fmt: skip
    used = {n for one in MOVED[name] for n in one.input}
    given = {k: v for k, v in constants.items() if k in used}
    assert_equal(model(MOVED[name], ("N", 3, 4), given), (2, 3, 4))


MERGED = {
    "dense for each step": [
        node("Reshape", "x rows", "m"), node("Gemm", "m w b", "g"), node("Relu", "g", "r"),
        node("Reshape", "r steps", "y"),
    ],
    "as it is": [node("Reshape", "x rows", "m"), node("Relu", "m", "y")],
    "a convolution for each step": [
        node("Unsqueeze", "x channel", "u"), node("Reshape", "u lines", "m"),
        node("Conv", "m k", "c"), node("Reshape", "c back", "y"),
    ],
    "steps first": [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Reshape", "t rows", "m"),
        node("Gemm", "m w b", "g"), node("Reshape", "g first", "f"),
        node("Transpose", "f", "y", perm=[1, 0, 2]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_merged(name):
    constants = {
        "rows": ints(-1, 4), "w": real(4, 5), "b": real(5), "steps": ints(-1, 3, 5),
        "channel": ints(2), "lines": ints(-1, 1, 4), "k": real(2, 1, 2), "back": ints(-1, 3, 2, 3),
        "first": ints(3, -1, 5),
    }  # fmt: skip
    used = {n for one in MERGED[name] for n in one.input}
    given = {k: v for k, v in constants.items() if k in used}
    assert_equal(model(MERGED[name], ("N", 3, 4), given), (2, 3, 4))


def test_a_vector_is_one_sample():
    made = model([node("MatMul", "x w", "m"), node("Relu", "m", "y")], (4,), {"w": real(4, 3)})
    result = assert_equal(made, (4,))
    assert (result.ann.input.shape, result.ann.outputs[0].shape) == ((4,), (3,))


def test_a_vector_of_logits():
    made = model([node("MatMul", "x w", "m"), node("Softmax", "m", "y")], (4,), {"w": real(4, 3)})
    result = imported(made)
    assert [finding.code for finding in result.findings] == ["softmax-dropped"]
    assert result.ann.outputs[0].shape == (3,)


def test_a_batch_of_one_that_a_reshape_drops():
    nodes = [
        node("Reshape", "x s", "v"), node("MatMul", "w v", "m"), node("Relu", "m", "r"),
        node("Unsqueeze", "r front", "y"),
    ]  # fmt: skip
    constants = {"s": ints(12), "w": real(5, 12), "front": ints(0)}
    assert_equal(model(nodes, (1, 3, 4), constants), (1, 3, 4))


def test_a_batch_of_one_that_is_an_axis_as_any_other():
    nodes = [node("Transpose", "x", "t", perm=[2, 1, 0]), node("MatMul", "w t", "y")]
    assert_equal(model(nodes, (1, 3, 4), {"w": real(2, 3)}), (1, 3, 4))


def test_several_samples_that_the_file_fixes():
    """Each by itself, so that the network takes one."""
    made = model([node("Gemm", "x w", "g"), node("Relu", "g", "y")], (3, 4), {"w": real(4, 5)})
    assert assert_equal(made, (3, 4)).ann.input.shape == (4,)


def test_an_axis_that_is_no_batch():
    made = model([node("MatMul", "w x", "m"), node("Relu", "m", "y")], (3, 4), {"w": real(5, 3)})
    result = imported(made)
    (finding,) = result.findings
    assert (finding.code, result.ann.input.shape) == ("whole-input", (3, 4))
    x = real(1, 3, 4)
    np.testing.assert_allclose(
        evaluate_all(result, x)[0][0], session(made).run(None, {"x": x[0]})[0], rtol=1e-4, atol=1e-5
    )


def test_several_samples_whose_values_end_up_between_each_other():
    """The whole input is then one sample, so that the output is the file's."""
    nodes = [node("Transpose", "x", "t", perm=[1, 0]), node("Reshape", "t flat", "y")]
    result = assert_equal(model(nodes, (2, 3), {"flat": ints(-1)}), (1, 2, 3))
    assert [finding.code for finding in result.findings] == ["whole-input"]


def test_a_number_for_each_sample():
    nodes = [node("Gemm", "x w", "g"), node("Squeeze", "g a", "y")]
    made = model(nodes, ("N", 4), {"w": real(4, 1), "a": ints(1)})
    assert assert_equal(made, (3, 4)).ann.outputs[0].shape == (1,)


MIXED = {
    "matmul": ([node("MatMul", "w x", "y")], {"w": real(2, 1)}),
    "moved then summed": (
        [node("Transpose", "x", "t", perm=[1, 0]), node("ReduceMean", "t", "y", axes=[1])], {},
    ),
    "merged then sliced": (
        [node("Reshape", "x rows", "m"), node("Slice", "m a b", "y")],
        {"rows": ints(-1, 2), "a": ints(0), "b": ints(1)},
    ),
    "moved then normalized": (
        [node("Transpose", "x", "t", perm=[1, 0]), node("Softmax", "t", "y", axis=1)], {},
    ),
    "differs": (
        [node("Transpose", "x", "t", perm=[1, 0]), node("Add", "t c", "y")], {"c": real(4, 2)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_samples_of_an_open_batch_are_not_mixed(name):
    nodes, constants = MIXED[name]
    with pytest.raises(UnsupportedError):
        imported(model(nodes, ("N", 4), constants))


def strided(offset, step=4):
    """Values of a flattened batch by ``index = step * sample + offset``, as exporters of views."""
    nodes = [
        node("Reshape", "x flat", "f"),
        node("Shape", "x", "n", end=1),
        node("Squeeze", "n", "count"),
        node("Range", "zero count one", "k"),
        node("Mul", "k step", "row"),
        node("Unsqueeze", "row behind", "column"),
        node("Add", "column offset", "index"),
        node("Gather", "f index", "y", axis=0),
    ]
    constants = {"flat": ints(-1), "zero": np.array(0), "one": np.array(1), "step": np.array(step)}
    constants |= {"behind": ints(1), "offset": ints(*offset)}
    return model(nodes, ("N", 4), constants, opset=20)


def test_views_with_strides_of_a_flattened_batch():
    assert_equal(strided([3, 1, 1]), (3, 4))
    for other in (strided([3, 1, 1], step=0), strided([0, 1], step=2)):
        with pytest.raises(UnsupportedError, match="works along axis 0, which is the batch"):
            imported(other)
