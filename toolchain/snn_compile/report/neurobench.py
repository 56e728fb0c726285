"""NeuroBench's metrics of the compiled network.

As in the package ``neurobench`` 2.3 (Yik et al., Nature Communications 16, 1545, 2025), with two
differences: the footprint counts stored bits, and every membrane potential is updated at every
step, as on a chip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.quantized import Input, Neurons, QuantizedGraph, Synapses
from snn_compile.mapping import fan_out, neuron_updates
from snn_compile.report.layers import Activity

ANSWER = "fixed"


def neurobench(
    program: QuantizedGraph, activity: Activity, ladder: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The metrics by NeuroBench's names.

    Args:
        program: the network.
        activity: messages of each neuron on the evaluation set.
        ladder: accuracy of each stage in percent; ``classification_accuracy`` is that of the
            fixed-point stage from 0 to 1, or None without labels.
    """
    top1 = next((rung.get("top1") for rung in ladder if rung["stage"] == ANSWER), None)
    return {
        "footprint": footprint(program),
        "connection_sparsity": connection_sparsity(program),
        "activation_sparsity": activation_sparsity(program, activity),
        "synaptic_operations": synaptic_operations(program, activity),
        "membrane_updates": float(neuron_updates(program)),
        "classification_accuracy": None if top1 is None else top1 / 100,
    }


def footprint(program: QuantizedGraph) -> float:
    """Bytes of all parameters, in the widths of their formats."""
    bits = 0
    for node in program.graph:
        for field in fields(node):
            tensor = getattr(node, field.name)
            if isinstance(tensor, QTensor):
                bits += tensor.values.size * tensor.format.bits
    return bits / 8


def connection_sparsity(program: QuantizedGraph) -> float:
    """Share of zero weights, from 0 to 1."""
    weights = [node.weight.values for node in program.graph if isinstance(node, Synapses)]
    zeros = sum(int(np.count_nonzero(each == 0)) for each in weights)
    return zeros / max(1, sum(each.size for each in weights))


def activation_sparsity(program: QuantizedGraph, activity: Activity) -> float:
    """Share of pairs of neuron and step without a message, from 0 to 1; readouts are excluded."""
    neurons = [node for node in program.populations if isinstance(node, Neurons)]
    places = sum(prod(node.shape) for node in neurons)
    places *= program.window.n_steps * activity.n_samples
    sent = sum(int(activity.messages[node.id].sum()) for node in neurons)
    return 1 - sent / places if places else 0.0


def synaptic_operations(program: QuantizedGraph, activity: Activity) -> dict[str, float]:
    """Operations of one inference: accumulates for messages of -1, 0 or 1, else multiplies.

    ``Dense`` counts every synapse at every step, including zero messages and zero weights.
    """
    counts = {"Effective_MACs": 0.0, "Effective_ACs": 0.0, "Dense": 0.0}
    for node in program.graph:
        if isinstance(node, Synapses):
            source = program.graph[node.inputs[0]]
            low, high = source.messages if isinstance(source, Input | Neurons) else (0, 0)
            kind = "Effective_ACs" if low >= -1 and high <= 1 else "Effective_MACs"
            sent = activity.messages[source.id] / activity.n_samples
            counts[kind] += float((sent * fan_out(node, source.shape)).sum())
            ones = QTensor.of(np.ones_like(node.weight.values))
            every = replace(node, weight=ones)
            counts["Dense"] += float(fan_out(every, source.shape).sum()) * program.window.n_steps
    return counts
