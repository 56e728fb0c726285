"""Bias correction: each layer's mean error, measured with everything before it in fixed point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeGuard

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.fixedpoint import Int, QTensor, round_half_even
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    CubaLIFNeurons,
    IFNeurons,
    Population,
    ProbedReadout,
    QuantizedGraph,
)
from snn_compile.ir.spiking import Float, Reset
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.passes import PassResult
from snn_compile.quantize import stock
from snn_compile.quantize.quantize import LayerNumbers, Quantization, floor_loss
from snn_compile.quantize.sites import has_drive
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, bounds
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

ResetsToZero = IFNeurons | CubaLIFNeurons

MAX_SAMPLES = 512
MESSAGES = 4096
"""Maximal number of samples, and of samples times time steps, of the correction."""


@dataclass(frozen=True, eq=False)
class CorrectBiases:
    """``bias += mean float drive - mean fixed-point drive``, per channel, in topological order.

    Rounded weights, clipped and rounded activations shift the mean drive of a layer; the shift is a
    constant that its bias can absorb (Nagel et al. 2019; the "light" calibration of Li et al.
    2021). The sweep uses the corrected network up to each layer, so that later layers also absorb
    the residuals of earlier ones.

    Networks that reset to zero are unchanged. Each spike discards the charge above the threshold,
    so that a neuron fires too rarely in proportion to its activity, and a constant cannot
    compensate that. A bias that restores the mean drive gives active neurons too little and excites
    those that should be silent. Measured accuracy in per cent with T = 16, without and with
    correction: fashion_vggbn 67.2 and 28.7, mnist_mlp 97.3 and 96.4, digits_mlp 96.8 and 94.2.
    Correction towards the spiking network in floating point, which has the same losses, made no
    difference beyond noise (68.2, 97.3 and 96.2). Another threshold does help: ``CalibrateResets``.

    Attributes:
        folded: the float network.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded.
    """

    name: ClassVar[str] = "correct-biases"
    folded: ANNGraph
    x: Rows
    frames: Rows

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with corrected biases, within the bounds of overflow."""
        program = quantization.program
        if any(resets_to_zero(population) for population in program.populations):
            return PassResult(quantization)
        n = min(len(self.x), MAX_SAMPLES, max(8, MESSAGES // program.window.n_steps))
        target = mean_drives(self.folded, self.x[:n])
        sweep = Sweep(program, self.frames[:n])
        corrected: list[Population] = []
        for population in program.populations:
            currents = sweep.currents(population)
            numbers = quantization.numbers.get(population.id)
            if population.id in target and numbers is not None:
                measured = mean_current(currents, population.shape[0])
                population = corrected_bias(
                    program, population, measured, target[population.id], numbers
                )
                corrected.append(population)
            sweep.advance(population, currents)
        graph = program.graph.edit(replaced=corrected)
        return PassResult(replace(quantization, program=QuantizedGraph(graph, program.window)))


def resets_to_zero(population: Population) -> TypeGuard[ResetsToZero]:
    """Whether a spike discards the residual potential, and nothing else decays."""
    if isinstance(population, CubaLIFNeurons):
        return population.integrates and population.is_stock
    return isinstance(population, IFNeurons) and population.reset is Reset.ZERO


def mean_drives(folded: ANNGraph, x: npt.NDArray[np.number]) -> Mapping[NodeId, Float]:
    """Mean drive of each rectifier and output in the float network, per channel, (C,)."""
    sources: dict[NodeId, list[NodeId]] = {}
    for node in folded.graph:
        if isinstance(node, ops.Output) or has_drive(node):
            sources.setdefault(node.inputs[0], []).append(node.id)

    operators = Reproducible(folded, x)

    def sums(piece: npt.NDArray[np.generic], start: int) -> dict[NodeId, Float]:
        del start
        found: dict[NodeId, Float] = {}

        def add(node: AnnNode, value: Array) -> Array:
            for reader in sources.get(node.id, ()):
                maps = value.reshape(node.shape[0], -1)
                found[reader] = products.total(maps, axis=1) * (len(piece) / maps.shape[1])
            return value

        ann.forward(folded, ann.batch_last(piece), add, operators)
        return found

    # Sums in the order of the pieces: the result is independent of thread timing.
    pieces = list(map_batches(sums, x, ann.piece_size(folded)))
    return {reader: np.sum([p[reader] for p in pieces], axis=0) / len(x) for reader in pieces[0]}


def mean_current(currents: list[Int], channels: int) -> Float:
    """Mean of each channel over neurons, time steps and samples; sums of integers are exact."""
    flat = [a.reshape(channels, -1) for a in currents]
    total: Float = np.sum([a.sum(axis=1, dtype=np.float64) for a in flat], axis=0)
    return total / sum(a.shape[1] for a in flat)


def corrected_bias(
    program: QuantizedGraph,
    population: Population,
    measured: Float,
    target: Float,
    numbers: LayerNumbers,
) -> Population:
    """A population with the target mean drive, within the limits of whole steps and its state.

    Args:
        program: its network.
        population: the current population.
        measured: its mean current in steps of the potential, (C,).
        target: its mean drive in the float network, (C,).
        numbers: scales of its integers.
    """
    if population.wraps:
        return population
    channels = population.shape[0]
    bias = np.broadcast_to(numbers.bias, population.shape).reshape(channels, -1).mean(axis=1)
    # The drive is lower by the floor of right shifts; the bias includes the mean of that.
    missing = (
        target / numbers.unit - bias - measured - floor_loss(program.synapses_into(population))
    )
    shift = round_half_even(missing)[:, None, None]
    changed = population.changed(bias=QTensor.of(population.bias.values + shift))
    fits = bounds.potential(program.graph, changed, program.window.n_steps)
    safe = np.maximum(-fits.low, fits.high) <= min(population.state.max, VOLTAGE_LIMIT)
    if isinstance(population, ProbedReadout):
        largest = np.abs(changed.bias.values).reshape(channels, -1).max(axis=1)
        safe &= largest <= stock.MANTISSA
    kept = np.where(safe[:, None, None], shift, 0)
    return population.changed(bias=QTensor.of(population.bias.values + kept))
