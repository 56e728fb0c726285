"""Hypotheses about a layer with wrong responses, tested against all of its messages.

A hypothesis predicts the layer's messages for the inputs that it got. It holds if it predicts every
message of every differing neuron, and the correct messages of all others: for the whole layer, for
one channel or for single neurons. The scope follows from the messages, not from the differences: a
silenced layer is silent as a whole, even if some of its neurons have nothing to send.

Causes are ranked by description length, the shortest first (minimum description length, Rissanen
1978). "The bias is missing" costs only the choice among all hypotheses; "message 4,711 of 9,000 was
lost" must also identify the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import log2

import numpy as np

from snn_compile.hil import variants
from snn_compile.hil.cause import (
    CHOICE_BITS,
    EVERYWHERE,
    FEW,
    Cause,
    Hypothesis,
    Mask,
    Prediction,
    explain,
    of_current,
    of_population,
    place,
)
from snn_compile.hil.evidence import Evidence
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Readout, Synapses

_SHARED = ("wrap", "saturate", "reset", "shift")
"""Variants that are a property of a neuron model or of a chip."""
_WIDTHS = ("wrap", "saturate")
_CONSTANT = ("silent", "stuck")


def causes(evidence: Evidence) -> Iterator[Cause]:
    """All causes in messages, whole populations and whole synapse groups."""
    yield from _of_messages(evidence)
    for test in (_of_neurons, _of_synapses, _of_inputs, _of_windows):
        yield from (cause for cause in test(evidence) if cause is not None)


def without_consequences(found: Iterable[Cause]) -> list[Cause]:
    """Drop state widths that add nothing to a simpler cause.

    A state too narrow for the threshold, at any width below, explains every silent neuron: the
    silence was observed, the width was not.
    """
    found = list(found)
    simplest = min((c.bits for c in found if c.kind in _CONSTANT), default=np.inf)
    return [cause for cause in found if cause.kind not in _WIDTHS or cause.bits < simplest]


def _of_messages(evidence: Evidence) -> Iterator[Cause]:
    """The neurons are right, but their messages are lost, late or stuck."""
    normal, observed, differing = evidence.normal, evidence.observed, evidence.differing
    wrong = np.argwhere(normal[differing] != observed[differing])
    if len(wrong) == 1:
        index, step, stimulus = (int(i) for i in wrong[0])
        yield _one_message(evidence, int(differing[index]), step, stimulus)
    else:
        constant = _constant(evidence)
        if constant is not None:
            yield constant
    for by, kind, text in ((1, "late", "one step late"), (-1, "early", "one step early")):
        cause = _together(evidence, explain(evidence, _moved(by, kind, text)))
        if cause is not None:
            yield cause


def _one_message(evidence: Evidence, neuron: int, step: int, stimulus: int) -> Cause:
    before = int(evidence.normal[neuron, step, stimulus])
    after = int(evidence.observed[neuron, step, stimulus])
    kind, text = "changed-message", f"one message has changed from {before} to {after}"
    if after == 0:
        kind, text = "lost-message", "one message has been lost"
    elif before == 0:
        kind, text = "spurious-message", "one message was sent without cause"
    where = {
        "neuron": place(evidence, neuron),
        "step": step,
        "stimulus": evidence.first + stimulus,
    }
    scope = f"stimulus {where['stimulus']}, step {step}, neuron {where['neuron']}"
    once = Hypothesis(kind, text, of_population(evidence.population), recurs=False)
    return Cause(kind, text, scope, CHOICE_BITS + log2(evidence.normal.size), where, once)


def _constant(evidence: Evidence) -> Cause | None:
    """Neurons with constant messages, if every differing neuron has them."""
    first = evidence.observed[:, :1, :1]
    values = np.unique(first[evidence.differing])
    if isinstance(evidence.population, Readout):
        return None
    kind, text = "stuck", f"what is sent is always {', '.join(str(v) for v in values[:FEW])}"
    if values.tolist() == [0]:
        kind, text = "silent", "nothing is sent at all"
    sent = first if len(values) > 1 else np.full_like(first, values[0])

    def on(other: Evidence) -> Prediction:
        rows = np.broadcast_to(sent, (len(sent), *other.observed.shape[1:]))
        return lambda neurons: rows if neurons is None else rows[neurons]

    cause = explain(evidence, Hypothesis(kind, text, on))
    if cause is None:
        return None
    which = log2(len(values)) * len(evidence.differing)  # each neuron its own value
    return replace(cause, bits=cause.bits + which)


def _moved(by: int, kind: str, text: str) -> Hypothesis:
    """All messages later or earlier by a step."""

    def on(evidence: Evidence) -> Prediction:
        normal = evidence.normal
        return lambda neurons: shifted(normal if neurons is None else normal[neurons], by)

    def known(evidence: Evidence) -> Mask:
        # Messages before and after the evidence are unknown.
        everything = np.ones(evidence.normal.shape[1:], np.bool_)
        everything[(0, 0) if by > 0 else (-1, -1)] = False
        return everything

    return Hypothesis(kind, f"messages are sent {text}", on, known)


def _together(evidence: Evidence, cause: Cause | None) -> Cause | None:
    """Drop a cause that affects whole layers or cores if only a few neurons differ."""
    few = len(evidence.differing) <= FEW < len(evidence.observed)
    return None if cause is None or (few and cause.scope != EVERYWHERE) else cause


def shifted(messages: Int, by: int) -> Int:
    """Messages (..., T, B) one step of the device's clock later or earlier, 0 where unknown.

    Stimuli are consecutive: a message late at the last step arrives in the next window.
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
    """The neurons compute a different function."""
    for variant in evidence.population.variants():
        hypothesis = Hypothesis(variant.kind, variant.text, of_population(variant.part))
        cause = explain(evidence, hypothesis)
        yield _together(evidence, cause) if variant.kind in _SHARED else cause


def _of_synapses(evidence: Evidence) -> Iterator[Cause | None]:
    """A whole synapse group has other weights."""
    for group in evidence.groups:
        source = evidence.program.graph[group.inputs[0]]
        for variant in variants.of_synapses(group, source.shape):
            text = f"{variant.text}, in '{group.id}'" if len(evidence.groups) > 1 else variant.text
            on = of_current(changed_synapses(group.id, variant.part))
            yield _together(evidence, explain(evidence, Hypothesis(variant.kind, text, on)))


def changed_synapses(group: NodeId, part: Synapses) -> Callable[[Evidence], Int]:
    """The synaptic input with one group replaced by another."""
    return lambda evidence: evidence.current(evidence.inputs, {group: part})


def _of_inputs(evidence: Evidence) -> Iterator[Cause | None]:
    """The synapses receive other messages than were sent."""
    changes: tuple[tuple[str, str, Callable[[Int], Int]], ...] = (
        ("late-input", "arrive one step late", lambda messages: shifted(messages, 1)),
        ("early-input", "arrive one step early", lambda messages: shifted(messages, -1)),
        (
            "binary-input",
            "count as spikes, whatever their value",
            lambda messages: (messages != 0) * 1,
        ),
    )
    for source in evidence.inputs:
        for kind, text, change in changes:
            if evidence.skipped and kind != "binary-input":
                continue  # the sum of all earlier messages is no message that could be late

            def current(
                other: Evidence,
                source: NodeId = source,
                change: Callable[[Int], Int] = change,
            ) -> Int:
                return other.current({**other.inputs, source: change(other.inputs[source])})

            def known(other: Evidence, kind: str = kind) -> Mask:
                everything = np.ones(other.observed.shape[1:], np.bool_)
                if kind == "late-input" and other.first:
                    everything[:, 0] = False
                if kind == "early-input":
                    everything[:, -1] = False
                return everything

            description = f"messages of '{source}' {text}"
            hypothesis = Hypothesis(kind, description, of_current(current), known)
            yield _together(evidence, explain(evidence, hypothesis))


def _of_windows(evidence: Evidence) -> Iterator[Cause | None]:
    """The state is not reset between windows."""
    population = evidence.population
    if not population.window_reset or evidence.first:
        return

    def on(other: Evidence) -> Prediction:
        current = other.normal_current
        n_steps, n_stimuli = current.shape[1:]

        def predict(neurons: Int | None) -> Int:
            chosen = current if neurons is None else current[neurons]
            stream = chosen.swapaxes(1, 2).reshape(len(chosen), n_stimuli * n_steps, 1)
            answer = other.answers(population, stream, neurons)
            return answer.reshape(len(chosen), n_stimuli, n_steps).swapaxes(1, 2)

        return predict

    text = "the state is not reset between stimuli"
    yield explain(evidence, Hypothesis("no-window-reset", text, on))
