"""Layers that send nothing, and layers that are right but were recorded wrongly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from diagnoses import diagnosed
from hil_networks import CODINGS, network, with_quiet_neurons
from snn_compile.hil import evidence as evidence_module
from snn_compile.hil.devices.faulty import faulty_messages, simulate


@pytest.fixture
def found(tmp_path):
    """What a diagnosis makes of messages: ``found(program, frames, messages, layers)``."""
    return partial(diagnosed, tmp_path)


@pytest.mark.parametrize(
    ("coding", "layer"),
    # Of the second layer in sync, one channel alone sends anything.
    [
        (c, layer)
        for c in CODINGS
        for layer in ("layer2", "layer4")
        if (c, layer) != ("sync", "layer4")
    ],
)
def test_silence_is_said_with_its_scope_and_widths_that_follow_from_it_are_not(
    found, coding, layer
):
    healthy, frames = network(coding)
    program = with_quiet_neurons(healthy, frames)
    for kind, scope in (("silent-layer", "all neurons"), ("silent-channel", "channel ")):
        diagnosis, *_ = found(program, frames, faulty_messages(program, frames, kind, layer))
        first = diagnosis.causes[0]
        assert first.kind == "silent"
        assert first.scope.startswith(scope)
        assert diagnosis.differing[0] < np.prod(program.graph[layer].shape)
        assert not {"wrap", "saturate"} & {cause.kind for cause in diagnosis.causes}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", ["silent-layer", "silent-channel", "late", "lost-message"])
def test_where_the_layers_behind_are_right_the_recording_is_suspected(found, coding, kind):
    program, frames = network(coding)
    healthy = simulate(program, frames)
    faulty = faulty_messages(program, frames, kind, "layer4")
    # In the recording alone: all others have the right messages.
    diagnosis, *others = found(program, frames, {**healthy, "layer4": faulty["layer4"]})
    assert not others
    causes = list(diagnosis.causes)
    if not np.array_equal(healthy["layer6"], faulty["layer6"]):  # else it cannot tell
        recording = causes.pop(0)
        assert (recording.kind, recording.where["layers"]) == ("recording", ["layer6"])
    assert causes[0].kind == kind.removesuffix("-layer").removesuffix("-channel")


@pytest.mark.parametrize("coding", CODINGS)
def test_the_recording_is_suspected_where_layers_before_are_at_fault_too(found, coding):
    """The right messages are those for what the layer got, not those of a healthy device."""
    program, frames = network(coding)
    messages = faulty_messages(program, frames, "no-bias", "layer2")
    messages["layer4"] = np.zeros_like(messages["layer4"])
    first, second, *_ = found(program, frames, messages)
    assert (first.layer, first.causes[0].kind) == ("layer2", "no-bias")
    assert (second.layer, second.causes[0].kind) == ("layer4", "recording")


def test_layers_behind_that_are_not_recorded_tell_nothing(found):
    program, frames = network("rate")
    messages = dict(simulate(program, frames))
    messages["layer4"] = np.zeros_like(messages["layer4"])
    layers = ["layer2", "layer4", "layer8"]
    diagnosis, *_ = found(program, frames, {name: messages[name] for name in layers}, layers)
    assert diagnosis.causes[0].kind == "silent"


@pytest.mark.parametrize("coding", ["rate", "sigma-delta", "sync"])
def test_the_recording_is_suspected_with_little_memory(found, coding, monkeypatch):
    """What is looked at of a layer, and of that behind, need not be the same stimuli."""
    program, frames = network(coding)
    messages = dict(simulate(program, frames))
    wrong = messages["layer4"].copy()
    wrong[15:] = 0
    messages["layer4"] = wrong
    for budget in (1 << 14, 1 << 15, 1 << 16):
        monkeypatch.setattr(evidence_module, "BUDGET_BYTES", budget)
        diagnosis, *_ = found(program, frames, messages)
        assert diagnosis.layer == "layer4"
        assert diagnosis.causes[0].kind == "recording"


@pytest.mark.parametrize("coding", CODINGS)
def test_what_says_nothing_about_anything_that_differs_is_no_cause(found, coding):
    """Of a single stimulus, it is not known what messages that come early would have been."""
    program, frames = network(coding)
    messages = faulty_messages(program, frames[:1], "silent-layer", "layer4")
    diagnosis, *_ = found(program, frames[:1], messages)
    assert diagnosis.causes[0].kind == "silent"
    assert "early-input" not in {cause.kind for cause in diagnosis.causes}
