"""The fields of a group in a ``.net`` file, each checked where it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError
from snn_compile.ir.fixedpoint import Int

MAX_INTEGER = 1 << 31
"""Larger magnitudes are no number of a network on the chip."""
AGAIN = "export the network again with lava-dl"


@dataclass(eq=False)
class Fields:
    """A group whose fields are read by name.

    Attributes:
        values: the group's content.
        origin: of the group, its path for a node.
        read: names that were asked for; all others are unknown.
    """

    values: dict[str, Any]
    origin: Origin
    read: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def group(self, name: str) -> Fields | None:
        """A group within, or None."""
        self.read.add(name)
        if name not in self.values:
            return None
        inner = self.values[name]
        if not isinstance(inner, dict):
            raise self.invalid(f"its '{name}' is an array where a group is expected")
        where = Origin(self.origin.file, f"{self.origin.node}/{name}", self.origin.op)
        return Fields(inner, where)

    def text(self, name: str, default: str | None = None) -> str:
        """A text: a single one, or an array of one."""
        self.read.add(name)
        if name not in self.values and default is not None:
            return default
        value = self._present(name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.ravel()[0]
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace")
        if not isinstance(value, str):
            raise self.invalid(f"its '{name}' is no text")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number: a single one, or an array of equal ones."""
        if name not in self.values and default is not None:
            self.read.add(name)
            return default
        found = np.unique(self.integers(name))
        if found.size != 1:
            raise UnsupportedError(
                f"its '{name}' differs between neurons, from {found.min()} to {found.max()}",
                code="net-field",
                origin=self.origin,
                hint="train with one value for the layer",
            )
        return int(found[0])

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """One or two whole numbers: for rows and for columns."""
        if name not in self.values:
            self.read.add(name)
            return default, default
        found = self.integers(name).ravel().tolist()
        if len(found) not in (1, 2):
            raise self.invalid(f"its '{name}' has {len(found)} numbers, not one or two")
        return found[0], found[-1]

    def integers(self, name: str) -> Int:
        """An array of whole numbers, of any type that holds them; a single one is an array of one.

        Raises:
            UnsupportedError: they are not whole: lava-dl's reader would cut them off.
        """
        self.read.add(name)
        value = np.atleast_1d(self._present(name))
        if value.dtype.kind not in "biuf" or not value.size:
            raise self.invalid(f"its '{name}' holds no numbers")
        if not (np.isfinite(value).all() and (np.abs(value.astype(float)) < MAX_INTEGER).all()):
            raise self.invalid(f"its '{name}' has numbers beyond 32 bits")
        whole: Int = np.rint(value.astype(np.float64)).astype(np.int64)
        if (whole != value).any():
            raise UnsupportedError(
                f"its '{name}' has numbers that are not whole, such as"
                f" {value[whole != value].ravel()[0]:.6g}; lava-dl's reader would cut them off",
                code="net-fraction",
                origin=self.origin,
                hint="export a network that was trained with quantization, as its blocks do",
            )
        return whole

    def unknown(self) -> list[CompileError]:
        """Complaints about fields that nobody has read."""
        return [
            UnsupportedError(
                f"its field '{name[:80]}' is unknown, so it cannot be obeyed",
                code="net-field",
                origin=self.origin,
                hint="export it without the field",
            )
            for name in sorted(self.values.keys() - self.read)
        ]

    def invalid(self, message: str) -> ModelError:
        """The complaint that the file is no network."""
        return ModelError(message, code="invalid-model", origin=self.origin, hint=AGAIN)

    def _present(self, name: str) -> Any:
        if name not in self.values:
            raise self.invalid(f"it has no '{name}'")
        value = self.values[name]
        if isinstance(value, dict):
            raise self.invalid(f"its '{name}' is a group where an array is expected")
        return value
