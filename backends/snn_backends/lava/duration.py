"""How long a verification in Lava takes, from its rows, processes and synapses.

The rates are rough ones of lava-nc 0.10.0 on two cores. A row of a small network costs what its
processes cost each other, and one of a large network what its synapses cost.
"""

from __future__ import annotations

from math import prod

from snn_compile.hil.duration import Range
from snn_compile.ir.quantized import ConvSynapses, QuantizedGraph, Synapses

START = 1.5, 8.0
"""Seconds from the start of Python until Lava runs, for each network that is built: that of the
stimuli, and that whose synapses are driven one by one."""
PROCESS_START = 0.02, 0.4
"""Seconds to start one process more."""
PROCESS_ROW = 1e-4, 1e-3
"""Seconds of a process in a row."""
SYNAPSE_ROW = 3e-10, 4e-9
"""Seconds of a synapse in a row."""
CONV_ROW = 10
"""How much slower a row is with stock Conv processes."""


def expected_seconds(program: QuantizedGraph, n_stimuli: int, n_conv: int) -> Range:
    """Seconds at least and at most, without the reference's part.

    Args:
        program: the network.
        n_stimuli: number of stimuli in the sparse form.
        n_conv: number of them that are run again as convolutions.
    """
    groups = [node for node in program.graph if isinstance(node, Synapses)]
    n_processes = 2 * len(program.populations) + len(groups)
    n_synapses = sum(map(_connections, groups))
    has_conv = any(isinstance(group, ConvSynapses) for group in groups)
    low, high = (
        2 * (START[k] + n_processes * PROCESS_START[k])
        + _rows(program, n_stimuli) * _row(n_processes, n_synapses, k)
        for k in (0, 1)
    )
    if not (has_conv and n_conv):
        return low, high
    rows = _rows(program, min(n_stimuli, n_conv))
    once_more = CONV_ROW * rows * _row(n_processes, n_synapses, 1)
    return low + 2 * START[0], 2 * high + once_more


def _rows(program: QuantizedGraph, n_stimuli: int) -> int:
    return n_stimuli * program.window.n_steps + program.latency


def _row(n_processes: int, n_synapses: int, k: int) -> float:
    return n_processes * PROCESS_ROW[k] + n_synapses * SYNAPSE_ROW[k]


def _connections(group: Synapses) -> int:
    """Synapses of a group; those of a convolution unrolled."""
    places = prod(group.shape[1:]) if isinstance(group, ConvSynapses) else 1
    return group.weight.values.size * places
