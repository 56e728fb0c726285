"""States that wrap, which only wrong networks have, do so in two's complement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil_networks import CODINGS, network
from snn_compile.hil.engine import verify
from snn_compile.ir.fixedpoint import Overflow, QFormat
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import IFNeurons, QuantizedGraph, along_channels
from snn_compile.sim import engine, reference

STATE = QFormat(11)


def bounded(v: int, overflow: Overflow) -> int:
    """The plain definition."""
    if overflow is Overflow.SATURATE:
        return max(-STATE.max, min(STATE.max, v))
    while v > STATE.max:
        v -= 1 << STATE.bits
    while v < STATE.min:
        v += 1 << STATE.bits
    return v


@pytest.mark.parametrize("coding", CODINGS)
def test_the_engine_is_not_used_for_states_that_wrap(coding, compiled_engine):
    """It has none: whatever it would compute, it is not asked."""
    program, frames = network(coding)
    assert engine.no_engine(program) == ""
    last = program.populations[-1]
    nodes = [
        replace(n, state=QFormat(8), overflow=Overflow.WRAP) if n.id == last.id else n
        for n in program.graph
    ]
    wrapping = QuantizedGraph(Graph(nodes), program.window)
    assert engine.no_engine(wrapping) == "the engine has no states that wrap"
    expected = reference.run(wrapping, frames).outputs[last.id]
    assert (expected != reference.run(program, frames).outputs[last.id]).any()
    assert np.array_equal(engine.run(wrapping, frames).outputs[last.id], expected)
    assert verify(wrapping, frames).equal is None


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("overflow", list(Overflow))
def test_integrate_and_fire_by_the_plain_definition(overflow, dtype):
    program, _ = network("rate")
    node = program.populations[1]
    assert isinstance(node, IFNeurons)
    node = replace(node, state=STATE, overflow=overflow)
    random = np.random.default_rng(0)
    a = random.integers(-3000, 3000, (*node.shape, 6, 5)).astype(dtype)
    found = node.respond(a, 6)
    hit = 0
    parameters = [
        along_channels(p.values, node.shape)
        for p in (node.threshold, node.bias, node.initial_potential)
    ]
    for place in np.ndindex(*node.shape):
        theta, bias, start = (int(p[place]) for p in parameters)
        for stimulus in range(5):
            v = start
            for t in range(6):
                total = v + int(a[(*place, t, stimulus)]) + bias
                v = bounded(total, overflow)
                hit += v != total
                fired = v >= theta
                v -= theta * fired
                assert found[(*place, t, stimulus)] == fired
    assert hit > 100
