"""Layers that send nothing, and layers that are right but were recorded wrongly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from diagnoses import diagnosed
from hil_networks import CODINGS, network, with_quiet_neurons
from snn_compile.hil.devices.faulty import faulty_messages


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
