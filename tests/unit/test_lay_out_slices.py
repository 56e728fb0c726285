"""Slices and concatenations of whole maps between transpositions."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import imported, ints, model, node
from snn_compile.convert.expand import drives_of
from snn_compile.convert.lay_out import LayOut
from snn_compile.convert.linear import Kernel, Wiring
from snn_compile.ir import ann
from snn_compile.sim.ann import evaluate

RNG = np.random.default_rng(11)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def gated(pieces, order):
    """A convolution whose channels, the last axis, are split, gated and joined again."""
    names = [f"p{k}" for k in range(len(pieces))]
    nodes = [
        node("Conv", "x w", "c"),
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        node("Split", "t sizes", " ".join(names), axis=-1),
        node("Sigmoid", "p0", "gate"),
        node("Concat", " ".join(["gate" if k == 0 else f"p{k}" for k in order]), "j", axis=-1),
        node("Transpose", "j", "u", perm=[0, 3, 1, 2]),
        node("Conv", "u v", "y"),
    ]
    n = sum(pieces[k] for k in order)
    constants = {"w": real(sum(pieces), 3, 1, 1), "v": real(4, n, 1, 1), "sizes": ints(*pieces)}
    return imported(model(nodes, ("N", 3, 5, 6), constants)).ann


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0), (1, 0, 2, 0)])
def test_they_are_made_before_they_are_transposed(order):
    network = gated((3, 2, 4), order)
    found = LayOut()(network).graph
    x = RNG.normal(size=(2, 3, 5, 6))
    np.testing.assert_allclose(evaluate(found, x), evaluate(network, x), rtol=1e-6, atol=1e-6)
    assert not any(isinstance(n, ann.Transpose | ann.Gather) for n in found.graph)
    maps = [t.map for _, drive in drives_of(found) for t in drive.terms]
    assert all(isinstance(m, Kernel | Wiring) for m in maps)


def test_what_is_no_whole_map_stays():
    nodes = [
        node("Conv", "x w", "c"),
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        node("Slice", "t from to axes", "s"),
        node("Tanh", "s", "y"),
    ]
    constants = {"w": real(4, 3, 1, 1), "from": ints(1), "to": ints(4), "axes": ints(2)}
    network = imported(model(nodes, ("N", 3, 5, 6), constants)).ann
    found = LayOut()(network).graph
    x = RNG.normal(size=(2, 3, 5, 6))
    np.testing.assert_allclose(evaluate(found, x), evaluate(network, x), rtol=1e-6, atol=1e-6)
