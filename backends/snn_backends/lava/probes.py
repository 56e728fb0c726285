"""Random payloads for each synapse group alone: raw sums reveal weights that spikes can hide."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from snn_backends.lava.plan import CONV_WRAP, Plan, SynapsePlan
from snn_backends.lava.traces import Comparison, read_trace
from snn_compile.hil.divergence import divergence_in
from snn_compile.ir.fixedpoint import Int
from snn_compile.sim import bounds
from snn_compile.sim.reference import SynapseOperator

N_ROWS = 4
MAX_PAYLOAD = (1 << 15) - 1
SEED = 20


def largest_payload(plan: SynapsePlan) -> int:
    """Largest magnitude of a payload with which no sum can leave 24 bits; at most 15 bits."""
    interval, _ = bounds.synapse_sums(plan.node, (-1, 1))
    per_unit = max(1, interval.magnitude) << max(plan.node.exponent, plan.grid_shift)
    return min(MAX_PAYLOAD, (CONV_WRAP - 1) // per_unit)


def payloads(plan: Plan) -> dict[str, Int]:
    """For each group (rows, sources), never 0, so that every weight contributes to every row.

    Where not even payloads of both signs and magnitude 1 are safe, spikes are: 0 or 1 at random.
    """
    generator = np.random.default_rng(SEED)
    result = {}
    for group in plan.synapses:
        size = (N_ROWS, prod(group.source_shape))
        top = largest_payload(group)
        if top:
            sign = generator.choice([-1, 1], size)
            result[group.name] = sign * generator.integers(1, top + 1, size)
        else:
            result[group.name] = generator.integers(0, 2, size)
    return result


def compare_probes(plan: Plan, traces: Path, sent: dict[str, Int]) -> Comparison:
    """Compare the sums of every group with those of the reference."""
    result = Comparison()
    for index, group in enumerate(plan.synapses):
        rows = sent[group.name]
        top = int(np.abs(rows).max(initial=0))
        maps = rows.T.reshape(*group.source_shape, 1, len(rows))
        expected = SynapseOperator(group.node, (-top, top))(maps)  # (*shape, 1, rows)
        expected = np.moveaxis(expected, (-1, -2), (0, 1))
        path = traces / f"{group.name}.i32"
        actual = read_trace(path, "i32", group.node.shape, 1, 0, len(rows))
        result.add(index, actual.size, divergence_in(group.node.id, expected, actual))
    return result
