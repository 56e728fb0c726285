"""Thresholds and biases that compensate the charge lost in a reset to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeGuard

import numpy as np

from snn_compile.ir.fixedpoint import Int, QTensor, round_half_even
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    FRACTION_BITS,
    VOLTAGE_LIMIT,
    CubaLIFNeurons,
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    along_channels,
)
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.numerics.functions import geometric
from snn_compile.passes import PassResult
from snn_compile.quantize import stock
from snn_compile.quantize.correct_biases import (
    MAX_SAMPLES,
    MESSAGES,
    ResetsToZero,
    corrected_bias,
    mean_current,
    mean_drives,
    resets_to_zero,
)
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.sites import Sites, float_drives, rectifiers_and_outputs
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import bounds
from snn_compile.sim.kernels import Array

MAX_SITES = 4096
"""Neurons of all samples recorded in a layer: enough for two numbers per channel."""
MIN_SITES, MAX_VALUES = 64, 1 << 25
"""Their minimum, and the number of recorded values that limits them for memory."""
COARSE = geometric(0.2, 1.4, 14)
FINE = np.array([0.8, 0.9, 0.95, 1.05, 1.1, 1.2])
"""Factors of a threshold to evaluate, first globally and then around the best one."""
SHIFTS = np.array([-3, -2, -1, -0.5, 0.5, 1, 2, 3])
"""Changes of a bias to evaluate, in halves of a spike per window."""


@dataclass(frozen=True, eq=False)
class CalibrateResets:
    """Per channel, the threshold and the bias whose spike counts are closest to the activations.

    A neuron that resets to zero loses the charge of its drive ``d`` above the threshold. With a
    constant drive it fires every ``ceil(threshold / d)`` steps: too rarely, and the more so the
    more active it is. With spiking input, the loss depends on the granularity of the spikes, so
    counts are measured. For some neurons of each layer, the input of every step is recorded, with
    all layers before in fixed point and calibrated, and applied to neurons with other thresholds
    and biases. Each channel keeps the pair with the smallest
    ``E (count - activation * T / full scale)^2``; its initial pair is one of the candidates.

    A lower threshold compensates spikes lost in proportion to activity; a bias of half a threshold
    per window (the shift of Deng and Gu 2021) compensates counts that are rounded down. The
    potential itself starts at zero, as in Loihi's own neurons. Biases of readouts are corrected
    (see ``CorrectBiases``). Relays and comparators are unchanged.

    Attributes:
        folded: the float network.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded.
        scales: activation represented by a spike at every step, (C,) of each rectifier.
    """

    name: ClassVar[str] = "calibrate-resets"
    folded: ANNGraph
    x: Rows
    frames: Rows
    scales: Mapping[NodeId, Float]

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other thresholds and biases, within the bounds of overflow.

        Stock neurons stay inside their registers (``quantize/stock.py``).
        """
        program = quantization.program
        n_steps = program.window.n_steps
        n = min(len(self.x), MAX_SAMPLES, max(8, MESSAGES // n_steps))
        known = set(rectifiers_and_outputs(self.folded))
        sites = {
            p.id: Sites.spread(p.shape, n, _n_sites(p, n_steps))
            for p in program.populations
            if p.id in known and _can_be_calibrated(p)
        }
        drives = float_drives(self.folded, self.x[:n], sites)
        means = mean_drives(self.folded, self.x[:n])
        sweep = Sweep(program, self.frames[:n])
        changed: list[Population] = []
        for population in program.populations:
            currents = sweep.currents(population)
            if isinstance(population, Readout):
                seen = mean_current(currents, population.shape[0])
                numbers = quantization.numbers[population.id]
                population = corrected_bias(
                    program, population, seen, means[population.id], numbers
                )
                changed.append(population)
            elif population.id in sites and _can_be_calibrated(population):
                full = self.scales[population.id][:, None]
                wanted = np.clip(drives[population.id] / full, 0, 1) * n_steps
                seen_at = _trains(currents, sites[population.id])
                found = _nearest(population, seen_at, sites[population.id], wanted, n_steps)
                population = _safe(program, population, found)
                changed.append(population)
            sweep.advance(population, currents)
        graph = program.graph.edit(replaced=changed)
        return PassResult(replace(quantization, program=QuantizedGraph(graph, program.window)))


def _n_sites(population: Population, n_steps: int) -> int:
    return max(MIN_SITES, min(MAX_SITES, MAX_VALUES // (population.shape[0] * n_steps)))


def _can_be_calibrated(population: Population) -> TypeGuard[ResetsToZero]:
    return resets_to_zero(population) and not population.relay


def _trains(currents: list[Int], sites: Sites) -> list[Array]:
    """Input at the sites at each recorded step, (C, S) each."""
    steps = currents[0].shape[-2]
    return [sites.of([piece[..., t, :] for piece in currents]) for t in range(steps)]


def _nearest(
    population: ResetsToZero, trains: list[Array], sites: Sites, wanted: Array, n_steps: int
) -> ResetsToZero:
    """The population with the best level and bias of each channel.

    Levels and biases are in steps of the potential here; a neuron fires from its level on.
    """
    scale = 1 << population.bits_below_weights
    trains = [train * np.float32(scale) for train in trains]
    bias = along_channels(population.bias.values, population.shape)
    n = len(sites.positions)
    at_sites = sites.of([np.broadcast_to(bias[..., None], (*population.shape, n))])
    if isinstance(population, CubaLIFNeurons):
        level = (population.threshold.values * scale + 1).astype(np.float64)
    else:
        level = population.threshold.values.astype(np.float64)
    shift = np.zeros_like(level)
    least = np.full(len(level), np.inf)

    def attempt(levels: Float, shifts: Float) -> None:
        nonlocal level, shift, least
        levels = np.maximum(levels, scale)
        counts = _counts(trains, at_sites, levels, shifts, n_steps)
        error = products.mean(np.square(counts - wanted), axis=1)
        better = error < least
        level, shift = np.where(better, levels, level), np.where(better, shifts, shift)
        least = np.where(better, error, least)

    attempt(level, shift)
    first = level
    for factor in COARSE:
        attempt(first * factor, shift)
    for factor in FINE:
        attempt(level * factor, shift)
    here = level, shift
    for step in SHIFTS:
        attempt(here[0], here[1] + step * here[0] / (2 * n_steps))
    here = level, shift
    for factor in FINE:
        attempt(here[0] * factor, here[1])
    return _with(population, level, shift)


def _counts(trains: list[Array], bias: Array, level: Float, shift: Float, n_steps: int) -> Array:
    """Spikes in a window of neurons that reset to zero, (C, S)."""
    drive = bias + shift[:, None].astype(np.float32)
    level = level[:, None].astype(np.float32)
    v = np.zeros_like(drive)
    counts = np.zeros_like(drive)
    for t in range(n_steps):
        v += trains[min(t, len(trains) - 1)]
        v += drive
        fires = v >= level
        counts += fires
        v[fires] = 0
    return counts


def _with(population: ResetsToZero, level: Float, shift: Float) -> ResetsToZero:
    """The population with other levels, (C,), and ``shift`` added to its biases, (C,)."""
    bias = population.bias.values + round_half_even(shift)[:, None, None]
    if isinstance(population, IFNeurons):
        threshold = np.maximum(round_half_even(level), 1)
        return replace(population, threshold=QTensor.of(threshold), bias=QTensor.of(bias))
    threshold = round_half_even((level - 1) / (1 << FRACTION_BITS))
    return replace(
        population,
        threshold=QTensor.of(np.clip(threshold, 0, stock.MAX_THRESHOLD)),
        bias=QTensor.of(stock.rounded_bias(np.clip(bias, -stock.MAX_BIAS, stock.MAX_BIAS))),
    )


def _safe(program: QuantizedGraph, old: ResetsToZero, new: ResetsToZero) -> ResetsToZero:
    """The new population, except for channels whose potential could exceed 24 bits."""
    if isinstance(new, CubaLIFNeurons):
        return new  # its current is independent of both
    fits = bounds.potential(program.graph, new, program.window.n_steps)
    over = np.maximum(-fits.low, fits.high) > VOLTAGE_LIMIT
    keep = over[:, None, None]
    return replace(
        new,
        threshold=QTensor.of(np.where(over, old.threshold.values, new.threshold.values)),
        bias=QTensor.of(np.where(keep, old.bias.values, new.bias.values)),
    )
