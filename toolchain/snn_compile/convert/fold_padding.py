"""Explicit padding, folded into the convolution after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from snn_compile.ir import ann
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class FoldPadding:
    """``Pad`` over the two spatial axes, then ``Conv``, becomes a convolution with padding."""

    name: ClassVar[str] = "fold-padding"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Fold every padding that only convolutions read."""
        graph, findings = network.graph, list[Finding]()
        for node in network.graph:
            if not isinstance(node, ann.Pad) or len(node.shape) != 3:
                continue
            (before_c, top, left), (after_c, bottom, right) = node.before, node.after
            readers = graph.consumers(node.id)
            convolutions = [reader for reader in readers if isinstance(reader, ann.Conv)]
            if before_c or after_c or min(top, left, bottom, right) < 0:
                continue
            if not readers or len(convolutions) != len(readers):
                continue
            folded = []
            for layer in convolutions:
                t, le, b, r = layer.geometry.padding
                padding = (t + top, le + left, b + bottom, r + right)
                folded.append(replace(layer, geometry=replace(layer.geometry, padding=padding)))
                findings.append(Finding(f"folded into '{layer.id}'", node.origin))
            graph = graph.edit(replaced=folded, bypassed={node.id: node.inputs[0]})
        return PassResult(network.with_graph(graph), tuple(findings))
