"""The points of a grid that are compiled, and why others are not."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn_compile.coding_registry import coding_class
from snn_compile.codings import Coding, coding_of
from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.lowering import for_target
from snn_compile.options import CALIBRATED, CONVERTED, SPIKING, UNCALIBRATED, CompileOptions
from snn_compile.options.declared import Option, all_of, options_of
from snn_compile.quantize.stock import with_stock_defaults
from snn_compile.sweep.axes import Grid, Values
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

MAX_NAME = 96
"""Longest name of a point's folder."""
_SHORT = {"coding": "", "target": "", "timesteps": "T", "weight_bits": "w", "payload_bits": "p"}
"""What stands before the value of an option in the name of a point."""

Make = Callable[[Values], CompileOptions]
"""Options from values by name, over those of a configuration."""


@dataclass(frozen=True)
class Point:
    """A point that is compiled.

    Attributes:
        name: of its folder.
        values: of the options that differ between points, as far as they apply.
        options: all of them.
        coding: of its activations; None for a network that was trained with spikes.
        note: which values of the grid do not apply, and why.
    """

    name: str
    values: Values
    options: CompileOptions
    coding: Coding | None
    note: str = ""


@dataclass(frozen=True)
class Skipped:
    """A combination that is not compiled.

    Attributes:
        name: that it would have.
        values: of the options that differ between points.
        reason: why it is not.
    """

    name: str
    values: Values
    reason: str


@dataclass
class _Names:
    """Names of points, each given once."""

    taken: set[str] = field(default_factory=set)

    def of(self, values: Values) -> str:
        name = name_of(values)
        if name in self.taken:
            name = f"{name}-{_digest(values)}"
        self.taken.add(name)
        return name


def expand(grid: Grid, make: Make, *, is_spiking: bool) -> tuple[list[Point], list[Skipped]]:
    """The points of a grid, and the combinations that are none.

    Args:
        grid: the grid.
        make: options from values.
        is_spiking: whether the model is a network that was trained with spikes.

    Raises:
        UsageError: every combination is refused (``CompileErrors`` if for several reasons).
    """
    names, first_of, targets = _Names(), dict[str, str](), _Targets()
    points, skipped, refused = list[Point](), list[Skipped](), list[CompileError]()
    for values in grid.combinations():
        if grid.excludes(values):
            skipped.append(Skipped(name_of(values), values, "excluded by the grid"))
            continue
        try:
            point = _point(grid, values, make, targets, is_spiking)
        except CompileError as error:
            refused += all_of(error)
            reason = "; ".join(one.message for one in all_of(error))
            skipped.append(Skipped(name_of(values), values, reason))
            continue
        identity = _identity(point.options)
        if same := first_of.get(identity):
            note = f" ({point.note})" if point.note else ""
            skipped.append(Skipped(name_of(values), values, f"the same as {same}{note}"))
            continue
        first_of[identity] = name = names.of(point.values)
        points.append(Point(name, point.values, point.options, point.coding, point.note))
    raise_all(targets.complaints)
    if not points:
        raise_all(list({one.message: one for one in refused}.values()))
        raise UsageError(
            "the grid excludes all of its points", code="empty-grid", hint="drop an exclude table"
        )
    return points, skipped


def name_of(values: Values) -> str:
    """A readable name for a folder: radix-T8-w4."""
    words = []
    for name, value in values.items():
        item, plain = options_of(CompileOptions)[name], Option.plain(value)
        if item.kind.expected == "a file name" or (name == "target" and "/" in str(value)):
            plain = Path(value).name
        if isinstance(plain, bool):
            plain = "on" if plain else "off"
        elif isinstance(plain, list):
            plain = "+".join(map(str, plain)) if all(map(_is_plain, plain)) else _digest(values)
        before = _SHORT.get(name)
        words.append(f"{item.words}-{plain}" if before is None else f"{before}{plain}")
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", "-".join(words)).strip("-.") or "point"
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 9]}-{_digest(values)}"


class _Targets:
    """Targets by name, each read once; what is wrong with one concerns the grid."""

    def __init__(self) -> None:
        self.complaints: list[CompileError] = []
        self._found: dict[tuple[str, int | None], Target | CompileError] = {}

    def of(self, options: CompileOptions) -> Target:
        key = options.target, options.chips
        if key not in self._found:
            try:
                self._found[key] = load_target(*key)
            except CompileError as error:
                self._found[key] = error
                self.complaints.append(error)
        found = self._found[key]
        if isinstance(found, CompileError):
            raise found
        return found


def _point(grid: Grid, values: Values, make: Make, targets: _Targets, is_spiking: bool) -> Point:
    """A point without a name; values that do not apply are left out."""
    given = {**grid.fixed, **values}
    options = _with_origins(make(given), grid, given)
    target = targets.of(options)
    settled = options if is_spiking else for_target(with_stock_defaults(options), target)
    facts = _facts(settled, target, is_spiking)
    idle = {name: why for name in values if (why := options.without_meaning(name, facts))}
    if idle:
        given = {name: value for name, value in given.items() if name not in idle}
        options = _with_origins(make(given), grid, given)
        settled = options if is_spiking else for_target(with_stock_defaults(options), target)
    coding = None if is_spiking else coding_of(settled, target.default_coding.value)
    reasons: dict[str, list[str]] = {}
    for name, why in idle.items():
        reasons.setdefault(why, []).append(options_of(CompileOptions)[name].words)
    note = "; ".join(f"without {', '.join(names)}: {why}" for why, names in reasons.items())
    own = {name: value for name, value in values.items() if name not in idle}
    return Point("", own, options, coding, note)


def _facts(options: CompileOptions, target: Target, is_spiking: bool) -> Mapping[str, str]:
    """What decides whether an option applies."""
    data = CALIBRATED if options.calibrate is not None else UNCALIBRATED
    if is_spiking:
        return {"network": SPIKING, "data": data}
    coding = options.coding or target.default_coding.value
    return {"network": CONVERTED, "coding": coding_class(coding).name, "data": data}


def _with_origins(options: CompileOptions, grid: Grid, given: Values) -> CompileOptions:
    """Options whose values say that they come from the grid."""
    values = {name: getattr(options, name) for name in options.origins}
    origins = {name: grid.origins[name] for name in given if name in grid.origins}
    return CompileOptions(**values, origins={**options.origins, **origins})


def _identity(options: CompileOptions) -> str:
    """The values that were given, as text: equal for options of the same effect."""
    return json.dumps({n: Option.plain(getattr(options, n)) for n in sorted(options.origins)})


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _digest(values: Values) -> str:
    text = json.dumps({name: Option.plain(value) for name, value in values.items()}, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
