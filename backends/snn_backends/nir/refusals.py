"""Properties of a network that a NIR file cannot express."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    Synapses,
)
from snn_compile.sim import bounds

EXACT = 1 << 24
"""Integers below this are exact in float32, and so are their sums."""
MAX_MATRIX = 1 << 26
"""Entries of a dense matrix: 256 MiB in float32."""


def refusals(program: QuantizedGraph) -> list[CompileError]:
    """The reasons why a network cannot be exported."""
    found: list[CompileError] = [
        UnsupportedError(
            f"'{given.id}' is a further input; the runtimes of NIR feed one",
            code="several-inputs",
            origin=given.origin,
            hint="emit for lava instead",
        )
        for given in program.inputs[1:]
    ]
    firing = [n for n in program.populations if isinstance(n, IFNeurons) and not n.relay]
    if len({node.reset for node in firing}) > 1:
        found.append(
            UnsupportedError(
                "layers differ in their reset; the file's metadata has one for all",
                code="nir-neuron",
                origin=firing[0].origin,
            )
        )
    populations = program.populations
    foreign = [node for node in populations if type(node) not in (IFNeurons, Readout)]
    if foreign:
        found.append(_foreign(foreign))
    for node in program.graph:
        if isinstance(node, Synapses):
            found += _of_synapses(program, node)
        elif isinstance(node, IFNeurons | Readout) and type(node) in (IFNeurons, Readout):
            found += _of_population(program, node)
    return found


def _foreign(nodes: Sequence[Population]) -> UnsupportedError:
    """The error for all populations that NIR has no neurons for."""
    without: dict[str, list[str]] = {}
    for node in nodes:
        without.setdefault(node.trait, []).append(f"'{node.id}'")
    reasons = "; ".join(f"no {trait} ({', '.join(ids)})" for trait, ids in without.items())
    return UnsupportedError(
        f"NIR has {reasons}",
        code="nir-neuron",
        origin=nodes[0].origin,
        hint="use --coding rate",
    )


def _of_population(program: QuantizedGraph, node: IFNeurons | Readout) -> list[CompileError]:
    if isinstance(node, IFNeurons) and node.burst > 1:
        return [
            UnsupportedError(
                f"'{node.id}': NIR has no neuron that sends several spikes at once",
                code="nir-neuron",
                origin=node.origin,
                hint="omit --burst",
            )
        ]
    total = int(np.abs(node.bias.values).max(initial=0))
    for group in program.synapses_into(node):
        _, partial = bounds.synapse_sums(group, bounds.message_range(program.graph, group))
        total += partial << max(group.exponent, 0)
    if total < EXACT:
        return _of_state(program, node)
    return [
        UnsupportedError(
            f"'{node.id}' can sum up {total:,}; float32, in which NIR's runtimes compute, is exact"
            f" below {EXACT:,} only",
            code="nir-precision",
            origin=node.origin,
            hint="use fewer weight bits or fewer input bits",
        )
    ]


def _of_state(program: QuantizedGraph, node: IFNeurons | Readout) -> list[CompileError]:
    """NIR's potentials are unbounded: they neither saturate nor wrap."""
    highest = bounds.potential(program.graph, node, program.window.n_steps).magnitude
    if highest <= min(node.state.max, VOLTAGE_LIMIT):
        return []
    return [
        UnsupportedError(
            f"the potential of '{node.id}' can reach {highest:,}, beyond its {node.state.bits}"
            " bits; in NIR it is unbounded",
            code="nir-state",
            origin=node.origin,
            hint="use fewer weight bits or fewer input bits",
        )
    ]


def _of_synapses(program: QuantizedGraph, node: Synapses) -> list[CompileError]:
    if node.exponent < 0:
        return [
            UnsupportedError(
                f"'{node.id}' drops the low {-node.exponent} bits of its sums; NIR does not round",
                code="nir-rounding",
                origin=node.origin,
                hint="use fewer --timesteps, --weight-bits or --input-bits",
            )
        ]
    source = program.graph[node.inputs[0]]
    entries = prod(node.shape) * prod(source.shape)
    if not isinstance(node, ConvSynapses) and entries > MAX_MATRIX:
        return [too_large(node, entries)]
    return []


def too_large(node: Synapses, entries: int) -> UnsupportedError:
    """The error for synapses that require too large a matrix."""
    return UnsupportedError(
        f"'{node.id}' would be a dense matrix of {entries:,} entries: NIR has no sparse ones",
        code="nir-matrix",
        origin=node.origin,
    )
