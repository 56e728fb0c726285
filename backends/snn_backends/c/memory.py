"""Memory for buffers: those that are never needed at the same time share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from snn_backends.c.integers import WIDTHS, CType

ALWAYS = (-1, 1 << 30)
"""Life of what is kept from one call to the next."""


@dataclass(frozen=True)
class Buffer:
    """An array in RAM.

    Attributes:
        name: distinct among all of an arena.
        type: of its elements.
        size: number of them.
        life: first and last phase in which its content matters.
    """

    name: str
    type: CType
    size: int
    life: tuple[int, int] = ALWAYS


@dataclass(frozen=True)
class Arena:
    """All buffers with their places. One array for each width of element, which types never share.

    Attributes:
        places: type and first element of each buffer, by its name.
        sizes: elements of the array of each width in bits.
        counters: names of 32-bit numbers besides.
    """

    places: dict[str, tuple[CType, int]]
    sizes: dict[int, int]
    counters: tuple[str, ...]

    @property
    def fields(self) -> list[tuple[str, int]]:
        """Declarations of the structure, without padding between them, each with its bytes."""
        found = []
        for bits in reversed(WIDTHS):
            size = self.sizes[bits]
            if size:
                sign = "u" if bits == 8 else ""
                found.append((f"{sign}int{bits}_t b{bits}[{size}];", size * bits // 8))
            if bits == 32:
                found += [(f"int32_t {name};", 4) for name in self.counters]
        return found

    @property
    def bytes(self) -> int:
        """Size of the structure."""
        if not self.fields:
            return 0
        content = sum(size for _, size in self.fields)
        widths = [bits // 8 for bits, n in self.sizes.items() if n]
        widest = max([*widths, *([4] if self.counters else [])])
        return -(-content // widest) * widest

    def pointer(self, name: str) -> str:
        """A pointer to a buffer, in C."""
        type, place = self.places[name]
        text = f"ram.b{type.bits}" + (f" + {place}" if place else "")
        if type.signed != (type.bits != 8):
            return f"({type.name} *)({text})" if place else f"({type.name} *){text}"
        return text

    def joined(self, other: Arena) -> Arena:
        """A structure with room for either."""
        sizes = {bits: max(size, other.sizes[bits]) for bits, size in self.sizes.items()}
        return Arena({}, sizes, self.counters + other.counters)


def allocate(buffers: Iterable[Buffer], counters: Iterable[str]) -> Arena:
    """Places for all buffers: the largest first, each at the lowest free place."""
    listed = sorted(buffers, key=lambda one: (-one.size, one.name))
    places: dict[str, int] = {}
    sizes = dict.fromkeys(WIDTHS, 0)
    for width in WIDTHS:
        placed: list[Buffer] = []
        for buffer in (one for one in listed if one.type.bits == width):
            taken = sorted(
                (places[other.name], places[other.name] + other.size)
                for other in placed
                if buffer.life[0] <= other.life[1] and other.life[0] <= buffer.life[1]
            )
            start = 0
            for first, end in taken:
                if start + buffer.size <= first:
                    break
                start = max(start, end)
            places[buffer.name] = start
            placed.append(buffer)
            sizes[width] = max(sizes[width], start + buffer.size)
    types = {buffer.name: buffer.type for buffer in listed}
    typed = {name: (types[name], place) for name, place in places.items()}
    return Arena(typed, sizes, tuple(counters))
