"""From products of a trained network to product neurons and their synapses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from snn_compile.codings import Coding
from snn_compile.convert.expand import Affine
from snn_compile.convert.isolate_operands import of_channels
from snn_compile.convert.linear import Float, Index, LinearMap, Wiring, as_kernel, scale_sources
from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.models.product import MAX_OPERAND, OPERAND_BITS
from snn_compile.ir.stages import ANNGraph


def refusals(network: ANNGraph, coding: Coding) -> Iterator[CompileError]:
    """Products that a coding does not support."""
    for node in network.graph:
        if not isinstance(node, ann.Product):
            continue
        if not coding.multiplies:
            yield UnsupportedError(
                f"{coding.name} coding cannot multiply two activations: its messages are spikes",
                code="no-product",
                origin=node.origin,
                hint="use --coding graded or sigma-delta",
            )
        elif coding.levels > MAX_OPERAND:
            yield UnsupportedError(
                f"its operands have payloads of up to {coding.levels}; product neurons take"
                f" {MAX_OPERAND} at most",
                code="wide-product",
                origin=node.origin,
                hint=f"use --payload-bits {OPERAND_BITS - 1} or less",
            )


def operands(
    node: AnnNode, drive: Affine, units: Mapping[NodeId, Float], network: ANNGraph
) -> tuple[list[tuple[NodeId, LinearMap]], Float]:
    """The operands of a product neuron.

    Returns:
        Each operand's source and its synapses, and the real value of a product of one
        step of each, (C,).
    """
    n_channels = maps_shape(node.shape)[0]
    groups: list[tuple[NodeId, LinearMap]] = []
    step = np.ones(n_channels)
    for term, weight in zip(drive.terms, (2.0**OPERAND_BITS, 1.0), strict=True):
        if not isinstance(term.map, Wiring):
            raise TypeError(f"'{term.source}' is not wired to '{node.id}'")
        unit = units[term.source]
        read = of_channels(_channels(term.source, term.map, network), n_channels)
        if read is None and (unit == unit[0]).all():
            read = np.zeros(n_channels, np.int64)
        if read is None:
            raise TypeError(f"'{node.id}' reads several scales in one channel")
        wiring = as_kernel(term.map) or term.map
        groups.append((term.source, scale_sources(wiring, np.full_like(unit, weight))))
        step = step * unit[read]
    return groups, step


def _channels(source: NodeId, wiring: Wiring, network: ANNGraph) -> Index:
    """Channel of the source that each neuron reads, flat; -1 for none."""
    per_channel = prod(maps_shape(network.graph[source].shape)[1:])
    return np.where(wiring.index >= 0, wiring.index // per_channel, -1)
