"""Hypotheses, the test of a hypothesis, and the cause that a confirmed one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.hil.evidence import Evidence
from snn_compile.ir.fixedpoint import Int

CHOICE_BITS = 6.0
"""Cost of the choice among all hypotheses, in bits."""
SAMPLE = 32
"""Differing neurons that a hypothesis must explain before the test on all neurons."""
EVERYWHERE = "all neurons"
FEW = 3
"""Most neurons that a text lists individually."""
Mask = npt.NDArray[np.bool_]
Prediction = Callable[[Int | None], Int]
"""Maps flat neuron indices (all neurons for None) to their predicted messages, (K, T, B)."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One possible fault of a layer.

    Attributes:
        kind: stable name.
        text: description for users.
        on: prediction for the inputs of some evidence, with the whole layer affected.
        known: (T, B), false where it predicts nothing for that evidence.
        recurs: whether the fault recurs in another run.
    """

    kind: str
    text: str
    on: Callable[[Evidence], Prediction]
    known: Callable[[Evidence], Mask] | None = None
    recurs: bool = True


@dataclass(frozen=True)
class Cause:
    """A hypothesis that explains everything that the layer sent.

    Attributes:
        kind: stable name.
        text: description for users.
        scope: affected part of the layer.
        bits: description length.
        where: exact location: ``neuron``, ``weight``, ``bit``, ``step``, ...
        hypothesis: its predictions for other inputs.
        neurons: (neurons,) affected neurons; all of them if None.
    """

    kind: str
    text: str
    scope: str
    bits: float
    where: Mapping[str, Any] = field(default_factory=dict)
    hypothesis: Hypothesis | None = field(default=None, repr=False, compare=False)
    neurons: Mask | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.text} ({self.scope})" if self.scope else self.text


def of_population(part: Any) -> Callable[[Evidence], Prediction]:
    """Messages of another population that replaces the layer."""

    def on(evidence: Evidence) -> Prediction:
        def predict(neurons: Int | None) -> Int:
            current = evidence.normal_current
            chosen = current if neurons is None else current[neurons]
            return evidence.answers(part, chosen, neurons)

        return predict

    return on


def of_current(current: Callable[[Evidence], Int]) -> Callable[[Evidence], Prediction]:
    """Messages of the layer for another synaptic input, (neurons, T, skipped + B)."""

    def on(evidence: Evidence) -> Prediction:
        total = current(evidence)

        def predict(neurons: Int | None) -> Int:
            chosen = total if neurons is None else total[neurons]
            return evidence.answers(evidence.population, chosen, neurons)

        return predict

    return on


def explain(evidence: Evidence, hypothesis: Hypothesis) -> Cause | None:
    """Test one hypothesis.

    Returns:
        The cause with its scope; None if a prediction fails, or if no difference is predicted.
    """
    differing, predict = evidence.differing, hypothesis.on(evidence)
    known = None if hypothesis.known is None else hypothesis.known(evidence)

    if known is not None:
        wrong = evidence.normal[differing] != evidence.observed[differing]
        if not (wrong & known).any():
            return None

    def agrees(neurons: Int, predicted: Int) -> Mask:
        equal = predicted == evidence.observed[neurons]
        if known is not None:
            equal |= ~known
        agreeing: Mask = equal.all(axis=(1, 2))
        return agreeing

    sample = differing[:: max(1, len(differing) // SAMPLE)]
    if not agrees(sample, predict(sample)).all():
        return None
    everywhere = np.arange(len(evidence.observed))
    as_predicted = agrees(everywhere, predict(None))
    if not as_predicted[differing].all():
        return None
    if as_predicted.all():
        return Cause(
            hypothesis.kind, hypothesis.text, EVERYWHERE, CHOICE_BITS, hypothesis=hypothesis
        )
    scope, bits, where, neurons = _scope(evidence, as_predicted)
    return Cause(
        hypothesis.kind,
        hypothesis.text,
        scope,
        CHOICE_BITS + bits,
        where,
        hypothesis,
        neurons,
    )


def _scope(evidence: Evidence, as_predicted: Mask) -> tuple[str, float, dict[str, Any], Mask]:
    """The channels, if all of their neurons are as predicted, or the neurons that differ."""
    differing, shape = evidence.differing, evidence.population.shape
    per_channel = prod(shape[1:])
    every = np.arange(len(as_predicted))
    channels = np.unique(differing // per_channel)
    in_neurons = 1 + len(differing) * log2(max(2, len(as_predicted)))
    if per_channel > 1 and as_predicted.reshape(shape[0], -1)[channels].all():
        named = [int(channel) for channel in channels]
        concerned = np.isin(every // per_channel, channels)
        bits = 1 + len(named) * log2(max(2, shape[0]))
        if len(named) == 1:
            return f"channel {named[0]}", bits, {"channel": named[0]}, concerned
        return f"{len(named)} of {shape[0]} channels", bits, {"channels": named}, concerned
    concerned = np.isin(every, differing)
    if len(differing) <= FEW:
        places = [place(evidence, int(neuron)) for neuron in differing]
        text = ", ".join(str(p) for p in places)
        if len(places) == 1:
            return f"neuron {text}", in_neurons, {"neuron": places[0]}, concerned
        return f"neurons {text}", in_neurons, {"neurons": places}, concerned
    return f"{len(differing):,} of {len(as_predicted):,} neurons", in_neurons, {}, concerned


def place(evidence: Evidence, neuron: int) -> list[int]:
    """Index of a flat neuron in the shape of its layer."""
    return [int(i) for i in np.unravel_index(neuron, evidence.population.shape)]
