"""Sigma-delta neurons with a threshold: the equations, and the engine's form of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_equality import assert_equal
from network_builder import INPUT, Builder
from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import ThresholdDeltaNeurons
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import reference
from transcription import Cells
from transcription import assert_equal as assert_transcribed

PLACE = {"id": NodeId("n"), "inputs": (), "shape": (1,), "origin": Origin("t")}


def neuron(threshold, bias=0, sent=0, shift=6, *, of_frames=False):
    return ThresholdDeltaNeurons(
        **PLACE,
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        sent=QTensor.of([sent]),
        shift=shift,
        of_frames=of_frames,
    )


def answered(node, a):
    return node.respond(np.array(a)[None, :, None], len(a))[0, :, 0].tolist()


def test_a_change_is_sent_from_the_threshold_on_and_waits_below_it():
    assert answered(neuron(128), [64, 64, 127, 1]) == [0, 2, 0, 2]
    assert answered(neuron(0), [64, 1, 63]) == [1, 0, 0]  # the low bits of 1 and 63 are lost


def test_what_was_sent_before_the_window_is_not_sent_again():
    assert answered(neuron(64, bias=640, sent=640), [0, 64]) == [0, 1]
    assert answered(neuron(64, bias=640), [0, 64]) == [10, 1]


def test_frames_are_values_and_may_be_negative():
    assert answered(neuron(64, of_frames=True), [-128, -128, 64]) == [-2, 0, 3]
    assert answered(neuron(64), [-128, -128, 320]) == [0, 0, 1]


def test_the_activation_saturates():
    most = (1 << 23) - 1
    assert answered(neuron(1, shift=0), [1 << 30, 1, -(1 << 30)]) == [most, 0, -most + 1]


NEURON = (
    st.integers(0, 2**20),
    st.integers(-(2**24), 2**24),
    st.integers(0, 2**23 - 1),
    st.integers(0, 12),
    st.booleans(),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=12), *NEURON)
def test_neurons_are_those_of_the_transcription(a, threshold, bias, sent, shift, of_frames):
    node = neuron(threshold, bias, sent, shift, of_frames=of_frames)
    cells = Cells(node)
    assert answered(node, a) == [cells.step([value])[0] for value in a]


@pytest.mark.parametrize(("seed", "n_steps"), [(1, 3), (2, 5), (3, 40)])
def test_the_engine_and_the_transcription_compute_the_same(seed, n_steps):
    """40 steps are more than the engine takes at once."""
    net = Builder(seed, (2, 5, 7), n_steps=n_steps, coding=InputCoding.EVENTS, low=-90, high=90)
    first = net.neurons("threshold-delta", net.conv(INPUT, 5, (3, 3)), per_element_bias=True)
    second = net.neurons("threshold-delta", net.conv(first, 20, (2, 2)))
    third = net.neurons("threshold-delta", net.dense(second, 70, bits=3))
    net.neurons("started", net.dense(third, 3, bits=2), per_element_bias=True)
    net.neurons("started", net.conv(first, 2, (1, 1)))
    program = net.build()
    frames = np.random.default_rng(seed).integers(-90, 91, (3, n_steps, 2, 5, 7))
    assert_equal(program, frames)
    if n_steps < 9:
        assert_transcribed(reference.run(program, frames, record=True), program, frames)
