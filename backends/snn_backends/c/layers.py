"""Populations as the C program has them, and the functions that add up their synapses."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from math import prod

from snn_backends.c.integers import CType, literal
from snn_backends.c.neurons import Form
from snn_compile.ir.models.population import ChangeNeurons
from snn_compile.ir.quantized import (
    Population,
    QuantizedGraph,
    RadixIFNeurons,
    Readout,
    SigmaDeltaReadout,
    SyncIFNeurons,
)

MAX_COMMENT = 60


class Family(enum.Enum):
    """How populations depend on time."""

    STEPPED = "stepped"
    """Each step's messages depend on this step's input and on the potentials."""
    WINDOWED = "windowed"
    """Layers wait for a window of their sources."""
    STREAM = "stream"
    """A step is a frame; messages are what has changed since the one before."""


def family_of(program: QuantizedGraph) -> Family | None:
    """The family of all populations; None if they are of several."""
    found = {_family(node) for node in program.populations}
    return found.pop() if len(found) == 1 else None


def _family(node: Population) -> Family:
    if isinstance(node, ChangeNeurons | SigmaDeltaReadout):
        return Family.STREAM
    return Family.WINDOWED if node.sums_windows else Family.STEPPED


@dataclass(frozen=True)
class Kernel:
    """A function that adds up one neuron's synapses.

    Attributes:
        kind: ``convolution``, ``dense`` or ``sparse``.
        message: type of the messages.
        bits: of a weight in flash.
        sum: type of the sum.
        index: type of the sources' numbers, of sparse synapses.
    """

    kind: str
    message: CType
    bits: int
    sum: CType
    index: CType | None = None

    @property
    def name(self) -> str:
        """In C."""
        parts = [self.kind, self.message.short, f"w{self.bits}", self.sum.short]
        return "_".join([*parts, self.index.short] if self.index else parts)


@dataclass(frozen=True, eq=False)
class Group:
    """A synapse group of a layer.

    Attributes:
        kernel: adds it up.
        source: number of the layer that it reads; None for the input.
        first: first value of the input that it reads.
        before, after: arguments of the kernel on both sides of the messages.
        exponent: of the synapses.
        silent: whether its source may have nothing to say at a step.
    """

    kernel: Kernel
    source: int | None
    first: int
    before: str
    after: str
    exponent: int
    silent: bool

    def sum(self, messages: str) -> str:
        """The group's part of what arrives at a neuron, for the messages of that name."""
        arguments = ", ".join(part for part in (self.before, messages, self.after) if part)
        text = f"{self.kernel.name}({arguments})"
        if self.exponent > 0:
            text = f"{text} * {literal(1 << self.exponent)}"
        elif self.exponent < 0:
            places = min(-self.exponent, self.kernel.sum.bits - 1)
            text = f"shifted_{self.kernel.sum.short}({text}, {places})"
        return f"({messages} ? {text} : 0)" if self.silent else text


@dataclass(frozen=True, eq=False)
class Layer:
    """A population.

    Attributes:
        index: its number in topological order.
        node: the population.
        form: its equation and types.
        message: type of what its readers add up: of a message, or of a window's sum of them.
        groups: its synapses.
        parameters: an expression for each parameter.
        first: first value of the output, of a readout.
        depth: the number of synapses from the input.
    """

    index: int
    node: Population
    form: Form
    message: CType
    groups: tuple[Group, ...]
    parameters: dict[str, str]
    first: int
    depth: int

    @property
    def comment(self) -> str:
        """Its name, harmless in a comment."""
        return harmless(self.node.id)

    @property
    def model(self) -> str:
        """The class of its neurons."""
        return type(self.node).__name__

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.node.shape)

    @property
    def is_readout(self) -> bool:
        """Whether it is an output."""
        return isinstance(self.node, Readout)

    @property
    def by_place(self) -> bool:
        """Whether neurons are told by channel, row and column."""
        return any(group.kernel.kind == "convolution" for group in self.groups)

    @property
    def by_channel(self) -> bool:
        """Whether parameters differ between channels of several neurons."""
        used = any(re.search(r"\bc\b", text) for text in self.parameters.values())
        return used and self.size > self.node.shape[0]

    @property
    def reads_input(self) -> bool:
        """Whether a group reads the network's input."""
        return any(group.source is None for group in self.groups)

    def arguments(self, family: Family) -> list[tuple[str, str]]:
        """Declaration and value of each parameter of its function."""
        found = []
        if self.reads_input:
            found.append(("const snn_message *input", "input"))
        if family is Family.STEPPED and self.form.states:
            found.append(("int32_t t", "t"))
        if self.is_readout:
            found.append(("snn_output *output", "output"))
        return found

    @property
    def sent(self) -> str:
        """What a neuron that has waited for a window sends at a step of its own."""
        match self.node:
            case SyncIFNeurons():
                return "t < count[n]"
            case RadixIFNeurons():
                return "count[n] & INT32_C(1) << (SNN_STEPS - 1 - t)"
        return "t == 0 ? count[n] : 0"

    @property
    def arriving(self) -> str:
        """What arrives at a neuron."""
        return " + ".join(group.sum(f"s{k}") for k, group in enumerate(self.groups))


def harmless(text: str) -> str:
    """A name from a user's file, for a comment or a page."""
    kept = re.sub(r"[^A-Za-z0-9_.:/ -]", "_", text)
    return kept if len(kept) <= MAX_COMMENT else kept[: MAX_COMMENT - 3] + "..."
