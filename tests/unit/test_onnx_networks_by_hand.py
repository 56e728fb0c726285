"""Small networks whose answers were worked out by hand: imported, and compiled to integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from onnx_models import evaluate_all, imported, ints, model, node
from snn_compile import compile_model
from snn_compile.sim import engine, reference

TOLERANCE = 6 / 255
"""Of the largest answer: a few layers, each of which rounds to 8 bits."""


@dataclass
class Case:
    """A network, one sample and its answer, both without the batch axis."""

    nodes: list
    x: list
    y: list
    constants: dict = field(default_factory=dict)


def floats(*values):
    return np.array(values, np.float32)


def convolution(weight):
    return np.array(weight, np.float32)[..., None, None]


CASES = {
    # Means 4 and 2; half of the first less the second is 0; gates 1/2 and 1.
    "squeeze and excitation": Case(
        [
            node("GlobalAveragePool", "x", "mean"),
            node("Conv", "mean w", "mixed"),
            node("HardSigmoid", "mixed", "gate", alpha=0.25, beta=0.5),
            node("Mul", "x gate", "y"),
        ],
        [[[1, 3], [5, 7]], [[2, 2], [2, 2]]],
        [[[0.5, 1.5], [2.5, 3.5]], [[2, 2], [2, 2]]],
        {"w": convolution([[0.5, -1], [0, 1]])},
    ),
    # Means over the channels: 2, -2, 0, 6; gates 1, 0, 1/2, 1.
    "gate for each pixel": Case(
        [
            node("ReduceMean", "x", "mean", axes=[1], keepdims=1),
            node("HardSigmoid", "mean", "gate", alpha=0.25, beta=0.5),
            node("Mul", "gate x", "y"),
        ],
        [[[1, -1], [2, 4]], [[3, -3], [-2, 8]]],
        [[[1, 0], [1, 4]], [[3, 0], [-1, 8]]],
    ),
    "gated linear unit": Case(
        [
            node("MatMul", "x w", "wide"),
            node("Split", "wide parts", "value mixed", axis=1),
            node("HardSigmoid", "mixed", "gate", alpha=0.5, beta=0.5),
            node("Mul", "value gate", "y"),
        ],
        [1, 2],
        [1.5, 0],  # 3 * 1/2 and -1 * 0
        {"w": floats([1, 1, 2, 1], [1, -1, -1, -1]), "parts": ints(2, 2)},
    ),
    "HardSwish as it is exported": Case(
        [
            node("Add", "x three", "shifted"),
            node("Clip", "shifted zero six", "clipped"),
            node("Mul", "x clipped", "product"),
            node("Div", "product six", "y"),
        ],
        [-4, -3, -1.5, 0, 1, 3, 4],
        [0, 0, -0.375, 0, 2 / 3, 3, 4],
        {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
    ),
    "maximum of two linear maps": Case(
        [
            node("MatMul", "x a", "left"),
            node("MatMul", "x b", "right"),
            node("Max", "left right", "y"),
        ],
        [1, -2],
        [5, -1],  # of (5, -4) and (-2, -1)
        {"a": floats([1, 0], [-2, 2]), "b": floats([0, 1], [1, 1])},
    ),
    "distance of two branches": Case(
        [
            node("MatMul", "x a", "left"),
            node("MatMul", "x b", "right"),
            node("Sub", "left right", "difference"),
            node("Abs", "difference", "y"),
        ],
        [1, -2],
        [7, 3],
        {"a": floats([1, 0], [-2, 2]), "b": floats([0, 1], [1, 1])},
    ),
    "a limited map": Case(
        [node("MatMul", "x w", "mixed"), node("Clip", "mixed low high", "y")],
        [1, 2],
        [1, -0.5, 0.25],  # of 3, -1 and 1/4
        {"w": floats([1, 1, 0.25], [1, -1, 0]), "low": np.float32(-0.5), "high": np.float32(1)},
    ),
    "U-Net": Case(
        [
            node("Relu", "x", "first"),
            node("MaxPool", "first", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
            node("ConvTranspose", "pooled w", "up", strides=[2, 2]),
            node("Concat", "up first", "y", axis=1),
        ],
        [[[1, 2], [3, -4]]],
        [[[3, 6], [9, 12]], [[1, 2], [3, 0]]],  # 3 times the kernel, and the map itself
        {"w": floats([[[1, 2], [3, 4]]])},
    ),
    # Kernels of neighbours overlap in one column: 1*(1, 2, 1) at 0 and 3*(1, 2, 1) at 2.
    "overlapping transposed convolution": Case(
        [node("ConvTranspose", "x w", "y", strides=[1, 2])],
        [[[1, 3]]],
        [[[1, 2, 4, 6, 3]]],
        {"w": floats([[[1, 2, 1]]])},
    ),
    "nearest neighbours and a sum": Case(
        [
            node("AveragePool", "x", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
            node(
                "Resize",
                "pooled - scales",
                "up",
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            ),
            node("Add", "x up", "y"),
        ],
        [[[1, 2], [3, 6]]],
        [[[4, 5], [6, 9]]],
        {"scales": floats(1, 1, 2, 2)},
    ),
    "linear interpolation between corners": Case(
        [
            node(
                "Resize",
                "x - - sizes",
                "y",
                mode="linear",
                coordinate_transformation_mode="align_corners",
            )
        ],
        [[[1, 4], [7, 10]]],
        [[[1, 2, 3, 4], [7, 8, 9, 10]]],
        {"sizes": ints(1, 1, 2, 4)},
    ),
    "channels to pixels": Case(
        [node("DepthToSpace", "x", "y", blocksize=2, mode="CRD")],
        [[[1]], [[2]], [[3]], [[4]]],
        [[[1, 2], [3, 4]]],
    ),
    "channel shuffle": Case(
        [
            node("Reshape", "x split", "groups"),
            node("Transpose", "groups", "turned", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "turned joined", "y"),
        ],
        [[[1]], [[2]], [[3]], [[4]]],
        [[[1]], [[3]], [[2]], [[4]]],
        {"split": ints(0, 2, 2, 1, 1), "joined": ints(0, 4, 1, 1)},
    ),
    "every second pixel": Case(
        [
            node("Slice", "x zero end axes two", "even"),
            node("Slice", "x one end axes two", "odd"),
            node("Concat", "even odd", "y", axis=1),
        ],
        [[[1, 2, 3, 4]]],
        [[[1, 3]], [[2, 4]]],
        {"zero": ints(0), "one": ints(1), "end": ints(4), "axes": ints(3), "two": ints(2)},
    ),
    "mirrored border": Case(
        [node("Pad", "x pads", "wide", mode="reflect"), node("Conv", "wide w", "y")],
        [[[1, 2, 4]]],
        [[[5, 7, 8]]],  # neighbours added: 2+1+2, 1+2+4, 2+4+2
        {"pads": ints(0, 0, 0, 1, 0, 0, 0, 1), "w": floats([[[1, 1, 1]]])},
    ),
    "pool of what may be negative": Case(
        [
            node("Conv", "x w", "mixed"),
            node("MaxPool", "mixed", "y", kernel_shape=[1, 2], strides=[1, 2]),
        ],
        [[[1, 2, -3, 4]]],
        [[[-1, 3]]],
        {"w": convolution([[-1]])},
    ),
    "channels last": Case(
        [
            node("Transpose", "x", "turned", perm=[0, 3, 1, 2]),
            node("Conv", "turned w", "mixed"),
            node("Transpose", "mixed", "y", perm=[0, 2, 3, 1]),
        ],
        [[[1, 2], [3, 4]]],
        [[[3, -1], [7, -1]]],
        {"w": convolution([[1, 1], [1, -1]])},
    ),
    "tokens mixed along either axis": Case(
        [
            node("MatMul", "x across", "mixed"),
            node("Relu", "mixed", "hidden"),
            node("Transpose", "hidden", "turned", perm=[0, 2, 1]),
            node("MatMul", "turned along", "summed"),
            node("Transpose", "summed", "y", perm=[0, 2, 1]),
        ],
        [[1, 2], [3, -4]],
        [[3, 7], [3, -7]],  # hidden: (3, 0) and (0, 7)
        {"across": floats([1, 1], [1, -1]), "along": floats([1, 1], [1, -1])},
    ),
    "a slope for each channel": Case(
        [
            node("Conv", "x w", "mixed", group=2),
            node("PRelu", "mixed slopes", "y"),
        ],
        [[[1, -2]], [[3, -4]]],
        [[[2, -2]], [[-0.75, 4]]],
        {"w": convolution([[2], [-1]]), "slopes": floats([[0.5]], [[0.25]])},
    ),
    "weighted sum of two scales": Case(
        [
            node("MaxPool", "rectified", "pooled", kernel_shape=[1, 2], strides=[1, 2]),
            node(
                "Resize",
                "pooled - scales",
                "up",
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            ),
            node("Mul", "up quarter", "a"),
            node("Mul", "rectified most", "b"),
            node("Add", "a b", "y"),
        ],
        [[[4, 8, 0, -4]]],
        [[[5, 8, 0, 0]]],
        {"scales": floats(1, 1, 1, 2), "quarter": np.float32(0.25), "most": np.float32(0.75)},
    ),
    "running sum": Case(
        [node("Relu", "x", "rectified"), node("CumSum", "rectified axis", "y")],
        [1, -2, 3, 4],
        [1, 1, 4, 8],
        {"axis": np.int64(1)},
    ),
    "variance": Case(
        [
            node("ReduceMean", "x", "mean", axes=[1], keepdims=1),
            node("Sub", "x mean", "centred"),
            node("Mul", "centred centred", "square"),
            node("ReduceMean", "square", "y", axes=[1], keepdims=1),
        ],
        [1, 3, 5, 7],
        [5],
    ),
}
CASES["weighted sum of two scales"].nodes.insert(0, node("Relu", "x", "rectified"))


def built(case):
    x = np.array([case.x], np.float32)
    return model(case.nodes, ("N", *x.shape[1:]), case.constants, opset=13), x


@pytest.mark.parametrize("name", CASES)
def test_a_network_says_what_was_worked_out_by_hand(name):
    made, x = built(CASES[name])
    (y,) = evaluate_all(imported(made), x)
    np.testing.assert_allclose(y, np.array([CASES[name].y]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_its_integers_are_the_references_and_close_to_it(name, tmp_path):
    """Payloads of 8 bits: the answer is right to a few steps of the largest value."""
    made, x = built(CASES[name])
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    samples = np.concatenate([x * share for share in (1, 0.75, 0.5, 0.25, -0.5, -1)])
    compiled = compile_model(path, calibrate=samples, coding="graded", target="unlimited")
    frames = compiled.encoding(samples)
    ours = engine.run(compiled.program, frames, record=True)
    theirs = reference.run(compiled.program, frames, record=True)
    for key, messages in theirs.messages.items():
        assert np.array_equal(ours.messages[key], messages), key
    y = np.array(CASES[name].y)
    assert np.abs(compiled.run(x)[0] - y).max() <= TOLERANCE * max(1, np.abs(y).max())
