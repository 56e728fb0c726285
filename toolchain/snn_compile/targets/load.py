"""Loading of a target from its TOML file.

Every figure is a table with ``value``, ``unit``, ``source`` and ``confidence``; an energy, a power
or a time also has ``low`` and ``high``. A file may set ``inherits = "loihi2"`` and define only the
figures that differ.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import (
    MAX_TOML_SIZE,
    DamagedError,
    describe_error,
    parse_toml,
    read_bytes,
)
from snn_compile.files.typed import complaint
from snn_compile.targets.target import (
    UNSTATED_LINK,
    UNSTATED_STRIDE,
    UNSTATED_WORD,
    Confidence,
    Constant,
    Figure,
    Limit,
    Target,
    Times,
    Words,
)

T = TypeVar("T")
UNLIMITED = "unlimited"
ANY = "any"
SECTIONS = ("board", "core", "features", "memory", "neurons", "energy", "time")
TEXTS = ("name", "description", "inherits")
_TIMES = tuple(field.name for field in fields(Times))


def available() -> list[str]:
    """Names of the built-in targets."""
    files = resources.files("snn_compile.targets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_target(name_or_path: str | Path, chips: int | None = None) -> Target:
    """Load a built-in target by name, or a target from a TOML file.

    Args:
        name_or_path: name of a built-in target, or path of a TOML file.
        chips: chips on the board; overrides the number in the file.

    Raises:
        UsageError: the target is unknown, or its file has unknown keys, missing keys or values of
            the wrong type (``CompileErrors`` if several).
    """
    tables, file = _read(str(name_or_path), frozenset(), {})
    target = _Reader(tables, file).target()
    if chips is None:
        return target
    limit = replace(target.chips, value=chips, source="--chips", confidence=Confidence.ASSUMED)
    return replace(target, chips=limit)


def load_with_tables(
    name_or_path: str | Path,
) -> tuple[Target, dict[str, Any], dict[tuple[str, str], str]]:
    """A target, its tables, and the file that defines each figure; errors as ``load_target``."""
    origins: dict[tuple[str, str], str] = {}
    tables, file = _read(str(name_or_path), frozenset(), origins)
    return _Reader(tables, file).target(), tables, origins


def content_hash(name_or_path: str | Path) -> str:
    """SHA-256 (hex) of a target, inherited figures included; errors as ``load_target``."""
    tables, _ = _read(str(name_or_path), frozenset(), {})
    return hashlib.sha256(json.dumps(tables, sort_keys=True, default=str).encode()).hexdigest()


def _content(name: str) -> tuple[str, bytes]:
    """The file of a target, as the user calls it, and what it holds."""
    if name in available():
        file = f"{name}.toml"
        return file, resources.files("snn_compile.targets").joinpath(file).read_bytes()
    path = Path(name)
    if path.suffix != ".toml" and not path.is_file():
        near = difflib.get_close_matches(name, available(), n=1)
        raise UsageError(
            f"no target named '{name}'",
            code="unknown-target",
            hint=(f"did you mean '{near[0]}'? " if near else "")
            + f"built-in: {', '.join(available())}; or give the path of a TOML file",
        )
    try:
        return name, read_bytes(path, MAX_TOML_SIZE)
    except (OSError, DamagedError) as error:
        raise UsageError(
            f"cannot read the target file '{name}': {describe_error(error)}",
            code="unreadable-target",
            hint=f"give the path of a TOML file, or one of {', '.join(available())}",
        ) from error


def _read(
    name: str, inheriting: frozenset[str], origins: dict[tuple[str, str], str]
) -> tuple[dict[str, Any], str]:
    """The tables of a target file, merged with those that it inherits.

    The file of each figure is added to ``origins``.
    """
    file, content = _content(name)
    try:
        tables = parse_toml(content)
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError and DamagedError
        raise UsageError(
            str(error),
            code="invalid-target",
            origin=Origin(file),
            hint='form of a figure: neurons = { value = 1024, unit = "", ... }',
        ) from error
    own = {
        (section, key): file
        for section, figures in tables.items()
        if isinstance(figures, dict)
        for key in figures
    }
    parent = tables.get("inherits")
    if not isinstance(parent, str):
        origins.update(own)
        return tables, file
    if parent in inheriting or parent == name:
        raise UsageError(
            f"'inherits' is circular at '{parent}'",
            code="invalid-target",
            origin=Origin(file),
        )
    inherited, _ = _read(parent, inheriting | {name}, origins)
    origins.update(own)
    merged = dict(inherited)
    for key, value in tables.items():
        known = inherited.get(key)
        both = isinstance(value, dict) and isinstance(known, dict)
        merged[key] = {**known, **value} if both else value  # type: ignore[dict-item]
    return merged, file


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Reader:
    """Extracts figures from the tables and collects all errors."""

    def __init__(self, tables: Mapping[str, Any], file: str) -> None:
        self.tables = tables
        self.file = file
        self.errors: list[CompileError] = []
        self.read: set[tuple[str, str]] = set()

    def complain(self, message: str, *, code: str = "invalid-target", hint: str = "") -> None:
        """Record one error."""
        self.errors.append(UsageError(message, code=code, origin=Origin(self.file), hint=hint))

    def text(self, key: str) -> str:
        """A top-level string."""
        value = self.tables.get(key)
        if not isinstance(value, str) or not value:
            self.complain(f"'{key}' must be a string")
            return ""
        return value

    def table(self, section: str, key: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
        """The table of one figure; None, with complaints, if it is missing or has other keys."""
        self.read.add((section, key))
        within = self.tables.get(section)
        table = within.get(key) if isinstance(within, dict) else None
        if not isinstance(table, dict):
            what = f"'[{section}.{key}]' is " + ("missing" if table is None else "not a table")
            self.complain(what, hint=f"a figure is a table with {', '.join(keys)}")
            return None
        before = len(self.errors)
        for unknown in sorted(set(table) - set(keys)):
            self.complain(
                f"unknown key '{unknown}' in [{section}.{key}]",
                code="unknown-key",
                hint=f"known: {', '.join(keys)}",
            )
        for missing in [k for k in keys if k not in table]:
            self.complain(f"[{section}.{key}] lacks '{missing}'")
        for name in ("unit", "source", "confidence"):
            if name in table and (not isinstance(table[name], str) or not table[name].strip()):
                self.complain(f"'{name}' of [{section}.{key}] must be a nonempty string")
        levels = [c.value for c in Confidence]
        if table.get("confidence", levels[0]) not in levels:
            self.complain(
                f"'confidence' of [{section}.{key}] is {table['confidence']!r}",
                hint=f"one of {', '.join(levels)}",
            )
        return table if len(self.errors) == before else None

    def figure(
        self, section: str, key: str, default: T, expected: str, parse: Callable[[Any], T | None]
    ) -> Figure[T]:
        """A figure; ``parse`` returns None for a value of the wrong type."""
        table = self.table(section, key, ("value", "unit", "source", "confidence"))
        if table is None:
            return Figure(default, "", "", Confidence.ASSUMED)
        value = parse(table["value"])
        if value is None:
            self.complain(f"'value' of [{section}.{key}] is {table['value']!r}, not {expected}")
            value = default
        confidence = Confidence(table["confidence"])
        return Figure(value, table["unit"], table["source"], confidence)

    def limit(self, section: str, key: str) -> Limit:
        """A whole number, or "unlimited"."""
        found = self.figure(
            section,
            key,
            -1,
            f'a whole number or "{UNLIMITED}"',
            lambda v: v if _is_int(v) else -1 if v == UNLIMITED else None,
        )
        value = None if found.value < 0 else found.value
        return Figure(value, found.unit, found.source, found.confidence)

    def optional(
        self, section: str, key: str, default: Figure[T], read: Callable[[str, str], Figure[T]]
    ) -> Figure[T]:
        """A figure that a file need not state."""
        self.read.add((section, key))
        if key not in self.tables.get(section, {}):
            return default
        return read(section, key)

    def integer(self, section: str, key: str) -> Figure[int]:
        """A whole number."""
        return self.figure(
            section, key, 1, "a whole number", lambda v: int(v) if _is_int(v) else None
        )

    def flag(self, section: str, key: str) -> Figure[bool]:
        """True or false."""
        return self.figure(
            section, key, False, "true or false", lambda v: v if isinstance(v, bool) else None
        )

    def word(self, section: str, key: str) -> Figure[str]:
        """A string."""
        return self.figure(
            section, key, "", "a string", lambda v: v if isinstance(v, str) else None
        )

    def integers(self, section: str, key: str) -> Figure[tuple[int, ...]]:
        """A list of whole numbers."""

        def parse(value: Any) -> tuple[int, ...] | None:
            right = isinstance(value, list) and value and all(_is_int(v) for v in value)
            return tuple(value) if right else None

        return self.figure(section, key, (), "a list of whole numbers", parse)

    def words(self, section: str, key: str) -> Words:
        """A list of names, or "any"."""

        def parse(value: Any) -> tuple[str, ...] | None:
            if value == ANY:
                return ()
            right = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
            return tuple(value) if right else None

        default: tuple[str, ...] = ()
        found = self.figure(section, key, default, f'a list of names or "{ANY}"', parse)
        return Figure(found.value or None, found.unit, found.source, found.confidence)

    def constant(self, section: str, key: str, unit: str) -> Constant | None:
        """An energy, a power or a time in the given unit; None if absent from the file."""
        self.read.add((section, key))
        if key not in self.tables.get(section, {}):
            return None
        keys = ("value", "low", "high", "unit", "source", "confidence")
        table = self.table(section, key, keys)
        if table is None:
            return None
        numbers = [table[k] for k in ("low", "value", "high")]
        if any(complaint(number, float, "") for number in numbers):
            self.complain(f"'low', 'value' and 'high' of [{section}.{key}] must be numbers")
            return None
        if not 0 <= numbers[0] <= numbers[1] <= numbers[2]:
            self.complain(f"[{section}.{key}] must have 0 <= low <= value <= high")
        if table["unit"] != unit:
            self.complain(f"'unit' of [{section}.{key}] is {table['unit']!r}, not '{unit}'")
        low, value, high = (float(v) for v in numbers)
        confidence = Confidence(table["confidence"])
        return Constant(value, low, high, table["unit"], table["source"], confidence)

    def unknown(self) -> None:
        """Record every unknown key of the file."""
        for key, value in self.tables.items():
            if key in TEXTS:
                continue
            if key not in SECTIONS or not isinstance(value, dict):
                self.complain(
                    f"unknown key '{key}'",
                    code="unknown-key",
                    hint=f"known: {', '.join(TEXTS + SECTIONS)}",
                )
                continue
            known = sorted(name for section, name in self.read if section == key)
            for name in [n for n in value if (key, n) not in self.read]:
                near = difflib.get_close_matches(name, known, n=1)
                self.complain(
                    f"unknown key '{name}' in [{key}]",
                    code="unknown-key",
                    hint=f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}",
                )

    def target(self) -> Target:
        """The target; raises all errors at once."""
        for section in ("energy", "time"):
            if not isinstance(self.tables.get(section, {}), dict):
                raise UsageError(
                    f"'{section}' must be a table",
                    code="invalid-target",
                    origin=Origin(self.file),
                    hint=f"its figures are tables, such as [{section}.synaptic_op]",
                )
        target = Target(
            name=self.text("name"),
            description=self.text("description"),
            file=self.file,
            chips=self.limit("board", "chips"),
            cores_per_chip=self.limit("board", "cores_per_chip"),
            neurons_per_core=self.limit("core", "neurons"),
            synapse_memory_per_core=self.limit("core", "synapse_memory"),
            input_axons_per_core=self.limit("core", "input_axons"),
            output_axons_per_core=self.limit("core", "output_axons"),
            state_bits=self.limit("features", "state_bits"),
            max_delay=self.limit("features", "max_delay"),
            payload_bits=self.limit("features", "payload_bits"),
            graded_spikes=self.flag("features", "graded_spikes"),
            weight_bits=self.integers("features", "weight_bits"),
            codings=self.words("features", "codings"),
            neurons=self.words("features", "neurons"),
            default_coding=self.word("features", "default_coding"),
            shared_kernels=self.flag("memory", "shared_kernels"),
            index_bits=self.integer("memory", "index_bits"),
            entry_overhead_bits=self.integer("memory", "entry_overhead_bits"),
            synapses_per_entry=self.integer("memory", "synapses_per_entry"),
            neurons_per_soft_reset_neuron=self.integer("neurons", "per_soft_reset_neuron"),
            synapses_per_soft_reset_neuron=self.integer("neurons", "synapses_per_soft_reset"),
            synaptic_op=self.constant("energy", "synaptic_op", "pJ"),
            neuron_update=self.constant("energy", "neuron_update", "pJ"),
            spike=self.constant("energy", "spike", "pJ"),
            static_chip=self.constant("energy", "static_chip", "mW"),
            times=Times(**{key: self.constant("time", key, "ns") for key in _TIMES}),
            link_messages_per_step=self.optional(
                "board", "link_messages_per_step", UNSTATED_LINK, self.limit
            ),
            word_bits=self.optional("memory", "word", UNSTATED_WORD, self.limit),
            stride_bits=self.optional("memory", "stride_bits", UNSTATED_STRIDE, self.integer),
        )
        self.unknown()
        self._consistent(target)
        raise_all(self.errors)
        return target

    def _consistent(self, target: Target) -> None:
        """Record inconsistent values."""
        if self.errors:
            return
        coding, codings = target.default_coding.value, target.codings.value
        if codings is not None and coding not in codings:
            self.complain(f"'default_coding' is {coding!r}, which is not among 'codings'")
        if not target.graded_spikes.value and target.payload_bits.value != 0:
            self.complain("'payload_bits' must be 0 where 'graded_spikes' is false")
        for section, key, value in (
            ("board", "chips", target.chips.value),
            ("board", "cores_per_chip", target.cores_per_chip.value),
            ("core", "neurons", target.neurons_per_core.value),
            ("memory", "synapses_per_entry", target.synapses_per_entry.value),
            ("memory", "word", target.word_bits.value),
            ("neurons", "per_soft_reset_neuron", target.neurons_per_soft_reset_neuron.value),
        ):
            if value == 0:
                self.complain(f"'value' of [{section}.{key}] must be at least 1")
