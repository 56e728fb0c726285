"""One line for every layer of the compiled network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, QuantizedGraph, Readout, SparseSynapses
from snn_compile.ir.stages import SpikingGraph
from snn_compile.mapping import LayerResources
from snn_compile.mapping.rules import payload_width
from snn_compile.quantize.quantize import LayerNumbers
from snn_compile.report.attribution import Loss
from snn_compile.report.observed.numbers import layer_numbers

_UNKNOWN = Loss(None, None, None, None)


@dataclass(frozen=True)
class Activity:
    """Message counts of each neuron over a whole evaluation.

    Attributes:
        messages: other than 0, per neuron, of the input and every population that sends.
        n_samples: number of stimuli.
    """

    messages: Mapping[NodeId, Int]
    n_samples: int


def layer_table(
    program: QuantizedGraph,
    numbers: Mapping[NodeId, LayerNumbers],
    resources: Mapping[NodeId, LayerResources],
    activity: Activity | None,
    losses: Mapping[NodeId, Loss],
    network: SpikingGraph | None = None,
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
            "payload_bits": payload_width(population),
            "threshold": _thresholds(population),
            "saturated_weights": numbers[population.id].saturated,
            "largest_potential": numbers[population.id].largest,
            "fraction_bits": numbers[population.id].fraction_bits,
            "relay": population.relay,
            "depth": program.depth[population.id],
            **layer_numbers(program, population),
            **asdict(losses.get(population.id, _UNKNOWN)),
            **_activity(population, program.window.n_steps, activity),
            **_function(population, network),
            **_given(population, network, numbers[population.id]),
            **_reconstruction(numbers[population.id]),
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
    steps = population.threshold_steps
    return None if steps is None else [float(steps.min()), float(steps.max())]


def _function(population: Population, network: SpikingGraph | None) -> dict[str, Any]:
    """Largest number of lines of a channel of piecewise linear neurons, and largest error."""
    if network is None or population.id not in network.graph:
        return {}
    node = network.graph[population.id]
    if not isinstance(node, spiking.PiecewiseLinearNeurons):
        return {}
    return {"lines": node.slope.shape[1], "function_error": float(node.error.max())}


def _given(
    population: Population, network: SpikingGraph | None, numbers: LayerNumbers
) -> dict[str, Any]:
    """Share of the weights of a quantized file whose integers are the layer's."""
    if network is None or population.id not in network.graph:
        return {}
    node = network.graph[population.id]
    groups = network.synapses_into(node) if isinstance(node, spiking.Population) else ()
    sizes = {g.id: g.weight.size for g in groups if g.step is not None}
    if not sizes:
        return {}
    kept = sum(size * numbers.given.get(name, 0.0) for name, size in sizes.items())
    return {"integers_kept": kept / sum(sizes.values())}


def _reconstruction(numbers: LayerNumbers) -> dict[str, Any]:
    """Error of the drive before and after reconstruction."""
    if not numbers.drive_errors:
        return {}
    before, after = numbers.drive_errors
    return {"drive_error": {"before": before, "after": after}}


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
