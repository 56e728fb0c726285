"""One line for every layer of the compiled network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.ann import AnnNode
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    GradedNeurons,
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    SigmaDeltaNeurons,
    SignedIFNeurons,
    SparseSynapses,
    SyncIFNeurons,
)
from snn_compile.ir.schedule import integer_network
from snn_compile.ir.stages import ANNGraph
from snn_compile.mapping import LayerResources
from snn_compile.quantize.quantize import LayerNumbers
from snn_compile.sim import ann, engine
from snn_compile.sim.kernels import Array

SQNR_SAMPLES = 64
"""Samples on which the layers' signal-to-noise ratios are measured."""


@dataclass(frozen=True)
class Activity:
    """How often each neuron sent something over a whole evaluation.

    Attributes:
        messages: other than 0, per neuron, of the input and every population that sends.
        n_samples: how many stimuli.
    """

    messages: Mapping[NodeId, Int]
    n_samples: int


def layer_table(
    program: QuantizedGraph,
    numbers: Mapping[NodeId, LayerNumbers],
    resources: Mapping[NodeId, LayerResources],
    activity: Activity | None,
    sqnr: Mapping[NodeId, float],
) -> list[dict[str, Any]]:
    """The ``layers`` of ``report.json``."""
    return [
        {
            "name": population.id,
            "op": _operator(program, population),
            "origin": str(population.origin),
            "shape": list(population.shape),
            "neurons": prod(population.shape),
            "synapses": resources[population.id].synapses if population.id in resources else None,
            "weight_bits": numbers[population.id].weight_bits,
            "threshold": _thresholds(population),
            "saturated_weights": numbers[population.id].saturated,
            "largest_potential": numbers[population.id].largest,
            "fraction_bits": numbers[population.id].fraction_bits,
            "relay": getattr(population, "relay", False),
            "depth": program.depth[population.id],
            "sqnr_db": sqnr.get(population.id),
            **_activity(population, program.window.n_steps, activity),
        }
        for population in program.populations
    ]


def _operator(program: QuantizedGraph, population: Population) -> str:
    groups = program.synapses_into(population)
    kinds = {
        "sparse" if isinstance(g, SparseSynapses) else type(g).__name__.removesuffix("Synapses")
        for g in groups
    }
    joined = "+".join(sorted(kind.lower() for kind in kinds))
    return joined + (" join" if len(groups) > 1 else "")


def _thresholds(population: Population) -> list[float] | None:
    """Smallest and largest threshold, in steps of the potential."""
    match population:
        case IFNeurons() | SignedIFNeurons() | SyncIFNeurons():
            values = population.threshold.values.astype(np.float64)
        case GradedNeurons() | SigmaDeltaNeurons():
            values = 2.0**population.shift.values / population.multiplier.values
        case _:
            return None
    return [float(values.min()), float(values.max())]


def _activity(
    population: Population, n_steps: int, activity: Activity | None
) -> dict[str, float | None]:
    if activity is None or isinstance(population, Readout):
        return {"rate": None, "dead": None, "spikes_per_inference": None}
    counts = activity.messages[population.id]
    per_inference = float(counts.sum()) / activity.n_samples
    return {
        "rate": per_inference / (counts.size * n_steps),
        "dead": float((counts == 0).mean()),
        "spikes_per_inference": per_inference,
    }


def signal_to_noise(
    folded: ANNGraph,
    program: QuantizedGraph,
    x: np.ndarray[tuple[int, ...], np.dtype[Any]],
    frames: Int,
    scales: Mapping[NodeId, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    levels: int,
) -> dict[NodeId, float]:
    """For each layer, ``10 log10(signal / error)`` of its activations against the float network.

    Args:
        folded: the float network whose rectifiers the populations stand for.
        program: the network in fixed point.
        x: real inputs; the first ``SQNR_SAMPLES`` are used.
        frames: the same, encoded.
        scales: full scale of each rectifier per channel.
        levels: largest spike count or payload.
    """
    run = engine.run(integer_network(program), frames[:SQNR_SAMPLES], record=True)
    found: dict[NodeId, float] = {}
    signal: dict[NodeId, float] = {}
    noise: dict[NodeId, float] = {}
    by_sample = {
        key: messages.sum(axis=1) for key, messages in run.messages.items() if key in scales
    }

    def compare(node: AnnNode, value: Array) -> Array:
        if node.id in by_sample:
            exact = np.moveaxis(value, -1, 0).reshape(by_sample[node.id].shape)
            unit = (scales[node.id] / levels)[:, None, None]
            error = by_sample[node.id] * unit - exact
            signal[node.id] = float((exact.astype(np.float64) ** 2).sum())
            noise[node.id] = float((error**2).sum())
        return value

    samples = np.moveaxis(x[: len(frames[:SQNR_SAMPLES])], 0, -1).astype(np.float32)
    ann.forward(folded, samples, compare)
    for key in signal:
        if signal[key] > 0 and noise[key] > 0:
            found[key] = round(10 * float(np.log10(signal[key] / noise[key])), 2)
    return found
