"""Batch normalization and other per-channel scaling, folded into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class FoldBatchNorm:
    """``Conv`` or ``Dense``, then ``BatchNorm`` or ``Affine``, becomes one layer.

    ``scale * (W x + b) + shift == (scale * W) x + (scale * b + shift)``. What cannot be folded here
    (a scale per pixel, a layer with other readers) stays; it is folded into synapses later.
    """

    name: ClassVar[str] = "fold-batch-norm"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Fold every scaling that is the only reader of a layer."""
        graph, findings = network.graph, list[Finding]()
        layers: dict[NodeId, AnnNode] = {}  # including everything folded into them
        folded_into: dict[NodeId, NodeId] = {}
        for node in graph:
            if not isinstance(node, ann.BatchNorm | ann.Affine):
                continue
            (source,) = node.inputs
            name = folded_into.get(source, source)
            layer = layers.get(name, graph[name])
            parameters = per_channel(node)
            if not isinstance(layer, ann.Conv | ann.Dense) or parameters is None:
                continue
            if len(graph.consumers(source)) != 1:
                findings.append(Finding("kept: its input has other readers", node.origin))
                continue
            layers[name], folded_into[node.id] = _scaled(layer, *parameters), name
            findings.append(Finding(f"folded into '{name}'", node.origin))
        graph = graph.edit(replaced=layers.values(), bypassed=folded_into)
        return PassResult(network.with_graph(graph), tuple(findings))


def _scaled(layer: ann.Conv | ann.Dense, scale: Float, shift: Float) -> AnnNode:
    column = scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    step = None if layer.step is None else layer.step * np.abs(scale)
    return replace(layer, weight=layer.weight * column, bias=layer.bias * scale + shift, step=step)


def per_channel(node: ann.BatchNorm | ann.Affine) -> tuple[Float, Float] | None:
    """Scale and shift, (C,) each; None where they differ within a channel."""
    if isinstance(node, ann.BatchNorm):
        scale = node.gamma.astype(np.float64) / np.sqrt(node.var.astype(np.float64) + node.epsilon)
        return scale, node.beta - node.mean * scale
    parameters = []
    for parameter in (node.scale, node.shift):
        full = np.broadcast_to(parameter, node.shape).reshape(node.shape[0], -1)
        if (full != full[:, :1]).any():
            return None
        parameters.append(full[:, 0].astype(np.float64))
    return parameters[0], parameters[1]
