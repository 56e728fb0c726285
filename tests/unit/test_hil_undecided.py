"""Causes that explain a difference equally well, and the stimulus that tells them apart."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from diagnoses import changed, diagnosed
from hil_networks import network
from snn_compile.cli.hil_show import tie
from snn_compile.hil import evidence as evidence_module
from snn_compile.hil import variants
from snn_compile.hil.cause import EVERYWHERE, Cause, Hypothesis, of_population
from snn_compile.hil.devices.faulty import faulty_messages, simulate
from snn_compile.hil.undecided import Ambiguity, find_ambiguity
from snn_compile.ir.fixedpoint import QTensor


@pytest.fixture
def found(tmp_path):
    """What a diagnosis makes of messages: ``found(program, frames, messages, layers)``."""
    return partial(diagnosed, tmp_path)


def cause(kind: str, part, bits: float = 6.0, *, recurs: bool = True, neurons=None) -> Cause:
    """That a layer is another population, always or once."""
    hypothesis = Hypothesis(kind, kind, of_population(part), recurs=recurs)
    return Cause(kind, kind, EVERYWHERE, bits, hypothesis=hypothesis, neurons=neurons)


def first_differing(one, other, layer: str) -> int:
    differing = (one[layer] != other[layer]).reshape(len(one[layer]), -1).any(axis=1)
    assert differing.any()
    return int(differing.argmax())


def test_a_tie_names_the_first_stimulus_on_which_the_devices_would_part(found):
    """Against two devices that have these faults, simulated."""
    program, frames = network("sync")
    seen = frames[:2]
    messages = faulty_messages(program, seen, "flipped-kernel", "layer4")
    (diagnosis,) = found(program, seen, messages, at_hand=frames)
    kinds = [one.kind for one in diagnosis.causes[: diagnosis.undecided.causes]]
    assert kinds == ["flipped-kernel", "transposed-kernel"]
    (group,) = program.synapses_into(program.graph["layer4"])
    weight = group.weight.values
    flipped, transposed = (
        simulate(changed(program, variants.with_weight(group, values)), frames)
        for values in (weight[:, :, ::-1, ::-1], weight.swapaxes(2, 3))
    )
    expected = first_differing(flipped, transposed, "layer4")
    assert expected >= len(seen)
    assert (diagnosis.undecided.stimulus, diagnosis.undecided.decides) == (expected, True)
    assert diagnosis.as_dict()["undecided"]["stimulus"] == diagnosis.undecided.stimulus
    # Shown that stimulus too, only the right one is left.
    more = frames[: expected + 1]
    messages = faulty_messages(program, more, "flipped-kernel", "layer4")
    (diagnosis,) = found(program, more, messages, at_hand=frames)
    assert diagnosis.causes[0].kind == "flipped-kernel"
    assert diagnosis.undecided is None


def test_what_happened_once_is_told_by_showing_the_same_again():
    program, frames = network("rate")
    layer = program.populations[1]
    stays = layer.changed(threshold=QTensor.of(layer.threshold.values + 40))
    causes = [cause("lost-message", layer, recurs=False), cause("threshold", stays)]
    told = find_ambiguity(program, layer, frames, causes)
    wrong = simulate(changed(program, stays), frames)
    assert told.stimulus == first_differing(simulate(program, frames), wrong, layer.id)
    assert told.decides


def test_a_cause_that_holds_for_some_neurons_is_right_about_all_others():
    program, frames = network("rate")
    layer = program.populations[1]
    size = int(np.prod(layer.shape))
    stays = layer.changed(threshold=QTensor.of(layer.threshold.values + 40))
    sent, wrong = simulate(program, frames), simulate(changed(program, stays), frames)
    differing = np.flatnonzero((sent[layer.id] != wrong[layer.id]).any(axis=(0, 1)).reshape(-1))
    for neuron in (int(differing[0]), int(differing[-1])):
        chosen = np.arange(size) == neuron
        causes = [cause("once", layer, recurs=False), cause("one", stays, neurons=chosen)]
        flat = [
            {layer.id: m[layer.id].reshape(*m[layer.id].shape[:2], -1)[..., chosen]}
            for m in (sent, wrong)
        ]
        told = find_ambiguity(program, layer, frames, causes)
        assert told.stimulus == first_differing(*flat, layer.id)


def test_where_no_stimulus_at_hand_tells_a_constant_one_may():
    program, frames = network("rate")
    layer = program.populations[0]
    weak = np.minimum(frames, 1)  # never reach what the other state cannot hold
    loud = np.full_like(frames[:2], program.input.high)
    for variant in layer.narrow_states():
        narrow = changed(program, variant.part)
        quiet = np.array_equal(simulate(program, weak)[layer.id], simulate(narrow, weak)[layer.id])
        shows = (simulate(program, loud)[layer.id] != simulate(narrow, loud)[layer.id]).any()
        if quiet and shows:
            break
    else:
        pytest.fail("no width of this network shows with the largest input alone")
    told = find_ambiguity(
        program, layer, weak, [cause("none", layer), cause("width", variant.part)]
    )
    assert (told.stimulus, told.constant, told.searched) == (None, program.input.high, len(weak))


def test_causes_that_say_the_same_cannot_be_told_apart():
    program, frames = network("rate")
    layer = program.populations[1]
    same = replace(layer, bias=QTensor.of(layer.bias.values.copy()))
    told = find_ambiguity(program, layer, frames, [cause("one", layer), cause("other", same)])
    assert (told.stimulus, told.constant, told.decides) == (None, None, False)


def test_some_are_told_apart_where_not_all_can_be():
    program, frames = network("rate")
    layer = program.populations[1]
    stays = layer.changed(threshold=QTensor.of(layer.threshold.values + 40))
    causes = [cause("one", layer), cause("same", layer), cause("threshold", stays)]
    told = find_ambiguity(program, layer, frames, causes)
    assert told.stimulus is not None
    assert (told.causes, told.decides) == (3, False)


def test_a_clear_case_is_not_undecided():
    program, frames = network("rate")
    layer = program.populations[1]
    stays = layer.changed(threshold=QTensor.of(layer.threshold.values + 40))
    assert find_ambiguity(program, layer, frames, []) is None
    assert find_ambiguity(program, layer, frames, [cause("one", layer)]) is None
    longer = cause("threshold", stays, 7.5)
    assert find_ambiguity(program, layer, frames, [cause("one", layer), longer]) is None


def test_little_memory_looks_at_fewer_stimuli_and_says_so(monkeypatch):
    program, frames = network("rate")
    layer = program.populations[1]
    causes = [cause("one", layer), cause("same", layer)]
    monkeypatch.setattr(evidence_module, "BUDGET_BYTES", 1 << 16)
    assert find_ambiguity(program, layer, frames, causes).searched < len(frames)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            Ambiguity(2, 9, 3, decides=True),
            "stimulus 3, shown again in a run from 0 on, would tell them",
        ),
        (Ambiguity(3, 9, 5), "the first 3 explain it equally well; stimulus 5, shown in a run"),
        (Ambiguity(3, 9, 5), "would tell some of them apart"),
        (Ambiguity(2, 9), "none of the 9 stimuli at hand would tell them apart"),
        (Ambiguity(2, 9, constant=255, decides=True), "one that is 255 everywhere (encoded) would"),
    ],
)
def test_a_tie_in_words(one, said):
    assert said in tie(one, 4)
