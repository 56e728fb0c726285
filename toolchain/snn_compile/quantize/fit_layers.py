"""Weights and biases of each layer, fitted to the float network on the layer's actual input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar, TypeGuard

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QTensor, arithmetic_shift, round_half_even
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    Neurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.spiking import Float, Reset
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.numerics.products import blas, mean, times_integers
from snn_compile.passes import PassResult, counted
from snn_compile.quantize.calibrate_potentials import MeanCounts
from snn_compile.quantize.few_bits import least_error
from snn_compile.quantize.neurons import in_fixed_point
from snn_compile.quantize.quantize import LayerNumbers, Quantization, floor_loss
from snn_compile.quantize.refit import Moments, refit
from snn_compile.quantize.rounding import compensate
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.sites import Sites, float_drives, rectifiers_and_outputs
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import bounds
from snn_compile.sim.kernels import Array

MAX_SAMPLES = 1024
MESSAGES = 1 << 24
"""Maximal number of samples, and of messages of the largest layer, of the fit."""
MAX_SITES = 1 << 14
"""Positions of a layer's maps, over all samples, of the fit."""
FEW_BITS = 6
"""Width up to which a unit of the weights is chosen anew, on the samples."""
FREE = (spiking.GradedNeurons, spiking.ClipFloorNeurons, spiking.IFNeurons)
"""Neurons whose channels may have any unit."""
WIDEST = 2048
"""Fan-in above which a layer keeps its nearest integers: the cost is cubic."""
Fields = tuple[slice, Moments]
"""Rows of a group's weights, and the receptive fields that they share with their moments."""


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
            each: the layers behind them are fitted to the spikes that they will send.
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
                quantization = walk.pass_on(quantization, population.id)
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
        return Walk(fit, n, sites, drives, sweep, counts, keeps)

    def branch(self) -> Walk:
        """A traversal that continues from here by itself."""
        return replace(self, drives=dict(self.drives), sweep=self.sweep.branch(), kept={})

    def fields(self, group: ConvSynapses | DenseSynapses, sites: Sites) -> Iterable[Fields]:
        """Receptive fields of a group's neurons at the sites, with their moments."""
        if group.id in self.kept:
            return self.kept[group.id]
        pieces = [_total(trains) for trains in self.sweep.pieces(group.inputs[0])]
        found = (
            (rows, Moments.of(fields, sites.n_first))
            for rows, fields in sites.fields(group, pieces)
        )
        return self.kept.setdefault(group.id, list(found)) if self.keeps else found

    def fitted(self, quantization: Quantization, name: NodeId) -> Quantization:
        """A network with this layer fitted; one that corresponds to no layer stays as it is.

        ``show`` has the traversal know its weights, where they are not those that it began with.
        """
        program = quantization.program
        population = program.graph[name]
        if name not in self.sites or not isinstance(population, Population):
            return quantization
        layer = _Layer(quantization.network, program, population, quantization.numbers[name])
        found = layer.fit(
            self,
            self.sites[name],
            self.drives[name],
            fits=self.fit.refits,
            centred=self.fit.biases or self.fit.starts is not None,
        )
        program, numbers = _changed(layer, found, bias=self.fit.refits and self.fit.biases)
        if numbers is layer.numbers:
            return replace(quantization, program=program)
        return replace(
            quantization, program=program, numbers={**quantization.numbers, name: numbers}
        )

    def show(self, quantization: Quantization, name: NodeId) -> Population:
        """Take the weights of a layer from this network; the layer itself."""
        program = quantization.program
        population = program.graph[name]
        if not isinstance(population, Population):
            raise TypeError(f"'{name}' is no longer a population")
        self.sweep.replace_weights(program, list(program.synapses_into(population)))
        return population

    def pass_on(self, quantization: Quantization, name: NodeId) -> Quantization:
        """Compute the messages of a layer, with the weights of this network.

        Returns:
            The network, in which the layer starts from the potentials that it had them sent from.
        """
        population, program = self.show(quantization, name), quantization.program
        self.drives.pop(name, None)
        self.kept.clear()
        if not isinstance(population, Neurons):
            return quantization
        currents = self.sweep.currents(population)
        if self.counts is not None and self.counts.knows(population):
            population = self.counts.started(program, population, self.sweep, currents)
            program = QuantizedGraph(program.graph.edit(replaced=[population]), program.window)
        self.sweep.advance(population, currents)
        return replace(quantization, program=program)


def _changed(layer: _Layer, found: _Found, *, bias: bool) -> tuple[QuantizedGraph, LayerNumbers]:
    """The program with the fit, except for channels whose state could overflow; its numbers."""
    program, population = layer.program, layer.population
    shift = found.shift if bias and not population.wraps else 0
    keep = np.zeros(population.shape[0], bool)
    for _ in range(2):
        moved, numbers = layer.in_units(np.where(keep, 1.0, found.ratio))
        if bias:
            step = np.where(keep, 0, shift)[:, None, None]
            moved = moved.changed(bias=QTensor.of(moved.bias.values + step))
        groups = [_mixed(old, new, keep) for old, new in found.groups]
        graph = program.graph.edit(replaced=[*groups, moved])
        edited = QuantizedGraph(graph, program.window)
        interval = bounds.states(graph, moved, program.window.n_steps)
        limit = min(moved.state.max, VOLTAGE_LIMIT)
        over = np.maximum(-interval.low, interval.high) > limit
        if not over.any():
            return edited, numbers
        keep = over
    return program, layer.numbers


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
    return min(n, MAX_SAMPLES, max(16, MESSAGES // largest))


@dataclass(frozen=True, eq=False)
class _Found:
    """Result of a fit.

    Attributes:
        groups: each group before and after.
        ratio: steps of the potential, as multiples of those before, (C,).
        shift: steps to add to each channel's bias.
    """

    groups: list[tuple[Synapses, Synapses]]
    ratio: Float
    shift: Int


@dataclass(frozen=True, eq=False)
class _Layer:
    """A population and the inputs of its fit."""

    network: SpikingGraph
    program: QuantizedGraph
    population: Population
    numbers: LayerNumbers

    def fit(self, walk: Walk, sites: Sites, target: Array, *, fits: bool, centred: bool) -> _Found:
        """New weights and biases, given the drives (C, S) of the float network at the sites.

        Args:
            walk: has the messages of the layers before.
            sites: where drives are compared.
            target: the drives.
            fits: whether weights may compensate the errors of other layers.
            centred: whether mean errors are corrected elsewhere.
        """
        groups = self.program.synapses_into(self.population)
        ratio = np.ones(self.population.shape[0])
        fitted = [group for group in groups if self._is_fitted(group)]
        fields = {group.id: walk.fields(group, sites) for group in fitted}
        if len(fitted) == len(groups) and walk.sweep.is_constant(groups):
            fields = {key: list(found) for key, found in fields.items()}
            sums = _sums(fitted, fields)
        else:
            sums = sites.of_trains(walk.sweep.currents(self.population), _mean)[:, sites.by_halves]
        missing = target[:, sites.by_halves] - self._present(sums, sites, groups)
        changed: list[tuple[Synapses, Synapses]] = []
        for group in fitted:
            step = self._step(group)
            n_steps = walk.sweep.pieces(group.inputs[0])[0].shape[-2]
            old = group.weight.values.reshape(len(step), -1)
            new = old.copy()
            for rows, moments in fields[group.id]:
                exact = self._exact(group)[rows]
                # The residual with exact weights: the rest is only this group's rounding.
                rounded = (old[rows] * step[rows, None] - exact) / n_steps
                missing[rows] += times_integers(rounded, moments.fields)
                if fits:
                    exact = exact + refit(missing[rows], moments) * n_steps
                if self._has_free_units(groups):
                    of_rows, new[rows] = least_error(
                        exact, step[rows], moments, _limit(group), centred=centred
                    )
                    ratio[rows], step[rows] = of_rows, step[rows] * of_rows
                else:
                    new[rows] = _rounded(exact / step[rows, None], group, moments)
                now = (new[rows] * step[rows, None] - self._exact(group)[rows]) / n_steps
                missing[rows] -= times_integers(now, moments.fields)
            weight = QTensor(new.reshape(group.weight.shape), group.weight.format)
            changed.append((group, replace(group, weight=weight)))
        shift = mean(missing, axis=1) / (self.numbers.unit * ratio)
        shift = np.clip(shift, -VOLTAGE_LIMIT, VOLTAGE_LIMIT)
        return _Found(changed, ratio, round_half_even(shift))

    def in_units(self, ratio: Float) -> tuple[Population, LayerNumbers]:
        """The neurons with other steps of their potential, as multiples of the present ones."""
        if (ratio == 1).all():
            return self.population, self.numbers
        exact = self._neurons
        unit = self.numbers.unit * ratio
        bias = exact.bias / unit[:, None, None]
        loss = floor_loss(self.program.synapses_into(self.population))
        neurons = in_fixed_point(exact, bias + loss, unit)
        return neurons, replace(self.numbers, unit=unit, bias=bias)

    @property
    def _neurons(self) -> spiking.Population:
        exact = self.network.graph[self.population.id]
        if not isinstance(exact, spiking.Population):
            raise TypeError(f"'{exact.id}' is no population")
        return exact

    def _has_free_units(self, groups: tuple[Synapses, ...]) -> bool:
        """Whether weights have few bits, and a unit that neither another group shares nor a class.

        What resets to zero has thresholds that were calibrated in their units.
        """
        exact = self._neurons
        resets = isinstance(exact, spiking.IFNeurons) and exact.reset is Reset.ZERO
        return (
            len(groups) == 1
            and self.numbers.weight_bits <= FEW_BITS
            and isinstance(exact, FREE)
            and not isinstance(self.population, CubaLIFNeurons)
            and not resets
        )

    def _present(self, here: Array, sites: Sites, groups: tuple[Synapses, ...]) -> Array:
        """The drive of the program at the sites, in real units; (C, S), from its mean sums."""
        numbers = self.numbers
        # Right shifts floor; the integer bias includes the mean of that.
        here += np.float32(floor_loss(groups))
        here *= np.float32(1 << self.population.bits_below_weights)
        bias = sites.along(np.broadcast_to(numbers.bias, self.population.shape))
        here += bias[:, sites.by_halves]
        here *= numbers.unit[:, None].astype(np.float32)
        return here

    def _is_fitted(self, group: Synapses) -> TypeGuard[ConvSynapses | DenseSynapses]:
        """Whether rows of weights are channels, with a moderate number of weights in each.

        Integers of the user's file are no errors.
        """
        if not isinstance(group, ConvSynapses | DenseSynapses) or group.id in self.numbers.given:
            return False
        n_rows, n_weights = len(group.weight.values), prod(group.weight.shape[1:])
        return n_rows == self.population.shape[0] and n_weights <= WIDEST

    def _step(self, group: ConvSynapses | DenseSynapses) -> Float:
        """Real value of one step of each row's weights."""
        below = self.population.bits_below_weights
        step: Float = self.numbers.unit * 2.0 ** (group.exponent + below)
        return step

    def _exact(self, group: ConvSynapses | DenseSynapses) -> Float:
        exact = self.network.graph[group.id]
        if not isinstance(exact, spiking.ConvSynapses | spiking.DenseSynapses):
            raise TypeError(f"'{group.id}' is not what it was in floating point")
        return exact.weight.reshape(exact.weight.shape[0], -1)


def _sums(
    groups: Sequence[ConvSynapses | DenseSynapses], fields: Mapping[NodeId, Iterable[Fields]]
) -> Array:
    """Summed input of a layer at its sites, (C, S) float32: all of it, where steps are the same."""
    total: Int | int = 0
    for group in groups:
        weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        parts = [blas(weight[rows], moments.fields.wide) for rows, moments in fields[group.id]]
        total = total + arithmetic_shift(np.concatenate(parts).astype(np.int64), group.exponent)
    return np.asarray(total).astype(np.float32)


def _mean(trains: Int) -> Float:
    """Mean over the steps of a window: (..., T, S) to (..., S)."""
    total: Float = _total(trains) / trains.shape[-2]
    return total


def _total(trains: Int) -> Int:
    """Sum over the steps of a window: (..., T, B) to (..., B)."""
    if trains.shape[-2] == 1:
        return trains[..., 0, :]
    total: Int = trains.sum(axis=-2, dtype=np.int64)
    return total


def _limit(group: ConvSynapses | DenseSynapses) -> int:
    """Largest magnitude of a group's integers."""
    return (1 << (group.weight.format.bits - 1)) - 1


def _rounded(target: Float, group: ConvSynapses | DenseSynapses, moments: Moments) -> Int:
    """Weights (R, K) in steps of the grid, as integers."""
    limit = _limit(group)
    nearest = round_half_even(np.clip(target, -limit, limit))
    if target.shape[1] < 2 or np.array_equal(nearest, target):
        return nearest
    return compensate(target, nearest, moments, limit)


def _n_sites(program: QuantizedGraph, population: Population) -> int:
    """Number of sites of a layer; a dense layer has no maps and uses every neuron."""
    dense = any(isinstance(g, DenseSynapses) for g in program.synapses_into(population))
    return prod(population.shape[1:]) * MAX_SAMPLES if dense else MAX_SITES


def _mixed(old: Synapses, new: Synapses, keep: npt.NDArray[np.bool_]) -> Synapses:
    """The new synapses, except for channels that keep their old ones."""
    if isinstance(old, ConvSynapses | DenseSynapses) and isinstance(new, type(old)):
        kept = keep.reshape(-1, *[1] * (len(old.weight.shape) - 1))
        values = np.where(kept, old.weight.values, new.weight.values)
        return replace(new, weight=QTensor(values, new.weight.format))
    raise TypeError(f"'{old.id}' was not fitted")
