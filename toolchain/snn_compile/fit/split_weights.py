"""Storage of weights in the widths of the target, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.fit.additions import unused_name, with_program
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    WEIGHT_BITS,
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

MAX_EXPONENT = 7
"""The largest exponent of Loihi's synapse format."""

_DigitsOf = Callable[[Int, int], tuple[list[Int], int]]
"""From integers and the bits of a digit: the digits, lowest first, and the log2 of the base."""


@dataclass(frozen=True)
class SplitWeights:
    """Stores every weight in a width of the target, without changing any sum.

    A wider format holds the same weights. If the target has none, a weight is split into digits,
    ``w = d[0] + 2**b * d[1] + ...``, each in its own synapse group with the same source and an
    exponent that rises by b from digit to digit. A group keeps its width if that would change a
    sum: a negative exponent floors the sum of a group, and the floors of several groups do not add
    up to the floor of the whole.

    Attributes:
        widths: bits of the weights that the target stores, sign included.
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
        widths = [bits for bits in sorted(self.widths) if bits in WEIGHT_BITS]
        taken = {node.id for node in program.graph}
        nodes: list[QuantizedNode] = []
        findings: list[Finding] = []
        for node in program.graph:
            if isinstance(node, Synapses):
                continue
            if isinstance(node, Population):
                parts_of = _split(program, node, widths)
                inputs = []
                for group, parts in zip(program.synapses_into(node), parts_of, strict=True):
                    named = [replace(part, id=unused_name(part.id, taken)) for part in parts[1:]]
                    nodes.extend([parts[0], *named])
                    inputs += [part.id for part in (parts[0], *named)]
                    if parts[0] is not group:
                        findings.append(_finding(program, group, parts))
                node = node.changed(inputs=tuple(inputs))
            nodes.append(node)
        if not findings:
            return PassResult(program)
        return PassResult(QuantizedGraph(Graph(nodes), program.window), tuple(findings))


def _split(
    program: QuantizedGraph, population: Population, widths: Sequence[int]
) -> list[list[Synapses]]:
    """The parts of each group into a population, in widths of the target.

    Balanced digits give the fewest groups, but their signs differ, so the bounds over all digits
    are wider than those of the weights. Digits of one sign have the bounds of the weights.
    """
    groups = program.synapses_into(population)
    balanced = [_parts(group, widths, _balanced) for group in groups]
    if _holds(program, population, balanced):
        return balanced
    return [_parts(group, widths, _of_one_sign) for group in groups]


def _holds(
    program: QuantizedGraph, population: Population, parts_of: Sequence[Sequence[Synapses]]
) -> bool:
    """Whether static bounds prove that no state of a population overflows with these groups."""
    flat = {f"{k}.{i}": part for k, parts in enumerate(parts_of) for i, part in enumerate(parts)}
    renamed = population.changed(inputs=tuple(flat))
    nodes = {part.inputs[0]: program.graph[part.inputs[0]] for part in flat.values()} | flat
    interval = bounds.states(nodes, renamed, program.window.n_steps)
    return interval.magnitude <= min(population.state.max, VOLTAGE_LIMIT)


def _parts(group: Synapses, widths: Sequence[int], digits_of: _DigitsOf) -> list[Synapses]:
    """A group in widths of the target; the group itself if it fits already or cannot be split."""
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
    """The group with other weights, in the narrowest width that holds them; lists drop zeros."""
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
    """Digits with the sign of the integer, each less than ``2**(bits - 1)`` in magnitude."""
    sign, magnitude, digits = np.sign(values), np.abs(values), list[Int]()
    while magnitude.any() or not digits:
        digits.append(sign * (magnitude & ((1 << (bits - 1)) - 1)))
        magnitude = magnitude >> (bits - 1)
    return digits, bits - 1


def _finding(program: QuantizedGraph, group: Synapses, parts: Sequence[Synapses]) -> Finding:
    width, bits = group.weight.format.bits, parts[0].weight.format.bits
    if len(parts) == 1 and bits > width:
        message = f"{width}-bit weights are stored with {bits} bits"
        return Finding(message, group.origin, code="weights-widened")
    source, everywhere = program.graph[group.inputs[0]].shape, Block.whole(group.shape)
    before, after = (
        sum(counts_of(part, source).synapses(everywhere) for part in some)
        for some in ([group], parts)
    )
    listed = " and ".join(str(part.weight.format.bits) for part in parts)
    message = (
        f"{width}-bit weights are split into digits of {listed} bits:"
        f" {after - before:,} additional synapses"
    )
    return Finding(message, group.origin, code="weights-split")
