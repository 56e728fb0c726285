"""Weights and biases of each layer, fitted to the float network on the layer's actual input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    IFNeurons,
    Neurons,
    Population,
    QuantizedGraph,
)
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.products import mean
from snn_compile.passes import PassResult, counted
from snn_compile.quantize.calibrate_potentials import ROUNDS, MeanCounts
from snn_compile.quantize.fit_layer import Fields, Layer, total
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.refit import Moments
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.sites import Sites, float_drives, rectifiers_and_outputs
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim.kernels import Array

MAX_SAMPLES = 1024
MESSAGES = 1 << 24
"""Maximal number of samples, and of messages of the largest layer, of the fit."""
SPIKES = 2
"""As many times more messages if they are spikes over time, of a byte: cifar10_resnet20 at T = 8
has 256 samples, not 128, and 7 % less error of the outputs."""
MAX_SITES = 1 << 14
"""Positions of a layer's maps, over all samples, of the fit."""
COUNT_ROUNDS = 2
"""Times that a layer is fitted to its spike counts, as long as their error falls (see decision
0075)."""


@dataclass(frozen=True, eq=False)
class FitLayers:
    """Layer by layer: weights that compensate earlier layers, rounding that cancels, bias.

    Layers are fitted in topological order, each with all layers before it fitted and in fixed
    point. At a layer, the drive of the float network is compared with that of the program. The
    residual contains the errors of all activations so far. For each synapse group in turn, a
    regression gives the change of the weights (``refit``), they are rounded so that their errors
    cancel (``compensate``), and the next group fits the new residual: in a residual join, the
    weights of the branch compensate the errors of the shortcut too. The mean of the remaining
    residual goes into the biases.

    Sparse groups, and neurons with more than ``WIDEST`` weights, keep their nearest integers. The
    integers of a quantized file stay as they are. Relays and comparators correspond to no layer of
    the float network and are unchanged. Networks that reset to zero are refitted only after their
    thresholds are calibrated (``CalibrateResets``): before that, the loss is proportional to
    activity, and weights that compensated it would excite neurons that should be silent.

    Attributes:
        folded: the float network, the source of the target drives.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded, (N, C, H, W).
        biases: whether to change biases.
        refits: whether weights may compensate errors of earlier layers; else they are only rounded.
        drives: what calibration recorded of the float network on the same samples.
        starts: full scales of rectifiers whose initial potentials are calibrated on the way, (C,)
            each. Their weights are fitted to the counts of their spikes, too, and the layers behind
            them to the spikes that they will send.
    """

    name: ClassVar[str] = "fit-layers"
    folded: ANNGraph
    x: Rows
    frames: Rows
    biases: bool = True
    refits: bool = True
    drives: SharedDrives | None = None
    starts: Mapping[NodeId, Float] | None = None

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other weights and biases, within the bounds of overflow."""
        walk = Walk.of(self, quantization.program)
        populations = quantization.program.populations
        with counted(self.name, len(populations)) as advance:
            for population in populations:
                quantization = walk.fitted(quantization, population.id)
                walk.pass_on(quantization, population.id)
                advance(1)
        return PassResult(quantization)


@dataclass(frozen=True, eq=False)
class Walk:
    """One traversal of a program's layers, each given the messages of those before it.

    Attributes:
        fit: the pass.
        n: samples that are taken.
        sites: of the layers that are fitted.
        drives: of the float network at these sites.
        sweep: the messages so far.
        counts: mean spike counts to reach by initial potentials; None to leave these alone.
        keeps: whether receptive fields are kept until a layer's messages are passed on, for a layer
            that is fitted several times.
        kept: those of each synapse group of the layer.
    """

    fit: FitLayers
    n: int
    sites: Mapping[NodeId, Sites]
    drives: dict[NodeId, Array]
    sweep: Sweep
    counts: MeanCounts | None = None
    keeps: bool = False
    kept: dict[NodeId, list[Fields]] = field(default_factory=dict)

    @staticmethod
    def of(fit: FitLayers, program: QuantizedGraph, *, keeps: bool = False) -> Walk:
        """The start of a traversal."""
        n = _n_samples(len(fit.frames), program.graph, program.window.n_steps)
        known = set(rectifiers_and_outputs(fit.folded))
        sites = {
            population.id: Sites.spread(population.shape, n, _n_sites(program, population))
            for population in program.populations
            if population.id in known
        }
        shared = None if fit.drives is None else fit.drives.at(fit.folded, sites)
        drives = shared or float_drives(fit.folded, fit.x[:n], sites)
        sweep, counts = Sweep(program, fit.frames[:n]), None
        if fit.starts is not None:
            counts = MeanCounts.of(fit.folded, fit.x[:n], fit.starts, program.window.n_steps)
        return Walk(fit, n, sites, drives, sweep, counts, keeps or counts is not None)

    def branch(self) -> Walk:
        """A traversal that continues from here by itself."""
        return replace(self, drives=dict(self.drives), sweep=self.sweep.branch(), kept={})

    def fields(self, group: ConvSynapses | DenseSynapses, sites: Sites) -> Iterable[Fields]:
        """Receptive fields of a group's neurons at the sites, with their moments."""
        if group.id in self.kept:
            return self.kept[group.id]
        pieces = [total(trains) for trains in self.sweep.pieces(group.inputs[0])]
        found = (
            (rows, Moments.of(fields, sites.n_first))
            for rows, fields in sites.fields(group, pieces)
        )
        return self.kept.setdefault(group.id, list(found)) if self.keeps else found

    def fitted(self, quantization: Quantization, name: NodeId) -> Quantization:
        """A network with this layer fitted; one that corresponds to no layer stays as it is.

        ``show`` has the traversal know its weights, where they are not those that it began with.
        """
        population = quantization.program.graph[name]
        if name not in self.sites or not isinstance(population, Population):
            return quantization
        fitted = self._with(quantization, population, self.drives[name])
        return self._with_counts(fitted, name)

    def _with(
        self,
        quantization: Quantization,
        population: Population,
        target: Array,
        missing: Array | None = None,
    ) -> Quantization:
        """A network in which a layer has the target drives (C, S), or makes up for missing ones."""
        layer, name = Layer.of(quantization, population), population.id
        found = layer.fit(
            self.sweep,
            self.fields,
            self.sites[name],
            target,
            missing,
            fits=self.fit.refits,
            centred=self.fit.biases or self.fit.starts is not None,
        )
        program, numbers = layer.changed(found, bias=self.fit.refits and self.fit.biases)
        if numbers is layer.numbers:
            return replace(quantization, program=program)
        return replace(
            quantization, program=program, numbers={**quantization.numbers, name: numbers}
        )

    def _with_counts(self, quantization: Quantization, name: NodeId) -> Quantization:
        """A network in which a layer counts what it should, as far as it can be had.

        Potentials give the mean of its counts, the same regression as for drives the part of the
        rest that depends on the input: a spike too few is a threshold's worth of drive missing in
        the window. Neurons that are rightly silent have nothing missing, however their drive
        differs from that of the float network.
        """
        best, least = quantization, np.inf
        for round_number in range(COUNT_ROUNDS + 1):
            population, program = self.show(quantization, name), quantization.program
            if self.counts is None or not self.counts.knows(population):
                break
            currents = self.sweep.currents(population)
            rounds = 1 if round_number else ROUNDS
            population = self.counts.started(program, population, self.sweep, currents, rounds)
            graph = program.graph.edit(replaced=[population])
            quantization = replace(quantization, program=replace(program, graph=graph))
            missing = self._missing_counts(population, currents)
            error = float(mean(np.square(missing).ravel(), axis=0))
            if error >= least:
                break
            best, least = quantization, error
            if round_number < COUNT_ROUNDS and self.fit.refits:
                missing -= mean(missing, axis=1)[:, None].astype(np.float32)
                missing *= self.counts.worth(population)
                quantization = self._with(quantization, population, self.drives[name], missing)
        self.show(best, name)
        return best

    def _missing_counts(self, population: IFNeurons, currents: list[Int]) -> Array:
        """Spikes that a population should send at its sites less those that it sends, (C, S)."""
        if self.counts is None:
            raise TypeError("no counts are known")
        name = population.id
        wanted = self.counts.of_drives(population, self.drives[name])
        return wanted - self.sites[name].of(self.sweep.counts(population, currents))

    def show(self, quantization: Quantization, name: NodeId) -> Population:
        """Take the weights of a layer from this network; the layer itself."""
        program = quantization.program
        population = program.graph[name]
        if not isinstance(population, Population):
            raise TypeError(f"'{name}' is no longer a population")
        self.sweep.replace_weights(program, list(program.synapses_into(population)))
        return population

    def pass_on(self, quantization: Quantization, name: NodeId) -> Quantization:
        """Compute the messages of a layer as it is in this network; the network."""
        population = self.show(quantization, name)
        self.drives.pop(name, None)
        self.kept.clear()
        if isinstance(population, Neurons):
            self.sweep.advance(population, self.sweep.currents(population))
        return quantization


def foreseen(
    folded: ANNGraph, shapes: Mapping[NodeId, Shape], n: int, n_steps: int
) -> SharedDrives:
    """Records the drives that the fit will ask for.

    Args:
        folded: the float network.
        shapes: (C, H, W) of the populations of its rectifiers and outputs.
        n: number of samples.
        n_steps: of a window.
    """
    n = _n_samples(n, folded.graph, n_steps)
    names = rectifiers_and_outputs(folded)
    sites = {name: Sites.spread(shapes[name], n, MAX_SITES) for name in names}
    return SharedDrives(folded, sites)


def _n_samples(n: int, graph: Graph[Any], n_steps: int) -> int:
    """How many of n samples the fit takes."""
    largest: int = max(prod(node.shape) for node in graph) * n_steps
    most = MESSAGES if n_steps == 1 else MESSAGES * SPIKES
    return min(n, MAX_SAMPLES, max(16, most // largest))


def _n_sites(program: QuantizedGraph, population: Population) -> int:
    """Number of sites of a layer; a dense layer has no maps and uses every neuron."""
    dense = any(isinstance(g, DenseSynapses) for g in program.synapses_into(population))
    return prod(population.shape[1:]) * MAX_SAMPLES if dense else MAX_SITES
