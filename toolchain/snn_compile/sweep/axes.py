"""The grid of a sweep, from lists on the command line, a TOML file or a call in Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.options import CompileOptions
from snn_compile.options.compiling import beside_config
from snn_compile.options.config_file import read_toml
from snn_compile.options.declared import (
    COMMAND_LINE,
    KEYWORD,
    Option,
    all_of,
    options_of,
    resolve_names,
)
from snn_compile.options.kinds import AUTO

MAX_POINTS = 10_000
POINTS, EXCLUDE = "points", "exclude"
"""Tables of a grid file: points beside the product of the lists, and combinations left out."""
FIXED_ONLY = ("evaluate",)
"""Options that are the same for all points, which else could not be compared."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """The points of a sweep before anything is known of the model.

    Attributes:
        fixed: options that all points share.
        axes: several values of an option each.
        points: further points, with the fixed options and their own.
        exclude: values that do not occur together.
        origins: where the value of each option comes from.
    """

    fixed: Values = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    points: tuple[Values, ...] = ()
    exclude: tuple[Values, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (n := self.size) > MAX_POINTS:
            raise UsageError(
                f"the grid has {n:,} points, above its limit of {MAX_POINTS:,}",
                code="grid-too-large",
                hint="give fewer values",
            )

    @property
    def size(self) -> int:
        """Number of combinations, those included that will turn out not to apply."""
        of_axes = prod(len(values) for values in self.axes.values())
        return of_axes * bool(self.axes or not self.points) + len(self.points)

    @property
    def names(self) -> tuple[str, ...]:
        """The options that differ between points."""
        return tuple(dict.fromkeys((*self.axes, *(name for one in self.points for name in one))))

    def combinations(self) -> Iterable[Values]:
        """The values of the axes at each point: the last axis varies fastest."""
        if self.axes or not self.points:
            for values in product(*self.axes.values()):
                yield dict(zip(self.axes, values, strict=True))
        yield from self.points

    def excludes(self, values: Values) -> bool:
        """Whether a combination is left out."""
        return any(
            all(name in values and values[name] == value for name, value in rule.items())
            for rule in self.exclude
        )


def read_grid(file: Path | None, words: Mapping[str, Any]) -> Grid:
    """The grid of a command: a file's, where the command line does not say otherwise.

    Args:
        file: in TOML, or None.
        words: options of the command line, by name. A text with commas states several values, if
            the option takes a single one.

    Raises:
        UsageError: the file cannot be read, or values are unknown or inadmissible
            (``CompileErrors`` if several).
    """
    complaints: list[CompileError] = []
    lists: dict[str, tuple[list[Any], str]] = {}
    more: dict[str, tuple[Values, ...]] = {POINTS: (), EXCLUDE: ()}
    if file is not None:
        tables = read_toml(file)
        for key in more:
            more[key] = _rules(file, key, tables.pop(key, []), complaints)
        values, unknown = resolve_names(CompileOptions, tables, str(file))
        complaints += unknown
        for name, value in values.items():
            listed = _listed(options_of(CompileOptions)[name], value)
            found = [beside_config(file, name, one) for one in listed]
            lists[name] = found, f"{file}:{name}"
    for name, value in words.items():
        lists[name] = _of_words(name, value, complaints), COMMAND_LINE
    return _checked(lists, more, complaints)


def grid_of(axes: Mapping[str, Sequence[Any]], points: Sequence[Values] = ()) -> Grid:
    """The grid of a call: several values of options each, and further points.

    Raises:
        UsageError: names are unknown or values inadmissible (``CompileErrors`` if several).
    """
    known, complaints = resolve_names(CompileOptions, axes)
    lists = {name: (list(values), KEYWORD) for name, values in known.items()}
    own: list[Values] = []
    for point in points:
        values, unknown = resolve_names(CompileOptions, point)
        complaints += unknown
        own.append(_read(values, KEYWORD, complaints))
    return _checked(lists, {POINTS: tuple(own), EXCLUDE: ()}, complaints)


def _checked(
    lists: Mapping[str, tuple[list[Any], str]],
    more: Mapping[str, tuple[Values, ...]],
    complaints: list[CompileError],
) -> Grid:
    fixed, axes, origins = {}, {}, {}
    for name, (values, origin) in lists.items():
        item, found = options_of(CompileOptions)[name], []
        for value in values:
            found += _value(item, value, origin, complaints)
        if not values:
            complaints.append(
                UsageError(
                    f"{item.words} has no values",
                    code="bad-option",
                    origin=_where(origin),
                    hint="give at least one",
                )
            )
        origins[name] = origin
        if len(found) > 1:
            axes[name] = tuple(found)
        elif found:
            fixed[name] = found[0]
    varied = {*axes, *(name for one in more[POINTS] for name in one)}
    complaints += [
        UsageError(
            f"{name} is the same for all points of a sweep",
            code="bad-option",
            hint="give one file; else the points could not be compared",
        )
        for name in FIXED_ONLY
        if name in varied
    ]
    raise_all(complaints)
    return Grid(fixed, axes, more[POINTS], more[EXCLUDE], origins)


def _rules(file: Path, key: str, tables: Any, complaints: list[CompileError]) -> tuple[Values, ...]:
    """Points or exclusions of a grid file."""
    where = Origin(str(file))
    if not isinstance(tables, list) or not all(isinstance(one, dict) and one for one in tables):
        message, hint = f"{key} are tables with options", f'[[{key}]]\ncoding = "rate"'
        complaints.append(UsageError(message, code="bad-option", origin=where, hint=hint))
        return ()
    found = []
    for table in tables:
        values, unknown = resolve_names(CompileOptions, table, str(file))
        complaints += unknown
        own = {name: beside_config(file, name, value) for name, value in values.items()}
        found.append(_read(own, str(file), complaints))
    return tuple(found)


def _read(values: Values, origin: str, complaints: list[CompileError]) -> Values:
    declared, found = options_of(CompileOptions), {}
    for name, value in values.items():
        for one in _value(declared[name], value, origin, complaints):
            found[name] = one
    return found


def _value(item: Option, value: Any, origin: str, complaints: list[CompileError]) -> list[Any]:
    """A value as the option has it; none if it is inadmissible."""
    try:
        return [item.read(value, origin)]
    except CompileError as error:
        complaints += all_of(error)
        return []


def _takes_several(item: Option) -> bool:
    """Whether a single value of an option is itself a list."""
    return item.kind.repeats or item.kind.expected == "numbers"


def _listed(item: Option, value: Any) -> list[Any]:
    """The values that a key of a grid file states."""
    if not isinstance(value, list):
        return [value]
    is_axis = bool(value) and all(isinstance(one, list) for one in value)
    if _takes_several(item) and not is_axis:
        return [value]
    return list(value)


def _of_words(name: str, value: Any, complaints: list[CompileError]) -> list[Any]:
    """The values that an option of the command line states.

    Not by ``Path.is_file``, which raises for a list longer than a file name may be.
    """
    item = options_of(CompileOptions)[name]
    is_one = not isinstance(value, str) or _takes_several(item)
    if is_one or item.kind.expected == "a file name" or os.path.isfile(value):
        return [value]
    convert = _CONVERT.get(item.kind.expected, str)
    found = []
    for word in value.split(","):
        try:
            found.append(convert(word.strip()))
        except ValueError:
            try:
                item.read(word.strip() or None, COMMAND_LINE)
            except CompileError as error:
                complaints += all_of(error)
    return found


def _whole_or_auto(word: str) -> Any:
    return word if word == AUTO else int(word)


_CONVERT: dict[str, Callable[[str], Any]] = {
    "a whole number": int,
    "a whole number or auto": _whole_or_auto,
    "a number": float,
}


def _where(origin: str) -> Origin | None:
    return None if origin in (COMMAND_LINE, KEYWORD) else Origin(origin)
