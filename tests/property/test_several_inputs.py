"""Random networks of several inputs: the engine equals the reference, and inputs stay apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transcription
from effort import examples
from engine_equality import assert_equal
from network_builder import ALL_NEURONS, SINGLE_STEP
from several_inputs import frames_of, random_network
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.reading import load_text
from snn_compile.ir.serialize import dump_program, load_program
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.text import dump_text
from snn_compile.sim import reference

SEEDS = st.integers(0, 2**32 - 1)
CODINGS = (InputCoding.CURRENT, InputCoding.GRADED, InputCoding.POISSON, InputCoding.EVENTS)


def networks(n):
    """Random networks: of one step with payloads, or of several steps in each input coding."""

    def decorate(test):
        several = st.tuples(
            SEEDS,
            st.sampled_from([kind for kind in ALL_NEURONS if kind not in SINGLE_STEP]),
            st.sampled_from((2, 5, 33)),
            st.sampled_from(CODINGS),
        )
        one = st.tuples(
            SEEDS, st.sampled_from(SINGLE_STEP), st.just(1), st.just(InputCoding.GRADED)
        )
        made = st.one_of(several, one).map(lambda drawn: random_network(*drawn))
        return examples(n)(given(made)(test))

    return decorate


@pytest.mark.usefixtures("compiled_engine")
@networks(25)
def test_the_engine_equals_the_reference(made):
    assert_equal(*made)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_engine")
@networks(400)
def test_the_engine_equals_the_reference_on_more(made):
    assert_equal(*made)


@networks(8)
def test_the_reference_equals_the_transcription(made):
    program, frames = made
    transcription.assert_equal(reference.run(program, frames, record=True), program, frames)


@networks(15)
def test_text_and_seal_hold_all_inputs(made):
    program, frames = made
    arrays = {}
    for read in (
        load_program(*dump_program(program)),
        load_text(dump_text(program, arrays), "net.snt", arrays),
    ):
        assert [node.id for node in read.inputs] == [node.id for node in program.inputs]
        wanted, found = (reference.run(p, frames, record=True) for p in (program, read))
        for name, messages in wanted.messages.items():
            np.testing.assert_array_equal(found.messages[name], messages)


@networks(15)
def test_an_input_reaches_only_its_own_readers(made):
    """The values of one input decide what its readers get, and nothing else does."""
    program, frames = made
    axes = 2 if program.input_coding is InputCoding.EVENTS else 1
    values = program.inputs.split(frames, axes)
    first, last = program.inputs[0], program.inputs[-1]
    other = values | {first.id: program.inputs.split(frames[::-1], axes)[first.id]}
    one, two = (
        reference.Simulator(program).encode_inputs(program.inputs.join(v, axes))
        for v in (values, other)
    )
    np.testing.assert_array_equal(one[last.id], two[last.id])
    np.testing.assert_array_equal(program.inputs.join(values, axes), frames)


def test_poisson_inputs_draw_independently():
    """Equal values of two inputs are drawn from streams of their own."""
    program, _ = random_network(5, "subtract", 33, InputCoding.POISSON)
    equal = [replace(node, low=0, high=8, shape=(4, 1, 1)) for node in program.inputs[:2]]
    inputs = type(program.inputs)(equal)
    frames = np.full((6, *inputs.shape), 4)
    sent = inputs.split(reference.encode_inputs(inputs, frames, 33, 0), 2)
    one, other = sent.values()
    assert (one != other).any()
    correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < 0.15


def test_inputs_of_two_codings_are_refused():
    program, _ = random_network(1, "subtract", 2, InputCoding.CURRENT)
    last = replace(program.inputs[-1], coding=InputCoding.POISSON)
    nodes = [last if node.id == last.id else node for node in program.graph]
    with pytest.raises(ValueError, match="have one coding"):
        QuantizedGraph(Graph(nodes), program.window)


def test_a_value_outside_the_range_of_its_own_input_is_refused():
    program, _ = random_network(3, "subtract", 2, InputCoding.CURRENT)
    narrow = min(program.inputs, key=lambda node: node.high)
    wide = max(program.inputs, key=lambda node: node.high)
    assert narrow.high < wide.high
    frames = frames_of(program, 2)
    values = program.inputs.split(frames)
    values[narrow.id] = np.full_like(values[narrow.id], wide.high)
    with pytest.raises(ValueError, match="outside"):
        reference.run(program, program.inputs.join(values))
