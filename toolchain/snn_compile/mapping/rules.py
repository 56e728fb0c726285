"""The design rules of a target: named predicates, each returning all of its violations."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.quantized import (
    WEIGHT_BITS,
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping.block import Placement
from snn_compile.mapping.core_rules import (
    cores_per_board,
    input_axons_per_core,
    link_bandwidth,
    neurons_per_core,
    output_axons_per_core,
    synapse_memory_per_core,
)
from snn_compile.mapping.violation import Violation
from snn_compile.sim import bounds
from snn_compile.targets.target import Target

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=QuantizedNode)

_SHOWN = 3
MIN_STATE_BITS = 12
"""The narrowest states that ``--state-bits`` takes."""
_WITHOUT_PAYLOAD = (InputCoding.CURRENT, InputCoding.FRAME, InputCoding.POISSON)


class Rule(Protocol):
    """A design rule."""

    __name__: str

    def __call__(
        self, program: QuantizedGraph, target: Target, placements: Sequence[Placement], /
    ) -> list[Violation]:
        """All violations of the rule."""
        ...


def _named(nodes: Sequence[QuantizedNode]) -> str:
    """The first names, and the number of others."""
    shown = ", ".join(f"'{node.id}'" for node in nodes[:_SHOWN])
    more = len(nodes) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _grouped(nodes: Iterable[tuple[K, N]]) -> list[tuple[K, list[N]]]:
    """Nodes grouped by violation, so that one of all layers is reported once."""
    groups: dict[K, list[N]] = {}
    for key, node in nodes:
        groups.setdefault(key, []).append(node)
    return list(groups.items())


def weight_bits_exist(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """The chip can store weights of the width that each synapse group has."""
    del placements
    have = target.weight_bits.value
    listed = ", ".join(str(b) for b in have)
    groups = _grouped((n.weight.format.bits, n) for n in program.graph if isinstance(n, Synapses))
    found = []
    for bits, nodes in groups:
        if bits in have:
            continue
        below = [b for b in sorted(have) if 2 <= b < bits][-1:]
        near = sorted({b for b in (*below, max(have)) if b in WEIGHT_BITS})
        message = f"{_named(nodes)}: weights of {bits} bits; {target.name} has {listed}"
        if below:
            exponents = sorted({node.exponent for node in nodes})
            message += (
                f". Sums of weights of {below[0]} bits are not exact with the exponents"
                f" {exponents[0]} to {exponents[-1]}"
            )
        hint = f"--weight-bits {' or '.join(str(b) for b in near)}" if near else ""
        hint = hint or "weights here have 2 to 8 bits: another target"
        found.append(
            Violation("weight_bits_exist", message, nodes[0].origin, hint, bits, max(have))
        )
    return found


def coding_supported(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """The chip can run the network's coding."""
    del placements
    coding, have = program.window.coding, target.codings.value
    if have is None or coding in have:
        return []
    message = f"the coding '{coding}' does not run on {target.name}"
    offered = " or ".join(name for name in have if name in coding_names())
    hint = f"--coding {offered}" if offered else "another target: it names no coding known here"
    return [Violation("coding_supported", message, None, hint)]


def neuron_supported(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """The chip can run every kind of neuron."""
    del placements
    have = target.neurons.value
    if have is None:
        return []
    return [
        Violation(
            "neuron_supported",
            f"{_named(nodes)}: neurons of kind {kind}; {target.name} has {', '.join(have)}",
            nodes[0].origin,
            f"another --coding: {target.default_coding.value} is the default of {target.name}",
        )
        for kind, nodes in _grouped((node.kind, node) for node in program.populations)
        if kind not in have
    ]


def messages(node: QuantizedNode) -> tuple[int, int] | None:
    """Smallest and largest message of a node; None for a node without messages."""
    return node.messages if isinstance(node, Input | Neurons) else None


def payload_width(node: QuantizedNode) -> int | None:
    """Bits of a node's payloads, the sign included; 0 of binary spikes, None without messages."""
    sent = messages(node)
    if sent is None:
        return None
    return 0 if 0 <= sent[0] <= sent[1] <= 1 else QFormat.holding(*sent).bits


def payload_bits(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """Spikes carry no wider payloads than the chip's.

    The host adds an input current, at every step of a window or at its first, and a signed input
    spike is one of two binary spikes: neither needs a payload. A signed spike
    of a neuron is a payload of -1, 0 or 1. The sign of a payload is one of its bits.
    """
    del placements
    limit = target.payload_bits.value
    if limit is None:
        return []
    sending = []
    for node in program.graph:
        sent = messages(node)
        exempt = isinstance(node, Input) and node.coding in _WITHOUT_PAYLOAD
        if sent is not None and not exempt and payload_width(node):
            sending.append((sent, node))
    has = f"has payloads of {limit} bits" if limit else "has binary spikes only"
    found = []
    for (low, high), nodes in _grouped(sending):
        bits = QFormat.holding(low, high).bits
        if bits <= limit:
            continue
        hint = _narrower(program, nodes, bits - limit, low, high)
        if not limit:
            hint = f"--coding {target.default_coding.value}"
            if any(isinstance(node, Input) for node in nodes):
                hint += ", --input current"
        sign = " with the sign" if low < 0 else ""
        message = (
            f"{_named(nodes)}: payloads {low} to {high}, {bits} bits{sign}; {target.name} {has}"
        )
        found.append(Violation("payload_bits", message, nodes[0].origin, hint, bits, limit))
    return found


def _narrower(
    program: QuantizedGraph, nodes: Sequence[QuantizedNode], excess: int, low: int, high: int
) -> str:
    """The options that make payloads narrower by a number of bits."""
    bits = max(-low, high).bit_length() - excess
    found = []
    if any(isinstance(node, Input) for node in nodes):
        found.append(f"--input-bits {bits}" if bits >= 1 else "--input current")
    if any(isinstance(node, Neurons) for node in nodes):
        found.append(coding_class(program.window.coding).with_narrow_payloads(max(bits, 1)))
    return ", ".join(found)


def state_bits(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """Membrane potentials are no wider than the chip's."""
    del placements
    limit = target.state_bits.value
    if limit is None:
        return []
    wide = [node for node in program.populations if node.state.bits > limit]
    found = []
    for bits, nodes in _grouped((node.state.bits, node) for node in wide):
        needed = max(_proven_bits(program, node) for node in nodes)
        message = (
            f"{_named(nodes)}: potentials of {bits} bits, of which {needed} are needed;"
            f" {target.name} has {limit}"
        )
        # Weights that are refitted may exceed the width that they were quantized for.
        asked = limit - max(needed - limit, 0)
        if limit < MIN_STATE_BITS:
            hint = f"states here have {MIN_STATE_BITS} bits or more: another target"
        else:
            hint = f"--state-bits {max(asked, MIN_STATE_BITS)}"
        found.append(Violation("state_bits", message, nodes[0].origin, hint, bits, limit))
    return found


def _proven_bits(program: QuantizedGraph, population: Population) -> int:
    interval = bounds.states(program.graph, population, program.window.n_steps)
    return interval.magnitude.bit_length() + 1


RULES: tuple[Rule, ...] = (
    coding_supported,
    neuron_supported,
    payload_bits,
    weight_bits_exist,
    state_bits,
    neurons_per_core,
    synapse_memory_per_core,
    input_axons_per_core,
    output_axons_per_core,
    cores_per_board,
    link_bandwidth,
)


def violations(
    program: QuantizedGraph,
    target: Target,
    placements: Sequence[Placement],
    links: Mapping[tuple[int, int], int] | None = None,
) -> Iterator[Violation]:
    """All violations of all rules.

    Args:
        program: the network.
        target: the chip.
        placements: of the network on it.
        links: messages of a step from chip to chip, if they have been counted.
    """
    for rule in RULES:
        if rule is link_bandwidth:
            yield from link_bandwidth(program, target, placements, links)
        else:
            yield from rule(program, target, placements)


def violations_without_placement(program: QuantizedGraph, target: Target) -> list[Violation]:
    """The rules that need no placement, for a quick check of a network against a target."""
    return list(violations(program, target, ()))
