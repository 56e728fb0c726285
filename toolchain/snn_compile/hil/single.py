"""Hypotheses about one number: a bit of a weight or a parameter, a synapse, a message on its way.

There are many such numbers. One differing neuron, the witness, limits them to those in its fan-in
that explain its messages for the first wrong stimulus. Only these candidates are tested on all
evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from math import log2, prod
from typing import Any

import numpy as np

from snn_compile.hil import variants
from snn_compile.hil.cause import (
    EVERYWHERE,
    Cause,
    Hypothesis,
    explain,
    of_current,
    of_population,
    place,
)
from snn_compile.hil.evidence import Evidence
from snn_compile.hil.fan_in import FanIn, fan_in
from snn_compile.hil.hypotheses import changed_synapses
from snn_compile.ir.fixedpoint import Int, QTensor, arithmetic_shift
from snn_compile.ir.quantized import Population, Synapses
from snn_compile.ir.spiking import InputCoding

MAX_TESTED = 24
"""Most candidates of one kind tested on all evidence; a clear case has few."""
MAX_SHIFT = 63
"""The farthest that an integer of 64 bits can be shifted."""
_ELEMENTS = 1 << 22
"""Size of the currents evaluated at once."""
Change = Callable[[Int, slice], Int]


@dataclass(frozen=True, eq=False)
class Witness:
    """A neuron and the stimulus in which it first differs.

    Attributes:
        evidence: about its layer.
        neuron: flat index.
        stimulus: index in the evidence.
        step: the first step that differs there.
    """

    evidence: Evidence
    neuron: int
    stimulus: int
    step: int

    @staticmethod
    def earliest(evidence: Evidence) -> Witness:
        """The neuron that differs first, in stimuli and steps."""
        wrong = evidence.normal[evidence.differing] != evidence.observed[evidence.differing]
        stimulus = int(wrong.any(axis=(0, 1)).argmax())
        step = int(wrong[..., stimulus].any(axis=0).argmax())
        neuron = int(evidence.differing[int(wrong[:, step, stimulus].argmax())])
        return Witness(evidence, neuron, stimulus, step)

    @property
    def columns(self) -> slice:
        """Frames of the inputs that determine its messages for the stimulus."""
        last = self.evidence.skipped + self.stimulus + 1
        carries_state = self.evidence.program.input_coding is InputCoding.CHANGES
        return slice(0 if carries_state else last - 1, last)

    def fan_in(self, group: Synapses) -> tuple[FanIn, Int]:
        """Its synapses in a group, and all messages (sources, T, frames) of the group's source."""
        source = self.evidence.program.graph[group.inputs[0]]
        messages = self.evidence.inputs[group.inputs[0]]
        flat = messages.reshape(-1, *messages.shape[-2:])
        return fan_in(group, source.shape, self.neuron), flat

    def consistent(self, group: Synapses, n_candidates: int, change: Change) -> Int:
        """Candidates that explain all of the neuron's messages.

        Args:
            group: the group that the candidates change.
            n_candidates: number of candidates.
            change: contribution of some candidates to the group's sum in some frames, (k, T,
                frames).
        """
        chosen = np.arange(n_candidates)
        for columns in (self.columns, slice(0, self.evidence.skipped + self.evidence.n_stimuli)):
            current = self._without(group, columns)
            size = max(1, _ELEMENTS // current[0].size)
            parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
            agreeing = [self._agreeing(group, columns, current, p, change) for p in parts]
            chosen = np.concatenate([chosen[:0], *agreeing])
        return chosen

    def _without(self, group: Synapses, columns: slice) -> tuple[Int, Int]:
        """The neuron's current without a group, and the group's sum, (T, frames) each."""
        found, messages = self.fan_in(group)
        total = self.evidence.normal_current[self.neuron][..., columns]
        own = np.tensordot(found.weights, messages[found.sources][..., columns], 1)
        return total - arithmetic_shift(own, group.exponent), own

    def _agreeing(
        self,
        group: Synapses,
        columns: slice,
        current: tuple[Int, Int],
        chosen: Int,
        change: Change,
    ) -> Int:
        evidence, (rest, own) = self.evidence, current
        changed = rest + arithmetic_shift(own + change(chosen, columns), group.exponent)
        neurons = np.full(len(chosen), self.neuron)
        answers = evidence.answers(evidence.population, changed, neurons)
        stop = columns.stop - evidence.skipped
        sent = evidence.observed[self.neuron][..., stop - answers.shape[-1] : stop]
        return chosen[np.flatnonzero(np.equal(answers, sent).all(axis=(1, 2)))]


def causes(evidence: Evidence) -> Iterator[Cause]:
    """All causes in a single number."""
    if not len(evidence.differing):
        return
    witness = Witness.earliest(evidence)
    per_channel = prod(evidence.population.shape[1:])
    if len(np.unique(evidence.differing // per_channel)) == 1:
        for group in evidence.groups:
            yield from _of_weights(witness, group)
        yield from _of_parameters(evidence)
    for group in evidence.groups:
        yield from _of_lost_inputs(witness, group)


def _of_weights(witness: Witness, group: Synapses) -> Iterator[Cause]:
    """A flipped bit of one weight, or a missing synapse."""
    found, messages = witness.fan_in(group)
    bits = group.weight.format.bits
    columns = [variants.flipped_bit(found.weights, bit, bits) for bit in range(bits)]
    # The last column is a missing synapse, unless flipping a bit has the same effect.
    gone = np.where((found.weights & (found.weights - 1)) == 0, found.weights, 0)
    table = np.stack([*columns, gone], axis=1)
    arriving = messages[found.sources][..., witness.columns]
    silent = np.flatnonzero(np.count_nonzero(arriving, axis=(1, 2)) == 0)
    table[silent] = found.weights[silent, None]
    synapse, column = np.nonzero(table != found.weights[:, None])

    def change(chosen: Int, columns: slice) -> Int:
        k = synapse[chosen]
        delta = table[k, column[chosen]] - found.weights[k]
        added: Int = delta[:, None, None] * messages[found.sources[k]][..., columns]
        return added

    for index in witness.consistent(group, len(synapse), change)[:MAX_TESTED]:
        k, bit = int(synapse[index]), int(column[index])
        old, new = int(found.weights[k]), int(table[k, bit])
        cause = _with_weight(witness.evidence, group, found, k, (old, new), bit)
        if cause is not None:
            yield cause


def _with_weight(
    evidence: Evidence, group: Synapses, found: FanIn, k: int, weights: tuple[int, int], bit: int
) -> Cause | None:
    """The cause, if one weight (for all neurons that share it, or for one) explains everything."""
    old, new = weights
    kind, text = "weight-bit", f"bit {bit} of one weight is flipped: {old} became {new}"
    if bit == group.weight.format.bits:
        kind, text = "lost-synapse", f"one synapse of weight {old} is missing"
    values = group.weight.values.reshape(-1).copy()
    values[found.places[k]] = new
    changed = variants.with_weight(group, values.reshape(group.weight.shape))
    on = of_current(changed_synapses(group.id, changed))
    cause = explain(evidence, Hypothesis(kind, text, on))
    if cause is None:
        return None
    index = np.unravel_index(int(found.places[k]), group.weight.shape)
    source = evidence.program.graph[group.inputs[0]]
    where: dict[str, Any] = {
        "synapses": str(group.id),
        "weight": [int(i) for i in index],
        "source": [int(i) for i in np.unravel_index(int(found.sources[k]), source.shape)],
        "expected": old,
        "actual": new,
    }
    if kind == "weight-bit":
        where["bit"] = bit
    scope = f"weight {where['weight']} of '{group.id}'"
    n_bits = cause.bits + log2(values.size * (group.weight.format.bits + 1))
    if cause.scope != EVERYWHERE:
        # Shared in the program, but not on a device that stores synapses for each neuron.
        scope += f", {cause.scope} only"
    return replace(cause, scope=scope, bits=n_bits, where=where | dict(cause.where))


def _of_parameters(evidence: Evidence) -> Iterator[Cause]:
    """A flipped bit of a bias, threshold, multiplier, shift, initial potential or table."""
    population = evidence.population
    for item in fields(population):
        tensor = getattr(population, item.name)
        if isinstance(tensor, QTensor):
            for index in _places(evidence, item.name, tensor):
                yield from _of_parameter(evidence, item.name, tensor, index)


def _places(evidence: Evidence, name: str, tensor: QTensor) -> Iterator[tuple[int, ...]]:
    """The elements of a parameter that only the differing neurons have."""
    population = evidence.population
    channel, *_ = neuron = place(evidence, int(evidence.differing[0]))
    if name in population.tables and tensor.values.ndim == 2:
        in_use = tensor.values[channel] <= population.state.max  # breakpoints of no line are beyond
        yield from ((channel, int(k)) for k in np.flatnonzero(in_use | (name != "breakpoints")))
    elif tensor.shape == population.shape:
        if len(evidence.differing) == 1:
            yield tuple(neuron)
    elif tensor.shape == population.shape[:1]:
        yield (channel,)


def _of_parameter(
    evidence: Evidence, name: str, tensor: QTensor, index: tuple[int, ...]
) -> Iterator[Cause]:
    """A flipped bit of one element of a parameter."""
    population = evidence.population
    form = population.state if name == "breakpoints" else tensor.format
    old = int(tensor.values[index])
    for bit in range(form.bits):
        new = old ^ 1 << bit
        if form.signed and bit == form.bits - 1:
            new = old - (1 << bit) if old >= 0 else old + (1 << bit)
        values = tensor.values.copy()
        values[index] = new
        if not _is_meant(population, name, values, new):
            continue
        changed: Any = {name: QTensor.of(values)}
        part: Any = replace(population, **changed)
        shown = name.replace("_", " ")
        text = f"bit {bit} of the {shown} is flipped: {old} became {new}"
        cause = explain(evidence, Hypothesis("parameter-bit", text, of_population(part)))
        if cause is not None:
            where = {"parameter": name, "index": list(index), "bit": bit}
            scope = f"{shown} {list(index)}"
            if cause.scope != EVERYWHERE:
                scope += f", {cause.scope} only"
            n_bits = cause.bits + log2(_parameter_bits(population))
            where |= dict(cause.where)
            yield replace(cause, scope=scope, bits=n_bits, where=where)


def _is_meant(population: Population, name: str, values: Int, new: int) -> bool:
    """Whether the response of a population with these values is defined."""
    if name == "shift":
        return 0 <= new <= MAX_SHIFT
    if name == "breakpoints":
        return bool((np.diff(values, axis=1) >= 0).all())
    return new >= 1 or name not in ("threshold", "multiplier") or name in population.tables


def _parameter_bits(population: Population) -> int:
    """Total number of bits in all parameters."""
    values = (getattr(population, item.name) for item in fields(population))
    return sum(v.values.size * v.format.bits for v in values if isinstance(v, QTensor))


def _of_lost_inputs(witness: Witness, group: Synapses) -> Iterator[Cause]:
    """One message reached none of the layer's neurons."""
    evidence = witness.evidence
    wrong = (evidence.normal != evidence.observed).any(axis=(0, 1))
    carries_state = evidence.program.input_coding is InputCoding.CHANGES
    if wrong.sum() > 1 and not carries_state:
        return
    found, messages = witness.fan_in(group)
    at_fault = evidence.skipped + witness.stimulus
    sent = messages[found.sources][..., at_fault]
    synapse, step = np.nonzero(sent)

    def change(chosen: Int, columns: slice) -> Int:
        k, t = synapse[chosen], step[chosen]
        added = np.zeros((len(chosen), len(sent[0]), columns.stop - columns.start), np.int64)
        where = at_fault - columns.start
        added[np.arange(len(chosen)), t, where] = -found.weights[k] * sent[k, t]
        return added

    source = group.inputs[0]
    messages_sent = max(2, int(np.count_nonzero(evidence.inputs[source])))
    for index in witness.consistent(group, len(synapse), change)[:MAX_TESTED]:
        neuron, at = int(found.sources[synapse[index]]), int(step[index])
        inputs = evidence.inputs[source].copy()
        inputs.reshape(-1, *inputs.shape[-2:])[neuron, at, at_fault] = 0
        current = evidence.current({**evidence.inputs, source: inputs})
        text = f"one message of '{source}' did not arrive"
        on = of_current(lambda _, current=current: current)  # type: ignore[misc]
        cause = explain(evidence, Hypothesis("lost-input", text, on, recurs=False))
        if cause is not None and cause.scope == EVERYWHERE:
            shape = evidence.program.graph[source].shape
            where = {
                "source": str(source),
                "neuron": [int(i) for i in np.unravel_index(neuron, shape)],
                "step": at,
                "stimulus": evidence.first + witness.stimulus,
            }
            scope = f"stimulus {where['stimulus']}, step {at}, neuron {where['neuron']}"
            n_bits = cause.bits + log2(messages_sent)
            yield replace(cause, scope=scope, bits=n_bits, where=where)
