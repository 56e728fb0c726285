"""The design rules of a target: named predicates, each returning all of its violations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from snn_compile.coding_registry import coding_names
from snn_compile.errors import CapacityError, Origin
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping.block import LIMITS, Demand, Placement, capacity
from snn_compile.mapping.chips import between_chips
from snn_compile.mapping.counts import all_counts
from snn_compile.sim import bounds
from snn_compile.targets.target import Target

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=QuantizedNode)

_UNITS = ("neurons", "bits", "input axons", "output axons")
_SHOWN = 3
MIN_STATE_BITS = 12
"""The narrowest states that ``--state-bits`` takes."""
_WITHOUT_PAYLOAD = (InputCoding.CURRENT, InputCoding.FRAME, InputCoding.POISSON)


@dataclass(frozen=True)
class Violation:
    """One violation of one rule.

    Attributes:
        rule: name of the rule.
        message: the violation, with its numbers.
        origin: the operator concerned, if any.
        hint: the action to take.
        needed: the network's demand, for a rule with a number.
        limit: the target's capacity.
    """

    rule: str
    message: str
    origin: Origin | None = None
    hint: str = ""
    needed: int = 0
    limit: int = 0

    @property
    def error(self) -> CapacityError:
        """The violation as an error."""
        code = self.rule.replace("_", "-")
        error = CapacityError(self.message, code=code, origin=self.origin, hint=self.hint)
        error.needed, error.limit = self.needed, self.limit
        return error


class Rule(Protocol):
    """A design rule."""

    __name__: str

    def __call__(
        self, program: QuantizedGraph, target: Target, placements: Sequence[Placement], /
    ) -> list[Violation]:
        """All violations of the rule."""
        ...


def core_demands(placements: Sequence[Placement]) -> dict[int, Demand]:
    """Total demand of the blocks of each core, in the order of the cores."""
    sums: dict[int, list[int]] = {}
    for placement in placements:
        so_far, demand = sums.setdefault(placement.core, [0, 0, 0, 0]), placement.demand
        so_far[0] += demand.neurons
        so_far[1] += demand.synapse_memory_bits
        so_far[2] += demand.input_axons
        so_far[3] += demand.output_axons
    return {core: Demand(*so_far) for core, so_far in sorted(sums.items())}


def times(needed: int, limit: int) -> str:
    """The excess of a number over a limit."""
    if not limit:
        return "over"
    ratio = needed / limit
    return f"{ratio:.1f} times over" if ratio >= 1.05 else f"over by {needed - limit}"


def _origin(program: QuantizedGraph, population: NodeId) -> Origin:
    return program.graph[population].origin


def _core_limit(
    rule: str,
    index: int,
    program: QuantizedGraph,
    target: Target,
    placements: Sequence[Placement],
    remedy: Callable[[Placement, int], str],
) -> list[Violation]:
    """Cores that exceed one of the four limits: the worst one of each layer.

    Args:
        rule: name of the rule.
        index: of the limit among ``LIMITS``.
        program: the network.
        target: the chip.
        placements: of the network on it.
        remedy: what to do about the largest block of a core, given the limit.
    """
    limit = capacity(target)[index]
    if limit is None:
        return []
    over = {
        core: demand.values[index]
        for core, demand in core_demands(placements).items()
        if demand.values[index] > limit
    }
    on_core: dict[int, list[Placement]] = {core: [] for core in over}
    for placement in placements if over else ():
        if placement.core in over:
            on_core[placement.core].append(placement)
    worst: dict[NodeId, Violation] = {}
    for core, needed in over.items():
        largest = max(on_core[core], key=lambda p: p.demand.values[index])
        name = largest.population
        if name in worst and worst[name].needed >= needed:
            continue
        what = f"{largest.n_neurons} neuron{'s' if largest.n_neurons != 1 else ''} of '{name}'"
        worst[name] = Violation(
            rule,
            f"{what} on core {core}: {needed} of {limit} {_UNITS[index]}"
            f" ({LIMITS[index]}, {times(needed, limit)}) on {target.name}",
            _origin(program, name),
            remedy(largest, limit),
            needed,
            limit,
        )
    return list(worst.values())


def neurons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core exceeds its number of compartments."""

    def remedy(largest: Placement, limit: int) -> str:
        each = largest.demand.neurons // largest.n_neurons
        return (
            f"a neuron that resets by subtraction takes {each} compartments, and a core has"
            f" {limit}: --reset zero, or another target"
        )

    return _core_limit("neurons_per_core", 0, program, target, placements, remedy)


def synapse_memory_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core exceeds its synapse memory."""

    def remedy(largest: Placement, limit: int) -> str:
        fits = largest.n_synapses * limit // largest.demand.synapse_memory_bits
        return (
            f"a core holds {fits:,} of the {largest.n_synapses:,} synapses of these neurons:"
            " fewer --weight-bits, or fewer inputs to a neuron"
        )

    return _core_limit("synapse_memory_per_core", 1, program, target, placements, remedy)


def input_axons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core has more source neurons than input axons."""

    def remedy(largest: Placement, limit: int) -> str:
        soft = program.graph[largest.population]
        own = isinstance(soft, Population) and soft.soft_reset
        fan_in = limit - (target.synapses_per_soft_reset_neuron.value if own else 0)
        return (
            f"the largest fan-in that fits is {max(fan_in, 0):,}: pool before this layer,"
            " or --allow-approximate, which drops the synapses of least weight"
        )

    return _core_limit("input_axons_per_core", 2, program, target, placements, remedy)


def output_axons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core has more destinations than output axons."""

    def remedy(largest: Placement, limit: int) -> str:
        each = -(-largest.demand.output_axons // largest.n_neurons)
        return (
            f"a neuron reaches {each:,} blocks, and a core can address {limit:,}: the layers that"
            f" read '{largest.population}' must take fewer cores, by fewer channels or fewer"
            " --weight-bits"
        )

    return _core_limit("output_axons_per_core", 3, program, target, placements, remedy)


def cores_per_board(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """The board has as many cores as the network needs."""
    del program
    demands = core_demands(placements)
    needed, limit = len(demands), target.cores
    if limit is None or needed <= limit:
        return []
    totals = [
        sum(demand.fullness(capacity(target))[i] for demand in demands.values())
        for i in range(len(LIMITS))
    ]
    binding = LIMITS[totals.index(max(totals))]
    chips = target.chips.value
    message = (
        f"needs {needed} cores; {target.name} has {limit} on {chips}"
        f" chip{'s' if chips != 1 else ''} x {target.cores_per_chip.value}:"
        f" the binding limit is {binding} ({times(needed, limit)})"
    )
    fewer = ", fewer --weight-bits" if binding == "synapse memory" else ""
    enough = -(-needed // (target.cores_per_chip.value or needed))
    hint = f"--chips {enough} would do, or a smaller network{fewer}"
    return [Violation("cores_per_board", message, None, hint, needed, limit)]


def link_bandwidth(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No chip sends more to another than the link between them carries in a step."""
    limit = target.link_messages_per_step.value
    if limit is None or not placements:
        return []
    links = between_chips(program, all_counts(program), placements)
    over = {link: n for link, n in links.items() if n > limit}
    if not over:
        return []
    (sender, reader), needed = max(over.items(), key=lambda item: item[1])
    message = (
        f"chip {sender} sends up to {needed} messages a step to chip {reader}; a link of"
        f" {target.name} carries {limit} ({times(needed, limit)}; links over it: {len(over)})"
    )
    hint = "fewer neurons a chip, or --placement with layers that are linked on one chip"
    return [Violation("link_bandwidth", message, None, hint, needed, limit)]


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
        near = sorted({b for b in (*below, max(have)) if 2 <= b <= 8})
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
        if sent is not None and not exempt and not 0 <= sent[0] <= sent[1] <= 1:
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
        option = {"rate": f"--burst {(1 << max(bits, 1)) - 1}"}.get(
            program.window.coding, f"--payload-bits {max(bits, 1)}"
        )
        found.append(option)
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
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> Iterator[Violation]:
    """All violations of all rules."""
    for rule in RULES:
        yield from rule(program, target, placements)


def violations_without_placement(program: QuantizedGraph, target: Target) -> list[Violation]:
    """The rules that need no placement, for a quick check of a network against a target."""
    return list(violations(program, target, ()))
