"""States that wrap, which only wrong networks have, do so in two's complement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil_networks import network
from snn_compile.ir.fixedpoint import Overflow, QFormat
from snn_compile.ir.neurons import along_channels
from snn_compile.ir.quantized import IFNeurons
from snn_compile.sim.neurons import respond

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


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("overflow", list(Overflow))
def test_integrate_and_fire_by_the_plain_definition(overflow, dtype):
    program, _ = network("rate")
    node = program.populations[1]
    assert isinstance(node, IFNeurons)
    node = replace(node, state=STATE, overflow=overflow)
    random = np.random.default_rng(0)
    a = random.integers(-3000, 3000, (*node.shape, 6, 5)).astype(dtype)
    found = respond(node, a, 6)
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
