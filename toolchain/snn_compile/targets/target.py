"""A target: the limits, the memory model and the costs of a chip, each with its source."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Confidence(enum.Enum):
    """Confidence in a figure."""

    PUBLISHED = "published"
    """Verified in the public source named."""
    RECALLED = "recalled"
    """Attributed to a public source that was not accessible for verification."""
    ASSUMED = "assumed"
    """No public source: an assumption, with its reason."""


@dataclass(frozen=True)
class Figure(Generic[T]):
    """One property of a target and its source.

    Attributes:
        value: the value; None without a limit.
        unit: its unit.
        source: its source, with caveats.
        confidence: confidence in it.
    """

    value: T
    unit: str
    source: str
    confidence: Confidence


@dataclass(frozen=True)
class Constant:
    """Energy, power or time of one operation, with the range of cited constants.

    Attributes:
        value: the constant that estimates use.
        low: the smallest constant of a cited source.
        high: the largest constant of a cited source.
        unit: ``pJ``, ``mW``, ``ns`` or ``us``.
        source: the sources, with caveats.
        confidence: confidence in the sources.
    """

    value: float
    low: float
    high: float
    unit: str
    source: str
    confidence: Confidence


@dataclass(frozen=True)
class Times:
    """Times of a core's operations in nanoseconds; None without a public source.

    Attributes:
        synaptic_op: one synaptic operation.
        neuron_update: one neuron update at one time step.
        spike_out: one spike, at its neuron.
        message_out: one message to one reading core, at the sender.
        message_in: one message, at a reading core.
        barrier: the synchronization that ends a time step.
        link_message: one message between two chips.
        input_value: one input value, sent by the host.
    """

    synaptic_op: Constant | None = None
    neuron_update: Constant | None = None
    spike_out: Constant | None = None
    message_out: Constant | None = None
    message_in: Constant | None = None
    barrier: Constant | None = None
    link_message: Constant | None = None
    input_value: Constant | None = None


Limit = Figure[int | None]
Words = Figure[tuple[str, ...] | None]
UNSTATED_LINK: Limit = Figure(
    None,
    "messages",
    "no public figure. A time step lasts until its last message has arrived, so a slow link takes"
    " time (time.link_message, where a source states one) and no network is refused for it",
    Confidence.ASSUMED,
)
UNSTATED_WORD: Limit = Figure(None, "bits", "memory is counted in bits", Confidence.ASSUMED)
UNSTATED_STRIDE: Figure[int] = Figure(0, "bits", "kernels of any stride alike", Confidence.ASSUMED)


@dataclass(frozen=True)
class Target:
    """Capacities of a chip and of its board.

    Attributes:
        name: its name on the command line.
        description: one line.
        file: its file.
        chips: chips on the board.
        cores_per_chip: neuron cores of a chip.
        neurons_per_core: neurons, or compartments where a neuron takes several.
        synapse_memory_per_core: bits.
        input_axons_per_core: distinct (source neuron, block) pairs that a core can receive.
        output_axons_per_core: distinct (neuron, reading block) pairs that a core can address.
        state_bits: width of a membrane potential.
        max_delay: longest synaptic delay in time steps.
        payload_bits: widest payload of a graded spike; 0 without payloads.
        graded_spikes: whether a spike can carry a payload.
        weight_bits: widths of a stored weight, sign included.
        codings: supported codings; None for any.
        neurons: supported neuron kinds, by ``Population.kind``; None for any.
        default_coding: the default coding.
        shared_kernels: whether a core stores a kernel once, not once per synapse.
        index_bits: bits of the target index stored with each weight of an unrolled synapse.
        entry_overhead_bits: largest overhead of an entry of a synapse list.
        synapses_per_entry: most synapses of an entry of a synapse list.
        word_bits: bits of a word of synapse memory, where lists take whole words; None to count
            bits.
        stride_bits: additional bits of each weight of a shared kernel, in words, for each doubling
            of the stride along columns.
        neurons_per_soft_reset_neuron: compartments of a neuron that resets by subtraction.
        synapses_per_soft_reset_neuron: recurrent synapses of such a neuron.
        link_messages_per_step: messages that a chip can send to another chip in a time step.
        synaptic_op: energy of one synaptic operation, in pJ.
        neuron_update: energy of one neuron update at one time step, in pJ.
        spike: energy of routing one message to one reading core, in pJ.
        static_chip: static power of a chip, in mW.
        times: times of the operations, and of the barrier that ends a time step.
    """

    name: str
    description: str
    file: str
    chips: Limit
    cores_per_chip: Limit
    neurons_per_core: Limit
    synapse_memory_per_core: Limit
    input_axons_per_core: Limit
    output_axons_per_core: Limit
    state_bits: Limit
    max_delay: Limit
    payload_bits: Limit
    graded_spikes: Figure[bool]
    weight_bits: Figure[tuple[int, ...]]
    codings: Words
    neurons: Words
    default_coding: Figure[str]
    shared_kernels: Figure[bool]
    index_bits: Figure[int]
    entry_overhead_bits: Figure[int]
    synapses_per_entry: Figure[int]
    neurons_per_soft_reset_neuron: Figure[int]
    synapses_per_soft_reset_neuron: Figure[int]
    link_messages_per_step: Limit = UNSTATED_LINK
    word_bits: Limit = UNSTATED_WORD
    stride_bits: Figure[int] = UNSTATED_STRIDE
    synaptic_op: Constant | None = None
    neuron_update: Constant | None = None
    spike: Constant | None = None
    static_chip: Constant | None = None
    times: Times = Times()

    @property
    def cores(self) -> int | None:
        """Neuron cores of the whole board; None without a limit."""
        chips, cores = self.chips.value, self.cores_per_chip.value
        return None if chips is None or cores is None else chips * cores
