"""What each layer becomes in Lava: which process, with which arrays, and why that one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from snn_backends.lava.neurons import Array, first_row, neuron_process, trace_form
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.sim import bounds

CONV_WRAP = 1 << 23
"""Stock Conv wraps its sums into 24 bits."""
CONV_INT8 = 127
"""Stock Conv keeps kernel size, stride, padding and groups in int8; 128 groups become -128."""


@dataclass(frozen=True)
class SynapsePlan:
    """One synapse group.

    Attributes:
        node: the group.
        name: name of its process.
        source: name of the population that it reads.
        source_shape: shape of that population.
        delay: rows that the input is held back for it (0 between populations).
        kind: ``conv``, ``dense`` or ``sparse``.
        conv_obstacle: why the stock Conv cannot compute it; empty if it can.
        weight_bits: Lava's ``num_weight_bits``.
        grid_shift: how far the mantissas are moved to lie on Lava's MIXED grid.
        weight_exp: Lava's ``weight_exp``.
        arrays: what goes into ``weights.npz``, by suffix.
    """

    node: Synapses
    name: str
    source: str
    source_shape: Shape
    delay: int
    kind: str
    conv_obstacle: str
    weight_bits: int
    grid_shift: int
    weight_exp: int
    arrays: dict[str, Array]


@dataclass(frozen=True)
class PopulationPlan:
    """One population.

    Attributes:
        node: the population.
        name: name of its process.
        process: class of the process.
        custom_reason: why no stock process does it; empty if one does.
        depth: synapses between the inputs and it.
        first_row: row in which its first window starts.
        form: how its messages are stored.
        constants: scalar arguments of the process.
        arrays: array arguments of the process, which go into ``weights.npz``.
        synapses: the groups that feed it.
        probed: whether its potential is read in place of its messages.
    """

    node: Population
    name: str
    process: str
    custom_reason: str
    depth: int
    first_row: int
    form: str
    constants: dict[str, int]
    arrays: dict[str, Array]
    synapses: tuple[SynapsePlan, ...]
    probed: bool = False

    @property
    def stock(self) -> bool:
        """Whether the process is one of Lava's own."""
        return not self.custom_reason

    @property
    def trace(self) -> str:
        """Name of the file with its messages."""
        return f"{self.name}.{self.form}"


@dataclass(frozen=True)
class Plan:
    """The whole network.

    Attributes:
        program: the network.
        input_names: names of the inputs, in order.
        populations: in topological order.
    """

    program: QuantizedGraph
    input_names: tuple[str, ...]
    populations: tuple[PopulationPlan, ...] = field(default=())

    @cached_property
    def synapses(self) -> tuple[SynapsePlan, ...]:
        """All groups, in the order of the populations that they feed."""
        return tuple(s for p in self.populations for s in p.synapses)

    @property
    def drain(self) -> int:
        """Rows to run after the last input so that every window is complete."""
        return max(p.first_row for p in self.populations)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Everything in ``weights.npz``."""
        owners: Iterable[SynapsePlan | PopulationPlan] = (*self.synapses, *self.populations)
        return {f"{o.name}.{key}": value for o in owners for key, value in o.arrays.items()}


def make_plan(program: QuantizedGraph) -> Plan:
    """Choose a process for every layer."""
    names = number_nodes(program)
    populations = []
    for node in program.populations:
        depth = program.depth[node.id]
        groups = tuple(
            _plan_synapses(program, group, names, depth) for group in program.synapses_into(node)
        )
        neurons = neuron_process(program, node)
        populations.append(
            PopulationPlan(
                node=node,
                name=names[node.id],
                process=neurons.process,
                custom_reason=neurons.custom_reason,
                depth=depth,
                first_row=first_row(program, node),
                form=trace_form(node),
                constants=neurons.constants,
                arrays=neurons.arrays,
                synapses=groups,
                probed=neurons.probed,
            )
        )
    return Plan(program, tuple(names[node.id] for node in program.inputs), tuple(populations))


def number_nodes(program: QuantizedGraph) -> dict[NodeId, str]:
    """What each node is called in the emitted files: a word and a number, whatever its id is.

    Names of files and arrays are made of it; a user's own names are data in the manifest.
    """
    groups = [node.id for node in program.graph if isinstance(node, Synapses)]
    one = len(program.inputs) == 1
    return {
        **{node.id: "input" if one else f"input{k}" for k, node in enumerate(program.inputs)},
        **{node_id: f"synapses{number}" for number, node_id in enumerate(groups)},
        **{node.id: f"layer{number}" for number, node in enumerate(program.populations)},
    }


def _plan_synapses(
    program: QuantizedGraph, node: Synapses, names: dict[NodeId, str], depth: int
) -> SynapsePlan:
    source = program.graph[node.inputs[0]]
    messages = bounds.message_range(program.graph, node)
    interval, _ = bounds.synapse_sums(node, messages)
    bits = node.weight.format.bits
    shift = 9 - bits
    if interval.magnitude << shift >= 1 << 31 or node.exponent - shift < -8:
        bits, shift = (
            8,
            1,
        )  # the same sums on a finer grid: a wider weight, but a smaller accumulator
    arrays: dict[str, Array] = {"weight": node.weight.values.astype(np.int8)}
    if isinstance(node, ConvSynapses):
        kind, obstacle = "conv", _conv_obstacle(node, interval.magnitude)
    elif isinstance(node, DenseSynapses):
        kind, obstacle = "dense", "not a convolution"
    else:
        kind, obstacle = "sparse", "not a convolution"
        arrays |= {"indptr": node.indptr.astype(np.int64), "indices": node.indices.astype(np.int32)}
    return SynapsePlan(
        node=node,
        name=names[node.id],
        source=names[source.id],
        source_shape=source.shape,
        delay=(depth - 1 - program.depth[source.id]) * program.window.lag,
        kind=kind,
        conv_obstacle=obstacle,
        weight_bits=bits,
        grid_shift=shift,
        weight_exp=node.exponent - shift,
        arrays=arrays,
    )


def _conv_obstacle(node: ConvSynapses, magnitude: int) -> str:
    geometry = node.geometry
    top, left, bottom, right = geometry.padding
    if len(node.shape) != 3:
        return "its maps are not (channel, row, column)"
    if (top, left) != (bottom, right):
        return f"Lava pads both sides alike, this needs {top},{left},{bottom},{right}"
    if top < 0 or left < 0:
        return "Lava cannot crop"
    if node.exponent < 0:
        return f"Lava's Conv ignores the weight exponent {node.exponent}"
    if magnitude << node.exponent >= CONV_WRAP:
        return "its sums could wrap at 24 bits"
    sizes = (*node.weight.shape[2:], *geometry.stride, *geometry.dilation, top, left)
    if max(*sizes, geometry.groups) > CONV_INT8:
        return "Lava's Conv keeps its geometry in int8"
    return ""
