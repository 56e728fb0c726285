"""Weights of a width that the target has not, stored in those that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.fit.additions import unused, with_program
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    Population,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block
from snn_compile.mapping.counts import counts_of
from snn_compile.passes import Finding, PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds

WIDTHS = range(2, 9)
"""Of weights that a network in fixed point may have."""
MAX_EXPONENT = 7
"""The largest that Loihi's synapse format holds."""

_DigitsOf = Callable[[Int, int], tuple[list[Int], int]]
"""The digits of integers, in a number of bits each, and by how many powers of two they differ."""


@dataclass(frozen=True)
class SplitWeights:
    """Stores every weight in a width of the target; what arrives at a neuron stays the same.

    A wider format holds the same weights. Where there is none, a weight becomes the sum of digits,
    ``w = d[0] + 2**b * d[1] + ...``, each in a synapse group of its own with the same source and an
    exponent that is higher by b a digit. A group keeps its width where that would change a sum: a
    negative exponent floors the sum of a group, and several floors do not add up to that of the
    whole.

    Attributes:
        widths: of weights that the target stores.
    """

    name: ClassVar[str] = "split-weights"
    widths: tuple[int, ...]

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Replace the groups whose width the target lacks."""
        found = self.of_program(quantization.program)
        if not found.findings:
            return PassResult(quantization)
        return PassResult(with_program(quantization, found.graph), found.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone."""
        widths = [bits for bits in sorted(self.widths) if bits in WIDTHS]
        taken = {node.id for node in program.graph}
        nodes: list[QuantizedNode] = []
        findings: list[Finding] = []
        for node in program.graph:
            if isinstance(node, Synapses):
                continue
            if isinstance(node, Population):
                fed = _stored(program, node, widths)
                inputs = []
                for group, parts in zip(program.synapses_into(node), fed, strict=True):
                    named = [replace(part, id=unused(part.id, taken)) for part in parts[1:]]
                    nodes.extend([parts[0], *named])
                    inputs += [part.id for part in (parts[0], *named)]
                    if parts[0] is not group:
                        findings.append(_finding(program, group, parts))
                node = node.changed(inputs=tuple(inputs))
            nodes.append(node)
        if not findings:
            return PassResult(program)
        return PassResult(QuantizedGraph(Graph(nodes), program.window), tuple(findings))


def _stored(
    program: QuantizedGraph, population: Population, widths: Sequence[int]
) -> list[list[Synapses]]:
    """The groups into a population in widths of the target, those that they become together.

    Balanced digits make the fewest groups. Their signs differ, so that bounds over all of them are
    wider than over the weight; digits of one sign have the bounds of the weight.
    """
    groups = program.synapses_into(population)
    balanced = [_parts(group, widths, _balanced) for group in groups]
    if _holds(program, population, balanced):
        return balanced
    return [_parts(group, widths, _of_one_sign) for group in groups]


def _holds(
    program: QuantizedGraph, population: Population, fed: Sequence[Sequence[Synapses]]
) -> bool:
    """Whether it is proven that no state overflows when groups feed a population."""
    flat = {f"{k}.{i}": part for k, parts in enumerate(fed) for i, part in enumerate(parts)}
    renamed = population.changed(inputs=tuple(flat))
    nodes = {part.inputs[0]: program.graph[part.inputs[0]] for part in flat.values()} | flat
    interval = bounds.states(nodes, renamed, program.window.n_steps)
    return interval.magnitude <= min(population.state.max, VOLTAGE_LIMIT)


def _parts(group: Synapses, widths: Sequence[int], digits_of: _DigitsOf) -> list[Synapses]:
    """A group in widths of the target; the group alone where it is, or cannot be, stored so."""
    bits = group.weight.format.bits
    if not widths or bits in widths:
        return [group]
    wider = [width for width in widths if width > bits]
    if wider:
        return [replace(group, weight=QTensor(group.weight.values, QFormat(wider[0])))]
    digits, step = digits_of(group.weight.values, widths[-1])
    exponents = [group.exponent + step * k for k in range(len(digits))]
    used = [k for k, digit in enumerate(digits) if digit.any()] or [0]
    if any(exponents[k] < 0 for k in used[1:]) or exponents[used[-1]] > MAX_EXPONENT:
        return [group]
    return [_with_weights(group, digits[k], exponents[k], widths) for k in used]


def _with_weights(group: Synapses, values: Int, exponent: int, widths: Sequence[int]) -> Synapses:
    """A group of other weights, in the narrowest width that holds them, without zeros in lists."""
    needed = QFormat.holding(int(values.min(initial=-1)), int(values.max(initial=0))).bits
    format = QFormat(next(width for width in widths if width >= needed))
    if not isinstance(group, SparseSynapses):
        return replace(group, weight=QTensor(values, format), exponent=exponent)
    used = values != 0
    indptr = np.concatenate([[0], np.cumsum(used)])[group.indptr]
    return replace(
        group,
        indptr=indptr.astype(np.int64),
        indices=group.indices[used],
        weight=QTensor(values[used], format),
        exponent=exponent,
    )


def _balanced(values: Int, bits: int) -> tuple[list[Int], int]:
    """Digits from ``-2**(bits - 1)`` to ``2**(bits - 1) - 1``, the lowest first."""
    half, digits = 1 << (bits - 1), list[Int]()
    while values.any() or not digits:
        digits.append(((values + half) & (2 * half - 1)) - half)
        values = (values - digits[-1]) >> bits
    return digits, bits


def _of_one_sign(values: Int, bits: int) -> tuple[list[Int], int]:
    """Digits with the sign of the integer, of fewer than ``2**(bits - 1)`` each."""
    sign, magnitude, digits = np.sign(values), np.abs(values), list[Int]()
    while magnitude.any() or not digits:
        digits.append(sign * (magnitude & ((1 << (bits - 1)) - 1)))
        magnitude = magnitude >> (bits - 1)
    return digits, bits - 1


def _finding(program: QuantizedGraph, group: Synapses, parts: Sequence[Synapses]) -> Finding:
    width, bits = group.weight.format.bits, parts[0].weight.format.bits
    if len(parts) == 1 and bits > width:
        message = f"weights of {width} bits are stored in {bits}"
        return Finding(message, group.origin, code="weights-widened")
    source, everywhere = program.graph[group.inputs[0]].shape, Block.whole(group.shape)
    before, after = (
        sum(counts_of(part, source).synapses(everywhere) for part in some)
        for some in ([group], parts)
    )
    listed = " and ".join(str(part.weight.format.bits) for part in parts)
    message = (
        f"weights of {width} bits are stored as sums of weights of {listed} bits:"
        f" {after - before:,} synapses more"
    )
    return Finding(message, group.origin, code="weights-split")
