"""Depthwise kernels of one tap: spikes that are repeated, and that are added to other sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine_equality import assert_equal
from networks import INPUT, Builder
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.sim import reference

pytestmark = pytest.mark.usefixtures("compiled_engine")


def spiking(channels, width, n_steps):
    shape = (channels, 3, width)
    return Builder(channels, shape, n_steps=n_steps, coding=InputCoding.POISSON, high=3)


@pytest.mark.parametrize(
    ("threshold", "initial", "bias", "reset", "repeats"),
    [
        (48, 0, 0, Reset.SUBTRACT, True),
        (48, 47, 0, Reset.SUBTRACT, True),
        (48, 0, 0, Reset.ZERO, True),
        (48, 48, 0, Reset.SUBTRACT, False),
        (48, -1, 0, Reset.SUBTRACT, False),
        (40, 0, 0, Reset.SUBTRACT, False),
        (49, 0, 0, Reset.SUBTRACT, False),
        (48, 0, 1, Reset.SUBTRACT, False),
    ],
)
def test_neurons_that_repeat_spikes_and_others(threshold, initial, bias, reset, repeats):
    net = spiking(17, 8, 70)
    group = net.conv(INPUT, 17, (1, 1), geometry=Geometry(groups=17), exponent=4)
    neurons = net.neurons("subtract", group)
    node, synapses = net.nodes[-1], net.nodes[-2]
    net.nodes[-2] = replace(
        synapses, weight=QTensor(np.full((17, 1, 1, 1), 3), synapses.weight.format)
    )
    fields = {"threshold": threshold, "bias": bias, "initial_potential": initial}
    values = {name: QTensor.of(np.full(17, value)) for name, value in fields.items()}
    net.nodes[-1] = replace(node, **values, reset=reset)
    net.neurons("readout", net.dense(neurons, 5))
    program, frames = net.build(), net.frames(2)
    run = reference.run(program, frames)
    assert (run.activity[neurons] == run.activity[INPUT]).all() == repeats
    assert_equal(program, frames)


@pytest.mark.parametrize("channels", [5, 70])
@pytest.mark.parametrize(
    ("kind", "exponents"),
    [("subtract", (0, 7)), ("subtract", (2, -3)), ("signed", (-1, 0)), ("leaky", (2, -3))],
)
def test_spikes_of_one_tap_are_added_to_other_sums(channels, exponents, kind):
    """In place, whichever group comes first; at a stride; beyond the border; without another."""
    net = spiking(channels, 8, 33)
    source = net.neurons("subtract", net.conv(INPUT, channels, geometry=Geometry(padding=(1,) * 4)))
    of_conv, of_tap = exponents

    def both(geometry, padded=(1,) * 4):
        of_nine = Geometry(geometry.stride, padded)
        return (
            net.conv(source, channels, geometry=of_nine, exponent=of_conv),
            net.conv(source, channels, (1, 1), geometry=geometry, exponent=of_tap),
        )

    in_place = both(Geometry(groups=channels))
    net.neurons("readout", net.dense(net.neurons(kind, *in_place), 3))
    net.neurons(
        "readout", net.dense(net.neurons(kind, *reversed(both(Geometry(groups=channels)))), 3)
    )
    strided = both(Geometry(stride=(2, 2), groups=channels))
    net.neurons("readout", net.dense(net.neurons(kind, *strided), 3))
    beyond = both(Geometry(padding=(1,) * 4, groups=channels), (2,) * 4)
    net.neurons("readout", net.dense(net.neurons(kind, *beyond), 3))
    net.neurons("readout", both(Geometry(groups=channels))[1])
    assert_equal(net.build(), net.frames(2))
