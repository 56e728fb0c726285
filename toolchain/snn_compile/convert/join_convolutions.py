"""Convolutions of parts of the channels as one grouped convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class JoinConvolutions:
    """``Slice`` of all channels in turn, a ``Conv`` of each, ``Concat``, becomes one ``Conv``.

    Kernels of different sizes, as in depthwise layers of mixed kernels, get zeros around them.
    Otherwise each convolution would read all channels, with weights of 0 for those of the others.
    """

    name: ClassVar[str] = "join-convolutions"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Join; the function of the network is unchanged."""
        joined, findings = dict[NodeId, AnnNode](), list[Finding]()
        for made, n_parts in _all(network):
            joined[made.id] = made
            findings.append(Finding(f"{n_parts} convolutions joined into one", made.origin))
        graph = Graph([joined.get(node.id, node) for node in network.graph])
        ends = (node.id for node in graph if isinstance(node, ann.Output | ann.Input))
        return PassResult(network.with_graph(graph.prune(ends)), tuple(findings))


def joins_convolutions(network: ANNGraph) -> bool:
    """Whether a network has such convolutions."""
    return any(True for _ in _all(network))


def _all(network: ANNGraph) -> Iterator[tuple[ann.Conv, int]]:
    """The new convolutions, each with the number of those that it stands for."""
    for node in network.graph:
        if isinstance(node, ann.Concat) and node.axis == 0 and len(node.shape) == 3:
            source, parts = _parts(network.graph, node)
            made = _join(node, parts, source) if parts else None
            if made is not None:
                yield made, len(parts)


def _parts(graph: Graph[AnnNode], concat: ann.Concat) -> tuple[NodeId, list[ann.Conv]]:
    """A value and the convolutions of its channels, in order; none if it is something else."""
    parts, source, at = list[ann.Conv](), NodeId(""), 0
    for name in concat.inputs:
        conv = graph[name]
        if not isinstance(conv, ann.Conv) or conv.step is not None:
            return source, []
        picked = graph[conv.inputs[0]]
        if len(graph.consumers(name)) != 1 or not isinstance(picked, ann.Slice):
            return source, []
        if parts and picked.inputs[0] != source:
            return source, []
        source = picked.inputs[0]
        if not _is_next(picked, graph[source].shape, at):
            return source, []
        parts.append(conv)
        at += picked.shape[0]
    return source, parts if len(parts) > 1 and at == graph[source].shape[0] else []


def _is_next(picked: ann.Slice, whole: Shape, at: int) -> bool:
    """Whether a slice takes whole channels from one on."""
    channels, *rest = (range(n)[part] for n, part in zip(whole, picked.slices, strict=False))
    every = [range(n) for n in whole[1:]]
    return rest == every and channels == range(at, at + picked.shape[0])


def _join(concat: ann.Concat, parts: Sequence[ann.Conv], source: NodeId) -> ann.Conv | None:
    """One convolution for all; None if their groups, strides or dilations differ."""
    first = parts[0].geometry
    alike = {
        (p.geometry.stride, p.geometry.dilation, len(p.weight) // p.geometry.groups,
         p.weight.shape[1])
        for p in parts
    }  # fmt: skip
    if len(alike) != 1:
        return None
    vertical, horizontal = _along(parts, 0), _along(parts, 1)
    if vertical is None or horizontal is None:
        return None
    (rows, top, bottom), (columns, left, right) = vertical, horizontal
    size = max(k.stop for k in rows), max(k.stop for k in columns)
    weights = []
    for part, row, column in zip(parts, rows, columns, strict=True):
        weight = np.zeros((*part.weight.shape[:2], *size), part.weight.dtype)
        weight[:, :, row, column] = part.weight
        weights.append(weight)
    return ann.Conv(
        **{**concat.common_fields, "inputs": (source,)},
        weight=np.concatenate(weights),
        bias=np.concatenate([part.bias for part in parts]),
        geometry=replace(
            first,
            padding=(top, left, bottom, right),
            groups=sum(part.geometry.groups for part in parts),
        ),
    )


def _along(parts: Sequence[ann.Conv], axis: int) -> tuple[list[slice], int, int] | None:
    """Taps of each kernel among those of a common one along an axis, and its padding."""
    dilation = parts[0].geometry.dilation[axis]
    before = max(part.geometry.padding[axis] for part in parts)
    taps = []
    for part in parts:
        start, rest = divmod(before - part.geometry.padding[axis], dilation)
        if rest:
            return None
        taps.append(slice(start, start + part.weight.shape[2 + axis]))
    beyond = max(k.stop for k in taps) - taps[0].stop
    return taps, before, parts[0].geometry.padding[2 + axis] + dilation * beyond
