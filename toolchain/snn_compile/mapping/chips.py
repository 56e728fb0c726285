"""Cores on chips, with few messages between them.

A core sends a neuron's message to every block that reads it. What crosses from chip to chip is to
be little. The order of the network is cut into as few chips as hold it, by dynamic programming over
all such cuts; then cores are moved and swapped as long as that helps (Kernighan and Lin, Fiduccia
and Mattheyses, without their steps uphill).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import Input, QuantizedGraph
from snn_compile.mapping.block import Block, Part, Placement, as_map
from snn_compile.mapping.conv_counts import ConvCounts
from snn_compile.mapping.counts import DenseCounts
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.taps import Int

PASSES = 8
"""Over all cores, at most."""
LITTLE = 0.001
"""Of the messages between chips: what a pass must save for another to follow."""
CHIPS_TRIED = 2
"""To move a core to, those that it is linked to most."""
PLACED = np.iinfo(np.int64).min // 2
"""Links of a core that is on a chip: fewer than of any other."""
MAX_PAIRS = 1 << 20
"""Of a block that sends and one that reads, compared at once."""

Edges = tuple[Int, Int, Int]
"""Core that sends, core that reads, and pairs of a neuron and a block that reads it."""


def traffic(
    program: QuantizedGraph, counts: Mapping[NodeId, Counts], cores: Sequence[Sequence[Part]]
) -> Edges:
    """Messages of a step from core to core, if every neuron sends one."""
    held: dict[NodeId, list[tuple[int, Block]]] = {}
    for core, parts in enumerate(cores):
        for part in parts:
            held.setdefault(part.population, []).append((core, part.block))
    found: list[Int] = []
    for node in program.populations:
        for synapses in program.synapses_into(node):
            source = program.graph[synapses.inputs[0]]
            if isinstance(source, Input):
                continue
            senders = np.array([core for core, _ in held[source.id]], dtype=np.int64)
            readers = np.array([core for core, _ in held[node.id]], dtype=np.int64)
            sent_from = np.array([block.spans for _, block in held[source.id]], dtype=np.int64)
            read = _read(
                counts[synapses.id], [block for _, block in held[node.id]], sent_from, source.shape
            )
            start = 0
            for n in read:
                reader, sender = np.nonzero(n)
                found.append(
                    np.stack([senders[sender], readers[start + reader], n[reader, sender]])
                )
                start += len(n)
    if not found:
        return (np.zeros(0, dtype=np.int64),) * 3
    edges = np.concatenate(found, axis=1)
    key = edges[0] * len(cores) + edges[1]
    order = np.argsort(key, kind="stable")
    key = key[order]
    begin = np.flatnonzero(np.diff(key, prepend=-1))
    names, weight = key[begin], np.add.reduceat(edges[2][order], begin)
    return names // len(cores), names % len(cores), weight


def _read(counts: Counts, readers: Sequence[Block], boxes: Int, source: Shape) -> Iterator[Int]:
    """(some readers, boxes): sources of each reader in each of the boxes of its source.

    A kernel's zeros count as weights.
    """
    if isinstance(counts, DenseCounts):
        sizes = (boxes[:, :, 1] - boxes[:, :, 0]).prod(axis=1)
        yield np.broadcast_to(sizes, (len(readers), len(boxes)))
        return
    if not isinstance(counts, ConvCounts):
        box_of = np.empty(as_map(source), dtype=np.int64)
        for number, spans in enumerate(boxes.tolist()):
            box_of[tuple(slice(*span) for span in spans)] = number
        for block in readers:
            reached = np.zeros(as_map(source), dtype=np.int64)
            counts.mark(block, reached)
            yield np.bincount(box_of[reached > 0], minlength=len(boxes))[None]
        return
    shared, which = zip(*(_shared(counts, k, readers, boxes[:, k]) for k in range(3)), strict=True)
    at_once = max(1, MAX_PAIRS // len(boxes))
    for start in range(0, len(readers), at_once):
        y, x, z = (n[k[start : start + at_once]] for n, k in zip(shared, which, strict=True))
        yield y * x * z


def _shared(counts: ConvCounts, axis: int, readers: Sequence[Block], boxes: Int) -> tuple[Int, Int]:
    """(distinct spans, boxes): what a span reads of each box along an axis; each reader's span."""
    spans = [block.spans[axis] for block in readers]
    number = {span: k for k, span in enumerate(dict.fromkeys(spans))}
    read = np.array([counts.read_by(axis, span) for span in number])
    below = np.pad(read, [(0, 0), (1, 0)]).cumsum(axis=1)
    which = np.array([number[span] for span in spans], dtype=np.int64)
    return below[:, boxes[:, 1]] - below[:, boxes[:, 0]], which


def spread(n_cores: int, per_chip: int, edges: Edges) -> Int:
    """The chip of each core; as few chips as can hold them."""
    n_chips = -(-n_cores // per_chip)
    if n_chips == 1:
        return np.zeros(n_cores, dtype=np.int64)
    starts = (
        in_runs(n_cores, per_chip, edges),
        _grown(n_cores, n_chips, edges),
        n_chips - 1 - _grown(n_cores, n_chips, _backwards(n_cores, edges))[::-1],
    )
    found = [_improved(chips, per_chip, n_chips, edges) for chips in starts]
    return min(found, key=lambda chips: crossing(chips, edges))


def crossing(chips: Int, edges: Edges) -> int:
    """Messages of a step between chips."""
    senders, readers, weight = edges
    return int(weight[chips[senders] != chips[readers]].sum())


def in_runs(n_cores: int, per_chip: int, edges: Edges) -> Int:
    """The best cut of the order into runs, each of at most a chip's cores."""
    n_chips = -(-n_cores // per_chip)
    low, high = np.minimum(edges[0], edges[1]), np.maximum(edges[0], edges[1])
    near = high - low < per_chip
    band = np.zeros((n_cores, per_chip), dtype=np.int64)
    np.add.at(band, (low[near], (high - low)[near]), edges[2][near])
    band = np.cumsum(band, axis=1)
    inside = np.zeros((n_cores + 1, per_chip + 1), dtype=np.int64)
    for start in range(n_cores - 1, -1, -1):
        np.add(band[start], inside[start + 1, :-1], out=inside[start, 1:])
    never = np.iinfo(np.int64).min // 2
    best = np.full(n_cores + 1, never)
    best[0] = 0
    lengths = []
    for chip in range(1, n_chips + 1):
        after, chosen = np.full(n_cores + 1, never), np.zeros(n_cores + 1, dtype=np.int64)
        # No chip ends so early that the others cannot hold what follows.
        first = max(0, n_cores - (n_chips - chip) * per_chip)
        last = min(n_cores, chip * per_chip)
        for length in range(1, per_chip + 1):
            start = max(first, length)
            value = (
                best[start - length : last + 1 - length]
                + inside[start - length : last + 1 - length, length]
            )
            better = value > after[start : last + 1]
            after[start : last + 1][better] = value[better]
            chosen[start : last + 1][better] = length
        lengths.append(chosen)
        best = after
    chips, end = np.empty(n_cores, dtype=np.int64), n_cores
    for chip in range(n_chips - 1, -1, -1):
        start = end - int(lengths[chip][end])
        chips[start:end] = chip
        end = start
    return chips


def _backwards(n_cores: int, edges: Edges) -> Edges:
    """The same with the cores in the opposite order."""
    return n_cores - 1 - edges[0], n_cores - 1 - edges[1], edges[2]


def _grown(n_cores: int, n_chips: int, edges: Edges) -> Int:
    """Chips of even size, each grown by the core that is linked to it most."""
    chips = np.full(n_cores, -1, dtype=np.int64)
    first, near, weight = _neighbours(n_cores, edges)
    for chip in range(n_chips):
        links = np.where(chips < 0, 0, PLACED)
        core = int(np.flatnonzero(chips < 0)[0])
        for _ in range((n_cores * (chip + 1)) // n_chips - (n_cores * chip) // n_chips):
            chips[core] = chip
            links[core] = PLACED
            these = slice(first[core], first[core + 1])
            np.add.at(links, near[these], weight[these])
            core = int(np.argmax(links))
    return chips


def _neighbours(n_cores: int, edges: Edges) -> Edges:
    """Where the neighbours of each core begin, which cores they are, and the messages of each."""
    ends = np.concatenate([edges[0], edges[1]])
    order = np.argsort(ends, kind="stable")
    near = np.concatenate([edges[1], edges[0]])[order]
    weight = np.concatenate([edges[2], edges[2]])[order]
    return np.searchsorted(ends[order], np.arange(n_cores + 1)), near, weight


class _Exchanges:
    """Cores on chips, while they are moved and swapped.

    Attributes:
        chips: chip of each core.
        sizes: number of cores of each chip.
        linked: messages of each core to and from each chip.
        worth_a_look: cores whose links have changed.
    """

    def __init__(self, chips: Int, n_chips: int, edges: Edges) -> None:
        n_cores = len(chips)
        self.chips = chips.copy()
        self._first, self._readers, self._weight = _neighbours(n_cores, edges)
        senders = np.repeat(np.arange(n_cores), np.diff(self._first))
        self.linked = np.zeros((n_cores, n_chips), dtype=np.int64)
        np.add.at(self.linked, (senders, chips[self._readers]), self._weight)
        self.sizes = np.bincount(chips, minlength=n_chips)
        self.look()
        self._on_chip: dict[int, Int] = {}
        self._between = np.zeros(n_cores, dtype=np.int64)

    def look(self) -> None:
        """Begin with the cores that have more links to another chip than to their own."""
        own = self.linked[np.arange(len(self.chips)), self.chips]
        self.worth_a_look = self.linked.max(axis=1) > own

    def _neighbours(self, core: int) -> tuple[Int, Int]:
        these = slice(self._first[core], self._first[core + 1])
        return self._readers[these], self._weight[these]

    def move(self, core: int, chip: int) -> None:
        """Move a core to a chip."""
        near, n = self._neighbours(core)
        here = int(self.chips[core])
        np.subtract.at(self.linked, (near, np.full(len(near), here)), n)
        np.add.at(self.linked, (near, np.full(len(near), chip)), n)
        self.sizes[here] -= 1
        self.sizes[chip] += 1
        for changing in (here, chip):
            self._on_chip.pop(changing, None)
        self.chips[core] = chip
        self.worth_a_look[near] = True
        self.worth_a_look[core] = True

    def best_return(self, core: int, chip: int) -> tuple[int, int]:
        """The core of a chip that is best moved to where another comes from, and what it gains."""
        if chip not in self._on_chip:
            self._on_chip[chip] = np.flatnonzero(self.chips == chip)
        others, here = self._on_chip[chip], self.chips[core]
        near, n = self._neighbours(core)
        np.add.at(self._between, near, n)
        back = self.linked[others, here] - self.linked[others, chip] - 2 * self._between[others]
        self._between[near] = 0
        k = int(back.argmax())
        return int(others[k]), int(back[k])


def _improved(chips: Int, per_chip: int, n_chips: int, edges: Edges) -> Int:
    """The same after moves and swaps of cores that make the traffic less."""
    cores = _Exchanges(chips, n_chips, edges)
    crossed = crossing(cores.chips, edges)
    for _ in range(PASSES):
        saved = 0
        cores.look()
        for core in range(len(chips)):
            if cores.worth_a_look[core]:
                saved += _moved(cores, core, per_chip)
        if saved <= LITTLE * crossed:
            break
    return cores.chips


def _moved(cores: _Exchanges, core: int, per_chip: int) -> int:
    """Messages saved by a move of one core, or a swap with another, if one is worth it."""
    here = int(cores.chips[core])
    gains = cores.linked[core] - cores.linked[core, here]
    for _ in range(CHIPS_TRIED):
        chip = int(gains.argmax())
        gain = int(gains[chip])
        if gain <= 0:
            break
        gains[chip] = 0
        if cores.sizes[chip] < per_chip:
            cores.move(core, chip)
            return gain
        other, back = cores.best_return(core, chip)
        if gain + back > 0:
            cores.move(core, chip)
            cores.move(other, here)
            return gain + back
    return 0


def between_chips(
    program: QuantizedGraph, counts: Mapping[NodeId, Counts], placements: Sequence[Placement]
) -> dict[tuple[int, int], int]:
    """Messages of a step from chip to chip, if every neuron sends one."""
    cores: dict[int, list[Part]] = {}
    chip: dict[int, int] = {}
    for placement in placements:
        part = Part(placement.population, placement.block)
        cores.setdefault(placement.core, []).append(part)
        chip[placement.core] = placement.chip
    if len(set(chip.values())) < 2:
        return {}
    chips = np.array([chip[core] for core in cores], dtype=np.int64)
    return links_of(chips, traffic(program, counts, list(cores.values())))


def links_of(chips: Int, edges: Edges) -> dict[tuple[int, int], int]:
    """Messages of a step from chip to chip."""
    senders, readers, weight = edges
    n_chips = int(chips.max()) + 1
    links = np.bincount(chips[senders] * n_chips + chips[readers], weights=weight).astype(np.int64)
    return {
        divmod(link, n_chips): int(links[link])
        for link in np.flatnonzero(links).tolist()
        if link // n_chips != link % n_chips
    }
