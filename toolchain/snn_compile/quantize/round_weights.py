"""Rounding weights so that their errors cancel on the messages that the layer really receives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Neurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import SpikingGraph
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.sweep import Sweep
from snn_compile.sim import bounds, kernels
from snn_compile.sim.kernels import Array
from snn_compile.sim.neurons import VOLTAGE_LIMIT

MOST_SAMPLES = 1024
MESSAGES = 1 << 22
"""Samples, and messages of the largest layer, that the rounding looks at, at most."""
MOST_COLUMNS = 1 << 13
"""Receptive fields that enter a layer's statistics."""
WIDEST = 2048
"""Weights per neuron beyond which a layer keeps its nearest integers: the cost is cubic."""
DAMPING = 0.01
BLOCK = 32
"""Weights that are rounded before the others hear of it."""


@dataclass(frozen=True, eq=False)
class RoundWeights:
    """Rounds one weight after the other and lets those still to come make up for its error.

    For a neuron with weights w and receptive fields x, the error that matters is
    ``(q - w) H (q - w)`` with ``H = E x x'``, not ``|q - w|**2``. After each weight is rounded, the
    remaining ones move to the optimum given that error (optimal brain surgeon; Frantar et al. 2022,
    "GPTQ", arXiv 2210.17323). Layers go in topological order, with everything before them in fixed
    point already.

    Statistics from few samples are shrunk towards their diagonal, where nothing moves, and a neuron
    keeps its nearest integers unless the others are better on samples that were held out.

    Attributes:
        network: the spiking network in floating point, which has the weights to be met.
        frames: (N, C, H, W) encoded calibration samples.
    """

    name: ClassVar[str] = "round-weights"
    network: SpikingGraph
    frames: Int

    def __call__(self, quantization: Quantization, /) -> Quantization:
        """The same program with other weights, where they are better; no state can overflow."""
        program = quantization.program
        largest = max(prod(node.shape) for node in program.graph) * program.window.n_steps
        n = min(len(self.frames), MOST_SAMPLES, max(16, MESSAGES // largest))
        sweep = Sweep(program, self.frames[:n])
        for population in program.populations:
            unit = quantization.numbers[population.id].unit
            changed = [
                self._rounded(group, unit, sweep.messages(group.inputs[0], min(n, _n_seen(group))))
                for group in program.synapses_into(population)
                if isinstance(group, ConvSynapses | DenseSynapses)
            ]
            edited = QuantizedGraph(program.graph.edit(replaced=changed), program.window)
            if _fits(edited, population):
                program = edited
                sweep.replaced(program, changed)
            if isinstance(population, Neurons):
                sweep.answered(population, sweep.currents(population))
        return replace(quantization, program=program)

    def _rounded(self, group: ConvSynapses | DenseSynapses, unit: Float, messages: Int) -> Synapses:
        exact = self.network.graph[group.id]
        if not isinstance(exact, spiking.ConvSynapses | spiking.DenseSynapses):
            raise TypeError(f"'{group.id}' is not what it was in floating point")
        limit = (1 << (group.weight.format.bits - 1)) - 1
        rows = group.weight.shape[0]
        step = np.repeat(unit, rows // len(unit)) * 2.0**group.exponent
        wanted = exact.weight.reshape(rows, -1) / step[:, None]
        nearest = group.weight.values.reshape(rows, -1)
        if wanted.shape[1] < 2 or wanted.shape[1] > WIDEST or np.array_equal(wanted, nearest):
            return group
        found = np.empty_like(nearest)
        for neurons, columns in _fields(group, messages.sum(axis=-2).astype(np.float32)):
            found[neurons] = compensated(wanted[neurons], nearest[neurons], columns, limit)
        weight = QTensor(found.reshape(group.weight.shape), group.weight.format)
        return replace(group, weight=weight)


def _fits(program: QuantizedGraph, population: Population) -> bool:
    interval = bounds.potential(program.graph, population, program.window.n_steps)
    return interval.magnitude <= VOLTAGE_LIMIT


def _n_seen(group: ConvSynapses | DenseSynapses) -> int:
    """Samples whose receptive fields a group looks at, at most."""
    if isinstance(group, DenseSynapses):
        return MOST_SAMPLES
    return max(2, MOST_COLUMNS * 4 // prod(group.shape[1:]))


def _fields(group: ConvSynapses | DenseSynapses, x: Array) -> list[tuple[slice, Array]]:
    """Receptive fields (K, S) of a group, for each slice of neurons that share theirs."""
    if isinstance(group, DenseSynapses):
        return [(slice(None), x.reshape(-1, x.shape[-1]))]
    geometry = group.geometry
    n_out, per_group, kh, kw = group.weight.shape
    padded = kernels.pad(x, geometry.padding)
    shape = (*group.shape[1:], x.shape[-1])
    every = np.arange(0, prod(shape), max(1, prod(shape) // MOST_COLUMNS))
    at = np.unravel_index(every, shape)
    views = kernels.tap_views(padded, (kh, kw), geometry)
    flat = np.stack([view[:, at[0], at[1], at[2]] for _, _, view in views], axis=1)
    size = n_out // geometry.groups
    return [
        (
            slice(g * size, (g + 1) * size),
            flat[g * per_group : (g + 1) * per_group].reshape(per_group * kh * kw, -1),
        )
        for g in range(geometry.groups)
    ]


def _one_by_one(wanted: Float, factor: Float, limit: int) -> Float:
    """Rounds column after column of (R, K); row i of the factor tells the later ones how to move.

    Weights of a block move at once, those beyond it when the block is done, in one product.
    """
    moving = np.ascontiguousarray(wanted.T)
    chosen = np.empty_like(moving)
    for start in range(0, len(moving), BLOCK):
        block = slice(start, min(start + BLOCK, len(moving)))
        errors = np.empty_like(moving[block])
        for k, i in enumerate(range(block.start, block.stop)):
            chosen[i] = np.clip(np.rint(moving[i]), -limit, limit)
            errors[k] = (moving[i] - chosen[i]) / factor[i, i]
            moving[i + 1 : block.stop] -= factor[i, i + 1 : block.stop, None] * errors[k]
        moving[block.stop :] -= kernels.matmul(factor[block, block.stop :].T, errors)
    return chosen.T


def compensated(wanted: Float, nearest: Int, columns: Array, limit: int) -> Int:
    """Integer weights whose errors cancel on the given receptive fields, where that holds up.

    Args:
        wanted: (R, K) real weights in steps of the grid.
        nearest: (R, K) their nearest integers, inside the limits.
        columns: (K, S) receptive fields; every other one is held out.
        limit: largest magnitude of an integer.

    Returns:
        (R, K) integers; rows of ``nearest`` where those are better on what was held out.
    """
    seen, unseen = columns[:, ::2].astype(np.float64), columns[:, 1::2]
    n_weights, n_seen = seen.shape
    moments = seen @ seen.T / max(n_seen, 1)
    diagonal = np.diag(moments).copy()
    if not diagonal.any():
        return nearest
    diagonal = np.maximum(diagonal, DAMPING * diagonal.mean())
    shrink = n_weights / (n_weights + n_seen)
    moments *= 1 - shrink
    np.fill_diagonal(moments, (1 + DAMPING) * diagonal)
    order = np.argsort(-diagonal, kind="stable")  # the ones that matter most are rounded first
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    factor = np.linalg.cholesky(inverse).T  # upper: row i tells the later weights how to move
    chosen = np.empty_like(nearest)
    chosen[:, order] = _one_by_one(wanted[:, order], factor, limit)
    before = (((nearest - wanted).astype(np.float32) @ unseen) ** 2).sum(axis=1)
    after = (((chosen - wanted).astype(np.float32) @ unseen) ** 2).sum(axis=1)
    return np.where((after < before)[:, None], chosen, nearest)
