"""Weights, unit and bias of one layer, fitted to given drives on the messages that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QTensor, arithmetic_shift, round_half_even
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.spiking import Float, Reset
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.products import blas, mean, times_integers
from snn_compile.quantize.few_bits import least_error
from snn_compile.quantize.neurons import in_fixed_point
from snn_compile.quantize.quantize import LayerNumbers, Quantization, floor_loss
from snn_compile.quantize.refit import Moments, refit
from snn_compile.quantize.rounding import compensate
from snn_compile.quantize.sites import Sites
from snn_compile.quantize.sweep import Sweep
from snn_compile.sim import bounds
from snn_compile.sim.kernels import Array

FEW_BITS = 6
"""Width up to which a unit of the weights is chosen anew, on the samples."""
FREE = (spiking.GradedNeurons, spiking.ClipFloorNeurons, spiking.IFNeurons)
"""Neurons whose channels may have any unit."""
WIDEST = 2048
"""Fan-in above which a layer keeps its nearest integers: the cost is cubic."""
Fields = tuple[slice, Moments]
"""Rows of a group's weights, and the receptive fields that they share with their moments."""


@dataclass(frozen=True, eq=False)
class Found:
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
class Layer:
    """A population and the inputs of its fit.

    Attributes:
        network: the spiking network in floating point.
        program: the network in fixed point, the population's synapses among it.
        population: the layer.
        numbers: its scales.
    """

    network: SpikingGraph
    program: QuantizedGraph
    population: Population
    numbers: LayerNumbers

    @staticmethod
    def of(quantization: Quantization, population: Population) -> Layer:
        """A layer of a network."""
        numbers = quantization.numbers[population.id]
        return Layer(quantization.network, quantization.program, population, numbers)

    def fit(
        self,
        sweep: Sweep,
        fields: Callable[[ConvSynapses | DenseSynapses, Sites], Iterable[Fields]],
        sites: Sites,
        target: Array,
        missing: Array | None = None,
        *,
        fits: bool,
        centred: bool,
    ) -> Found:
        """New weights and biases, given the wanted drives (C, S) at the sites.

        Args:
            sweep: has the messages of the layers before.
            fields: receptive fields of a group at the sites.
            sites: where drives are compared.
            target: the drives.
            missing: (C, S) what is missing of them, where another measure than they says it.
            fits: whether weights may compensate the errors of other layers.
            centred: whether mean errors are corrected elsewhere.
        """
        groups = self.program.synapses_into(self.population)
        ratio = np.ones(self.population.shape[0])
        fitted = [group for group in groups if self._is_fitted(group)]
        found = {group.id: fields(group, sites) for group in fitted}
        if missing is not None:
            missing = missing[:, sites.by_halves]
        else:
            if len(fitted) == len(groups) and sweep.is_constant(groups):
                found = {key: list(each) for key, each in found.items()}
                sums = _sums(fitted, found)
            else:
                sums = sites.of_trains(sweep.currents(self.population), _mean)[:, sites.by_halves]
            missing = target[:, sites.by_halves] - self._present(sums, sites, groups)
        changed: list[tuple[Synapses, Synapses]] = []
        for group in fitted:
            step = self._step(group)
            n_steps = sweep.pieces(group.inputs[0])[0].shape[-2]
            new = (old := group.weight.values.reshape(len(step), -1)).copy()
            for rows, moments in found[group.id]:
                exact = self._exact(group)[rows]
                # The residual with exact weights: the rest is only this group's rounding.
                rounded = (old[rows] * step[rows, None] - exact) / n_steps
                missing[rows] += times_integers(rounded, moments.fields)
                if fits:
                    exact = exact + refit(missing[rows], moments) * n_steps
                if self._has_free_units(groups):
                    parts = exact, step[rows], moments, _limit(group)
                    of_rows, new[rows] = least_error(*parts, centred=centred)
                    ratio[rows], step[rows] = of_rows, step[rows] * of_rows
                else:
                    new[rows] = _rounded(exact / step[rows, None], group, moments)
                now = (new[rows] * step[rows, None] - self._exact(group)[rows]) / n_steps
                missing[rows] -= times_integers(now, moments.fields)
            weight = QTensor(new.reshape(group.weight.shape), group.weight.format)
            changed.append((group, replace(group, weight=weight)))
        shift = mean(missing, axis=1) / (self.numbers.unit * ratio)
        within = np.clip(shift, -VOLTAGE_LIMIT, VOLTAGE_LIMIT)
        return Found(changed, ratio, round_half_even(within))

    def changed(self, found: Found, *, bias: bool) -> tuple[QuantizedGraph, LayerNumbers]:
        """The program with the fit, except for channels whose state could overflow; its numbers."""
        program, population = self.program, self.population
        shift = found.shift if bias and not population.wraps else 0
        keep = np.zeros(population.shape[0], bool)
        for _ in range(2):
            moved, numbers = self.in_units(np.where(keep, 1.0, found.ratio))
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
        return program, self.numbers

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
    mean_of_steps: Float = total(trains) / trains.shape[-2]
    return mean_of_steps


def total(trains: Int) -> Int:
    """Sum over the steps of a window: (..., T, B) to (..., B)."""
    if trains.shape[-2] == 1:
        return trains[..., 0, :]
    summed: Int = trains.sum(axis=-2, dtype=np.int64)
    return summed


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


def _mixed(old: Synapses, new: Synapses, keep: npt.NDArray[np.bool_]) -> Synapses:
    """The new synapses, except for channels that keep their old ones."""
    if isinstance(old, ConvSynapses | DenseSynapses) and isinstance(new, type(old)):
        kept = keep.reshape(-1, *[1] * (len(old.weight.shape) - 1))
        values = np.where(kept, old.weight.values, new.weight.values)
        return replace(new, weight=QTensor(values, new.weight.format))
    raise TypeError(f"'{old.id}' was not fitted")
