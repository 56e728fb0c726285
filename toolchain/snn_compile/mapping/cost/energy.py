"""Energy of the events of an inference.

Not counted, because no source states what they take: the management of a step, the barrier, the
host, reading and writing payloads that are wider than a bit.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from snn_compile.mapping.cost.constants import Range, of, source, stated, weakest
from snn_compile.mapping.cost.events import Float
from snn_compile.targets.target import Constant, Target

PICO, MILLI = 1e-12, 1e-3


class EnergyEstimate(TypedDict):
    """An energy in the report; ``confidence`` is the weakest of the figures used."""

    value: float
    low: float
    high: float
    unit: str
    source: str
    confidence: str


def energy(
    target: Target, *, synops: float, neuron_updates: float = 0.0, spikes: float = 0.0
) -> EnergyEstimate | None:
    """Dynamic energy of one inference, in joules; None if the target states no energies.

    A quantity without a figure in the target counts as 0, and ``source`` names only the counted
    ones.

    Args:
        target: the chip.
        synops: synaptic operations.
        neuron_updates: neurons times steps.
        spikes: messages, once for each core that reads them.
    """
    terms = stated(
        (
            (synops, "synaptic operation", target.synaptic_op),
            (neuron_updates, "neuron update", target.neuron_update),
            (spikes, "message and core that reads it", target.spike),
        )
    )
    if not terms:
        return None
    spent = sum((of(constant) * (n * PICO) for n, _, constant in terms), Range(0.0, 0.0, 0.0))
    return EnergyEstimate(
        value=spent.value,
        low=spent.low,
        high=spent.high,
        unit="J",
        source=source(target.file, ((name, constant) for _, name, constant in terms)),
        confidence=weakest(constant for _, _, constant in terms).value,
    )


def by_kind(target: Target, counts: Float, input_messages: float) -> dict[str, float]:
    """Joules of one inference by what takes them, for kinds of events with a stated energy.

    Args:
        target: the chip.
        counts: events of an inference (KINDS,).
        input_messages: those that reach cores from the host.
    """
    synops, updates, _, messages, _ = counts.tolist()
    terms = stated(
        (
            (synops, "synaptic operations", target.synaptic_op),
            (updates, "neuron updates", target.neuron_update),
            (messages, "messages out", target.spike),
            (input_messages, "messages of the input", target.spike),
        )
    )
    return {name: constant.value * n * PICO for n, name, constant in terms}


def dynamic(target: Target, counts: Float) -> Range:
    """Dynamic energy of rows of events (rows, KINDS), together, in joules."""
    synops, updates, _, messages, _ = np.atleast_2d(counts).sum(axis=0).tolist()
    each: tuple[tuple[float, Constant | None], ...] = (
        (synops, target.synaptic_op),
        (updates, target.neuron_update),
        (messages, target.spike),
    )
    return sum((of(constant) * (n * PICO) for n, constant in each), Range(0.0, 0.0, 0.0))


def routing(target: Target, messages: float) -> Range:
    """Energy that moves messages to the cores that read them, in joules."""
    return of(target.spike) * (messages * PICO)


def static(target: Target, chips: int, seconds: Range) -> Range:
    """Energy that the chips take at rest while one inference occupies them, in joules."""
    return of(target.static_chip).times(seconds) * (chips * MILLI)
