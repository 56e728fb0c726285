"""Copies of populations whose neurons reach more blocks than a core has output axons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.fit.additions import unused, with_program
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
from snn_compile.mapping.counts import Counts, counts_of
from snn_compile.mapping.place import blocks_without_chips
from snn_compile.passes import Finding, PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.targets.target import Target

MAX_ROUNDS = 8
"""And one for each population."""


@dataclass(frozen=True)
class DuplicateSources:
    """Makes copies of a population, with the same synapses and messages, and divides its readers.

    A neuron sends one message to each block of neurons that reads it, and has an output axon for
    each. Copies share the readers: whole synapse groups, and where one group alone reaches too many
    blocks, its output channels. A neuron of a reader is still reached by one copy only, so that its
    sum is the same. Copies stand at the depth of the original.

    Attributes:
        target: the chip, whose cores have so many output axons.
    """

    name: ClassVar[str] = "duplicate-sources"
    target: Target

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Copy populations whose neurons reach too many blocks."""
        found = self.of_program(quantization.program)
        if not found.findings:
            return PassResult(quantization)
        return PassResult(with_program(quantization, found.graph), found.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """Copy populations until none reaches too many blocks, or copies help no more.

        What feeds a copied population is read more often, and copies change how readers are cut:
        both may ask for more copies, in the next round.
        """
        copies: dict[NodeId, int] = {}
        for _ in range(MAX_ROUNDS + len(program.populations)):
            crowded = self._crowded(program)
            if not crowded:
                break
            for population, shares in crowded:
                copies[population.id] = copies.get(population.id, 1) + len(shares) - 1
                program = _with_copies(program, population, shares)
        return PassResult(program, tuple(self._findings(program, copies)))

    def _crowded(self, program: QuantizedGraph) -> list[tuple[Neurons, list[list[_Reached]]]]:
        """Populations that reach too many blocks, each with its readers divided, the last first."""
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
                shares = _divided(program, node, blocks, limit - own)
                if shares is not None and len(shares) > 1:
                    found.append((node, shares))
        return found

    def _findings(self, program: QuantizedGraph, copies: Mapping[NodeId, int]) -> Iterator[Finding]:
        for name, n in copies.items():
            message = (
                f"'{name}' exists {n} times: a neuron of it reaches more blocks than a core of"
                f" {self.target.name} has output axons"
            )
            yield Finding(message, program.graph[name].origin, code="sources-duplicated")


@dataclass(frozen=True, eq=False)
class _Reached:
    """Output channels of a synapse group, and how many of their blocks each source reaches."""

    synapses: Synapses
    channels: Span
    destinations: Int

    @property
    def is_whole(self) -> bool:
        """Whether these are all channels of the group."""
        return self.channels == (0, self.synapses.shape[0])


def _could_exceed(program: QuantizedGraph, limit: int) -> bool:
    """Whether any neuron has as many synapses: it reaches no more blocks than that."""
    for node in program.populations:
        most = sum(int(fan_out(group, node.shape).max()) for group in _readers(program, node))
        if most + 1 > limit:  # and one for its own reset
            return True
    return False


def _readers(program: QuantizedGraph, node: QuantizedNode) -> list[Synapses]:
    return [read for read in program.graph.consumers(node.id) if isinstance(read, Synapses)]


def _counts(program: QuantizedGraph, group: Synapses) -> Counts:
    return counts_of(group, program.graph[group.inputs[0]].shape)


def _divided(
    program: QuantizedGraph,
    node: Neurons,
    blocks: dict[NodeId, list[Block]],
    limit: int,
) -> list[list[_Reached]] | None:
    """The readers of a population, in shares within the limit; None where no division helps."""
    pieces: list[_Reached] = []
    for group in _readers(program, node):
        readers = program.graph.consumers(group.id)
        reached = [block for reader in readers for block in blocks[reader.id]]
        for piece in _pieces(program, group, reached, limit):
            if piece.destinations.max() > limit:
                return None
            pieces.append(piece)
    shares: list[list[_Reached]] = []
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
) -> Iterator[_Reached]:
    """A group, cut between the channels of its blocks where all of them are too many."""
    counts = _counts(program, group)
    shape = as_map(program.graph[group.inputs[0]].shape)
    start, stop, total = 0, 0, np.zeros(shape, np.int64)
    for span in sorted({block.channels for block in blocks}):
        more = np.zeros(shape, np.int64)
        for block in blocks:
            if block.channels == span:
                counts.mark(block, more)
        if stop > start and (total + more).max() > limit:
            yield _Reached(group, (start, stop), total)
            start, total = span[0], np.zeros(shape, np.int64)
        stop, total = span[1], total + more
    yield _Reached(group, (start, stop), total)


def _with_copies(
    program: QuantizedGraph, node: Neurons, shares: Sequence[Sequence[_Reached]]
) -> QuantizedGraph:
    """The network with a copy of a population for each share of its readers but the first."""
    taken = {each.id for each in program.graph}
    added: list[QuantizedNode] = []
    parts: dict[NodeId, list[Synapses]] = {}
    for number, share in enumerate(shares):
        source = node if number == 0 else _copy(program, node, taken, added)
        for piece in share:
            part = piece.synapses if piece.is_whole else _of_channels(piece)
            of_group = parts.setdefault(piece.synapses.id, [])
            name = unused(part.id, taken) if of_group else part.id
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
    """A population like another one, with synapses of its own from the same sources."""
    fed = [replace(group, id=unused(group.id, taken)) for group in program.synapses_into(node)]
    copy = node.changed(id=unused(node.id, taken), inputs=tuple(group.id for group in fed))
    added += [*fed, copy]
    return copy


def _of_channels(piece: _Reached) -> Synapses:
    """A synapse group without the synapses onto other output channels."""
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
