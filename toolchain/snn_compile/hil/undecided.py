"""Stimuli that distinguish causes which explain a difference equally well.

All causes of a difference agree on the evidence. They differ on other stimuli; a cause that does
not recur, like a lost message, differs from all others when the same stimulus is shown again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.hil import evidence as evidence_module
from snn_compile.hil.cause import Cause, Mask
from snn_compile.hil.evidence import Evidence
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import Population, QuantizedGraph
from snn_compile.ir.spiking import InputCoding

EQUAL_BITS = 1.0
"""Causes longer than the first by up to this are equally good: a bit is odds of two to one."""
MAX_CAUSES = 8
"""Most causes compared, the likeliest first."""
_REPEATED = 2
"""Repetitions of a constructed stimulus, for stateful networks."""


@dataclass(frozen=True)
class Ambiguity:
    """Causes that explain a difference equally well, and a stimulus that distinguishes them.

    Attributes:
        causes: number of them, counted from the first of the diagnosis.
        searched: available stimuli with predicted responses, from the first on.
        stimulus: index of the first one that distinguishes, in a run from the first on.
        constant: otherwise, the encoded value of a constant stimulus that distinguishes.
        decides: whether it distinguishes every pair of causes, or only some.
    """

    causes: int
    searched: int
    stimulus: int | None = None
    constant: int | None = None
    decides: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for scripts."""
        return {
            "causes": self.causes,
            "searched": self.searched,
            "stimulus": self.stimulus,
            "constant": self.constant,
            "decides": self.decides,
        }


def find_ambiguity(
    program: QuantizedGraph, population: Population, at_hand: Int, causes: Sequence[Cause]
) -> Ambiguity | None:
    """A stimulus that distinguishes the likeliest causes, if several are equally likely.

    The layers upstream are assumed correct.

    Args:
        program: the network.
        population: the layer.
        at_hand: encoded stimuli that could be shown, the evidence first.
        causes: of the layer's difference, the likeliest first.
    """
    if not causes:
        return None
    equal = list(takewhile(lambda c: c.bits <= causes[0].bits + EQUAL_BITS, causes))[:MAX_CAUSES]
    if len(equal) < 2 or any(cause.hypothesis is None for cause in equal):
        return None
    frames = at_hand[: evidence_module.stimuli_within_budget(program, population, len(equal))]
    found = _first(_parting(equal, program, population, frames))
    if found is not None:
        return Ambiguity(len(equal), len(frames), found[0], decides=found[1])
    for value in _constants(program):
        frame = np.full((_REPEATED, *program.inputs.shape), value, np.int64)
        found = _first(_parting(equal, program, population, frame))
        if found is not None:
            return Ambiguity(len(equal), len(frames), constant=value, decides=found[1])
    return Ambiguity(len(equal), len(frames))


def _constants(program: QuantizedGraph) -> list[int]:
    """Values of constant stimuli: the largest of every input, the smallest, zero."""
    if program.input_coding is InputCoding.EVENTS:
        return []
    high, low = (min(n.high for n in program.inputs), max(n.low for n in program.inputs))
    return list(dict.fromkeys((high, low, 0)))


def _first(parting: npt.NDArray[np.bool_]) -> tuple[int, bool] | None:
    """The first stimulus that distinguishes all causes, else the first that distinguishes some."""
    for telling, decides in ((parting.all(axis=0), True), (parting.any(axis=0), False)):
        if telling.any():
            return int(telling.argmax()), decides
    return None


def _parting(
    causes: Sequence[Cause], program: QuantizedGraph, population: Population, frames: Int
) -> npt.NDArray[np.bool_]:
    """Whether the predictions of two causes differ, (pairs, stimuli)."""
    healthy = evidence_module.healthy(program, frames, population)
    predicted = [_predicted(cause, healthy) for cause in causes]
    parting = [
        ((one != other) & known & also).any(axis=(0, 1))
        for (one, known), (other, also) in combinations(predicted, 2)
    ]
    return np.array(parting)


def _predicted(cause: Cause, evidence: Evidence) -> tuple[Int, Mask]:
    """The layer's messages under this cause, and where they are known, (T, B)."""
    hypothesis, everywhere = cause.hypothesis, np.ones(evidence.normal.shape[1:], np.bool_)
    if hypothesis is None or not hypothesis.recurs:
        return evidence.normal, everywhere
    known = everywhere if hypothesis.known is None else hypothesis.known(evidence)
    messages = hypothesis.on(evidence)(None)
    if cause.neurons is not None:
        messages = np.where(cause.neurons[:, None, None], messages, evidence.normal)
    return messages, known
