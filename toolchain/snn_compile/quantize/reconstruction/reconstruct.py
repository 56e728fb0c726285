"""Block by block, integers that give the float network's output on the block's actual input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
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
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import Finding, PassResult, counted
from snn_compile.quantize.fit_layers import FitLayers, Walk
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.reconstruction.blocks import Block, blocks_of
from snn_compile.quantize.reconstruction.learning import Learned, Task, learn
from snn_compile.quantize.reconstruction.levels import levels_of
from snn_compile.quantize.reconstruction.network import BlockNetwork, carriers, population_of
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, bounds
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Reconstruct:
    """Block after block: weights, biases and sizes of levels learned for the block's output.

    The input of a block is what the program sends, with all blocks before it reconstructed; the
    target is the float network's drive at the block's end. A block starts from layers that are
    fitted to this input (``FitLayers``). What is learned are the integers that run: units,
    exponents and formats stay (Li et al. 2021, "BRECQ"; Wei et al. 2022, "QDrop"). A block keeps
    the fitted integers unless others have a smaller error on samples held out, and no state can
    overflow with them.

    Networks with spikes over time are unchanged; so are blocks that contain neurons without a
    gradient, sparse synapses, and the integers of a quantized file.

    Attributes:
        folded: the float network, the source of the target drives.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded, (N, C, H, W).
        biases: whether to change biases.
        drives: what calibration recorded of the float network on the same samples.
    """

    name: ClassVar[str] = "reconstruct"
    folded: ANNGraph
    x: Rows
    frames: Rows
    biases: bool = True
    drives: SharedDrives | None = None

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other weights, biases and thresholds; no state can overflow."""
        program = quantization.program
        if program.window.n_steps > 1:
            return PassResult(quantization, (_over_time(program),))
        fit = FitLayers(self.folded, self.x, self.frames, self.biases, drives=self.drives)
        walk = Walk.of(fit, program)
        blocks = list(blocks_of(program, walk.sites.__contains__))
        ends = {block.end: program.graph[block.end].shape for block in blocks}
        targets = full_drives(self.folded, self.x[: walk.n], ends)
        way = _Way(quantization, walk)
        with counted(self.name, len(blocks)) as advance:
            for number, block in enumerate(blocks):
                later = blocks[number + 1 : number + 2]
                way.take(block, targets.pop(block.end), number, later[0] if later else None)
                advance(1)
        return PassResult(way.quantization, tuple(way.findings))


class _Way:
    """The network up to some block, reconstructed, and what it sends.

    The last population may be open: only the next block reads it, which decides on its levels.
    """

    def __init__(self, quantization: Quantization, walk: Walk) -> None:
        self.quantization = quantization
        self.findings: list[Finding] = []
        self._walk, self._sweep = walk, walk.sweep
        self._known = set(walk.sites)
        self._open: dict[NodeId, list[Int]] = {}
        """Its name and its currents, if there is one."""

    def take(self, block: Block, target: Array, seed: int, later: Block | None) -> None:
        """Reconstruct a block, given the float drive at its end, and go behind it."""
        self._fitted(block)
        network = _network(
            self.quantization, block, self._known, set(self._open), self._walk.fit.biases
        )
        if isinstance(network, Finding):
            self.findings.append(network)
        elif network is not None:
            entries = {
                source: self._potentials(source)
                if source in self._open
                else _joined(self._sweep.pieces(source))
                for source in block.sources
            }
            found = learn(network, _task(self.quantization, block, entries, target), seed)
            changed = _within_bounds(self.quantization, network)
            self.findings.append(_finding(block, found, fits=changed is not None))
            self.quantization = changed or self.quantization
        self._go_behind(block, later)

    def _fitted(self, block: Block) -> None:
        """Fit the layers of a block to what they receive now."""
        walk = self._walk.branch()
        for name, currents in self._open.items():
            walk.sweep.advance(self._population(name), currents)
        for name in block.populations:
            self.quantization = walk.fitted(self.quantization, name)
            self._walk.drives.pop(name, None)
            if name != block.end:
                walk.pass_on(self.quantization, name)

    def _go_behind(self, block: Block, later: Block | None) -> None:
        program, sweep = self.quantization.program, self._sweep
        for name, currents in self._open.items():
            sweep.advance(self._population(name), currents)
        self._open = {}
        for name in block.populations:
            population = self._population(name)
            sweep.replace_weights(program, list(program.synapses_into(population)))
            currents = sweep.currents(population)
            owned = later is not None and name in later.owned
            if name == block.end and owned and levels_of(population) is not None:
                self._open = {name: currents}
            else:
                sweep.advance(population, currents)

    def _population(self, name: NodeId) -> Population:
        return population_of(self.quantization.program, name)

    def _potentials(self, name: NodeId) -> Int:
        population = self._population(name)
        bias = along_channels(population.bias.values, population.shape)
        found: Int = _joined(self._open[name]) + bias.astype(np.int32)
        return found


def _joined(pieces: list[Int]) -> Int:
    """Messages (*shape, 1, B) of all samples, (N, *shape)."""
    small = [np.moveaxis(piece[..., 0, :], -1, 0).astype(np.int32) for piece in pieces]
    return np.concatenate(small)


def _network(
    quantization: Quantization,
    block: Block,
    known: set[NodeId],
    entering: set[NodeId],
    biases: bool,
) -> BlockNetwork | Finding | None:
    """The block with gradients; why there are none; None where nothing could be learned."""
    program = quantization.program
    inside = [population_of(program, name) for name in block.populations[:-1]]
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
        for group in program.synapses_into(population_of(program, name))
        if _is_learned(group, population_of(program, name), quantization)
    }
    if not learns:
        return None
    carried = carriers(program, block.populations)

    def readers(name: NodeId) -> Iterator[NodeId]:
        for group in program.graph.consumers(name):
            reader = program.graph.consumers(group.id)[0].id
            yield from readers(reader) if reader in carried else [group.id]

    sizes = {
        name
        for name in (*entering, *block.populations[:-1])
        if not population_of(program, name).relay and learns.issuperset(readers(name))
    }
    return BlockNetwork(program, block.populations, learns, sizes, entering, biases=biases)


def _is_learned(group: Synapses, population: Population, quantization: Quantization) -> bool:
    """Whether rows of weights are channels, and not the integers of a user's file."""
    numbers = quantization.numbers[population.id]
    rows_are_channels = isinstance(group, ConvSynapses | DenseSynapses) and (
        len(group.weight.values) == population.shape[0]
    )
    return rows_are_channels and group.id not in numbers.given


def _task(
    quantization: Quantization, block: Block, entries: dict[NodeId, Int], target: Array
) -> Task:
    population = population_of(quantization.program, block.end)
    levels = levels_of(population)
    half = np.zeros(population.shape[0]) if levels is None else levels.half(levels.given)
    unit = quantization.numbers[block.end].unit
    return Task(entries, target, unit, half, levels is not None)


def _within_bounds(quantization: Quantization, network: BlockNetwork) -> Quantization | None:
    """The network with what a block has learned; None if a state could overflow."""
    synapses, populations = network.changed()
    window = quantization.program.window
    graph = quantization.program.graph.edit(replaced=[*synapses, *populations])
    for population in populations:
        limit = min(population.state.max, VOLTAGE_LIMIT)
        if bounds.states(graph, population, window.n_steps).magnitude > limit:
            return None
    sizes = network.sizes()
    carried = {name: sizes[name] for name in sizes.keys() & network.carriers.keys()}
    numbers = dict(quantization.numbers)
    for name, ratio in carried.items():  # a step of a relay is a level
        numbers[name] = replace(numbers[name], unit=numbers[name].unit * ratio)
    real = resized(quantization.network, sizes)
    return Quantization(QuantizedGraph(graph, window), numbers, real)


def resized(network: SpikingGraph, ratios: Mapping[NodeId, Float]) -> SpikingGraph:
    """The spiking network in floating point with levels of other sizes, which compute the same.

    Args:
        network: the network.
        ratios: of populations and their relays, the new sizes relative to the old ones, (C,).
    """
    changed: list[spiking.SpikingNode] = []
    for name, ratio in ratios.items():
        population = network.graph[name]
        if not isinstance(population, spiking.Neurons):
            raise TypeError(f"'{name}' sends no messages")
        changed.append(population.changed(threshold=population.threshold * ratio))
        for group in network.graph.consumers(name):
            changed.append(_rescaled(group, ratio))
    return SpikingGraph(network.graph.edit(replaced=changed), network.window)


def _rescaled(group: spiking.SpikingNode, ratio: Float) -> spiking.SpikingNode:
    """Synapses whose source has levels of other sizes."""
    if isinstance(group, spiking.ConvSynapses):
        read = group.geometry.channels_read(*group.weight.shape[:2])
        return replace(group, weight=group.weight * ratio[read][:, :, None, None])
    if isinstance(group, spiking.DenseSynapses):
        each = np.repeat(ratio, group.weight.shape[1] // len(ratio))
        return replace(group, weight=group.weight * each)
    raise TypeError(f"the weights of '{group.id}' were not learned")


def _over_time(program: QuantizedGraph) -> Finding:
    return Finding(
        f"--rounding reconstructed: spikes of --coding {program.window.coding} come over time and"
        " have no gradient, so that weights are compensated",
        code="not-reconstructed",
        hint="codings whose layers wait for each other are reconstructed: sync, radix, graded",
        warning=True,
    )


def _finding(block: Block, found: Learned, *, fits: bool) -> Finding:
    if not fits:
        return Finding(
            f"block that ends with '{block.end}' keeps compensated weights: a state could overflow"
            " with those that were learned",
            code="not-reconstructed",
        )
    shares = [100 * error / max(found.power, TINY) for error in (found.before, found.after)]
    return Finding(
        f"block that ends with '{block.end}': error {shares[0]:.3g} % of its power, now"
        f" {shares[1]:.3g} %",
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
