"""Potential calibration: initial potentials for which mean spike counts are correct."""

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
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    along_channels,
)
from snn_compile.ir.spiking import Float, Reset
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.passes import PassResult
from snn_compile.quantize.correct_biases import (
    MAX_SAMPLES,
    MESSAGES,
    corrected_bias,
    mean_current,
    mean_drives,
)
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.sweep import Sweep
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, bounds
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

ROUNDS = 3
"""Number of measurements: near its limits a count responds less than proportionally to the
potential, so the rest is measured again. Error of the outputs after one round and after three:
fashion_vggbn with T = 8, 0.0257 and 0.0226; cifar10_resnet20 with T = 16, 0.201 and 0.200."""


@dataclass(frozen=True, eq=False)
class CalibratePotentials:
    """``V0 += threshold * (mean target count - mean count)``, per neuron, in topological order.

    A neuron that fires before inhibition arrives cannot take the spike back, and one that is
    excited late has no time left to fire: counts differ from activations in a way that depends on
    the neuron's place and inputs. With reset by subtraction, a potential of one threshold more at
    the start of a window is one spike more in it. The initial potential therefore absorbs the mean
    of that error ("potential calibration" of Li et al. 2021), together with those of rounding and
    clipping. All layers before the current one are calibrated and in fixed point.

    The mean over samples is noisy for a single neuron. A neuron's deviation from the mean of its
    channel is shrunk by the agreement of two halves of the samples: their covariance over the
    neurons of the channel, divided by the variance of the deviations.

    Biases of neurons are unchanged: they would compensate the same error twice.
    Readouts have no potential to start from and get their bias corrected (see ``CorrectBiases``).
    Relays, comparators of max pools and neurons that reset to zero, whose first spike erases the
    initial potential, are unchanged.

    Attributes:
        folded: the float network.
        x: (N, *input shape) calibration samples.
        frames: the same, encoded.
        scales: activation represented by a spike at every step, (C,) of each rectifier.
        readouts: whether to correct the biases of readouts.
    """

    name: ClassVar[str] = "calibrate-potentials"
    folded: ANNGraph
    x: Rows
    frames: Rows
    scales: Mapping[NodeId, Float]
    readouts: bool = True

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """The same program with other initial potentials, within the bounds of overflow."""
        program = quantization.program
        n_steps = program.window.n_steps
        n = min(len(self.x), MAX_SAMPLES, max(8, MESSAGES // n_steps))
        x = self.x[:n]
        wanted = MeanCounts.of(self.folded, x, self.scales, n_steps)
        drives = mean_drives(self.folded, x)
        sweep = Sweep(program, self.frames[:n])
        changed: list[Population] = []
        for population in program.populations:
            currents = sweep.currents(population)
            if isinstance(population, Readout) and self.readouts:
                seen = mean_current(currents, population.shape[0])
                numbers = quantization.numbers[population.id]
                population = corrected_bias(
                    program, population, seen, drives[population.id], numbers
                )
                changed.append(population)
            elif wanted.knows(population):
                population = wanted.started(program, population, sweep, currents)
                changed.append(population)
            sweep.advance(population, currents)
        graph = program.graph.edit(replaced=changed)
        return PassResult(replace(quantization, program=QuantizedGraph(graph, program.window)))


@dataclass(frozen=True, eq=False)
class MeanCounts:
    """Mean spike counts that neurons are to have, on two halves of some samples.

    Attributes:
        halves: the samples of each.
        means: mean activations (*shape,) of each rectifier, for each half.
        scales: activation represented by a spike at every step, (C,) of each rectifier.
        n_steps: of a window.
    """

    halves: tuple[slice, slice]
    means: tuple[Mapping[NodeId, Float], Mapping[NodeId, Float]]
    scales: Mapping[NodeId, Float]
    n_steps: int

    @staticmethod
    def of(
        folded: ANNGraph,
        x: npt.NDArray[np.number],
        scales: Mapping[NodeId, Float],
        n_steps: int,
    ) -> MeanCounts:
        """Those that stand for the activations of the float network on x, (N, *input shape).

        Args:
            folded: the float network.
            x: the samples.
            scales: activation represented by a spike at every step, (C,) of each rectifier.
            n_steps: of a window.
        """
        n = len(x)
        halves = (slice(0, n // 2), slice(n // 2, n)) if n > 1 else (slice(0, 1), slice(0, 1))
        one, other = (mean_activations(folded, x[half]) for half in halves)
        return MeanCounts(halves, (one, other), scales, n_steps)

    def knows(self, population: Population) -> TypeGuard[IFNeurons]:
        """Whether a population has counts to reach, and reaches others from other potentials."""
        return (
            isinstance(population, IFNeurons)
            and population.reset is Reset.SUBTRACT
            and not population.relay
            and population.id in self.means[0]
        )

    def worth(self, population: IFNeurons) -> Array:
        """Drive that is one spike more in a window, (C, 1)."""
        worth: Array = (self.scales[population.id] / self.n_steps)[:, None].astype(np.float32)
        return worth

    def of_drives(self, population: IFNeurons, drives: Array) -> Array:
        """Counts that stand for drives of the float network, (C, S) both; not rounded."""
        most = np.float32(population.burst * self.n_steps)
        counts: Array = np.clip(drives / self.worth(population), 0, most)
        return counts

    def started(
        self,
        program: QuantizedGraph,
        population: IFNeurons,
        sweep: Sweep,
        currents: list[Int],
        rounds: int = ROUNDS,
    ) -> IFNeurons:
        """The population with initial potentials for which its mean counts are these."""
        full = self.scales[population.id][:, None, None]
        wanted = [
            means[population.id].reshape(population.shape) * self.n_steps / full
            for means in self.means
        ]
        for _ in range(rounds):
            counts = np.concatenate(sweep.counts(population, currents), axis=-1)
            missing = _trusted(
                *(
                    w - counts[..., half].mean(axis=-1)
                    for w, half in zip(wanted, self.halves, strict=True)
                )
            )
            population = _started(program, population, missing)
        return population


def mean_activations(folded: ANNGraph, x: npt.NDArray[np.number]) -> Mapping[NodeId, Float]:
    """Mean activation of every neuron of each rectifier in the float network.

    Args:
        folded: the float network.
        x: (N, *input shape), at least one sample.

    Returns:
        (*shape,) for each rectifier that does not share another's scale.
    """
    wanted = {n.id for n in folded.graph if isinstance(n, ops.Activation) and n.like is None}

    operators = Reproducible(folded, x)

    def sums(piece: npt.NDArray[np.generic], start: int) -> dict[NodeId, Float]:
        del start
        found: dict[NodeId, Float] = {}

        def add(node: AnnNode, value: Array) -> Array:
            if node.id in wanted:
                found[node.id] = products.total(value, axis=-1)
            return value

        ann.forward(folded, ann.batch_last(piece), add, operators)
        return found

    # Sums in the order of the pieces: the result is independent of thread timing.
    pieces = list(map_batches(sums, x, ann.piece_size(folded)))
    return {key: np.sum([p[key] for p in pieces], axis=0) / len(x) for key in wanted}


def _trusted(one: Float, other: Float) -> Float:
    """Estimate from two halves of the samples, (C, H, W) each, shrunk by their agreement.

    A channel's mean is kept. Deviations from it are scaled by the share of their variance that
    both halves have in common.
    """
    both = (one + other) / 2
    mean = _map_mean(both)
    deviation = both - mean
    common = _map_mean((one - _map_mean(one)) * (other - _map_mean(other)))
    variance = _map_mean(deviation * deviation)
    share = np.clip(common / np.where(variance > 0, variance, 1.0), 0, 1)
    trusted: Float = mean + share * deviation
    return trusted


def _map_mean(x: Float) -> Float:
    """Mean of each map, (C, H, W) to (C, 1, 1)."""
    return products.mean(x.reshape(len(x), -1), axis=1)[:, None, None]


def _started(program: QuantizedGraph, population: IFNeurons, missing: Float) -> IFNeurons:
    """A population with initial potentials raised by ``missing`` thresholds, within 24 bits."""
    threshold = population.threshold.values[:, None, None]
    initial = along_channels(population.initial_potential.values, population.shape)
    shift = round_half_even(missing * threshold)
    changed = replace(population, initial_potential=QTensor.of(initial + shift))
    fits = bounds.potential(program.graph, changed, program.window.n_steps)
    safe = np.maximum(-fits.low, fits.high) <= VOLTAGE_LIMIT
    kept = np.where(safe[:, None, None], shift, 0)
    return replace(population, initial_potential=QTensor.of(initial + kept))
