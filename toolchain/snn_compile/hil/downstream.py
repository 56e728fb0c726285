"""Whether layers downstream of a differing one received its recorded messages or the right ones.

A recording can be wrong where the device is right: a probe that drops messages, a buffer that is
read too late. The layers downstream decide, because their messages follow from their true inputs.
"""

from __future__ import annotations

import numpy as np

from snn_compile.hil.cause import CHOICE_BITS, Cause
from snn_compile.hil.divergence import Divergence
from snn_compile.hil.evidence import Evidence, collect
from snn_compile.hil.recording import Recording
from snn_compile.ir.fixedpoint import Int


def of_recording(
    evidence: Evidence, frames: Int, recording: Recording, divergence: Divergence
) -> Cause | None:
    """The recording of a layer as the cause, if every conclusive layer downstream agrees.

    A layer downstream is conclusive if its responses to the right and recorded messages differ.

    Args:
        evidence: about the layer.
        frames: encoded stimuli.
        recording: the messages of the device.
        divergence: the first message that does not follow from the layer's own inputs.
    """
    right = []
    for population in evidence.program.populations:
        sources = {group.inputs[0] for group in evidence.program.synapses_into(population)}
        if evidence.population.id not in sources or population.id not in recording.layers:
            continue
        behind = collect(evidence.program, frames, recording, population, divergence)
        got_right = _got_right(evidence, behind)
        if got_right is False:
            return None
        if got_right:
            right.append(str(population.id))
    if not right:
        return None
    names = " and ".join(f"'{name}'" for name in right)
    answers = "answers" if len(right) == 1 else "answer"
    text = (
        "the recording of this layer is wrong, not the layer:"
        f" {names} {answers} to the right messages"
    )
    return Cause("recording", text, "", CHOICE_BITS, {"layers": right})


def _got_right(evidence: Evidence, behind: Evidence) -> bool | None:
    """Whether a layer downstream received the right messages; None if inconclusive."""
    source = evidence.population.id
    first = max(evidence.first, behind.first)
    stop = min(evidence.first + evidence.n_stimuli, behind.first + behind.n_stimuli)
    right = behind.inputs[source].copy()
    own = slice(first - evidence.first, stop - evidence.first)
    flat = right.reshape(-1, *right.shape[-2:])
    there = behind.skipped - behind.first
    flat[..., first + there : stop + there] = evidence.normal[..., own]
    current = behind.current({**behind.inputs, source: right})
    seen = slice(first - behind.first, stop - behind.first)
    expected = behind.answers(behind.population, current)[..., seen]
    if np.array_equal(expected, behind.normal[..., seen]):
        return None
    return np.array_equal(expected, behind.observed[..., seen])
