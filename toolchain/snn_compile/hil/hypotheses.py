"""Hypotheses about a layer that answers wrongly, tested against all that it sent.

A hypothesis predicts what the layer would have sent for the inputs that it got. It holds if it
predicts every message of every neuron that differs, and what is right of all others: for the whole
layer, for one channel or for single neurons.

Of several that hold, the one that leaves least open is the likeliest: causes are ranked by the bits
that it takes to say them (minimum description length, Rissanen 1978). "The bias is missing" takes
no more than the choice among all hypotheses; "message 4,711 of 9,000 was lost" must say which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.hil import variants
from snn_compile.hil.evidence import Evidence
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import (
    IFNeurons,
    Readout,
    SigmaDeltaReadout,
    SignedIFNeurons,
    SyncReadout,
)

CHOICE_BITS = 6.0
"""To choose one of the hypotheses there are."""
SAMPLE = 32
"""Differing neurons that a hypothesis must explain before it is tested on all."""
EVERYWHERE = "all neurons"
FEW = 3
"""Neurons that a text names one by one."""
_SHARED = ("wrap", "saturate", "reset", "shift")
"""Variants that are a property of a neuron model or of a chip."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cause:
    """A hypothesis that explains everything that the layer sent.

    Attributes:
        kind: stable name.
        text: for people.
        scope: how much of the layer is concerned.
        bits: what it takes to say it.
        where: numbers that say exactly what: ``neuron``, ``weight``, ``bit``, ``step``, ...
    """

    kind: str
    text: str
    scope: str
    bits: float
    where: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.text} ({self.scope})" if self.scope else self.text


def explained(
    evidence: Evidence,
    kind: str,
    text: str,
    predict: Callable[[Int | None], Int],
    known: Mask | None = None,
) -> Cause | None:
    """Test one hypothesis.

    Args:
        evidence: about the layer.
        kind: of the hypothesis.
        text: the same for people.
        predict: for the flat neurons given, or all of them, (K, T, B) messages.
        known: (T, B), false where the hypothesis says nothing.

    Returns:
        The cause with its scope; None if anything is not as predicted.
    """
    differing = evidence.differing

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
        return Cause(kind, text, EVERYWHERE, CHOICE_BITS)
    scope, bits, where = _scope(evidence, as_predicted)
    return Cause(kind, text, scope, CHOICE_BITS + bits, where)


def _scope(evidence: Evidence, as_predicted: Mask) -> tuple[str, float, dict[str, Any]]:
    """The channels, if all of their neurons are as predicted, or the neurons that differ."""
    differing, shape = evidence.differing, evidence.population.shape
    per_channel = prod(shape[1:])
    channels = np.unique(differing // per_channel)
    in_neurons = 1 + len(differing) * log2(max(2, len(as_predicted)))
    if per_channel > 1 and as_predicted.reshape(shape[0], -1)[channels].all():
        named = [int(channel) for channel in channels]
        bits = 1 + len(named) * log2(max(2, shape[0]))
        if len(named) == 1:
            return f"channel {named[0]}", bits, {"channel": named[0]}
        return f"{len(named)} of {shape[0]} channels", bits, {"channels": named}
    if len(differing) <= FEW:
        places = [place(evidence, int(neuron)) for neuron in differing]
        text = ", ".join(str(p) for p in places)
        if len(places) == 1:
            return f"neuron {text}", in_neurons, {"neuron": places[0]}
        return f"neurons {text}", in_neurons, {"neurons": places}
    return f"{len(differing):,} of {len(as_predicted):,} neurons", in_neurons, {}


def place(evidence: Evidence, neuron: int) -> list[int]:
    """Index of a flat neuron in the shape of its layer."""
    return [int(i) for i in np.unravel_index(neuron, evidence.population.shape)]


def causes(evidence: Evidence) -> Iterator[Cause]:
    """All causes that concern messages, whole populations and whole synapse groups."""
    yield from _of_messages(evidence)
    for test in (_of_neurons, _of_synapses, _of_inputs, _of_windows):
        yield from (cause for cause in test(evidence) if cause is not None)


def _of_messages(evidence: Evidence) -> Iterator[Cause]:
    """The neurons are right, but what they sent got lost, late or stuck."""
    normal, observed, differing = evidence.normal, evidence.observed, evidence.differing
    wrong = np.argwhere(normal[differing] != observed[differing])
    if len(wrong) == 1:
        index, step, stimulus = (int(i) for i in wrong[0])
        neuron = int(differing[index])
        before, after = int(normal[neuron, step, stimulus]), int(observed[neuron, step, stimulus])
        where = {
            "neuron": place(evidence, neuron),
            "step": step,
            "stimulus": evidence.first + stimulus,
        }
        kind, text = "changed-message", f"one message has changed from {before} to {after}"
        if after == 0:
            kind, text = "lost-message", "one message has been lost"
        elif before == 0:
            kind, text = "spurious-message", "one message was sent without cause"
        scope = f"stimulus {where['stimulus']}, step {step}, neuron {where['neuron']}"
        yield Cause(kind, text, scope, CHOICE_BITS + log2(normal.size), where)
    stuck = (observed[differing] == observed[differing, :1, :1]).all()
    if stuck and not isinstance(evidence.population, Readout) and len(wrong) > 1:
        yield _stuck(evidence)
    for by, kind, text in ((1, "late", "one step late"), (-1, "early", "one step early")):
        known = np.ones(normal.shape[1:], np.bool_)
        edge = (0, 0) if by > 0 else (-1, -1)
        known[edge] = False  # what came before the evidence, or comes after it, is not known

        def predict(neurons: Int | None, by: int = by) -> Int:
            return shifted(normal if neurons is None else normal[neurons], by)

        cause = _together(
            evidence, explained(evidence, kind, f"messages are sent {text}", predict, known)
        )
        if cause is not None:
            yield cause


def _together(evidence: Evidence, cause: Cause | None) -> Cause | None:
    """What happens to whole layers or cores only is no cause of what a few neurons do."""
    few = len(evidence.differing) <= FEW < len(evidence.observed)
    return None if cause is None or (few and cause.scope != EVERYWHERE) else cause


def _stuck(evidence: Evidence) -> Cause:
    neurons = evidence.differing
    values = {int(v) for v in evidence.observed[neurons, 0, 0]}
    if values == {0}:
        kind, text = "silent", "sends nothing at all"
    else:
        kind, text = "stuck", f"always sends {', '.join(str(v) for v in sorted(values)[:3])}"
    if len(neurons) == len(evidence.observed) > 1:
        return Cause(kind, f"every neuron {text}", EVERYWHERE, CHOICE_BITS)
    scope, bits, where = _scope(evidence, np.isin(np.arange(len(evidence.observed)), neurons))
    return Cause(kind, f"a neuron {text}", scope, CHOICE_BITS + bits, where)


def shifted(messages: Int, by: int) -> Int:
    """Messages (..., T, B) one row of the device's clock later or earlier, 0 where none are known.

    Stimuli follow each other: what is late at the last step comes in the next window.
    """
    *shape, n_steps, n_stimuli = messages.shape
    rows = messages.swapaxes(-1, -2).reshape(*shape, n_stimuli * n_steps)
    moved = np.zeros_like(rows)
    if by > 0:
        moved[..., by:] = rows[..., :-by]
    else:
        moved[..., :by] = rows[..., -by:]
    return moved.reshape(*shape, n_stimuli, n_steps).swapaxes(-1, -2)


def _of_neurons(evidence: Evidence) -> Iterator[Cause | None]:
    """The neurons compute something else."""
    current = evidence.normal_current
    for variant in variants.of_population(evidence.population):
        part = variant.part

        def predict(neurons: Int | None, part: Any = part) -> Int:
            chosen = current if neurons is None else current[neurons]
            return evidence.answers(part, chosen, neurons)

        cause = explained(evidence, variant.kind, variant.text, predict)
        yield _together(evidence, cause) if variant.kind in _SHARED else cause


def _of_synapses(evidence: Evidence) -> Iterator[Cause | None]:
    """A whole synapse group has other weights."""
    for group in evidence.groups:
        source = evidence.program.graph[group.inputs[0]]
        for variant in variants.of_synapses(group, source.shape):
            current = evidence.current(evidence.inputs, {group.id: variant.part})
            text = f"{variant.text}, in '{group.id}'" if len(evidence.groups) > 1 else variant.text
            predict = _predictor(evidence, current)
            yield _together(evidence, explained(evidence, variant.kind, text, predict))


def _of_inputs(evidence: Evidence) -> Iterator[Cause | None]:
    """The synapses get other messages than were sent."""
    for source, messages in evidence.inputs.items():
        others = {
            ("late-input", "arrive one step late"): shifted(messages, 1),
            ("early-input", "arrive one step early"): shifted(messages, -1),
            ("binary-input", "count as spikes, whatever their value"): (messages != 0) * 1,
        }
        for (kind, text), other in others.items():
            if evidence.skipped and kind != "binary-input":
                continue  # the sum of all messages before is no message that could be late
            known = np.ones(evidence.observed.shape[1:], np.bool_)
            if kind == "late-input" and evidence.first:
                known[:, 0] = False
            if kind == "early-input":
                known[:, -1] = False
            current = evidence.current({**evidence.inputs, source: other})
            said = f"messages of '{source}' {text}"
            predict = _predictor(evidence, current)
            yield _together(evidence, explained(evidence, kind, said, predict, known))


def _of_windows(evidence: Evidence) -> Iterator[Cause | None]:
    """The state is not reset between windows."""
    population, current = evidence.population, evidence.normal_current
    lasting = isinstance(population, IFNeurons | SignedIFNeurons | Readout)
    if not lasting or isinstance(population, SyncReadout | SigmaDeltaReadout) or evidence.first:
        return
    n_steps, n_stimuli = current.shape[1:]

    def predict(neurons: Int | None) -> Int:
        chosen = current if neurons is None else current[neurons]
        stream = chosen.swapaxes(1, 2).reshape(len(chosen), n_stimuli * n_steps, 1)
        answer = evidence.answers(population, stream, neurons)
        return answer.reshape(len(chosen), n_stimuli, n_steps).swapaxes(1, 2)

    text = "the state is not reset between stimuli"
    yield explained(evidence, "no-window-reset", text, predict)


def _predictor(evidence: Evidence, current: Int) -> Callable[[Int | None], Int]:
    def predict(neurons: Int | None) -> Int:
        chosen = current if neurons is None else current[neurons]
        return evidence.answers(evidence.population, chosen, neurons)

    return predict
