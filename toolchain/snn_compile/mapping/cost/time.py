"""Time of a step, and what it is spent on.

A step lasts as long as its slowest core, and the barrier after it. The operations of a core follow
each other: its synaptic operations, updates, spikes, and messages in and out are added up. All
layers of the network are busy, as they are when one stimulus follows another. The events of a
window are spread evenly over its steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.mapping.cost.constants import Range, of, source, stated, weakest
from snn_compile.mapping.cost.events import KINDS, KINDS_IN_PLURAL, Events, Float
from snn_compile.targets.target import Confidence, Constant, Target, Times

NANO = 1e-9
UPDATES = KINDS.index("neuron update")


@dataclass(frozen=True)
class Binding:
    """What limits the throughput.

    Attributes:
        resource: ``core``, ``link`` or ``host input``.
        core: of a core, its index; of a link, None.
        populations: of a core, what is on it.
        operation: of a core, what most of its time goes to.
        share: of that operation in the core's time, from 0 to 1.
        seconds: its time for one inference.
    """

    resource: str
    core: int | None
    populations: tuple[NodeId, ...]
    operation: str
    share: float
    seconds: float


def constants(times: Times) -> tuple[Constant | None, ...]:
    """What each kind of event takes, in the order of ``KINDS``."""
    return (
        times.synaptic_op,
        times.neuron_update,
        times.spike_out,
        times.message_out,
        times.message_in,
    )


def is_timed(target: Target) -> bool:
    """Whether the target states what a synaptic operation or an update takes."""
    return bool(target.times.synaptic_op or target.times.neuron_update)


def time_source(target: Target) -> tuple[str, Confidence]:
    """The constants behind a time, in words, and the weakest confidence in them."""
    names = (*KINDS, "barrier")
    known = (*constants(target.times), target.times.barrier)
    terms = [(name, each) for name, each in zip(names, known, strict=True) if each is not None]
    return source(target.file, terms), weakest(each for _, each in terms)


def busy(target: Target, counts: Float) -> tuple[Float, Float, Float]:
    """Seconds that rows of events (rows, KINDS) take: value, low and high."""
    ranges = [of(constant) for constant in constants(target.times)]
    value, low, high = (
        counts @ np.array([getattr(each, end) for each in ranges]) * NANO
        for end in ("value", "low", "high")
    )
    return value, low, high


def step_time(target: Target, found: Events) -> Range:
    """Seconds of one time step."""
    _, per_core = found.per_core()
    ends = (float(each.max(initial=0.0)) / found.n_steps for each in busy(target, per_core))
    return Range(*ends) + of(target.times.barrier) * NANO


def step_time_by_step(target: Target, found: Sequence[Events]) -> Range:
    """Seconds of one time step, the mean of several whose messages are known one by one.

    A barrier ends every step, so the slowest core of each counts. It is no less than ``step_time``,
    which spreads the messages of a window evenly.

    Args:
        target: the chip.
        found: of each step, its messages; updates are those of a whole window.
    """
    total = np.zeros(3)
    for step in found:
        _, per_core = step.per_core()
        per_core[:, UPDATES] /= step.n_steps
        total += [each.max(initial=0.0) for each in busy(target, per_core)]
    return Range(*(total / max(1, len(found))).tolist()) + of(target.times.barrier) * NANO


def by_kind(target: Target, found: Events) -> dict[str, float]:
    """Seconds of one time step by what takes them on its slowest core, and the barrier.

    Only of kinds of events with a stated time; together they are ``step_time``.
    """
    _, per_core = found.per_core()
    busiest = per_core[int(busy(target, per_core)[0].argmax())] / found.n_steps
    terms = stated(zip(busiest.tolist(), KINDS_IN_PLURAL, constants(target.times), strict=True))
    terms += stated([(1.0, "barrier", target.times.barrier)])
    return {name: constant.value * n * NANO for n, name, constant in terms}


def overlapped_step_time(target: Target, found: Events) -> Range:
    """A lower bound: seconds of a step in which the operations of a core overlap wholly.

    Timcheck, Pierro and Shrestha (arXiv 2601.10035, 2026) bound a step of Loihi 2 so: by the kind
    of operation that takes longest on any core.
    """
    _, per_core = found.per_core()
    most = per_core.max(axis=0, initial=0.0) / found.n_steps
    each = [
        of(constant) * (n * NANO) for constant, n in zip(constants(target.times), most, strict=True)
    ]
    each.append(of(target.times.barrier) * NANO)
    return longest(each)


def longest(times: Sequence[Range]) -> Range:
    """The longest of several times, end by end."""
    ends = ("value", "low", "high")
    return Range(*(max(getattr(one, end) for one in times) for end in ends))


def link_time(target: Target, found: Events) -> Range:
    """Seconds that the busiest link between two chips takes for one inference."""
    most = max(found.between_chips.values(), default=0.0)
    return of(target.times.link_message) * (most * NANO)


def host_time(target: Target, found: Events) -> Range:
    """Seconds that the host takes to send the input of one inference."""
    return of(target.times.input_value) * (found.input_values * NANO)


def period(target: Target, found: Events, *, host: bool) -> Range:
    """Seconds from one inference to the next: what takes longest of cores, links and the host."""
    each = [step_time(target, found) * found.n_steps, link_time(target, found)]
    each += [host_time(target, found)] if host else []
    return longest(each)


def binding(target: Target, found: Events, *, host: bool) -> Binding:
    """The core, the link or the host that limits the throughput."""
    most_seconds = period(target, found, host=host).value
    if host and most_seconds == host_time(target, found).value:
        return Binding("host input", None, (), "values of the input", 1.0, most_seconds)
    if most_seconds == link_time(target, found).value:
        return Binding("link", None, (), "messages between two chips", 1.0, most_seconds)
    cores, per_core = found.per_core()
    seconds = busy(target, per_core)[0]
    slowest = int(seconds.argmax())
    each = [of(constant).value * NANO for constant in constants(target.times)]
    parts = per_core[slowest] * np.array(each)
    most = int(parts.argmax())
    share = float(parts[most] / seconds[slowest]) if seconds[slowest] else 0.0
    core = int(cores[slowest])
    held = tuple(name for name, on in zip(found.layer, found.core, strict=True) if on == core)
    return Binding("core", core, held, KINDS[most], share, float(seconds[slowest]))
