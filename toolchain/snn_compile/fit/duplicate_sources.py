"""Duplication of populations whose fan-out exceeds the output axons of a core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.fit.additions import unused_name, with_program
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    Neurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block, Span, as_map
from snn_compile.mapping.cost import fan_out
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.place import blocks_without_chips
from snn_compile.passes import Finding, PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.targets.target import Target

MAX_ROUNDS = 8
"""Rounds of duplication, in addition to one for each population."""


@dataclass(frozen=True)
class DuplicateSources:
    """Duplicates a population, with the same synapses and messages, and divides its readers.

    A neuron has one output axon for each block of neurons that reads it. The readers are divided
    among the copies by synapse groups, or by output channels if a single group has too many blocks.
    Each reading neuron has synapses from one copy only, so its sum is unchanged. Copies have the
    depth of the original.

    Attributes:
        target: the chip, which limits the output axons of a core.
    """

    name: ClassVar[str] = "duplicate-sources"
    target: Target

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Duplicate populations whose fan-out exceeds the output axons of a core."""
        found = self.of_program(quantization.program)
        if not found.findings:
            return PassResult(quantization)
        return PassResult(with_program(quantization, found.graph), found.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """Duplicate populations until no fan-out is too large, or further copies do not help.

        A copy adds to the fan-out of its sources and changes the partition of its readers. Either
        may require further copies in the next round.
        """
        copies: dict[NodeId, int] = {}
        for _ in range(MAX_ROUNDS + len(program.populations)):
            exceeding = self._exceeding(program)
            if not exceeding:
                break
            for population, shares in exceeding:
                copies[population.id] = copies.get(population.id, 1) + len(shares) - 1
                program = _with_copies(program, population, shares)
        return PassResult(program, tuple(self._findings(program, copies)))

    def _exceeding(self, program: QuantizedGraph) -> list[tuple[Neurons, list[list[_Piece]]]]:
        """Populations with too large a fan-out, last first, each with its readers divided."""
        limit = self.target.output_axons_per_core.value
        if limit is None or not _could_exceed(program, limit):
            return []
        blocks: dict[NodeId, list[Block]] = {}
        for part in blocks_without_chips(program, self.target):
            blocks.setdefault(part.population, []).append(part.block)
        found = []
        for node in reversed(program.populations):
            if isinstance(node, Neurons):
                own = self.target.synapses_per_soft_reset_neuron.value if node.soft_reset else 0
                shares = _shares(program, node, blocks, limit - own)
                if shares is not None and len(shares) > 1:
                    found.append((node, shares))
        return found

    def _findings(self, program: QuantizedGraph, copies: Mapping[NodeId, int]) -> Iterator[Finding]:
        for name, n in copies.items():
            message = (
                f"layer '{name}': duplicated into {n} copies, because its fan-out exceeds the"
                f" output axons of a core of {self.target.name}"
            )
            yield Finding(message, program.graph[name].origin, code="sources-duplicated")


@dataclass(frozen=True, eq=False)
class _Piece:
    """Output channels of a synapse group, and the fan-out of each source onto their blocks."""

    synapses: Synapses
    channels: Span
    destinations: Int

    @property
    def is_whole(self) -> bool:
        """Whether these are all channels of the group."""
        return self.channels == (0, self.synapses.shape[0])


def _could_exceed(program: QuantizedGraph, limit: int) -> bool:
    """Whether any neuron has more synapses than the limit; its fan-out in blocks is no larger."""
    for node in program.populations:
        most = sum(int(fan_out(group, node.shape).max()) for group in _readers(program, node))
        if most + 1 > limit:  # and one for its own reset
            return True
    return False


def _readers(program: QuantizedGraph, node: QuantizedNode) -> list[Synapses]:
    return [read for read in program.graph.consumers(node.id) if isinstance(read, Synapses)]


def _counts(program: QuantizedGraph, group: Synapses) -> Counts:
    return counts_of(group, program.graph[group.inputs[0]].shape)


def _shares(
    program: QuantizedGraph,
    node: Neurons,
    blocks: dict[NodeId, list[Block]],
    limit: int,
) -> list[list[_Piece]] | None:
    """The readers of a population in shares within the limit; None if no division suffices."""
    pieces: list[_Piece] = []
    for group in _readers(program, node):
        readers = program.graph.consumers(group.id)
        read_blocks = [block for reader in readers for block in blocks[reader.id]]
        for piece in _pieces(program, group, read_blocks, limit):
            if piece.destinations.max() > limit:
                return None
            pieces.append(piece)
    shares: list[list[_Piece]] = []
    totals: list[Int] = []
    for piece in pieces:
        for k, total in enumerate(totals):
            if (total + piece.destinations).max() <= limit:
                shares[k].append(piece)
                totals[k] = total + piece.destinations
                break
        else:
            shares.append([piece])
            totals.append(piece.destinations)
    return shares


def _pieces(
    program: QuantizedGraph, group: Synapses, blocks: Sequence[Block], limit: int
) -> Iterator[_Piece]:
    """A group, cut between channels where the fan-out onto all of its blocks is too large."""
    counts = _counts(program, group)
    shape = as_map(program.graph[group.inputs[0]].shape)
    start, stop, total = 0, 0, np.zeros(shape, np.int64)
    for span in sorted({block.channels for block in blocks}):
        more = np.zeros(shape, np.int64)
        for block in blocks:
            if block.channels == span:
                counts.mark(block, more)
        if stop > start and (total + more).max() > limit:
            yield _Piece(group, (start, stop), total)
            start, total = span[0], np.zeros(shape, np.int64)
        stop, total = span[1], total + more
    yield _Piece(group, (start, stop), total)


def _with_copies(
    program: QuantizedGraph, node: Neurons, shares: Sequence[Sequence[_Piece]]
) -> QuantizedGraph:
    """The network in which the population keeps the first share and a copy feeds each other one."""
    taken = {each.id for each in program.graph}
    added: list[QuantizedNode] = []
    parts: dict[NodeId, list[Synapses]] = {}
    for number, share in enumerate(shares):
        source = node if number == 0 else _copy(program, node, taken, added)
        for piece in share:
            part = piece.synapses if piece.is_whole else _of_channels(piece)
            of_group = parts.setdefault(piece.synapses.id, [])
            name = unused_name(part.id, taken) if of_group else part.id
            of_group.append(replace(part, id=name, inputs=(source.id,)))
    nodes: list[QuantizedNode] = []
    for each in program.graph:
        nodes += parts.get(each.id, [each])
        if isinstance(each, Population):
            read = [part.id for group in each.inputs for part in parts.get(group, ())]
            if read:
                inputs = [[p.id for p in parts.get(s, ())] or [s] for s in each.inputs]
                nodes[-1] = each.changed(inputs=tuple(name for names in inputs for name in names))
        if each.id == node.id:
            nodes += added
    return QuantizedGraph(Graph(nodes), program.window)


def _copy(
    program: QuantizedGraph, node: Neurons, taken: set[NodeId], added: list[QuantizedNode]
) -> Neurons:
    """A copy of a population, with its own synapses from the same sources."""
    fed = [replace(group, id=unused_name(group.id, taken)) for group in program.synapses_into(node)]
    copy = node.changed(id=unused_name(node.id, taken), inputs=tuple(group.id for group in fed))
    added += [*fed, copy]
    return copy


def _of_channels(piece: _Piece) -> Synapses:
    """The synapses of a group onto the output channels of the piece."""
    group, (start, stop) = piece.synapses, piece.channels
    values, per_channel = group.weight.values, int(np.prod(group.shape[1:]))
    if isinstance(group, SparseSynapses):
        lower, upper = group.indptr[start * per_channel], group.indptr[stop * per_channel]
        return replace(
            group,
            indptr=np.clip(group.indptr, lower, upper) - lower,
            indices=group.indices[lower:upper],
            weight=QTensor(values[lower:upper], group.weight.format),
        )
    rows = 1 if isinstance(group, ConvSynapses) else per_channel
    kept = np.zeros_like(values)
    kept[start * rows : stop * rows] = values[start * rows : stop * rows]
    return replace(group, weight=QTensor(kept, group.weight.format))
