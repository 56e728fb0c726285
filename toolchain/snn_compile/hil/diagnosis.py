"""Diagnosis of a differing layer: hypotheses that explain its messages, and the fan-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snn_compile.hil import downstream, hypotheses, single
from snn_compile.hil.cause import Cause, place
from snn_compile.hil.divergence import Divergence
from snn_compile.hil.evidence import Evidence, collect
from snn_compile.hil.fan_in import fan_in
from snn_compile.hil.recording import Recording
from snn_compile.hil.undecided import Ambiguity, find_ambiguity
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding

MAX_SYNAPSES = 10
MAX_LAYERS = 3
"""Most layers diagnosed in one run."""
_ORDER = (
    "lost-message",
    "spurious-message",
    "changed-message",
    "silent",
    "stuck",
    "late",
    "early",
    "no-bias",
    "flipped-kernel",
    "threshold",
    "strict-comparison",
    "weight-bit",
    "lost-synapse",
    "lost-input",
)
"""Order of causes with equal description length, the likeliest first."""


@dataclass(frozen=True)
class Synapse:
    """One synapse of a neuron, with the message that it carried.

    Attributes:
        source: name of the population, or of the input.
        neuron: index in the source.
        weight: its weight, before the group's exponent.
        message: at the step; the sum over the window if layers wait for it, so far in a stream.
    """

    source: str
    neuron: list[int]
    weight: int
    message: int

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for scripts."""
        return {
            "source": self.source,
            "neuron": self.neuron,
            "weight": self.weight,
            "message": self.message,
        }


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of one layer.

    Attributes:
        divergence: where it first differs from the reference.
        synapses: synapses of the diverging neuron with the largest contributions, in that order.
        n_synapses: its fan-in.
        causes: hypotheses that explain everything, the likeliest first; empty if none does. If
            the layers downstream are right, the first is a faulty recording.
        examined: number of messages that they explain.
        stimuli: half-open range of the stimuli examined.
        differing: neurons that differ, of how many.
        assumed: layers before this one that the device does not record.
        undecided: if several causes are as likely as the first, how to distinguish them.
    """

    divergence: Divergence
    synapses: tuple[Synapse, ...]
    n_synapses: int
    causes: tuple[Cause, ...]
    examined: int
    stimuli: tuple[int, int]
    differing: tuple[int, int]
    assumed: tuple[str, ...] = ()
    undecided: Ambiguity | None = None

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.divergence.layer

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for scripts."""
        return {
            "layer": self.layer,
            "first_divergence": self.divergence.as_dict(),
            "synapses": [synapse.as_dict() for synapse in self.synapses],
            "n_synapses": self.n_synapses,
            "causes": [
                {
                    "kind": cause.kind,
                    "text": cause.text,
                    "scope": cause.scope,
                    "where": dict(cause.where),
                }
                for cause in self.causes
            ],
            "undecided": None if self.undecided is None else self.undecided.as_dict(),
            "examined": {"messages": self.examined, "stimuli": list(self.stimuli)},
            "neurons": {"differing": self.differing[0], "of": self.differing[1]},
            "assumed": list(self.assumed),
        }


def diagnose(
    program: QuantizedGraph,
    frames: Int,
    recording: Recording,
    divergences: Mapping[str, Divergence],
    at_hand: Int | None = None,
) -> list[Diagnosis]:
    """Diagnose each layer whose response to its own inputs is wrong, from the first on.

    A layer that differs from the reference only because its sources do is not at fault and is left
    out; so are layers after the third that is.

    Args:
        program: the network.
        frames: the encoded stimuli that the device got, or the first of them.
        recording: the messages of the device.
        divergences: the first one of each differing layer.
        at_hand: encoded stimuli that could distinguish causes, beginning with ``frames``, which
            are the default.
    """
    at_hand = frames if at_hand is None else at_hand
    found: list[Diagnosis] = []
    for population in program.populations:
        divergence = divergences.get(population.id)
        if divergence is None or len(found) == MAX_LAYERS:
            continue
        evidence = collect(program, frames, recording, population, divergence)
        if len(evidence.differing):
            suspected = _diagnosis(evidence, frames, recording, divergence)
            tie = find_ambiguity(program, population, at_hand, suspected.causes)
            found.append(replace(suspected, undecided=tie))
    return found


def _diagnosis(
    evidence: Evidence, frames: Int, recording: Recording, divergence: Divergence
) -> Diagnosis:
    local = _first_local(evidence, divergence)
    synapses, n_synapses = feeding(evidence, local)
    causes = {
        (cause.kind, cause.text, cause.scope): cause
        for cause in (*hypotheses.causes(evidence), *single.causes(evidence))
    }
    ranked = sorted(hypotheses.without_consequences(causes.values()), key=_likelihood)
    suspected = downstream.of_recording(evidence, frames, recording, local)
    if suspected is not None:
        ranked.insert(0, suspected)  # only this also explains the layers downstream
    return Diagnosis(
        local,
        synapses,
        n_synapses,
        tuple(ranked),
        evidence.observed.size,
        (evidence.first, evidence.first + evidence.n_stimuli),
        (len(evidence.differing), len(evidence.observed)),
        evidence.assumed,
    )


def _first_local(evidence: Evidence, divergence: Divergence) -> Divergence:
    """The first message that does not follow from the layer's own inputs."""
    witness = single.Witness.earliest(evidence)
    where = (witness.neuron, witness.step, witness.stimulus)
    return Divergence(
        divergence.layer,
        evidence.first + witness.stimulus,
        witness.step,
        tuple(place(evidence, witness.neuron)),
        int(evidence.normal[where]),
        int(evidence.observed[where]),
    )


def _likelihood(cause: Cause) -> tuple[float, int]:
    order = _ORDER.index(cause.kind) if cause.kind in _ORDER else len(_ORDER)
    return cause.bits, order


def feeding(evidence: Evidence, divergence: Divergence) -> tuple[tuple[Synapse, ...], int]:
    """The synapses with the largest contributions to a diverging neuron, and its fan-in."""
    shape = evidence.population.shape
    neuron = int(np.ravel_multi_index(divergence.neuron, shape))
    column = evidence.skipped + divergence.stimulus - evidence.first
    found: list[tuple[int, Synapse]] = []
    n_synapses = 0
    for group in evidence.groups:
        source = group.inputs[0]
        messages = evidence.inputs[source]
        flat = messages.reshape(-1, *messages.shape[-2:])
        carried = _carried(evidence, flat, divergence.step, column)
        source_shape = evidence.program.graph[source].shape
        synapses = fan_in(group, source_shape, neuron)
        n_synapses += len(synapses.sources)
        strength = np.abs(synapses.weights * carried[synapses.sources])
        for k in np.argsort(-strength, kind="stable")[:MAX_SYNAPSES]:
            index = np.unravel_index(int(synapses.sources[k]), source_shape)
            message = int(carried[synapses.sources[k]])
            synapse = Synapse(
                str(source), [int(i) for i in index], int(synapses.weights[k]), message
            )
            found.append((int(strength[k]), synapse))
    found.sort(key=lambda pair: -pair[0])
    return tuple(synapse for _, synapse in found[:MAX_SYNAPSES]), n_synapses


def _carried(evidence: Evidence, flat: Int, step: int, column: int) -> Int:
    """The input of each source at the time of the neuron's decision."""
    carried: Int = flat[:, step, column]
    if evidence.program.input_coding is InputCoding.CHANGES:
        carried = flat[:, 0, : column + 1].sum(axis=1)
    elif evidence.program.window.schedule:
        carried = flat[:, :, column].sum(axis=1)
    return carried
