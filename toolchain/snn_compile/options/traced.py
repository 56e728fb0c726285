"""Options with the origin of each value, and where each option applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from snn_compile.options.declared import DEFAULT, KEYWORD, OPEN, DeclaredOptions, options_of
from snn_compile.options.kinds import AUTO

STOCK = "--neurons stock"
IGNORED = ", ignored"
"""Suffix of the origin of an option that is set but does not apply."""

CONVERTED, SPIKING, INTEGERS = "converted", "spiking", "integers"
CALIBRATED, UNCALIBRATED = "calibrated", "uncalibrated"
_REASONS = {
    CONVERTED: "the network is not a spiking one",
    SPIKING: "the network is already a spiking one",
    INTEGERS: "the file states the network in integers",
    UNCALIBRATED: "without calibration data",
}

Facts = Mapping[str, str]
"""Properties of a compilation: ``network``, ``coding``, ``data``; the keys of ``Option.only``."""


class _Unstated(dict[str, str]):
    """Origins omitted in a constructor's call."""


@dataclass(frozen=True, kw_only=True)
class TracedOptions(DeclaredOptions):
    """Options with the origin of each value that is not a default.

    Arguments of the constructor count as set. ``dataclasses.replace`` passes everything, defaults
    included, and is therefore rejected; ``override`` and ``with_value`` record changes and origins.
    """

    origins: Mapping[str, str] = field(default_factory=_Unstated, compare=False)
    """By name, for every value that is not the declared default."""

    def __post_init__(self) -> None:
        declared = options_of(type(self))
        passed = [name for name in declared if getattr(self, name) is not OPEN]
        is_stated = not isinstance(self.origins, _Unstated)
        if is_stated and len(passed) == len(declared) and set(passed) - set(self.origins):
            raise TypeError("options.override(...) and options.with_value(...) change options")
        known = {n: self.origins.get(n, KEYWORD) for n in passed if getattr(self, n) is not None}
        object.__setattr__(self, "origins", known)
        super().__post_init__()

    def is_given(self, name: str) -> bool:
        """Whether the user has set an option, anywhere."""
        origin = self._origin(name)
        return origin.endswith(f":{name}") or not origin.startswith((DEFAULT, STOCK))

    def with_value(self, name: str, value: Any, origin: str) -> Self:
        """These options with a value chosen by the compiler; None leaves it open."""
        return self._with({name: value}, origin)

    def with_default(self, name: str, value: Any) -> Self:
        """These options with a default, unless the user has set a value or ``auto``."""
        if self.is_given(name) or getattr(self, name) == AUTO:
            return self
        return self.with_value(name, value, default_of(options_of(type(self))[name].by))

    def _with(self, values: Mapping[str, Any], origin: str) -> Self:
        stated = {name: getattr(self, name) for name in self.origins}
        origins = {**self.origins, **dict.fromkeys(values, origin)}
        return type(self)(**{**stated, **values}, origins=origins)

    def _origin(self, name: str) -> str:
        return self.origins.get(name, DEFAULT)

    def without_meaning(self, name: str, facts: Facts) -> str:
        """Why an option does not apply in a compilation; empty if it does."""
        declared = options_of(type(self))
        for fact, allowed in declared[name].only.items():
            value: Any
            if fact in facts:
                value = facts[fact]
            elif fact in declared and not self.without_meaning(fact, facts):
                value = getattr(self, fact)
            else:
                continue
            if not self._allows(name, fact, value, allowed) and value != AUTO:
                return _REASONS.get(value) or f"{fact.replace('_', '-')} is {value}"
        return ""

    def _allows(self, name: str, fact: str, value: Any, allowed: tuple[Any, ...]) -> bool:
        del name, fact
        return value in allowed

    def ignored(self, facts: Facts) -> list[str]:
        """Options that are set but do not apply, in one line for each reason."""
        reasons: dict[str, list[str]] = {}
        for name, item in options_of(type(self)).items():
            if self.is_given(name) and (reason := self.without_meaning(name, facts)):
                reasons.setdefault(reason, []).append(item.words)
        return [f"ignored: {', '.join(names)}; {reason}" for reason, names in reasons.items()]

    def effective(self) -> dict[str, dict[str, Any]]:
        """Every option with its value and its origin."""
        return {
            name: {"value": item.plain(getattr(self, name)), "origin": self._origin(name)}
            for name, item in options_of(type(self)).items()
        }

    def in_effect(self, facts: Facts, used: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """As ``effective``, with the values used in a compilation.

        Args:
            facts: properties of the compilation.
            used: values visible in its result.
        """
        found = self.effective()
        for name, item in options_of(type(self)).items():
            entry, reason = found[name], self.without_meaning(name, facts)
            if reason and self.is_given(name):
                entry["origin"] += IGNORED
            if reason and item.idle is not OPEN and entry["value"] != item.idle:
                ignored = entry["origin"].endswith(IGNORED)
                origin = entry["origin"] if ignored else f"{DEFAULT}: {reason}"
                found[name] = {"value": item.plain(item.idle), "origin": origin}
            elif name in used and (entry["value"] != used[name] or not self.is_given(name)):
                ignored = entry["origin"].endswith(IGNORED)
                by = "network" if facts["network"] in (SPIKING, INTEGERS) else item.by
                origin = entry["origin"] if ignored or self._is_found(name) else default_of(by)
                found[name] = {"value": used[name], "origin": origin}
        return found

    def _is_found(self, name: str) -> bool:
        """Whether the compiler chose this value and recorded the reason."""
        return not self.is_given(name) and self._origin(name) != DEFAULT


def default_of(by: str) -> str:
    """The origin of a value decided by the target, the coding or the network."""
    return f"{DEFAULT} of the {by}" if by else DEFAULT


def source(origin: str) -> str:
    """The origin of an option before the report's suffix."""
    return origin.removesuffix(IGNORED)
