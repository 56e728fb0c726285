"""Options of single layers, and threshold methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from snn_compile.errors import CompileError, raise_all
from snn_compile.options.declared import options_of, resolve_names
from snn_compile.options.kinds import AUTO, Kind

METHODS = "mmse, percentile:P, max, l4, lbs or spike-norm"
_PERCENTILE = re.compile(r"percentile:(\d+(?:\.\d+)?)")


def valid_thresholds(method: str) -> bool:
    """Whether a threshold method exists."""
    if method in ("mmse", "max", "l4", "lbs", "spike-norm"):
        return True
    match = _PERCENTILE.fullmatch(method)
    return match is not None and 0 < float(match[1]) <= 100


def percentile_of(method: str) -> float | None:
    """The percentile in a threshold method, if any."""
    match = _PERCENTILE.fullmatch(method)
    return float(match[1]) if match else None


def literal(name: str) -> str:
    """The pattern that matches one name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


@dataclass(frozen=True)
class LayerOptions:
    """Options in a configuration file for the layers that a pattern matches.

    Attributes:
        pattern: shell-style pattern over layer names.
        weight_bits: overrides the network's.
        thresholds: overrides the network's.
        payload_bits: overrides the network's.
    """

    pattern: str
    weight_bits: int | None = None
    thresholds: str | None = None
    payload_bits: int | None = None

    def matches(self, layer: str) -> bool:
        """Whether the pattern matches a layer."""
        return fnmatchcase(layer, self.pattern)


def tables(owner: Callable[[], type]) -> Kind:
    """Tables of options by pattern, among those that ``owner`` declares for layers."""

    def read(value: Any) -> tuple[LayerOptions, ...]:
        entries = value.items() if isinstance(value, Mapping) else map(_as_table, value)
        found: list[LayerOptions] = []
        complaints: list[CompileError] = []
        for pattern, table in entries:
            if not isinstance(table, Mapping):
                raise TypeError
            prefix = f"layers.{pattern}."
            values, more = resolve_names(owner(), table, prefix=prefix)
            complaints += more
            for name in values:
                item = options_of(owner())[name]
                try:
                    values[name] = item.read(values[name], prefix=prefix)
                    if values[name] == AUTO and item.is_automatic:
                        raise item.refusal(AUTO, "a number for single layers", prefix=prefix)
                except CompileError as error:
                    complaints.append(error)
            found.append(LayerOptions(pattern, **values))
        raise_all(complaints)
        return tuple(found)

    return Kind('tables such as [layers."conv*"]', "", read, 'layers."conv*".weight_bits = 4')


def _as_table(layer: LayerOptions) -> tuple[str, dict[str, Any]]:
    if not isinstance(layer, LayerOptions):
        raise TypeError
    values = {item.name: getattr(layer, item.name) for item in fields(layer)}
    return values.pop("pattern"), {k: value for k, value in values.items() if value is not None}
