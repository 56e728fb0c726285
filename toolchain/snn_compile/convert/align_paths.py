"""Relays that make every path between two populations take the same number of time steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.spiking import Neurons, SpikingNode
from snn_compile.ir.stages import SpikingGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class AlignPaths:
    """Inserts relay neurons on the shorter paths of a join.

    Each synapse takes one step, so both arms of a residual block must cross the same number of
    populations for their spikes to meet. A relay is the source's own neuron model with a weight and
    a threshold of one unit: it passes every message unchanged, one step later. All readers of a
    source share its relays. Inputs need none: the host can send it at any step.
    """

    name: ClassVar[str] = "align-paths"

    def __call__(self, network: SpikingGraph, /) -> PassResult[SpikingGraph]:
        """Insert relays where paths differ in length."""
        graph = network.graph
        inputs = {node.id for node in network.inputs}
        depth: dict[NodeId, int] = dict.fromkeys(inputs, 0)
        nodes: list[SpikingNode] = []
        relays: dict[tuple[NodeId, int], NodeId] = {}
        findings: list[Finding] = []

        def at_depth(source: NodeId, required_depth: int) -> NodeId:
            """The source, or its relay at the required depth."""
            if source in inputs or depth[source] >= required_depth:
                return source
            if (source, required_depth) not in relays:
                node = graph[source]
                if not isinstance(node, Neurons):
                    raise TypeError(f"'{source}' cannot be relayed")
                before = at_depth(source, required_depth - 1)
                name = NodeId(f"{source}+{required_depth - depth[source]}")
                nodes.extend(_relay(name, before, node))
                relays[source, required_depth] = name
                findings.append(Finding(f"relay '{name}' inserted", node.origin, code="relay"))
            return relays[source, required_depth]

        for node in graph:
            if not isinstance(node, spiking.Population):
                if isinstance(node, spiking.Input):
                    nodes.append(node)
                continue
            groups = network.synapses_into(node)
            own = 1 + max(depth[group.inputs[0]] for group in groups)
            for group in groups:
                nodes.append(replace(group, inputs=(at_depth(group.inputs[0], own - 1),)))
            nodes.append(node)
            depth[node.id] = own
        return PassResult(SpikingGraph(Graph(nodes), network.window), tuple(findings))


def _relay(name: NodeId, source: NodeId, like: Neurons) -> list[SpikingNode]:
    channels = like.shape[0]
    synapses = spiking.ConvSynapses(
        id=NodeId(f"{name}/synapses"),
        inputs=(source,),
        shape=like.shape,
        origin=like.origin,
        weight=like.unit.reshape(-1, 1, 1, 1),
        geometry=Geometry(groups=channels),
    )
    if not like.repeats:  # a leaky one would lose charge
        place = {**like.common_fields, "id": name, "inputs": (synapses.id,)}
        one = spiking.IFNeurons(
            **place,
            threshold=like.unit,
            bias=np.zeros((channels, 1, 1)),
            initial_potential=0.0,
            reset=spiking.Reset.ZERO,
            relay=True,
        )
        return [synapses, one]
    return [synapses, like.relaying(name, synapses.id)]
