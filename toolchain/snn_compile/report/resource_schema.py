"""The structure of ``resources`` in ``report.json``: what a network takes of the target."""

from __future__ import annotations

from typing import TypedDict

from snn_compile.report.cost_schema import Estimate


class Core(TypedDict, total=False):
    """Content of one core, and utilization of its tightest limit."""

    core: int
    chip: int
    neurons: int
    synapse_memory_bits: int
    input_axons: int
    output_axons: int
    populations: list[str]
    percent: float
    energy: Estimate | None
    time: Estimate | None


class BindingLimit(TypedDict, total=False):
    """The limit with the highest utilization."""

    limit: str
    core: int
    used: int
    available: int | None
    percent: float


class Link(TypedDict):
    """Synapses from one layer to another: pairs of a source neuron and a block that it reaches."""

    source: str
    target: str
    axons: int


class LayerBound(TypedDict):
    """One limit of one layer: the least that any placement takes, what is taken, a core's limit."""

    layer: str
    rule: str
    bound: int
    used: int
    limit: int | None


class ChipLink(TypedDict):
    """Messages of a step from chip to chip, if every neuron sends one."""

    sender: int
    reader: int
    messages: int


class LowerBound(TypedDict):
    """The least cores of any placement, and those in use."""

    cores: int
    used: int
    layers: list[LayerBound]


class Resources(TypedDict, total=False):
    """Utilization of the target."""

    cores: int
    cores_available: int | None
    chips: int
    per_core: list[Core]
    binding_limit: BindingLimit | None
    links: list[Link]
    lower_bound: LowerBound
    between_chips: list[ChipLink]
