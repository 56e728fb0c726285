"""Segment by segment, integers learned for the answers of the float network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    DenseSynapses,
    Population,
    QuantizedGraph,
    Readout,
    Synapses,
)
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import Finding, PassResult, counted
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.fit_layer import FEW_BITS
from snn_compile.quantize.fit_layers import MAX_SAMPLES, FitLayers, Walk
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.reconstruction import counts, learning
from snn_compile.quantize.reconstruction.counts import CountNetwork
from snn_compile.quantize.reconstruction.learning import Advance, Learned, Lesson
from snn_compile.quantize.reconstruction.lessons import (
    Messages,
    Mixtures,
    Samples,
    goals_of,
    joined,
)
from snn_compile.quantize.reconstruction.levels import levels_of
from snn_compile.quantize.reconstruction.network import SegmentNetwork, carriers, population_of
from snn_compile.quantize.reconstruction.segments import Segment, segments_of, whole_of
from snn_compile.quantize.reconstruction.teacher import Teacher
from snn_compile.quantize.reconstruction.whitening import Whitening
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, bounds


@dataclass(frozen=True, eq=False)
class Reconstruct:
    """Weights, biases and sizes of levels of all layers, learned from the float network's answers.

    The layers are fitted first (``FitLayers``). What is learned are the integers that run: units,
    exponents and formats stay. Batches are mixtures of calibration samples, whose answers the float
    network gives; the error is that of all drives and of the outputs, each over its power. A
    network is learned as a whole, or in segments where populations without a gradient lie in
    between. It keeps the fitted integers unless others have a smaller error on samples held out,
    and no state can overflow with them. Weights of few bits stay as they are fitted, and biases and
    sizes of levels are learned.

    Networks with spikes over time are learned as a whole, by counts of spikes (``CountNetwork``),
    if all their neurons reset by subtraction; the others are only fitted. Unchanged are populations
    without a gradient, sparse synapses, and the integers of a quantized file.

    Attributes:
        folded: the float network, the source of the target drives.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded, (N, C, H, W).
        biases: whether to change biases with the fit.
        steps: of each segment; None for as many as its work allows.
        potentials: calibrates initial potentials, after the fit; None to leave them alone.
        drives: what calibration recorded of the float network on the same samples.
    """

    name: ClassVar[str] = "reconstruct"
    folded: ANNGraph
    x: Rows
    frames: Rows
    biases: bool = True
    steps: int | None = None
    potentials: CalibratePotentials | None = None
    drives: SharedDrives | None = None

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other weights, biases and thresholds; no state can overflow."""
        program = quantization.program
        over_time = program.window.n_steps > 1 or self.potentials is not None
        if over_time and (finding := counts.without_gradient(program)):
            return PassResult(self._fitted(quantization), (finding,))
        n = min(len(self.frames), MAX_SAMPLES)
        samples = Samples(self.folded, self.x[:n], self.frames[:n])
        before = self._before_held_out(samples)
        parts = [whole_of(program)] if over_time else list(segments_of(program))
        sweep = Sweep(program, samples.frames) if len(parts) > 1 else None
        walk = Walk.of(before.fit, program, keeps=True)
        way = _Way(quantization, walk, samples, sweep, over_time, before.potentials)
        steps = self.steps or learning.n_steps(ann.multiplications(self.folded))
        n_segments = sum(isinstance(part, Segment) for part in parts)
        with counted(self.name, steps * n_segments) as advance:
            for number, part in enumerate(parts):
                way.take(part, number, steps, advance)
        if not way.has_learned:  # all samples are better than those that were not held out
            way.quantization = self._fitted(quantization)
        return PassResult(way.quantization, tuple(way.findings))

    @property
    def fit(self) -> FitLayers:
        """The fit, which is all that happens where nothing is learned."""
        starts = None if self.potentials is None else self.potentials.scales
        return FitLayers(
            self.folded, self.x, self.frames, self.biases, drives=self.drives, starts=starts
        )

    def _fitted(self, quantization: Quantization) -> Quantization:
        quantization = self.fit(quantization).graph
        return self.potentials(quantization).graph if self.potentials else quantization

    def _before_held_out(self, samples: Samples) -> Reconstruct:
        """The same without the samples that are held out."""
        seen = len(samples.x) - learning.n_held(len(samples.x))
        x, frames = samples.x[:seen], samples.frames[:seen]
        potentials = self.potentials and replace(self.potentials, x=x, frames=frames)
        return replace(self, x=x, frames=frames, potentials=potentials, drives=None)


@dataclass(eq=False)
class _Way:
    """The network up to some segment, learned, and what it sends.

    Attributes:
        walk: through samples that are not held out.
        sweep: through all samples; None if nobody reads what is behind a segment.
        over_time: whether the network is learned by counts of spikes.
        potentials: calibrates initial potentials, without the samples that are held out.
    """

    quantization: Quantization
    walk: Walk
    samples: Samples
    sweep: Sweep | None
    over_time: bool = False
    potentials: CalibratePotentials | None = None
    findings: list[Finding] = field(default_factory=list)
    has_learned: bool = False

    def take(self, part: Segment | Population, seed: int, steps: int, advance: Advance) -> None:
        """Fit and learn the next part, and go behind it."""
        names = part.populations if isinstance(part, Segment) else (part.id,)
        behind, whitenings = self.walk.branch(), dict[str, Whitening]()
        for name in names:
            self.quantization = behind.fitted(self.quantization, name)
            for group in self._learned(name):
                if (white := Whitening.of(behind.kept.get(group, ()))) is not None:
                    whitenings[group] = white
            self.quantization = behind.pass_on(self.quantization, name)
        if self.potentials is not None:
            self.quantization = self.potentials(self.quantization).graph
        if not isinstance(part, Segment):
            self.findings.append(_without_gradient(part))
        elif (network := self._network(part)) is not None:
            lesson = self._lesson(part, network, whitenings)
            found = learning.learn(network, lesson, seed, steps, advance)
            changed = _within_bounds(self.quantization, network)
            fits = changed is not None
            self.findings.append(_finding(part, found, fits=fits))
            self.quantization = _noted(changed or self.quantization, found, fits=fits)
            self.has_learned |= fits and found.after < found.before
        if self.sweep is not None:
            for name in names:
                self._go_behind(name, self.sweep)

    def _go_behind(self, name: NodeId, sweep: Sweep) -> None:
        self.quantization = self.walk.pass_on(self.quantization, name)
        program = self.quantization.program
        population = population_of(program, name)
        sweep.replace_weights(program, list(program.synapses_into(population)))
        sweep.advance(population, sweep.currents(population))

    def _network(self, segment: Segment) -> SegmentNetwork | None:
        """The segment with gradients; None where nothing could be learned."""
        program = self.quantization.program
        learns = {group for name in segment.populations for group in self._learned(name)}
        tuned = frozenset(filter(self._is_tuned, segment.populations))
        if not learns and not tuned:
            self.findings.append(_nothing_to_learn(segment))
            return None
        if self.over_time:
            potentials = self.potentials
            biases = self.walk.fit.biases or (potentials is not None and potentials.readouts)
            return CountNetwork(program, segment.populations, learns, set(), biases=biases)
        carried = carriers(program, segment.populations)

        def readers(name: NodeId) -> Iterator[NodeId]:
            for group in program.graph.consumers(name):
                reader = program.graph.consumers(group.id)[0].id
                yield from readers(reader) if reader in carried else [group.id]

        sizes = {
            name
            for name in segment.populations
            if levels_of(population_of(program, name)) is not None
            and not population_of(program, name).relay
            and learns.issuperset(readers(name))
        }
        biases = self.walk.fit.biases
        return SegmentNetwork(
            program, segment.populations, learns, sizes, biases=biases, tuned=tuned
        )

    def _is_tuned(self, name: NodeId) -> bool:
        """Whether all weights onto a population are channels of few bits, and none of a file."""
        numbers = self.quantization.numbers.get(name)
        if name not in self.walk.sites or numbers is None:
            return False
        if self.over_time or numbers.weight_bits > FEW_BITS:
            return False
        population = population_of(self.quantization.program, name)
        groups = self.quantization.program.synapses_into(population)
        return all(_is_free(group, population, self.quantization) for group in groups)

    def _learned(self, name: NodeId) -> Iterator[NodeId]:
        """Groups onto a population whose weights are learned."""
        if name not in self.walk.sites:
            return
        population = population_of(self.quantization.program, name)
        for group in self.quantization.program.synapses_into(population):
            if _is_learned(group, population, self.quantization):
                yield group.id

    def _lesson(
        self, segment: Segment, network: SegmentNetwork, whitenings: Mapping[str, Whitening]
    ) -> Lesson:
        program, samples = self.quantization.program, self.samples
        learned = [name for name in segment.populations if name in self.walk.sites]
        shapes = {name: program.graph[name].shape for name in learned}
        teacher = Teacher(samples.folded, samples.x, shapes, network.most)
        goals = goals_of(self.quantization, network, teacher, counted=self.over_time)
        outputs = {name for name in goals if isinstance(program.graph[name], Readout)}
        judged = frozenset(outputs or goals)
        batch: Mixtures | Messages
        if {node.id for node in program.inputs}.issuperset(segment.sources):
            batch = Mixtures.of(samples, teacher, program, segment.sources, sorted(judged))
        elif self.sweep is not None:
            sent = {name: joined(self.sweep.pieces(name)) for name in segment.sources}
            batch = Messages(samples, teacher, sent)
        else:
            raise TypeError("a single segment reads nothing but inputs")
        return Lesson(goals, judged, len(samples.x), batch, whitenings)


def _is_learned(group: Synapses, population: Population, quantization: Quantization) -> bool:
    """Whether weights are free and of many bits.

    Of few bits, a step is so large that gradients, which pass through rounding, mislead.
    """
    few = quantization.numbers[population.id].weight_bits <= FEW_BITS
    return not few and _is_free(group, population, quantization)


def _is_free(group: Synapses, population: Population, quantization: Quantization) -> bool:
    """Whether rows of weights are channels, and no integers of a user's file."""
    rows_are_channels = isinstance(group, ConvSynapses | DenseSynapses) and (
        len(group.weight.values) == population.shape[0]
    )
    return rows_are_channels and group.id not in quantization.numbers[population.id].given


def _within_bounds(quantization: Quantization, network: SegmentNetwork) -> Quantization | None:
    """The network with what a segment has learned; None if a state could overflow."""
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


def _noted(quantization: Quantization, found: Learned, *, fits: bool) -> Quantization:
    """The same with the errors of its drives."""
    numbers = dict(quantization.numbers)
    for name, (before, after) in found.drives.items():
        errors = before, after if fits else before
        numbers[name] = replace(numbers[name], drive_errors=errors)
    return replace(quantization, numbers=numbers)


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


def _without_gradient(population: Population) -> Finding:
    return Finding(
        f"'{population.id}' has no gradient: what is before it and behind it is learned apart",
        code="not-reconstructed",
    )


def _nothing_to_learn(segment: Segment) -> Finding:
    return Finding(
        f"what ends with '{segment.populations[-1]}' keeps compensated weights: none may change",
        code="not-reconstructed",
    )


def _finding(segment: Segment, found: Learned, *, fits: bool) -> Finding:
    last = segment.populations[-1]
    if not fits:
        return Finding(
            f"what ends with '{last}' keeps compensated weights: a state could overflow with those"
            " that were learned",
            code="not-reconstructed",
        )
    return Finding(
        f"what ends with '{last}': error {100 * found.before:.3g} % of its power, now"
        f" {100 * found.after:.3g} %",
        code="reconstructed",
    )
