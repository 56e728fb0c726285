"""The entries of ``report.json`` that state what an inference costs."""

from __future__ import annotations

from typing import TypedDict


class Estimate(TypedDict, total=False):
    """An estimated quantity. ``interval`` says what lies between ``low`` and ``high``."""

    value: float | None
    low: float | None
    high: float | None
    unit: str
    source: str
    confidence: str
    interval: str


class Energy(Estimate, total=False):
    """Energy of one inference. ``value`` is the dynamic part, as ``dynamic`` is.

    ``static`` is what the chips take at rest from one inference to the next, ``input`` the part of
    ``dynamic`` that moves the input's messages and belongs to no layer.
    """

    dynamic: Estimate
    static: Estimate | None
    input: Estimate


class Latency(Estimate, total=False):
    """Time of one inference, in microseconds; in time steps where the target states no times."""

    steps: int
    step: Estimate | None


class Binding(TypedDict, total=False):
    """What limits the throughput: a core, a link between chips, or the host's input.

    ``operation`` takes most of a core's time, ``share`` of it; ``time`` is for one inference.
    """

    resource: str
    core: int | None
    populations: list[str]
    operation: str
    share: float
    time: Estimate


class Part(TypedDict):
    """Energy and time of one inference that go to one kind of event.

    The time is that of the slowest core in all time steps of the latency.
    """

    part: str
    energy: Estimate | None
    time: Estimate | None


class Cost(TypedDict, total=False):
    """Cost of one inference. ``throughput`` is of inferences that follow each other."""

    spikes_per_inference: float | None
    synops_per_inference: float | None
    energy: Energy | None
    latency: Latency | None
    throughput: Estimate | None
    binding: Binding | None
    events: dict[str, float]
    parts: list[Part]


class NeuroBench(TypedDict):
    """Metrics by NeuroBench's names and definitions; footprint in bytes, sparsities from 0 to 1."""

    footprint: float
    connection_sparsity: float
    activation_sparsity: float
    synaptic_operations: dict[str, float]
    membrane_updates: float
    classification_accuracy: float | None
