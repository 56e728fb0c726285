"""Block by block, integers that give the float network's output on the block's actual input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir.ann import AnnNode
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.models.arithmetic import along_channels
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    DenseSynapses,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult, counted
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.reconstruction.blocks import Block, blocks_of
from snn_compile.quantize.reconstruction.learning import Learned, Task, learn
from snn_compile.quantize.reconstruction.levels import levels_of
from snn_compile.quantize.reconstruction.network import BlockNetwork, carriers
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, bounds
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

MAX_SAMPLES = 1024
MESSAGES = 1 << 24
"""Maximal number of samples, and of messages of the largest layer."""


@dataclass(frozen=True, eq=False)
class Reconstruct:
    """Block reconstruction.

    Attributes:
        folded: the float network, the source of the target drives.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded, (N, C, H, W).
    """

    name: ClassVar[str] = "reconstruct"
    folded: ANNGraph
    x: Rows
    frames: Rows

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other weights, biases and thresholds."""
        program = quantization.program
        if program.window.n_steps > 1:
            return PassResult(quantization, (_over_time(program),))
        known = set(rectifiers_and_outputs(self.folded))
        blocks = list(blocks_of(program, known.__contains__))
        largest = max(prod(node.shape) for node in program.graph)
        n = min(len(self.frames), MAX_SAMPLES, max(16, MESSAGES // largest))
        ends = {block.end: program.graph[block.end].shape for block in blocks}
        targets = full_drives(self.folded, self.x[:n], ends)
        sweep = Sweep(program, self.frames[:n])
        waiting: tuple[NodeId, list[Int]] | None = None
        findings: list[Finding] = []
        with counted(self.name, len(blocks)) as advance:
            for number, block in enumerate(blocks):
                entering = {waiting[0]} if waiting else set()
                made = _network(program, block, known, entering, quantization)
                if isinstance(made, Finding):
                    findings.append(made)
                elif made is not None:
                    entries = {
                        s: _joined(sweep.pieces(s)) for s in block.sources if s not in entering
                    }
                    if waiting:
                        entries[waiting[0]] = _potentials(program, *waiting)
                    task = _task(program, block, quantization, entries, targets[block.end])
                    found = learn(made, task, number)
                    findings.append(_finding(block, found))
                    program = _bounded(program, *made.changed())
                    for name in block.populations:
                        groups = program.synapses_into(_population(program, name))
                        sweep.replace_weights(program, list(groups))
                del targets[block.end]
                if waiting:
                    sweep.advance(_population(program, waiting[0]), waiting[1])
                waiting = None
                for name in block.populations:
                    population = _population(program, name)
                    currents = sweep.currents(population)
                    if name == block.end and _enters_next(blocks, number, population):
                        waiting = name, currents
                    else:
                        sweep.advance(population, currents)
                advance(1)
        return PassResult(replace(quantization, program=program), tuple(findings))


def _population(program: QuantizedGraph, name: NodeId) -> Population:
    node = program.graph[name]
    if not isinstance(node, Population):
        raise TypeError(f"'{name}' is no population")
    return node


def _enters_next(blocks: list[Block], number: int, population: Population) -> bool:
    """Whether the next block alone reads a population that has levels."""
    later = blocks[number + 1 :]
    return bool(later) and population.id in later[0].owned and levels_of(population) is not None


def _joined(pieces: list[Int]) -> Int:
    """Messages (*shape, 1, B) of all samples, (N, *shape)."""
    small = [np.moveaxis(piece[..., 0, :], -1, 0).astype(np.int32) for piece in pieces]
    return np.concatenate(small)


def _potentials(program: QuantizedGraph, name: NodeId, currents: list[Int]) -> Int:
    population = _population(program, name)
    bias = along_channels(population.bias.values, population.shape)
    found: Int = _joined(currents) + bias.astype(np.int32)
    return found


def _network(
    program: QuantizedGraph,
    block: Block,
    known: set[NodeId],
    entering: set[NodeId],
    quantization: Quantization,
) -> BlockNetwork | Finding | None:
    """The block with gradients; why there are none; None where nothing could be learned."""
    inside = [_population(program, name) for name in block.populations[:-1]]
    unknown = [population.id for population in inside if levels_of(population) is None]
    if unknown:
        return Finding(
            f"block that ends with '{block.end}' keeps compensated weights: '{unknown[0]}' has no"
            " gradient",
            code="not-reconstructed",
        )
    learns = {
        group.id
        for name in block.populations
        if name in known
        for group in program.synapses_into(_population(program, name))
        if _is_learned(group, _population(program, name), quantization)
    }
    if not learns:
        return None
    carried = carriers(program, block.populations)

    def readers(name: NodeId) -> Iterator[NodeId]:
        for group in program.graph.consumers(name):
            reader = program.graph.consumers(group.id)[0].id
            if reader in carried:
                yield from readers(reader)
            else:
                yield group.id

    sizes = {
        name
        for name in (*entering, *block.populations[:-1])
        if not _population(program, name).relay and learns.issuperset(readers(name))
    }
    return BlockNetwork(program, block.populations, learns, sizes, entering)


def _is_learned(group: Synapses, population: Population, quantization: Quantization) -> bool:
    """Whether rows of weights are channels, and not the integers of a user's file."""
    numbers = quantization.numbers[population.id]
    rows_are_channels = isinstance(group, ConvSynapses | DenseSynapses) and (
        len(group.weight.values) == population.shape[0]
    )
    return rows_are_channels and group.id not in numbers.given


def _task(
    program: QuantizedGraph,
    block: Block,
    quantization: Quantization,
    entries: dict[NodeId, Int],
    target: Array,
) -> Task:
    population = _population(program, block.end)
    levels = levels_of(population)
    half = np.zeros(population.shape[0]) if levels is None else levels.half(levels.given)
    unit = quantization.numbers[block.end].unit
    return Task(entries, target, unit, half, levels is not None)


def _bounded(
    program: QuantizedGraph, synapses: list[Synapses], populations: list[Population]
) -> QuantizedGraph:
    """The program with these, unless a state could overflow."""
    graph = program.graph.edit(replaced=[*synapses, *populations])
    for population in populations:
        limit = min(population.state.max, VOLTAGE_LIMIT)
        if bounds.states(graph, population, program.window.n_steps).magnitude > limit:
            return program
    return QuantizedGraph(graph, program.window)


def _over_time(program: QuantizedGraph) -> Finding:
    return Finding(
        f"--rounding reconstructed: spikes of --coding {program.window.coding} come over time and"
        " have no gradient, so that weights are compensated",
        code="not-reconstructed",
        hint="codings whose layers wait for each other are reconstructed: sync, radix, graded",
    )


def _finding(block: Block, found: Learned) -> Finding:
    before, after = (
        100 * error / max(found.power, 1e-300) for error in (found.before, found.after)
    )
    return Finding(
        f"block that ends with '{block.end}': error {before:.3g} % of its power, now {after:.3g} %",
        code="reconstructed",
    )


def full_drives(folded: ANNGraph, x: Rows, names: Mapping[NodeId, Shape]) -> dict[NodeId, Array]:
    """Drives of rectifiers and outputs in the float network, (N, C, H, W) float32 each.

    Args:
        folded: the float network.
        x: (N, *input shape) samples.
        names: rectifiers and outputs, with the (C, H, W) of their populations.
    """
    sources: dict[NodeId, list[NodeId]] = {}
    for name in names:
        sources.setdefault(folded.graph[name].inputs[0], []).append(name)
    operators = Reproducible(folded, x)
    found = {name: np.empty((len(x), *shape), np.float32) for name, shape in names.items()}

    def measure(piece: npt.NDArray[np.generic], start: int) -> None:
        def observe(node: AnnNode, value: Array) -> Array:
            for reader in sources.get(node.id, ()):
                drives = np.moveaxis(value, -1, 0)
                into = found[reader][start : start + len(drives)]
                into[:] = drives.reshape(into.shape)
            return value

        ann.forward(folded, ann.batch_last(piece), observe, operators)

    for _ in map_batches(measure, x, ann.piece_size(folded)):
        pass
    return found
