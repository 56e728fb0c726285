"""The box of values in which the public models of Loihi's neurons agree bit for bit.

Lava's fixed-point LIF, nengo-loihi's emulator and brian2-loihi compute the same equations
(``ir/models/cuba.py``) but differ at the ends of their ranges. Inside this box no such end is
reached (limits measured on random networks with lava-nc 0.10.0, nengo-loihi 1.1.0 and brian2-loihi
0.5.2). ``u`` and ``v`` are in units of 2**-6 of the weight:

- the input sends spikes: neither emulator has payloads;
- no synapse group shifts right: they shift every weight, Lava the sum;
- a sum ``a`` of a step stays in 16 bits: nengo-loihi wraps ``a << 6`` at 21 bits and a sign;
- ``|u| < 2**23`` before it wraps: brian2-loihi does not wrap;
- ``-2**23 <= u + bias < 2**23``: nengo-loihi wraps that, Lava does not;
- ``v > 1 - 2**23``: brian2-loihi does not saturate;
- a threshold has 17 bits, and the sum of a readout stays below the largest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.models.answers import LIF
from snn_compile.ir.models.arithmetic import toward_zero
from snn_compile.ir.models.readout import MAX_THRESHOLD
from snn_compile.ir.quantized import (
    FRACTION_BITS,
    VOLTAGE_LIMIT,
    Population,
    QuantizedGraph,
    Readout,
    along_channels,
)
from snn_compile.sim import bounds
from snn_compile.sim.reference import Simulator

MAX_STIMULI = 8
"""Stimuli to simulate where bounds prove nothing: every value of every step is checked."""
MAX_SUM = (1 << 15) - 1
SUM, CURRENT, WITH_BIAS = "sum of a step", "current", "current and bias"
LOWEST, ADDED_UP = "lowest potential", "sum of a window"
LIMITS = {
    SUM: MAX_SUM,
    CURRENT: VOLTAGE_LIMIT,
    WITH_BIAS: VOLTAGE_LIMIT,
    LOWEST: VOLTAGE_LIMIT - 1,
    ADDED_UP: (MAX_THRESHOLD << FRACTION_BITS),
}
"""Largest magnitudes: of the sum in units of the weight, of the others in 2**-6 of it."""


@dataclass(frozen=True)
class Leaving:
    """A layer that leaves the box.

    Attributes:
        layer: its name.
        condition: the quantity that does.
        largest: its largest magnitude.
        limit: its limit.
        measured: whether it was measured on stimuli; else it follows from the parameters.
    """

    layer: NodeId
    condition: str
    largest: int
    limit: int
    measured: bool = False


@dataclass(frozen=True)
class Portability:
    """Whether Lava, nengo-loihi and brian2-loihi must agree on a network.

    Attributes:
        obstacle: a part that they cannot express; empty if there is none.
        leaves: layers that leave the box, in order.
        n_stimuli: number of simulated stimuli; 0 if bounds alone decide, for every input.
    """

    obstacle: str
    leaves: tuple[Leaving, ...] = ()
    n_stimuli: int = 0

    @property
    def portable(self) -> bool:
        """Whether they must agree."""
        return not self.obstacle and not self.leaves


def portability(program: QuantizedGraph, frames: Int) -> Portability:
    """Whether a network stays inside the box: by bounds, else on some stimuli.

    Args:
        program: the network.
        frames: (N, *sample shape) encoded stimuli; the first ``MAX_STIMULI`` are simulated if
            bounds do not decide.
    """
    for node in program.populations:
        if isinstance(form := node.as_lif, str):
            return Portability(f"'{node.id}' has {form}")
    fixed = list(_fixed(program))
    open_: dict[NodeId, dict[str, int]] = {}
    for node in program.populations:
        largest = _bounded(program, node)
        if beyond := {c: largest[c] for c in largest if largest[c] > LIMITS[c]}:
            open_[node.id] = beyond
    if not open_:
        return Portability("", tuple(fixed))
    few = frames[:MAX_STIMULI]
    for layer, seen in _measured(program, few, set(open_)):
        fixed += [
            Leaving(layer, condition, seen[condition], LIMITS[condition], measured=True)
            for condition in open_[layer]
            if seen[condition] > LIMITS[condition]
        ]
    place = {node.id: index for index, node in enumerate(program.graph)}
    return Portability("", tuple(sorted(fixed, key=lambda x: place[x.layer])), len(few))


def _fixed(program: QuantizedGraph) -> Iterator[Leaving]:
    """Violations that follow from the parameters alone."""
    for source in program.inputs:
        low, high = source.messages
        if low < 0 or high > 1:
            yield Leaving(source.id, "message of the input", max(-low, high), 1)
    for node in program.populations:
        for group in program.synapses_into(node):
            dropped = group.weight.values & ((1 << max(-group.exponent, 0)) - 1)
            if dropped.any():
                yield Leaving(node.id, "right shift of sums", -group.exponent, 0)
                break
        form = node.as_lif
        if isinstance(form, LIF) and (most := int(form.threshold.max())) > MAX_THRESHOLD:
            yield Leaving(node.id, "threshold", most, MAX_THRESHOLD)


def _bounded(program: QuantizedGraph, node: Population) -> dict[str, int]:
    """Largest magnitudes for any input, by interval arithmetic."""
    form = node.as_lif
    if isinstance(form, str):
        raise TypeError(form)
    a = bounds.current(program.graph, node)
    bias = along_channels(form.bias, node.shape).reshape(node.shape[0], -1)
    n_steps = program.window.n_steps
    if (form.du, form.dv) != (4095, 0):
        both = bounds.states(program.graph, node, n_steps)
        low, high = both.low, both.high
        lowest = low
    else:
        low, high = a.low << FRACTION_BITS, a.high << FRACTION_BITS
        lowest = n_steps * np.minimum(low + bias.min(axis=1), 0)
    found = {
        SUM: a.magnitude,
        CURRENT: bounds.Interval(low, high).magnitude,
        WITH_BIAS: bounds.Interval(low + bias.min(axis=1), high + bias.max(axis=1)).magnitude,
        LOWEST: int(-lowest.min(initial=0)),
    }
    if isinstance(node, Readout):
        found[ADDED_UP] = bounds.potential(program.graph, node, n_steps).magnitude << FRACTION_BITS
    return found


def _measured(
    program: QuantizedGraph, frames: Int, wanted: set[NodeId]
) -> Iterator[tuple[NodeId, dict[str, int]]]:
    """Largest magnitudes of some layers on stimuli."""
    simulator = Simulator(program)
    values = simulator.encode_inputs(frames)
    n_steps = program.window.n_steps
    for node in program.populations:
        a = simulator.current(node, values)
        if node.id in wanted:
            yield node.id, _seen(node, a, n_steps)
        if not isinstance(node, Readout):
            values[node.id] = node.respond(a, n_steps)


def _seen(node: Population, a: Int, n_steps: int) -> dict[str, int]:
    """Largest magnitudes for the input (*shape, T or 1, B) of a population."""
    form = node.as_lif
    if isinstance(form, str):
        raise TypeError(form)
    bias = along_channels(form.bias, node.shape)[..., None]
    threshold = along_channels(form.threshold, node.shape)[..., None] << FRACTION_BITS
    u = v = np.zeros((*node.shape, a.shape[-1]), np.int64)
    found = dict.fromkeys(LIMITS, 0)

    def note(condition: str, values: Int) -> None:
        found[condition] = max(found[condition], int(np.abs(values).max(initial=0)))

    for t in range(n_steps):
        now = a[..., min(t, a.shape[-2] - 1), :].astype(np.int64)
        u = toward_zero(u * (4095 - form.du)) + (now << FRACTION_BITS)
        note(SUM, now)
        note(CURRENT, u)
        u = np.where(u > 1 << 23, u - (1 << 24), np.where(u <= -(1 << 23), u + (1 << 24), u))
        note(WITH_BIAS, u + bias)
        v = np.clip(toward_zero(v * (4096 - form.dv)) + u + bias, -VOLTAGE_LIMIT, VOLTAGE_LIMIT)
        note(LOWEST, np.minimum(v, 0))
        if isinstance(node, Readout):
            note(ADDED_UP, v)
        v = np.where(v > threshold, 0, v)
    return found
