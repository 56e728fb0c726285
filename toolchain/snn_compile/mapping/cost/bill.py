"""The bill: what one inference of a mapped network costs, as a whole, by layer and by core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snn_compile.ir.graph import NodeId
from snn_compile.mapping.cost import energy, time
from snn_compile.mapping.cost.constants import Range
from snn_compile.mapping.cost.events import Events, Float, Messages, events
from snn_compile.mapping.program import MappedProgram
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class Share:
    """What a layer or a core has of the bill.

    Attributes:
        energy: dynamic, in joules, for one inference.
        seconds: that it takes of a time step; of a layer, on its slowest core.
    """

    energy: Range
    seconds: Range


@dataclass(frozen=True, eq=False)
class Bill:
    """Cost of one inference.

    Attributes:
        events: what happens.
        dynamic: energy of the events, in joules.
        input: the part of it that moves the input's messages to the cores.
        static: energy of the chips at rest in one period; None without times.
        step: seconds of a time step; None where the target states no times.
        latency: seconds from a stimulus' first message to its last output.
        period: seconds from one inference to the next when they follow each other.
        binding: what limits the throughput.
        energy_by_kind: joules of an inference by what takes them.
        seconds_by_kind: of a time step, by what the slowest core does.
        layers: each layer's share.
        cores: each core's share.
    """

    events: Events
    dynamic: Range
    input: Range
    static: Range | None
    step: Range | None
    latency: Range | None
    period: Range | None
    binding: time.Binding | None
    energy_by_kind: Mapping[str, float]
    seconds_by_kind: Mapping[str, float]
    layers: Mapping[NodeId, Share]
    cores: Mapping[int, Share]


def bill(mapped: MappedProgram, messages: Messages, *, host: bool = True) -> Bill:
    """The cost of one inference.

    Args:
        mapped: the network on its cores.
        messages: of one inference, of the input and each population.
        host: whether the host sends the input, which limits the throughput.
    """
    found, target = events(mapped, messages), mapped.target
    moved = energy.routing(target, found.input_messages)
    cores, per_core = found.per_core()
    timed = time.is_timed(target)
    step = time.step_time(target, found) if timed else None
    period = time.period(target, found, host=host) if timed else None
    return Bill(
        events=found,
        dynamic=energy.dynamic(target, found.counts) + moved,
        input=moved,
        static=None if period is None else energy.static(target, found.chips, period),
        step=step,
        latency=None if step is None else step * found.total_steps,
        period=period,
        binding=time.binding(target, found, host=host) if timed else None,
        energy_by_kind=energy.by_kind(target, found.total, found.input_messages),
        seconds_by_kind=time.by_kind(target, found) if timed else {},
        layers={
            node.id: _share(target, found.of_layer(node.id), found.n_steps)
            for node in mapped.program.populations
        },
        cores={
            int(core): _share(target, counts[None], found.n_steps)
            for core, counts in zip(cores, per_core, strict=True)
        },
    )


def _share(target: Target, counts: Float, n_steps: int) -> Share:
    value, low, high = (float(each.max()) / n_steps for each in time.busy(target, counts))
    return Share(energy.dynamic(target, counts), Range(value, low, high))
