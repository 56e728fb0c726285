"""What ``verify`` says of the compiled engine: equal, different and where, or not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import networks
from snn_compile.errors import UsageError
from snn_compile.hil import engine as hil
from snn_compile.hil.divergence import Divergence
from snn_compile.sim import reference
from snn_compile.sim.engine import Engine


@pytest.fixture(scope="module")
def network():
    program, frames = networks.structures(5, "subtract", 4, poisson=True)
    return program, np.concatenate([frames, frames])


@pytest.fixture(params=["together", "one by one"])
def pieces(request, monkeypatch):
    """Stimuli are recorded all together, or one after the other."""
    if request.param == "one by one":
        monkeypatch.setattr(reference, "RECORDED_BYTES", 1)


@pytest.fixture
def faulty(monkeypatch, build):
    """Makes the engine of one build answer what a function of its answer says."""
    right = Engine.run

    def break_with(fault):
        def run(self, frames, *, first=0, **options):
            found = right(self, frames, first=first, **options)
            breaks = self._library.snn_engine_build().decode() == build
            return fault(found, first, len(frames)) if breaks else found

        monkeypatch.setattr(Engine, "run", run)
        return build

    return break_with


def test_all_builds_are_equal(compiled_engine, network, pieces):
    program, frames = network
    advanced = []
    outcome = hil.verify(program, frames, advanced.append)
    assert outcome.equal is True
    assert outcome.against == "engine"
    assert outcome.mode == f"{', '.join(compiled_engine)}: all messages"
    assert outcome.stimuli == len(frames) == sum(advanced)
    assert outcome.steps == len(frames) * 4 + program.latency
    neurons = sum(int(np.prod(node.shape)) for node in program.populations)
    assert outcome.compared == len(frames) * 4 * neurons * len(compiled_engine)
    assert outcome.first_divergence is None
    assert outcome.details == ()


def test_the_first_message_that_differs_is_named(faulty, network, pieces):
    program, frames = network
    first, *_, last = (node for node in program.populations if node not in program.readouts)
    expected = reference.run(program, frames, record=True).messages

    def flip(run, start, n):
        for node, stimulus in ((first, 7), (last, 3)):
            if start <= stimulus < start + n:
                run.messages[node.id][stimulus - start, 2, -1, 0, 1] ^= 1
        return run

    build = faulty(flip)
    outcome = hil.verify(program, frames)
    # Of one piece, the first layer that differs; of several, the first piece.
    together = reference.recording_batch_size(program) > 1
    node, stimulus = (first, 7) if together else (last, 3)
    neuron = (node.shape[0] - 1, 0, 1)
    value = int(expected[node.id][(stimulus, 2, *neuron)])
    assert outcome.equal is False
    assert outcome.first_divergence == Divergence(node.id, stimulus, 2, neuron, value, 1 - value)
    assert outcome.details == (f"{build}: {outcome.first_divergence}",)


def test_an_output_that_differs_is_named(faulty, network):
    program, frames = network
    readout = program.readouts[-1]

    def wrong(run, start, n):
        run.outputs[readout.id][5] += 1
        return run

    faulty(wrong)
    found = hil.verify(program, frames).first_divergence
    assert (found.layer, found.stimulus, found.step) == (readout.id, 5, 3)
    assert found.actual == found.expected + 1


def test_spikes_that_are_miscounted(faulty, network):
    program, frames = network

    def wrong(run, start, n):
        counts = {**run.activity, program.input.id: run.activity[program.input.id] + 1}
        return replace(run, activity=counts)

    build = faulty(wrong)
    outcome = hil.verify(program, frames)
    assert outcome.equal is False
    assert outcome.first_divergence is None
    assert outcome.details == (f"{build}: messages of 'input' are miscounted",)


def test_where_there_is_no_engine_nothing_is_said_to_be_equal(monkeypatch, network):
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    outcome = hil.verify(*network)
    assert outcome.equal is None
    assert outcome.as_dict() == {
        "against": "engine",
        "mode": "no compiled engine: switched off by SNN_COMPILE_ENGINE",
        "stimuli": 0,
        "steps": 0,
        "compared": 0,
        "equal": None,
        "first_divergence": None,
        "details": [],
        "form": "",
    }


def test_an_engine_that_is_asked_for_has_to_be_there(monkeypatch, network):
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "mmx")
    with pytest.raises(UsageError, match="mmx"):
        hil.verify(*network)
