"""Convolutions of parts of the channels, joined into one and compared with what they were."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import imported, ints, model, node
from snn_compile.convert.join_convolutions import JoinConvolutions, joins_convolutions
from snn_compile.ir import ann
from snn_compile.sim.ann import evaluate

RNG = np.random.default_rng(7)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def mixed(*parts, split, order=None):
    """A convolution of each part of the channels, given by its weights and attributes."""
    nodes = [node("Split", "x sizes", " ".join(f"p{k}" for k in range(len(parts))), axis=1)]
    constants = {"sizes": ints(*split)}
    for k, (weight, attributes) in enumerate(parts):
        constants |= {f"w{k}": weight, f"b{k}": real(len(weight))}
        nodes.append(node("Conv", f"p{k} w{k} b{k}", f"c{k}", **attributes))
    names = " ".join(f"c{k}" for k in order or range(len(parts)))
    nodes.append(node("Concat", names, "y", axis=1))
    return imported(model(nodes, ("N", sum(split), 9, 8), constants)).ann


def depthwise(channels, size, **more):
    pad = (size - 1) // 2 * more.get("dilations", [1])[0]
    return real(channels, 1, size, size), {"group": channels, "pads": [pad] * 4, **more}


JOINED = {
    "mixed-kernels": ([depthwise(3, 3), depthwise(2, 5), depthwise(1, 1)], [3, 2, 1]),
    "strided": ([depthwise(3, k, strides=[2, 2]) for k in (7, 3)], [3, 3]),
    "dilated": ([depthwise(2, k, dilations=[2, 2]) for k in (3, 5)], [2, 2]),
    "branches": (
        [(real(3, 2, 1, 3), {"pads": [0, 1, 0, 1]}), (real(3, 2, 3, 1), {"pads": [1, 0, 1, 0]})],
        [2, 2],
    ),
    "one-sided": ([depthwise(2, 3), (real(1, 1, 2, 2), {"pads": [1, 1, 0, 0]})], [2, 1]),
}  # fmt: skip
KEPT = {
    "other-order": mixed(depthwise(2, 3), depthwise(2, 1), split=[2, 2], order=[1, 0]),
    "other-groups": mixed(depthwise(2, 3), (real(2, 2, 1, 1), {}), split=[2, 2]),
    "other-dilation": mixed(depthwise(2, 3), depthwise(2, 3, dilations=[2, 2]), split=[2, 2]),
    "twice": mixed(depthwise(2, 3), depthwise(2, 3), split=[2, 2], order=[0, 1, 0]),
}


@pytest.mark.parametrize("kind", JOINED)
def test_one_convolution_says_the_same(kind):
    parts, split = JOINED[kind]
    network = mixed(*parts, split=split)
    assert joins_convolutions(network)
    found = JoinConvolutions()(network)
    assert [type(n) for n in found.graph.graph] == [ann.Input, ann.Conv, ann.Output]
    assert len(found.findings) == 1
    x = RNG.normal(size=(3, sum(split), 9, 8))
    np.testing.assert_allclose(evaluate(found.graph, x), evaluate(network, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KEPT)
def test_others_are_left_alone(kind):
    assert not joins_convolutions(KEPT[kind])
