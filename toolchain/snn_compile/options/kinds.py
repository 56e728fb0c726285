"""What values an option takes: how one is read, which are in range, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

Auto = Literal["auto"]
AUTO: Auto = "auto"
"""In place of a number: the smallest one that keeps ``max_accuracy_drop``."""


@dataclass(frozen=True)
class Kind:
    """Any text.

    Attributes:
        metavar: what the command line's help calls a value.
        allowed: the range in words; empty where every value will do.
    """

    expected: ClassVar[str] = "text"
    example: ClassVar[str] = 'target = "loihi2"'
    metavar: str = "TEXT"
    allowed: str = ""

    def read(self, value: Any) -> Any:
        """The value as the program takes it, from TOML, Python or the command line.

        Raises:
            TypeError: it is of another type.
            ValueError: it stands for no value of this type.
        """
        if not isinstance(value, str):
            raise TypeError
        return value

    def allows(self, value: Any) -> bool:
        """Whether a value that was read is in range."""
        del value
        return True


@dataclass(frozen=True)
class Choice(Kind):
    """One of the texts of a ``Literal``."""

    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, literal: Any) -> Choice:
        """The kind of a ``Literal``."""
        choices = get_args(literal)
        return cls("|".join(choices), f"one of {', '.join(choices)}", choices)

    def allows(self, value: Any) -> bool:
        """Whether it is among the choices."""
        return value in self.choices


@dataclass(frozen=True)
class Method(Kind):
    """A text that a function accepts."""

    accepts: Callable[[str], bool] = bool

    def allows(self, value: Any) -> bool:
        """Whether the function accepts it."""
        return self.accepts(value)


@dataclass(frozen=True)
class File(Kind):
    """A path; in a configuration, relative to its folder."""

    expected: ClassVar[str] = "a file name"
    example: ClassVar[str] = 'calibrate = "calibrate.npz"'

    def read(self, value: Any) -> Path:
        """The path."""
        if not isinstance(value, str | Path):
            raise TypeError
        return Path(value)


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from ``least`` to ``most``, or ``auto`` where that is possible."""

    least: int = 0
    most: int | None = None
    auto: bool = False

    @classmethod
    def of(cls, least: int, most: int | None = None, *, auto: bool = False) -> Whole:
        """The kind of a range; without an end if there is no ``most``."""
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        return cls("N|auto" if auto else "N", allowed, least, most, auto)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What it is called in an error."""
        return "a whole number or auto" if self.auto else "a whole number"

    example: ClassVar[str] = "weight_bits = 4"

    def read(self, value: Any) -> int | str:
        """The number, or the word."""
        if self.auto and isinstance(value, str) and value == AUTO:
            return AUTO
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError
        return int(value)

    def allows(self, value: Any) -> bool:
        """Whether it lies in the range."""
        return value == AUTO or self.least <= value <= (
            math.inf if self.most is None else self.most
        )


@dataclass(frozen=True)
class Number(Kind):
    """A finite number with ``least <= number <= most`` and ``above < number < below``."""

    expected: ClassVar[str] = "a number"
    example: ClassVar[str] = "max_accuracy_drop = 0.5"
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def read(self, value: Any) -> float:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError
        if not math.isfinite(value):
            raise ValueError
        return float(value)

    def allows(self, value: Any) -> bool:
        """Whether it lies in the range."""
        return self.least <= value <= self.most and self.above < value < self.below


@dataclass(frozen=True)
class Numbers(Number):
    """Several numbers, whose sizes lie in the range."""

    expected: ClassVar[str] = "numbers"
    example: ClassVar[str] = "mean_values = [0.5, 0.5, 0.5]"

    def read(self, value: Any) -> tuple[float, ...]:  # type: ignore[override]
        """The numbers: a text with commas, a list, or a single one."""
        one = super().read
        if isinstance(value, str):
            return tuple(one(float(part)) for part in value.split(","))
        return tuple(one(item) for item in (value if isinstance(value, list | tuple) else [value]))

    def allows(self, value: Any) -> bool:
        """Whether all of them do."""
        return all(self.least <= abs(number) <= self.most for number in value)


@dataclass(frozen=True)
class Switch(Kind):
    """True or false; on the command line ``on`` or ``off``, or two flags."""

    expected: ClassVar[str] = "true or false"
    example: ClassVar[str] = "per_layer = true"
    metavar: str = "on|off"
    flags: str = ""

    def read(self, value: Any) -> bool:
        """Whether it is on."""
        if isinstance(value, str) and value in ("on", "off"):
            return value == "on"
        if not isinstance(value, bool):
            raise TypeError
        return value


@dataclass(frozen=True)
class Names(Kind):
    """Several names, with or without commas between them."""

    expected: ClassVar[str] = "names"
    example: ClassVar[str] = 'emit = ["lava"]'

    def read(self, value: Any) -> tuple[str, ...]:
        """The names."""
        parts = [value] if isinstance(value, str) else list(value)
        if not all(isinstance(part, str) for part in parts):
            raise TypeError
        return tuple(name.strip() for part in parts for name in part.split(",") if name.strip())
