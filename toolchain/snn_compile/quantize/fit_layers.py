"""Weights and biases of each layer, fitted to the float network on the layer's actual input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QTensor, round_half_even
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    DenseSynapses,
    Neurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.numerics.products import mean, times_integers
from snn_compile.passes import PassResult, counted
from snn_compile.quantize.quantize import LayerNumbers, Quantization, floor_loss
from snn_compile.quantize.refit import Moments, refit
from snn_compile.quantize.rounding import compensate
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.sites import Sites, float_drives, rectifiers_and_outputs
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import bounds
from snn_compile.sim.kernels import Array

Drives = dict[NodeId, Array]
MAX_SAMPLES = 1024
MESSAGES = 1 << 24
"""Maximal number of samples, and of messages of the largest layer, of the fit."""
MAX_SITES = 1 << 14
"""Positions of a layer's maps, over all samples, of the fit."""
WIDEST = 2048
"""Fan-in above which a layer keeps its nearest integers: the cost is cubic."""


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
    """

    name: ClassVar[str] = "fit-layers"
    folded: ANNGraph
    x: Rows
    frames: Rows
    biases: bool = True
    refits: bool = True
    drives: SharedDrives | None = None

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other weights and biases, within the bounds of overflow."""
        program = quantization.program
        n, sites, target = self.targets(program)
        sweep, populations = Sweep(program, self.frames[:n]), program.populations
        with counted(self.name, len(populations)) as advance:
            for population in populations:
                if population.id in target:
                    at, drives = sites[population.id], target.pop(population.id)
                    present = replace(quantization, program=program)
                    program = self.fitted(present, population, sweep, at, drives)
                if isinstance(population, Neurons):
                    edited = program.graph[population.id]
                    if not isinstance(edited, Neurons):
                        raise TypeError(f"'{population.id}' is no longer a population of its kind")
                    sweep.advance(edited, sweep.currents(edited))
                advance(1)
        return PassResult(replace(quantization, program=program))

    def targets(self, program: QuantizedGraph) -> tuple[int, dict[NodeId, Sites], Drives]:
        """How many samples are taken, and sites and the float network's drives there, by layer."""
        n = _n_samples(len(self.frames), program.graph, program.window.n_steps)
        known = set(rectifiers_and_outputs(self.folded))
        sites = {
            population.id: Sites.spread(population.shape, n, _n_sites(program, population))
            for population in program.populations
            if population.id in known
        }
        shared = None if self.drives is None else self.drives.at(self.folded, sites)
        return n, sites, shared or float_drives(self.folded, self.x[:n], sites)

    def fitted(
        self,
        quantization: Quantization,
        population: Population,
        sweep: Sweep,
        sites: Sites,
        drives: Array,
    ) -> QuantizedGraph:
        """The program with one layer fitted; the sweep continues with it.

        Args:
            quantization: the network, with all layers before this one as they will be.
            population: the layer's.
            sweep: the traversal, at this layer.
            sites: of the layer.
            drives: of the float network at the sites, (C, S).
        """
        numbers = quantization.numbers[population.id]
        layer = _Layer(quantization.network, quantization.program, population, numbers)
        found = layer.fit(sweep, sites, drives, self.refits)
        bias = self.refits and self.biases
        program = self._changed(quantization.program, population, found, bias=bias)
        sweep.replace_weights(program, list(program.synapses_into(population)))
        return program

    def _changed(
        self, program: QuantizedGraph, population: Population, found: _Found, *, bias: bool
    ) -> QuantizedGraph:
        """The program with the fit, except for channels whose state could overflow."""
        shift = found.shift if bias and not population.wraps else 0
        keep = np.zeros(population.shape[0], bool)
        for _ in range(2):
            moved = population
            if bias:
                step = np.where(keep, 0, shift)[:, None, None]
                moved = population.changed(bias=QTensor.of(population.bias.values + step))
            groups = [_mixed(old, new, keep) for old, new in found.groups]
            graph = program.graph.edit(replaced=[*groups, moved])
            edited = QuantizedGraph(graph, program.window)
            interval = bounds.states(graph, moved, program.window.n_steps)
            limit = min(moved.state.max, VOLTAGE_LIMIT)
            over = np.maximum(-interval.low, interval.high) > limit
            if not over.any():
                return edited
            keep = over
        return program


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
    """Result of a fit: each group before and after, and steps to add to each channel's bias."""

    groups: list[tuple[Synapses, Synapses]]
    shift: Int


@dataclass(frozen=True, eq=False)
class _Layer:
    """A population and the inputs of its fit."""

    network: SpikingGraph
    program: QuantizedGraph
    population: Population
    numbers: LayerNumbers

    def fit(self, sweep: Sweep, sites: Sites, target: Array, fits: bool) -> _Found:
        """New weights and biases, given the drives (C, S) of the float network at the sites."""
        groups = self.program.synapses_into(self.population)
        missing = target - self._present(sweep, sites, groups)
        changed: list[tuple[Synapses, Synapses]] = []
        for group in groups:
            if not isinstance(group, ConvSynapses | DenseSynapses) or not self._is_known(group):
                continue
            if group.id in self.numbers.given:  # integers of the user's file are no errors
                continue
            step = self._step(group)
            trains = sweep.pieces(group.inputs[0])
            pieces, n_steps = [_total(t) for t in trains], trains[0].shape[-2]
            old = group.weight.values.reshape(len(step), -1)
            new = old.copy()
            for rows, columns in sites.fields(group, pieces):
                exact, moments = self._exact(group)[rows], Moments.of(columns, sites.samples)
                # The residual with exact weights: the rest is only this group's rounding.
                rounded = (old[rows] * step[rows, None] - exact) / n_steps
                missing[rows] += times_integers(rounded, columns)
                if fits:
                    exact = exact + refit(columns, missing[rows], moments) * n_steps
                new[rows] = _rounded(exact / step[rows, None], group, moments)
                now = (new[rows] * step[rows, None] - self._exact(group)[rows]) / n_steps
                missing[rows] -= times_integers(now, columns)
            weight = QTensor(new.reshape(group.weight.shape), group.weight.format)
            changed.append((group, replace(group, weight=weight)))
        shift = mean(missing, axis=1) / self.numbers.unit
        return _Found(changed, round_half_even(np.clip(shift, -VOLTAGE_LIMIT, VOLTAGE_LIMIT)))

    def _present(self, sweep: Sweep, sites: Sites, groups: tuple[Synapses, ...]) -> Array:
        """The drive of the program at the sites, in real units; (C, S)."""
        numbers = self.numbers
        here = sites.of_trains(sweep.currents(self.population), _mean)
        # Right shifts floor; the integer bias includes the mean of that.
        here += np.float32(floor_loss(groups))
        here *= np.float32(1 << self.population.bits_below_weights)
        here += sites.along(np.broadcast_to(numbers.bias, self.population.shape))
        here *= numbers.unit[:, None].astype(np.float32)
        return here

    def _is_known(self, group: ConvSynapses | DenseSynapses) -> bool:
        """Whether rows of weights are channels, with a moderate number of weights in each."""
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


def _mean(trains: Int) -> Float:
    """Mean over the steps of a window: (..., T, S) to (..., S)."""
    total: Float = _total(trains) / trains.shape[-2]
    return total


def _total(trains: Int) -> Int:
    """Sum over the steps of a window: (..., T, B) to (..., B)."""
    total: Int = trains.sum(axis=-2, dtype=np.int64)
    return total


def _rounded(target: Float, group: ConvSynapses | DenseSynapses, moments: Moments) -> Int:
    """Weights (R, K) in steps of the grid, as integers."""
    limit = (1 << (group.weight.format.bits - 1)) - 1
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
