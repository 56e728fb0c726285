"""The rest of a sigma-delta network: where it stands before its first sample.

lava-dl's networks run from the first step on, all layers at once, and are never reset. Layer d gets
the first frame d steps late. By then it has sent its bias, and got what the layers before it have
sent of theirs. Windows here begin when the frame arrives: in this state.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.models.arithmetic import along_channels
from snn_compile.ir.quantized import (
    QuantizedGraph,
    QuantizedNode,
    Readout,
    StartedReadout,
    ThresholdDeltaNeurons,
)
from snn_compile.sim.reference import Simulator


def started(program: QuantizedGraph, lead: int) -> QuantizedGraph:
    """The network with the states that its biases lead to before the first frame arrives.

    Args:
        program: the network, with all states 0.
        lead: steps that the first population runs before the first sample.
    """
    simulator = Simulator(program)
    n_rows = max(program.depth.values()) + lead
    sent: dict[NodeId, Int] = {
        node.id: np.zeros((*node.shape, n_rows, 1), np.int64) for node in program.inputs
    }
    nodes: list[QuantizedNode] = []
    for node in program.graph:
        if not isinstance(node, ThresholdDeltaNeurons | Readout):
            nodes.append(node)
            continue
        before = program.depth[node.id] - 1 + lead
        a = simulator.current(node, sent)
        a = np.concatenate([np.zeros_like(a[..., :1, :]), a[..., :-1, :]], axis=-2)
        total = a[..., :before, 0].sum(axis=-1, dtype=np.int64)
        if isinstance(node, ThresholdDeltaNeurons):
            sent[node.id] = node.respond(a, n_rows)
            nodes.append(_at_rest(node, total, a[..., :before, :]))
        else:
            fields = {**node.common_fields, "bias": node.bias}
            nodes.append(StartedReadout(**fields, initial_potential=_tensor(total)))
    return replace(program, graph=Graph(nodes))


def _at_rest(node: ThresholdDeltaNeurons, total: Int, a: Int) -> ThresholdDeltaNeurons:
    bias = along_channels(node.bias.values, node.shape) + total
    known = node.known_after(a)
    return node.changed(bias=_tensor(bias), sent=_tensor(known))


def _tensor(values: Int) -> QTensor:
    """One value for each channel where all of its neurons are alike."""
    by_channel = values.reshape(len(values), -1)
    if (by_channel == by_channel[:, :1]).all():
        values = by_channel[:, 0].reshape(-1, *[1] * (values.ndim - 1))
    return QTensor.of(values)
