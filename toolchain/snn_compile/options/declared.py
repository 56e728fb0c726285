"""Declarations of options, and the dataclasses built from them.

A field is declared as ``burst: int = option(1, whole(1, 127), "Spikes per step.", "Coding")``. The
command line, the checks, the keys of the TOML file, the warnings about options that do not apply,
the tables of the reference and the report derive from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from snn_compile.errors import CompileError, CompileErrors, Origin, UsageError, raise_all
from snn_compile.options.kinds import AUTOMATIC, Kind

T = TypeVar("T")

COMMAND_LINE = "command line"
DEFAULT = "default"
KEYWORD = "keyword argument"


class _Open:
    """Origin of an option that was not set."""

    def __repr__(self) -> str:
        return "..."


OPEN = _Open()


@dataclass(frozen=True)
class Option:
    """The declaration of an option.

    Attributes:
        default: value of an option that is not set.
        kind: its set of values.
        help: one or two sentences.
        group: heading in the help of the command line; empty for options of a file only.
        only: where it applies: admissible values of ``network``, ``data`` and other options.
        letter: short form on the command line.
        shown: description of the default, if the value is not enough.
        idle: the value in effect where it does not apply, if there is one.
        by: source of the value of an open option: the target, or the coding.
        of_layers: whether a configuration may set it for single layers.
        name: name of the field.
    """

    default: Any
    kind: Kind
    help: str
    group: str
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    letter: str = ""
    shown: str = ""
    idle: Any = OPEN
    by: str = ""
    of_layers: bool = False
    name: str = ""

    @property
    def shown_default(self) -> str:
        """The default as the help and the reference print it."""
        if self.shown or self.default in (None, ()):
            return self.shown or (f"the {self.by}'s" if self.by else "none")
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return ",".join(self.default) if isinstance(self.default, tuple) else str(self.default)

    @property
    def words(self) -> str:
        """The name on the command line."""
        return self.name.replace("_", "-")

    @property
    def is_automatic(self) -> bool:
        """Whether it may be ``auto``: chosen by a search."""
        return self.kind.called == AUTOMATIC

    def read(self, value: Any, origin: str = "", prefix: str = "") -> Any:
        """Convert a value of any origin.

        Raises:
            UsageError: it has another type, or is out of range.
        """
        where, shown = _file(origin), self.plain(value)
        try:
            found = self.kind.read(value)
        except CompileError as error:  # of a value that holds several
            for one in all_of(error):
                one.origin = one.origin or where
            raise
        except (TypeError, ValueError):
            raise UsageError(
                f"{prefix}{self.words} must be {self.kind.expected}, not {shown!r}",
                code="bad-option",
                origin=where,
                hint=self._hint(origin, prefix),
            ) from None
        if not self.kind.allows(found):
            raise self.refusal(shown, self.kind.allowed, where, prefix)
        return found

    def refusal(
        self, value: Any, allowed: str, where: Origin | None = None, prefix: str = ""
    ) -> UsageError:
        """The error for an inadmissible value."""
        message = f"{prefix}{self.words} cannot be {self.plain(value)!r}"
        return UsageError(message, code="bad-option", origin=where, hint=f"use {allowed}")

    def _hint(self, origin: str, prefix: str) -> str:
        if origin == COMMAND_LINE:
            several = self.kind.expected == "numbers"
            return "separate several by commas: 0.5,0.5,0.5" if several else "see --help"
        example = self.kind.example
        if example.startswith("= "):
            example = f"{self.name} {example}"
        if prefix:
            return f"a line of the table: {example}"
        return f"in {'Python' if origin in ('', KEYWORD) else 'TOML'}: {example}"

    @staticmethod
    def plain(value: Any) -> Any:
        """A value in JSON's types."""
        if isinstance(value, Path):
            return str(value)
        if is_dataclass(value) and not isinstance(value, type):
            plain = asdict(value)
            # Of layers; added later: networks without it keep their seals.
            if plain.get("payload_bits", value) is None:
                del plain["payload_bits"]
            return plain
        return [Option.plain(item) for item in value] if isinstance(value, tuple) else value


def option(default: Any, kind: Kind, help: str, group: str, *more: Any, **named: Any) -> Any:
    """A field of a dataclass of options, from the attributes of ``Option``."""
    item = Option(default, kind, help, group, *more, **named)
    return field(default=OPEN, metadata={"option": item})


def options_of(owner: type) -> Mapping[str, Option]:
    """The declarations of a dataclass, by name, in order."""
    return _options_of(owner)


@cache
def _options_of(owner: Any) -> Mapping[str, Option]:
    declared = {f.name: f.metadata["option"] for f in fields(owner) if "option" in f.metadata}
    return MappingProxyType({k: replace(item, name=k) for k, item in declared.items()})


@dataclass(frozen=True, kw_only=True)
class DeclaredOptions:
    """Options whose values conform to their declarations.

    Raises:
        UsageError: one does not, or some contradict each other (``CompileErrors`` if several).
    """

    def __post_init__(self) -> None:
        complaints: list[CompileError] = []
        wrong = set()
        for name, item in options_of(type(self)).items():
            value = getattr(self, name)
            is_open = value is OPEN or value is None
            found = item.default
            try:
                found = item.default if is_open else item.read(value, self._origin(name))
            except CompileError as error:
                wrong.add(name)
                complaints += all_of(error)
            object.__setattr__(self, name, found)
        complaints += [error for names, error in self.contradictions() if not wrong & set(names)]
        raise_all(complaints)

    def contradictions(self) -> Iterable[tuple[tuple[str, ...], CompileError]]:
        """Contradictions between options, with the names of the options."""
        return ()

    def refusal(self, name: str, allowed: str) -> UsageError:
        """The error for the value of an option."""
        item = options_of(type(self))[name]
        return item.refusal(getattr(self, name), allowed, _file(self._origin(name)))

    def override(self, changes: Mapping[str, Any]) -> Self:
        """These options with changes by name; None leaves one open.

        Raises:
            UsageError: unknown names, or inadmissible values (``CompileErrors`` if several).
        """
        values, complaints = resolve_names(type(self), changes)
        return make_checked(lambda: self._with(values, KEYWORD), complaints)

    def _with(self, values: Mapping[str, Any], origin: str) -> Self:
        del origin
        return replace(self, **values)

    def _origin(self, name: str) -> str:
        """Origin of the value of an option; empty if not recorded."""
        del name
        return ""


def resolve_names(
    owner: type, given: Mapping[str, Any], origin: str = "", prefix: str = ""
) -> tuple[dict[str, Any], list[CompileError]]:
    """Values by option name, and complaints about unknown names.

    Args:
        owner: a dataclass of options.
        given: names with hyphens or underscores, and values.
        origin: origin of the values.
        prefix: prefix for options of single layers in errors.
    """
    declared = options_of(owner)
    known = [name for name, item in declared.items() if item.of_layers or not prefix]
    values: dict[str, Any] = {}
    complaints: list[CompileError] = []
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in known:
            complaints.append(_unknown(prefix + key, name, value, known, _file(origin)))
        elif name in values:
            message = f"{prefix}{key} is set twice"
            hint = "state it once, with hyphens or with underscores"
            complaints.append(
                UsageError(message, code="bad-option", origin=_file(origin), hint=hint)
            )
        else:
            values[name] = value
    return values, complaints


def make_checked(make: Callable[[], T], complaints: Sequence[CompileError]) -> T:
    """The result of ``make``, unless it fails or there are other complaints.

    Raises:
        UsageError: there is a complaint (``CompileErrors`` if there are several).
    """
    try:
        made = make()
    except CompileError as error:
        raise_all([*complaints, *all_of(error)])
        raise
    raise_all(complaints)
    return made


def all_of(error: CompileError) -> list[CompileError]:
    """The errors collected in one."""
    return list(error.errors) if isinstance(error, CompileErrors) else [error]


def _file(origin: str) -> Origin | None:
    return Origin(origin) if origin not in ("", COMMAND_LINE, KEYWORD, DEFAULT) else None


def _unknown(
    shown: str, name: str, value: Any, known: Sequence[str], where: Origin | None
) -> UsageError:
    from difflib import get_close_matches

    hint = f"known: {', '.join(known)}"
    if close := get_close_matches(name, known, n=1):
        hint = f"did you mean {close[0]}?"
    elif isinstance(value, dict):
        hint = 'put names with dots in quotation marks: [layers."block1.conv*"]'
    return UsageError(f"unknown option '{shown}'", code="unknown-option", origin=where, hint=hint)
