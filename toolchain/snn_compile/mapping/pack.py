"""Packing of blocks onto cores, layer by layer from the last.

Readers are placed before those they read, so the output axons of a block are known when it is
placed. What any cut divides without reading a source twice (a relay, a pooling, a depthwise
convolution) has no influence on its sources, wherever it is cut: it comes last, and fills what the
others leave empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from snn_compile.errors import CapacityError, raise_all
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping.block import Block, Capacity, Demand, Part, as_map, capacity
from snn_compile.mapping.cores import Cores
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.memory import format_of
from snn_compile.mapping.partition import Cutter
from snn_compile.mapping.taps import Int
from snn_compile.targets.target import Target

FEW, MANY = 6, 32
"""Pieces that a block is split into, at most: where sources are read twice, and where not."""
LITTLE, MUCH = 0.05, 0.8
"""Cost of a split, as a share of what is split: while other parts may fill the cores, and after."""
PATIENT = 1500
"""Cores in use up to which every part is tried."""
FAILURES = 12
"""Cores that cannot be emptied before no others are tried."""
CORES_TRIED = 2
"""The emptiest ones, for each piece."""


class Filler:
    """Places parts of a network onto cores.

    Args:
        cores: to be filled.
        cutters: of every population, in the order in which they are cut.
    """

    def __init__(self, cores: Cores, cutters: Mapping[NodeId, Cutter]) -> None:
        self.cores = cores
        self.cutters = cutters
        self._slabs: dict[tuple[object, ...], tuple[int, int, int] | None] = {}
        self._refused: set[tuple[object, ...]] = set()
        self._divisible: dict[tuple[object, ...], list[int]] = {}
        self._free: dict[tuple[object, ...], bool] = {}

    def fill(self, parts: Sequence[Part], n_pieces: int = FEW) -> list[Block]:
        """Place the parts of a population, split where that saves a core; returns the blocks."""
        placed: list[Block] = []
        if not self._axes(parts[len(parts) // 2], LITTLE):
            n_pieces = 1
        for part in sorted(parts, key=lambda p: -max(p.demand.fullness(self.cores.limits))):
            pieces = self.absorb(part, LITTLE, n_pieces) or [(part, self.cores.open(part))]
            placed += [piece.block for piece, _ in pieces]
            self.cores.close_full({core for _, core in pieces})
        return placed

    def absorb(self, part: Part, cost: float, n_pieces: int) -> list[tuple[Part, int]]:
        """Put a part onto cores that are in use, in pieces; nothing, if they have too little room.

        Args:
            part: to be placed.
            cost: of a split, at most, as a share of what is split.
            n_pieces: at most.
        """
        done: list[tuple[Part, int]] = []
        rest: Part | None = part
        asked: tuple[object, ...] | None = None
        while rest is not None and len(done) < n_pieces:
            core = self.cores.best(rest)
            if core is not None:
                done.append((rest, core))
                self.cores.add(rest, core)
                return done
            if asked is None and len(self.cores.members) > PATIENT:
                asked = n_pieces, *self._question(part, cost, self._emptiest())
                if asked in self._refused:
                    return []
            left = n_pieces - len(done)
            if left < 2 or not self.cores.have_room(rest, left):
                break
            found = self._slab(rest, cost, self._emptiest())
            if found is None:
                break
            piece, core, rest = found
            done.append((piece, core))
            self.cores.add(piece, core)
        for piece, core in done:
            self.cores.take(piece, core)
        if asked is not None:
            self._refused.add(asked)
        return []

    def _emptiest(self) -> list[tuple[int, Int]]:
        """The emptiest cores, and what they have left."""
        return [(core, self.cores.room(core)) for core in self.cores.by_room(CORES_TRIED)]

    @staticmethod
    def _question(
        part: Part, cost: float, emptiest: Sequence[tuple[int, Int]]
    ) -> tuple[object, ...]:
        """What decides how a part is split, but for its place.

        Blocks of one cut differ little, and the cores that they leave behind differ little, too:
        what held for a block of this size and demand beside cores this empty is not tried again.
        """
        rooms = (room.tobytes() for _, room in emptiest)
        return part.population, _lengths(part.block), part.demand.values, cost, *rooms

    def _slab(
        self, part: Part, most: float, emptiest: Sequence[tuple[int, Int]]
    ) -> tuple[Part, int, Part] | None:
        """The largest slab of a part that one of the emptiest cores can take, and the rest."""
        rooms = [room for _, room in emptiest]
        key = self._question(part, most, emptiest)
        if key not in self._slabs:
            self._slabs[key] = self._largest(part, most, rooms)
        found = self._slabs[key]
        if found is None:
            return None
        axis, length, index = found
        cutter = self.cutters[part.population]
        start, stop = part.block.spans[axis]
        slab = cutter.part(part.block.between(axis, start, start + length))
        if slab.demand.exceeds(_as_capacity(rooms[index])):  # not quite like the other block
            found = self._slabs[key] = self._largest(part, most, rooms)
            return self._slab(part, most, emptiest) if found is not None else None
        return slab, emptiest[index][0], cutter.part(part.block.between(axis, start + length, stop))

    def _largest(
        self, part: Part, most: float, rooms: Sequence[Int]
    ) -> tuple[int, int, int] | None:
        """The axis and the length of the largest slab that fits a room, and which room that is."""
        cutter = self.cutters[part.population]
        best, found = 0, None
        for axis in self._axes(part, most):
            start, stop = part.block.spans[axis]
            each = part.block.size // (stop - start)
            for index, room in enumerate(rooms):
                least = best // each
                length = self._longest(cutter, part.block, axis, room, least)
                if length > least:
                    best, found = length * each, (axis, length, index)
        if found is None:
            return None
        axis, length, _ = found
        start, stop = part.block.spans[axis]
        price = cutter.price(part.demand)
        pieces = ((start, start + length), (start + length, stop))
        cost = sum(cutter.price(cutter.demand(part.block.between(axis, *p))) for p in pieces)
        return found if cost - price <= most * price else None

    @staticmethod
    def _longest(cutter: Cutter, block: Block, axis: int, room: Int, least: int) -> int:
        """The longest slab that fits into the room, if longer than the least."""
        start, stop = block.spans[axis]
        left = _as_capacity(room)

        def fits(length: int) -> bool:
            demand = cutter.demand(block.between(axis, start, start + length))
            return not demand.exceeds(left)

        each = cutter.compartments * (block.size // (stop - start))
        low, high = least, min(stop - start - 1, int(room[0]) // each)
        if low >= high or not fits(low + 1):
            return low
        low += 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def eliminate(self) -> None:
        """Empty the emptiest cores into the others, as long as that succeeds."""
        kept: set[int] = set()
        while len(kept) < FAILURES:
            order = [core for core in self.cores.by_room(len(kept) + 1) if core not in kept]
            if not order:
                return
            core = order[0]
            held, moved = self.cores.hide(core), []
            for cutter in self.cutters.values():
                cutter.forget()
            for part in self.cores.members[core]:
                pieces = self.absorb(part, MUCH, FEW)
                if not pieces:
                    break
                moved += pieces
            else:
                self.cores.members[core] = []
                continue
            for piece, other in moved:
                self.cores.take(piece, other)
            self.cores.show(core, held)
            kept.add(core)

    def _axes(self, part: Part, cost: float) -> list[int]:
        """Axes along which a part can be halved at a cost; blocks of a size are taken as alike."""
        cutter = self.cutters[part.population]
        key = cutter.key, _lengths(part.block), cost
        if key not in self._divisible:
            price = cutter.price(part.demand)
            found = []
            for axis, (start, stop) in enumerate(part.block.spans):
                if stop - start > 1:
                    halves = sum(cutter.price(cutter.demand(h)) for h in part.block.halves(axis))
                    if halves - price <= cost * price:
                        found.append(axis)
            self._divisible[key] = found
        return self._divisible[key]

    def is_divisible(self, parts: Sequence[Part]) -> bool:
        """Whether blocks read no source twice, neither those of the cut nor their halves."""
        key = self.cutters[parts[0].population].key
        if key not in self._free:
            self._free[key] = self._reads_once(parts)
        return self._free[key]

    def _reads_once(self, parts: Sequence[Part]) -> bool:
        part = parts[len(parts) // 2]
        cutter = self.cutters[part.population]
        axes = self._axes(part, LITTLE)
        whole = Block.whole(cutter.population.shape)
        for _, counts in cutter.incoming:
            if sum(counts.sources(part.block) for part in parts) != counts.sources(whole):
                return False
            for axis in axes:
                halves = part.block.halves(axis)
                if sum(counts.sources(half) for half in halves) != counts.sources(part.block):
                    return False
        return bool(axes)


def _lengths(block: Block) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in block.spans)


def _as_capacity(room: Int) -> Capacity:
    a, b, c, d = room.tolist()
    return a, b, c, d


@dataclass(frozen=True)
class Packed:
    """The parts of each core.

    Attributes:
        cores: of layers that may go anywhere.
        pinned: of the others, by the numbers of the cores that they may use.
    """

    cores: list[list[Part]]
    pinned: Mapping[tuple[int, ...], list[list[Part]]]

    @property
    def n_cores(self) -> int:
        """Cores in use."""
        return len(self.cores) + sum(map(len, self.pinned.values()))


def pack(
    program: QuantizedGraph,
    target: Target,
    counts: Mapping[NodeId, Counts],
    prices: Sequence[float],
    waste: float,
    pins: Mapping[NodeId, tuple[int, ...]],
) -> Packed:
    """Cut every population and put its parts onto cores.

    Raises:
        CapacityError: layers do not fit the cores that they are pinned to.
    """
    limits = capacity(target)
    if not pins and all(limit is None for limit in limits):  # one core holds everything
        whole = [Part(p.id, Block.whole(p.shape)) for p in reversed(program.populations)]
        return Packed(measured(program, target, counts, [whole]), {})
    sent = {node.id: np.zeros(as_map(node.shape), dtype=np.int64) for node in program.graph}
    cutters: dict[NodeId, Cutter] = {}
    filler = Filler(Cores(limits), cutters)
    pinned = {cores: Filler(Cores(limits), cutters) for cores in pins.values()}
    last: list[list[Part]] = []
    form = format_of(target)
    alike: dict[tuple[object, ...], Cutter] = {}
    for population in reversed(program.populations):
        incoming = [(s, counts[s.id]) for s in program.synapses_into(population)]
        own = Cutter(population, incoming, sent[population.id], target, prices, form)
        cutter = alike.setdefault(own.key, own).of(population)
        cutters[population.id] = cutter
        parts = cutter.cut(waste)
        if population.id in pins:
            blocks = pinned[pins[population.id]].fill(parts)
        elif incoming and filler.is_divisible(parts):
            last.append(parts)
            blocks = [part.block for part in parts]
        else:
            blocks = filler.fill(parts)
        for synapses, counted in incoming:
            for block in blocks:
                counted.mark(block, sent[synapses.inputs[0]])
        cutter.forget()
    for parts in last:
        filler.fill(parts, MANY)
        cutters[parts[0].population].forget()
    refused = [
        CapacityError(
            f"{', '.join(repr(str(n)) for n in pins if pins[n] == cores)} pinned to {len(cores)}"
            f" core{'s' if len(cores) != 1 else ''} of {target.name}: needs {n_needed}",
            code="pinned-cores",
            hint="pin to more cores, or to a chip",
        )
        for cores, each in pinned.items()
        if (n_needed := len(each.cores.members)) > len(cores)
    ]
    raise_all(refused)
    held = {cores: each.cores.members for cores, each in pinned.items()}
    return _with_fewer(program, target, counts, filler, held)


def _with_fewer(
    program: QuantizedGraph,
    target: Target,
    counts: Mapping[NodeId, Counts],
    filler: Filler,
    pinned: Mapping[tuple[int, ...], list[list[Part]]],
) -> Packed:
    """The same with the emptiest cores emptied, unless the sources of what was split overflow."""
    before = Packed([list(parts) for parts in filler.cores.members], pinned)
    filler.eliminate()
    left = [parts for parts in filler.cores.members if parts]
    if len(left) == len(before.cores):
        return before
    fixed = [parts for cores in pinned.values() for parts in cores]
    again = iter(measured(program, target, counts, [*left, *fixed]))
    after = Packed(
        list(islice(again, len(left))),
        {cores: list(islice(again, len(parts))) for cores, parts in pinned.items()},
    )
    limits = capacity(target)
    for parts in (*after.cores, *(p for cores in after.pinned.values() for p in cores)):
        if sum((part.demand for part in parts), Demand()).exceeds(limits):
            return before
    return after


def measured(
    program: QuantizedGraph,
    target: Target,
    counts: Mapping[NodeId, Counts],
    cores: Sequence[Sequence[Part]],
) -> list[list[Part]]:
    """The same blocks with their demands."""
    sent = {node.id: np.zeros(as_map(node.shape), dtype=np.int64) for node in program.graph}
    populations = {population.id: population for population in program.populations}
    for parts in cores:
        for part in parts:
            for synapses in program.synapses_into(populations[part.population]):
                counts[synapses.id].mark(part.block, sent[synapses.inputs[0]])
    found: dict[tuple[NodeId, Block], Part] = {}
    for population in program.populations:
        incoming = [(s, counts[s.id]) for s in program.synapses_into(population)]
        cutter = Cutter(population, incoming, sent.pop(population.id), target)
        own = (part.block for parts in cores for part in parts if part.population == population.id)
        found |= {(population.id, block): cutter.part(block) for block in own}
    return [[found[part.population, part.block] for part in parts] for parts in cores]
