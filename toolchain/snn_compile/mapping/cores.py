"""Cores that fill up while blocks are put onto them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from snn_compile.mapping.block import Capacity, Part
from snn_compile.mapping.taps import Int

FULL = 0.005
"""Share of a core that is left of one that counts as full."""
UNLIMITED = np.iinfo(np.int64).max // 2


class Cores:
    """Cores that fill up; one that is nearly full is not looked at again.

    Args:
        limits: of a core.

    Attributes:
        members: the parts of each core.
    """

    def __init__(self, limits: Capacity) -> None:
        self.limits = limits
        self.members: list[list[Part]] = []
        self.bound = np.array([UNLIMITED if n is None else n for n in limits], dtype=np.int64)
        self._weight = 1.0 / np.maximum(self.bound, 1)
        self._left = np.empty((len(limits), 64), dtype=np.int64)
        self._share = np.empty(64)
        """Of each core, what is left of its tightest limit."""
        self._cores: list[int] = []
        self._at: dict[int, int] = {}

    @property
    def _free(self) -> Int:
        """(limits, cores that are looked at) what is left."""
        return self._left[:, : len(self._cores)]

    def _set(self, at: int, room: Int) -> None:
        self._left[:, at] = room
        self._share[at] = (room * self._weight).min()

    def room(self, core: int) -> Int:
        """What a core has left."""
        return self._left[:, self._at[core]]

    def show(self, core: int, room: Int) -> None:
        """Look at a core from now on."""
        at = len(self._cores)
        if at == len(self._share):
            self._left = np.concatenate([self._left, np.empty_like(self._left)], axis=1)
            self._share = np.concatenate([self._share, np.empty_like(self._share)])
        self._at[core] = at
        self._cores.append(core)
        self._set(at, room)

    def hide(self, core: int) -> Int:
        """Look at a core no longer; returns what it has left."""
        at, last = self._at.pop(core), self._cores.pop()
        room: Int = self._left[:, at].copy()
        if last != core:
            end = len(self._cores)
            self._left[:, at], self._share[at] = self._left[:, end], self._share[end]
            self._cores[at] = last
            self._at[last] = at
        return room

    def add(self, part: Part, core: int) -> None:
        """Put a part onto a core."""
        self.members[core].append(part)
        at = self._at[core]
        self._set(at, self._left[:, at] - part.demand.values)

    def take(self, part: Part, core: int) -> None:
        """Take a part off a core."""
        self.members[core].remove(part)
        at = self._at[core]
        self._set(at, self._left[:, at] + part.demand.values)

    def open(self, part: Part) -> int:
        """Put a part onto a core of its own."""
        core = len(self.members)
        self.members.append([])
        self.show(core, self.bound)
        self.add(part, core)
        return core

    def close_full(self, cores: Iterable[int]) -> None:
        """Look no longer at those of the cores that are nearly full."""
        for core in cores:
            if core in self._at and self._share[self._at[core]] < FULL:
                self.hide(core)

    def have_room(self, part: Part, n_cores: int) -> bool:
        """Whether a part could fit if it were a liquid."""
        for left, needed in zip(self._free, part.demand.values, strict=True):
            most = int(left.max(initial=0))
            if most >= needed:
                continue
            if n_cores * most < needed:
                return False
            if len(left) > n_cores:
                left = np.partition(left, -n_cores)[-n_cores:]
            if left.sum() < needed:
                return False
        return True

    def best(self, part: Part) -> int | None:
        """The core that a part fits most tightly; the first of equals."""
        free = self._free
        fits = np.flatnonzero(free[0] >= part.demand.values[0])
        for left, needed in zip(free[1:], part.demand.values[1:], strict=True):
            fits = fits[left[fits] >= needed]
        if not fits.size:
            return None
        rest = free[:, fits] - np.array(part.demand.values)[:, None]
        return self._cores[int(fits[np.argmin((rest * self._weight[:, None]).min(axis=0))])]

    def by_room(self, most: int) -> list[int]:
        """The cores with room in their tightest limit, those with the most first."""
        room = self._share[: len(self._cores)].copy()
        found = []
        for _ in range(min(most, len(room))):
            row = int(np.argmax(room))
            if room[row] <= 0:
                break
            found.append(self._cores[row])
            room[row] = 0
        return found
