"""Counts times constants: a quantity and its range of cited constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from snn_compile.targets.target import Confidence, Constant

RANGE = "range of cited constants"
"""The name of the interval of an estimate: how far the cited sources disagree, and nothing else."""

Term = tuple[float, str, Constant]
"""A number of operations, the name of one, and what it costs."""


@dataclass(frozen=True)
class Range:
    """A quantity by the constants in use, and by the smallest and the largest cited ones."""

    value: float
    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)

    def times(self, other: Range) -> Range:
        """The product of two quantities, end by end."""
        return Range(self.value * other.value, self.low * other.low, self.high * other.high)


def of(constant: Constant | None) -> Range:
    """The range of a constant; 0 where no source states one."""
    if constant is None:
        return Range(0.0, 0.0, 0.0)
    return Range(constant.value, constant.low, constant.high)


def stated(terms: Iterable[tuple[float, str, Constant | None]]) -> list[Term]:
    """The terms whose constants are known."""
    return [(n, name, constant) for n, name, constant in terms if constant is not None]


def source(file: str, terms: Iterable[tuple[str, Constant]]) -> str:
    """The constants behind an estimate, in words."""
    return f"{file}: " + "; ".join(f"{_words(constant)} a {name}" for name, constant in terms)


def _words(constant: Constant) -> str:
    text = f"{constant.value:g}"
    if constant.low != constant.high:
        text += f" ({constant.low:g} to {constant.high:g})"
    return f"{text} {constant.unit}"


def weakest(constants: Iterable[Constant]) -> Confidence:
    """The lowest confidence of all."""
    order = list(Confidence)
    return max((constant.confidence for constant in constants), key=order.index)
