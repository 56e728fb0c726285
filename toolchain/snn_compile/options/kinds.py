"""Kinds of option values: conversion, range and description."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from snn_compile.options.budget import read_budget
from snn_compile.options.class_names import read_class_names
from snn_compile.options.shapes import name_and_sizes, read_shapes
from snn_compile.recipes import read_recipe

Auto = Literal["auto"]
AUTO: Auto = "auto"
"""In place of a number: the smallest one that keeps ``max_accuracy_drop``."""
AUTOMATIC = "N|auto"
OfInputs = tuple[float, ...] | tuple[tuple[str, tuple[float, ...]], ...]
"""Numbers for the only input, or for some of several, each with its name."""


@dataclass(frozen=True)
class Kind:
    """A set of values.

    Attributes:
        expected: their type in words.
        called: placeholder of a value in the help of the command line.
        read: conversion of a value from TOML, Python or the command line; raises TypeError or
            ValueError for another type.
        example: an example of an option in the syntax of TOML and Python; one that begins with "="
            follows the name of the option.
        range: the range in words; empty if every value is admissible. This and ``called`` may be
            functions, where installed packages add values.
        allows: whether a converted value is in range.
        flags: spelling of a switch as flags on the command line.
        repeats: whether the option may be given several times on the command line.
    """

    expected: str
    called: str | Callable[[], str]
    read: Callable[[Any], Any]
    example: str
    range: str | Callable[[], str] = ""
    allows: Callable[[Any], bool] = lambda value: True
    flags: str = ""
    repeats: bool = False

    @property
    def metavar(self) -> str:
        """Placeholder of a value in the help of the command line."""
        return self.called if isinstance(self.called, str) else self.called()

    @property
    def allowed(self) -> str:
        """The range in words."""
        return self.range if isinstance(self.range, str) else self.range()


def text(metavar: str, allowed: str = "", allows: Callable[[str], bool] = bool) -> Kind:
    """Text that a function accepts."""
    return Kind("text", metavar, _text, 'target = "loihi2"', allowed, allows)


def choice(literal: Any) -> Kind:
    """One of the texts of a ``Literal``."""
    return one_of(lambda: get_args(literal))


def one_of(choices: Callable[[], tuple[str, ...]]) -> Kind:
    """One of the texts that ``choices`` returns at the time of the check."""
    return Kind(
        "text",
        lambda: "|".join(choices()),
        _text,
        'coding = "rate"',
        lambda: f"one of {', '.join(choices())}",
        lambda value: value in choices(),
    )


def file(metavar: str) -> Kind:
    """A path; in a configuration, relative to its folder."""
    return Kind("a file name", metavar, _path, 'calibrate = "calibrate.npz"')


def whole_number(least: int, most: int | None = None, *, auto: bool = False) -> Kind:
    """A whole number from ``least`` to ``most``, or ``auto`` if allowed."""
    allowed = f"{least} or more" if most is None else f"{least} to {most}"

    def allows(value: Any) -> bool:
        return value == AUTO or bool(least <= value and (most is None or value <= most))

    example = f"= {4 if allows(4) else least}"
    if auto:
        read, expected = _whole_or_auto, "a whole number or auto"
        return Kind(expected, AUTOMATIC, read, example, allowed, allows)
    return Kind("a whole number", "N", _whole, example, allowed, allows)


def number(
    metavar: str, allowed: str = "", allows: Callable[[float], bool] = math.isfinite
) -> Kind:
    """A finite number."""
    return Kind("a number", metavar, _number, "= 0.5", allowed, allows)


def numbers_of_inputs(metavar: str, allowed: str, allows: Callable[[float], bool]) -> Kind:
    """Several finite numbers: a list, a text with commas, or a single one; or such for each input.

    A text with names has each before its numbers (``a=0.5,0.5,b=1``), a mapping has them as keys.
    """

    def allow(value: OfInputs) -> bool:
        return all(allows(one) for _, numbers in by_input(value) for one in numbers)

    example = "mean_values = [0.5, 0.5, 0.5]"
    return Kind("numbers", metavar, _numbers_of_inputs, example, allowed, allow)


def by_input(value: OfInputs) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Numbers by the name of their input, which is empty for numbers without one."""
    pairs = tuple(item for item in value if isinstance(item, tuple))
    return pairs or (("", tuple(item for item in value if not isinstance(item, tuple))),)


def switch(flags: str = "") -> Kind:
    """True or false; on the command line ``on`` or ``off``, or flags."""
    return Kind("true or false", "on|off", _switch, "per_layer = true", flags=flags)


def names(metavar: str) -> Kind:
    """Several names, with or without commas between them."""
    return Kind("names", metavar, _names, 'emit = ["lava"]', repeats=True)


def input_shapes() -> Kind:
    """Shapes of inputs, at most one for each."""
    return Kind(
        "a name and a size for each axis, as in image=1,3,224,224",
        "NAME=1,3,224,224",
        read_shapes,
        'input_shape = ["image=1,3,224,224"]',
        "one shape for each input",
        lambda shapes: len({name_and_sizes(one)[0] for one in shapes}) == len(shapes),
        repeats=True,
    )


def budget() -> Kind:
    """What may be spent of one quantity, as its text."""
    return Kind(
        "memory=BYTES or energy=UJ",
        "memory=BYTES|energy=UJ",
        lambda value: read_budget(_text(value)).text,
        'budget = "memory=200K"',
    )


def class_names() -> Kind:
    """Names of classes: a file that has them, or a list."""
    return Kind("a file of names", "FILE", read_class_names, 'labels = "labels.txt"')


def recipe() -> Kind:
    """A recipe of preprocessing, as the text of all that it states."""
    return Kind(
        "a recipe", "RECIPE", lambda value: read_recipe(value).text, 'preprocess = "imagenet"'
    )


def assignments(metavar: str, choices: tuple[str, ...], example: str) -> Kind:
    """Several ``NAME=VALUE``, or a single ``VALUE``, of ``choices``; or a mapping."""
    return Kind(
        "names",
        metavar,
        _assignments,
        example,
        f"NAME=KIND with {', '.join(choices)}",
        lambda all_: all(one.rpartition("=")[2] in choices for one in all_),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError
    return Path(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError
    return int(value)


def _whole_or_auto(value: Any) -> int | str:
    return AUTO if isinstance(value, str) and value == AUTO else _whole(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return float(value)


def _switch(value: Any) -> bool:
    if isinstance(value, str) and value in ("on", "off"):
        return value == "on"
    if not isinstance(value, bool):
        raise TypeError
    return value


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        return tuple(_number(float(part)) for part in value.split(","))
    return tuple(_number(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _numbers_of_inputs(value: Any) -> OfInputs:
    if isinstance(value, str) and "=" in value:
        found: list[tuple[str, tuple[float, ...]]] = []
        for part in value.split(","):
            name, equals, number = part.rpartition("=")
            if equals and name and name not in dict(found):
                found.append((name, ()))
            elif equals or not found:
                raise ValueError
            last, numbers = found.pop()
            found.append((last, (*numbers, _number(float(number)))))
        return tuple(found)
    if isinstance(value, Mapping):
        value = tuple(value.items())
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        return tuple((_text(name), _numbers(numbers)) for name, numbers in value)
    return _numbers(value)


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip() for part in parts for name in _text(part).split(",") if name.strip())


def _assignments(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Mapping):
        return _names(value)
    if any("," in _text(name) for name in value):
        raise ValueError  # a report's words for it would be read as two
    return tuple(f"{name}={_text(one)}" for name, one in value.items())
