"""Stimuli and right answers that travel with the program, for its self-test."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from snn_backends.c.plan import Plan
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import ConvSynapses, QuantizedGraph, Synapses
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import reference

STIMULI, MAX_VALUES, MAX_OPERATIONS = 4, 1 << 16, 200_000_000
"""As many stimuli, but one at least, as have so few values and take so few operations."""


@dataclass(frozen=True, eq=False)
class Golden:
    """Stimuli and what the network makes of them.

    Attributes:
        shown: what ``run`` reads, (N, frame values).
        outputs: (N, outputs).
    """

    shown: Int
    outputs: Int


def golden(plan: Plan) -> Golden:
    """The golden stimuli: the same for the same network, on every machine."""
    program = plan.program
    n = min(STIMULI, MAX_VALUES // plan.frame_values, MAX_OPERATIONS // operations(program))
    frames = stimuli(program, max(n, 1))
    run = reference.run(program, frames)
    outputs = [run.outputs[node.id].reshape(len(frames), -1) for node in program.readouts]
    return Golden(shown(program, frames), np.concatenate(outputs, axis=1))


def shown(program: QuantizedGraph, frames: Int, first: int = 0) -> Int:
    """What ``run`` reads for encoded frames, (N, values): they, or the messages of each step."""
    if program.input_coding is InputCoding.POISSON:
        frames = reference.input_messages(program, frames, first=first)
    return np.asarray(frames, np.int64).reshape(len(frames), -1)


def operations(program: QuantizedGraph) -> int:
    """Synapses, times the steps of a window."""
    n = 0
    for group in program.graph:
        if isinstance(group, Synapses):
            places = prod(group.shape[1:]) if isinstance(group, ConvSynapses) else 1
            n += group.weight.values.size * places
    return max(n, 1) * program.window.n_steps


def stimuli(program: QuantizedGraph, n: int) -> Int:
    """Encoded frames: every value within its input's range, half of them 0."""
    events = program.input_coding is InputCoding.EVENTS
    steps = (program.window.n_steps,) if events else ()
    parts = {}
    for number, node in enumerate(program.inputs):
        shape = (n, *steps, *node.shape)
        drawn = _scrambled(np.arange(prod(shape), dtype=np.uint64) + np.uint64(number << 40))
        span = np.uint64(node.high - node.low + 1)
        values = ((drawn >> np.uint64(8)) % span).astype(np.int64) + node.low
        silent = (drawn & np.uint64(1)).astype(bool) & (node.low <= 0 <= node.high)
        parts[node.id] = np.where(silent, 0, values).reshape(shape)
    return program.inputs.join(parts, 2 if events else 1)


def _scrambled(
    x: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """A number of 64 bits for each number (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
