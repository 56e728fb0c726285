"""What a network may take of one quantity: ``--budget``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snn_compile import memory

MEMORY, ENERGY = "memory", "energy"
UNITS = {MEMORY: "bytes", ENERGY: "µJ"}


@dataclass(frozen=True)
class Budget:
    """A limit of one quantity.

    Attributes:
        quantity: ``memory`` of the synapses on all cores, or dynamic ``energy`` of an inference.
        limit: bytes, or microjoules.
    """

    quantity: str
    limit: float

    @property
    def text(self) -> str:
        """As the option states it."""
        return f"{self.quantity}={self.limit!r}"

    @property
    def unit(self) -> str:
        """Of the limit."""
        return UNITS[self.quantity]


def read_budget(text: str) -> Budget:
    """A budget from the text of the option: ``memory=200K``, ``energy=1.5``.

    Raises:
        ValueError: it is none.
    """
    quantity, equals, amount = text.partition("=")
    if quantity not in UNITS or not equals:
        raise ValueError(text)
    if quantity == MEMORY:
        return Budget(quantity, memory.parse_size(amount))
    limit = float(amount)
    if not math.isfinite(limit) or limit <= 0:
        raise ValueError(text)
    return Budget(quantity, limit)
