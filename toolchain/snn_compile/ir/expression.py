"""Functions of one number as trees: the element-wise parts of a network.

An expression is the function that a population approximates. It is evaluated in float64 by
operations whose results are the same bits on every machine (``docs/decisions/0017``), because
integers follow from its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.numerics import functions, special

Float = npt.NDArray[np.float64]
Ends = tuple[float, float]
MAX_OPERATIONS = 128
"""Maximal number of operations in an expression."""
INFINITE: Ends = (-np.inf, np.inf)


@dataclass(frozen=True)
class Variable:
    """The argument."""

    digest: ClassVar[bytes] = b"x"

    def __str__(self) -> str:
        return "x"


@dataclass(frozen=True, eq=False)
class Number:
    """A constant.

    Attributes:
        values: a single number, or one per channel, (C,).
    """

    values: Float

    def __post_init__(self) -> None:
        values = np.array(self.values, np.float64)
        if values.ndim > 1:
            raise ValueError(f"a constant of shape {values.shape} is not one of each channel")
        if values.size and (values == values.flat[0]).all():
            values = values.reshape(-1)[:1].reshape(())
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @cached_property
    def digest(self) -> bytes:
        """Equal for equal constants only."""
        return sha256(str(self.values.shape).encode() + self.values.tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        if self.values.ndim:
            return f"[{self.values.min():.6g} to {self.values.max():.6g}]"
        return f"{float(self.values):.6g}"


@dataclass(frozen=True, eq=False)
class Apply:
    """An operation on other expressions.

    Attributes:
        name: a key of ``OPERATIONS``.
        operands: its arguments.
    """

    name: str
    operands: tuple[Expression, ...]

    digest: bytes = field(init=False)
    """Equal for equal trees only."""

    def __post_init__(self) -> None:
        if self.name not in OPERATIONS:
            raise ValueError(f"unknown operation '{self.name}'")
        if len(self.operands) != (wanted := arity(self.name)):
            raise ValueError(f"'{self.name}' takes {wanted}, not {len(self.operands)}")
        parts = (part.digest for part in self.operands)
        own = sha256(b"\0".join((self.name.encode(), *parts))).digest()
        object.__setattr__(self, "digest", own)

    @cached_property
    def size(self) -> int:
        """Number of distinct operations."""
        return len(steps(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Apply) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.operands))})"


Expression = Variable | Number | Apply
X = Variable()


def steps(expression: Expression) -> list[Apply]:
    """The distinct operations of an expression, each after its operands."""
    found: dict[Expression, Apply] = {}

    def add(part: Expression) -> None:
        if isinstance(part, Apply) and part not in found:
            for operand in part.operands:
                add(operand)
            found[part] = part

    add(expression)
    return list(found.values())


def number(value: npt.ArrayLike) -> Number:
    """A constant."""
    return Number(np.asarray(value, np.float64))


def apply(name: str, *operands: Expression | npt.ArrayLike) -> Expression:
    """An operation on expressions or constants."""
    known = Variable | Number | Apply
    return Apply(name, tuple(o if isinstance(o, known) else number(o) for o in operands))


def _power(x: Float, exponent: Float) -> Float:
    """``x**exponent`` for one exponent; NaN where the result is not real."""
    (n,) = {float(e) for e in np.ravel(exponent)}
    if n == int(n) and abs(n) <= 64:
        found, square, left = np.ones_like(x), x, abs(int(n))
        while left:
            if left & 1:
                found = found * square
            square, left = square * square, left >> 1
        return found if n >= 0 else 1.0 / found
    if n == 0.5:
        return np.sqrt(x)
    positive = x > 0
    found = functions.power(np.where(positive, x, 1.0), n)
    at_zero = np.where((x == 0) & (n > 0), 0.0, np.nan)
    return np.where(positive, found, at_zero)


def _where(condition: Float, yes: Float, no: Float) -> Float:
    return np.where(condition != 0, yes, no)


def _compared(how: Callable[[Float, Float], Any]) -> Callable[[Float, Float], Float]:
    def compare(a: Float, b: Float) -> Float:
        found: Float = how(a, b).astype(np.float64)
        return found

    return compare


OPERATIONS: dict[str, Callable[..., Float]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "sign": np.sign,
    "round": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "sqrt": np.sqrt,
    "power": _power,
    "exp": functions.exp,
    "log": special.log,
    "sigmoid": special.sigmoid,
    "tanh": special.tanh,
    "softplus": special.softplus,
    "erf": special.erf,
    "sin": special.sin,
    "cos": special.cos,
    "greater": _compared(np.greater),
    "equal": _compared(np.equal),
    "where": _where,
}
"""Every operation by its name; of arrays that broadcast, in float64."""
_OF_TWO = frozenset("add sub mul div max min power greater equal".split())


def arity(name: str) -> int:
    """Number of operands of an operation."""
    return 3 if name == "where" else 2 if name in _OF_TWO else 1


def evaluate(expression: Expression, x: npt.NDArray[np.floating]) -> Float:
    """The value for arguments (C, ...), in float64; NaN or infinite where undefined.

    Args:
        expression: the function; per-channel constants extend along the first axis.
        x: the arguments.
    """
    with np.errstate(all="ignore"):
        return np.broadcast_to(_value(expression, np.asarray(x, np.float64), {}), np.shape(x))


def _value(expression: Expression, x: Float, known: dict[Expression, Float]) -> Float:
    """A value; shared subexpressions are computed once."""
    match expression:
        case Variable():
            return x
        case Number(values=values):
            return values.reshape(-1, *[1] * (x.ndim - 1)) if values.ndim else values
        case Apply():
            if expression not in known:
                operands = [_value(operand, x, known) for operand in expression.operands]
                known[expression] = OPERATIONS[expression.name](*operands)
            return known[expression]


def substitute(expression: Expression, inner: Expression) -> Expression:
    """``expression(inner(x))``."""
    known: dict[Expression, Expression] = {}

    def replaced(part: Expression) -> Expression:
        match part:
            case Variable():
                return inner
            case Number():
                return part
            case Apply():
                if part not in known:
                    known[part] = Apply(part.name, tuple(map(replaced, part.operands)))
                return known[part]

    return replaced(expression)


@lru_cache(maxsize=4096)
def is_uniform(expression: Expression) -> bool:
    """Whether the function is the same in all channels."""
    match expression:
        case Variable():
            return True
        case Number(values=values):
            return values.ndim == 0
        case Apply():
            return all(map(is_uniform, expression.operands))


@lru_cache(maxsize=4096)
def of_channel(expression: Expression, channel: int) -> Expression:
    """The function of one channel."""
    match expression:
        case Number(values=values) if values.ndim:
            return Number(values[channel])
        case Apply():
            return Apply(
                expression.name, tuple(of_channel(o, channel) for o in expression.operands)
            )
        case _:
            return expression


@lru_cache(maxsize=4096)
def ends(expression: Expression) -> Ends:
    """Bounds of its values for any argument, by interval arithmetic."""
    match expression:
        case Variable():
            return INFINITE
        case Number(values=values):
            return float(values.min()), float(values.max())
        case Apply(name="mul", operands=(left, right)) if left == right:
            return 0.0, np.inf
        case Apply():
            return _bounded(expression.name, [ends(operand) for operand in expression.operands])


_RANGES: dict[str, Ends] = {
    "abs": (0.0, np.inf),
    "sqrt": (0.0, np.inf),
    "exp": (0.0, np.inf),
    "softplus": (0.0, np.inf),
    "sigmoid": (0.0, 1.0),
    "greater": (0.0, 1.0),
    "equal": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "sign": (-1.0, 1.0),
}


def _bounded(name: str, given: list[Ends]) -> Ends:
    if name in _RANGES:
        return _RANGES[name]
    match name, given:
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "sub", [(a, b), (c, d)]:
            return a - d, b - c
        case (("max" | "min"), [(a, b), (c, d)]):
            pick = max if name == "max" else min
            return pick(a, c), pick(b, d)
        case "mul", [(a, b), (c, d)]:
            products = [0.0 if 0.0 in pair else pair[0] * pair[1] for pair in _corners(a, b, c, d)]
            return min(products), max(products)
        case "div", [(a, b), (c, d)] if c > 0:
            quotients = [p / q for p, q in _corners(a, b, c, d) if np.isfinite(q)]
            return min([*quotients, 0.0]), max([*quotients, 0.0])
        case (("round" | "floor" | "ceil"), [(a, b)]):
            return (np.floor(a) if np.isfinite(a) else a), (np.ceil(b) if np.isfinite(b) else b)
        case "power", [_, (n, _)] if n == int(n) and int(n) % 2 == 0:
            return 0.0, np.inf
        case "where", [_, (a, b), (c, d)]:
            return min(a, c), max(b, d)
    return INFINITE


def _corners(a: float, b: float, c: float, d: float) -> list[tuple[float, float]]:
    return [(a, c), (a, d), (b, c), (b, d)]
