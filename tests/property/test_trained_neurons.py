"""Neurons of networks that were trained with spikes: equations, integers and their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from snn_compile.errors import Origin
from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons
from snn_compile.ir.spiking import InputCoding, LIFNeurons, Reset
from snn_compile.quantize.trained import as_trained
from snn_compile.sim import abi, bounds, engine, reference
from snn_compile.sim import spiking as simulation
from transcription import Cells, transcribe

PLACE = {"id": NodeId("n"), "inputs": (), "shape": (1,), "origin": Origin("t")}


def leaky(threshold, bias, du, dv, drop, filtered):
    return CubaLIFNeurons(
        **PLACE,
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        current_decay=du,
        voltage_decay=dv,
        reset=Reset.ZERO if drop is None else Reset.SUBTRACT,
        drop=None if drop is None else QTensor.of([drop]),
        filtered_bias=filtered,
    )


def own(node):
    """A leaky neuron's parameters."""
    names = ("threshold", "bias", "current_decay", "voltage_decay", "reset", "drop")
    return {name: getattr(node, name) for name in (*names, "filtered_bias")}


LEAKY = (
    st.integers(0, 2**17 - 1),
    st.integers(-(2**18), 2**18),
    st.integers(0, 4095),
    st.integers(0, 4095),
    st.none() | st.integers(0, 2**22),
    st.booleans(),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(-(2**18), 2**18), min_size=1, max_size=12), *LEAKY)
def test_leaky_neurons_are_those_of_the_transcription(a, threshold, bias, du, dv, drop, filtered):
    node = leaky(threshold, bias, du, dv, drop, filtered)
    cells = Cells(node)
    expected = [cells.step([value])[0] for value in a]
    spikes = node.respond(np.array(a)[None, :, None], len(a))
    assert spikes[0, :, 0].tolist() == expected


def test_reset_by_subtraction_keeps_the_rest():
    """No leak, 3 a step over a threshold of 4 (strict): 3, 6 fires and leaves 2, 5, 4, 7 ..."""
    node = leaky(4, 0, 4095, 0, 4 * 64, False)
    spikes = node.respond(np.full((1, 6, 1), 3), 6)[0, :, 0]
    assert spikes.tolist() == [0, 1, 1, 0, 1, 1]


def test_a_filtered_bias_adds_up_in_the_current():
    """du 2047 halves the current: 64, 96, 112 ... of 64 a step; without the filter 64 each."""
    steps = np.zeros((1, 3, 1), np.int64)
    # Potentials 64, 160, 272 against 64, 128, 192.
    assert leaky(2, 64, 2047, 0, None, True).respond(steps, 3)[0, :, 0].tolist() == [
        0,
        1,
        0,
    ]
    assert leaky(2, 64, 2047, 0, None, False).respond(steps, 3)[0, :, 0].tolist() == [
        0,
        0,
        1,
    ]


def test_a_drop_belongs_to_subtraction():
    with pytest.raises(ValueError, match="needs a drop"):
        CubaLIFNeurons(
            **PLACE,
            threshold=QTensor.of([1]),
            bias=QTensor.of([0]),
            current_decay=0,
            voltage_decay=0,
            reset=Reset.SUBTRACT,
        )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.integers(1, 9),
    st.lists(st.integers(-127, 127), min_size=1, max_size=6),
    st.tuples(*LEAKY),
)
def test_no_state_leaves_its_bounds(seed, n_steps, weights, parameters):
    """Where the bounds are inside 24 bits, both states of the transcription stay inside them."""
    net = networks.Builder(
        seed, (len(weights),), n_steps=n_steps, coding=InputCoding.EVENTS, high=1
    )
    synapses = net.dense(networks.INPUT, 1)
    name = net._add_population(CubaLIFNeurons, (synapses,), **own(leaky(*parameters)))
    net.neurons("readout", net.dense(name, 1))
    program = net.build()
    found = program.graph[name].leaky(bounds.current(program.graph, program.graph[name]), n_steps)
    if found.magnitude > abi.VOLTAGE_LIMIT:
        return
    cells, weight = Cells(program.graph[name]), program.graph[synapses].weight.values[0]
    for _ in range(n_steps):
        cells.step([int(weight @ net.random.integers(0, 2, len(weights)))])
        for state in (cells.u[0], cells.potential[0]):
            assert found.low[0] <= state <= found.high[0]


@pytest.mark.parametrize("kind", ["zero", "leaky"])
def test_events_drive_each_step_by_itself(kind):
    net = networks.Builder(3, (6,), n_steps=7, coding=InputCoding.EVENTS, low=-1, high=1)
    net.neurons("readout", net.dense(net.neurons(kind, net.dense(networks.INPUT, 5)), 3))
    program = net.build()
    trains = net.random.integers(-1, 2, (4, 7, 6))
    run = reference.run(program, trains, record=True)
    expected = transcribe(program, trains)
    for key, messages in expected.messages.items():
        assert run.messages[key].reshape(4 * 7, -1).tolist() == messages, key
    again = reference.run_messages(program, trains, record=True)
    fast = engine.run(program, trains, record=True)
    for key in run.messages:
        assert np.array_equal(run.messages[key], again.messages[key])
        assert np.array_equal(run.messages[key], fast.messages[key])


def test_the_reference_stands_in_for_the_engine(monkeypatch):
    net = networks.Builder(1, (4,), n_steps=3, coding=InputCoding.EVENTS, high=1)
    fields = own(leaky(3, 1, 0, 0, 192, True))
    name = net._add_population(CubaLIFNeurons, (net.dense(networks.INPUT, 1),), **fields)
    net.neurons("readout", net.dense(name, 1))
    program = net.build()
    assert "leaky" in abi.not_expressed(program)
    monkeypatch.setattr("snn_compile.sim.engine._on_engine", None)
    trains = net.random.integers(0, 2, (5, 3, 4))
    expected = reference.run(program, trains)
    for key, found in engine.run(program, trains).outputs.items():
        assert np.array_equal(found, expected.outputs[key])


# ------------------------------------------------------------- from floating point to fixed point


def float_neurons(threshold, reset, strict, *, start=0.0, alpha=0.0, beta=1.0, drop=None, bias=0.0):
    return LIFNeurons(
        **{**PLACE, "shape": (1, 1, 1)},
        threshold=np.array([threshold]),
        bias=np.full((1, 1, 1), bias),
        initial_potential=np.array([start]),
        alpha=alpha,
        beta=beta,
        reset=reset,
        drop=np.array([threshold if drop is None else drop]),
        strict=strict,
    )


def plain(node, a):
    """The docstring's equations, one neuron, in Python's floats."""
    current, v, spikes = 0.0, float(node.initial_potential[0]), []
    for value in a:
        current = node.alpha * current + value + float(node.bias.flat[0])
        v = node.beta * v + current
        fires = v > node.threshold[0] if node.strict else v >= node.threshold[0]
        if fires:
            v = v - float(node.drop[0]) if node.reset is Reset.SUBTRACT else 0.0
        spikes.append(int(fires))
    return spikes


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-9, 20), min_size=1, max_size=15),
    st.integers(1, 30),
    st.sampled_from(Reset),
    st.booleans(),
    st.integers(-8, 8),
)
def test_integers_decide_exactly_as_the_trained_neurons(a, threshold, reset, strict, start):
    """Ties and all: with integers, > and >= are one step apart."""
    first = start if reset is Reset.SUBTRACT else 0
    node = float_neurons(float(threshold), reset, strict, start=float(first))
    fixed = as_trained(node, np.zeros((1, 1, 1)), np.ones(1))
    assert isinstance(fixed, IFNeurons)
    spikes = fixed.respond(np.array(a)[None, None, None, :, None], len(a))
    assert spikes[0, 0, 0, :, 0].tolist() == plain(node, a)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-9, 20), min_size=1, max_size=15),
    st.sampled_from(Reset),
    st.booleans(),
    st.sampled_from([(0.0, 0.9), (0.5, 0.875), (0.75, 1.0), (0.0, 1.0)]),
)
def test_the_float_simulation_is_the_equations(a, reset, strict, decays):
    alpha, beta = decays
    node = float_neurons(17.3, reset, strict, alpha=alpha, beta=beta, drop=18.1, bias=0.25)
    inputs = np.array(a, np.float64).reshape(1, 1, 1, -1, 1)
    assert simulation.respond(node, inputs, len(a)).ravel().tolist() == plain(node, a)


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.9), (0.8, 0.9), (0.5, 1.0)])
def test_leaky_integers_follow_the_trained_neurons(reset, alpha, beta):
    """Decays lie on a grid of 1/4096, states on one of 1/64 of a step: few spikes move."""
    a = np.random.default_rng(5).integers(-40, 90, (90, 50))
    node = float_neurons(300.0, reset, True, alpha=alpha, beta=beta, drop=310.0, bias=2.5)
    step = np.full(1, 1 / 8)
    fixed = as_trained(node, node.bias / step, step)
    assert isinstance(fixed, CubaLIFNeurons)
    assert fixed.filtered_bias == (alpha > 0)
    spikes = fixed.respond(8 * a.T[None, None, None], 50)[0, 0, 0].T
    expected = np.array([plain(node, row) for row in a])
    assert expected.sum() > 60
    assert (spikes != expected).sum() <= 0.05 * expected.sum()


def test_only_neurons_with_a_memory_leak():
    assert not float_neurons(1.0, Reset.SUBTRACT, True).leaks
    assert float_neurons(1.0, Reset.SUBTRACT, True, beta=0.9).leaks
    assert float_neurons(1.0, Reset.SUBTRACT, True, alpha=0.1).leaks
    assert float_neurons(1.0, Reset.SUBTRACT, True, drop=2.0).leaks
    assert not float_neurons(1.0, Reset.ZERO, True, drop=2.0).leaks


def test_a_spike_counts_one_whatever_the_threshold():
    assert spiking.LIFNeurons.unit.fget(float_neurons(7.0, Reset.ZERO, True)).tolist() == [1.0]
