"""Options from a TOML file or the command line, read by the types of the fields that they set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snn_compile.documents import LARGEST_TOML, parse_toml, read_bytes
from snn_compile.errors import CompileError, Origin, UsageError


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return parse_toml(read_bytes(path, LARGEST_TOML))
    except OSError as error:
        raise UsageError(
            f"the configuration cannot be read: {error.strerror}",
            code="unreadable-config",
            origin=Origin(str(path)),
            hint="--config takes a TOML file",
        ) from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError and Damaged
        raise UsageError(
            f"not valid TOML: {error}",
            code="unreadable-config",
            origin=Origin(str(path)),
            hint='lines look like: weight_bits = 4, or [layers."conv*"]',
        ) from error


def converted(
    table: Mapping[str, Any], types: Mapping[str, str], config: Path | None, prefix: str = ""
) -> tuple[dict[str, Any], list[CompileError]]:
    """The entries of one table as the types of the fields that they name.

    Args:
        table: keys with hyphens or underscores, and values from TOML or the command line.
        types: annotation of each field, by name.
        config: the file that the table is from, or None.
        prefix: shown before the keys in errors.

    Returns:
        The values by field name, and everything that is wrong with the table.
    """
    values: dict[str, Any] = {}
    complaints: list[CompileError] = []
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            complaints.append(_unknown(prefix + key, name, value, types, config))
        elif name in values:
            complaints.append(wrong_type(prefix + key, value, "given once, not twice", config))
        else:
            convert, expected = _CONVERTERS[types[name]]
            try:
                values[name] = convert(value)
            except (TypeError, ValueError):
                complaints.append(wrong_type(prefix + key, value, expected, config))
    if config is not None:
        values = {name: _beside(config, name, value) for name, value in values.items()}
    return values, complaints


def _beside(config: Path, name: str, value: Any) -> Any:
    """Paths in a configuration file are relative to its folder."""
    if isinstance(value, Path):
        return config.parent / value
    if name == "target" and value.endswith(".toml"):
        return str(config.parent / value)
    return value


def _unknown(
    shown: str, name: str, value: Any, known: Mapping[str, str], config: Path | None
) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        hint = f"did you mean {close[0]}?"
    elif isinstance(value, dict):
        hint = 'put names with dots in quotation marks: [layers."block1.conv*"]'
    else:
        hint = f"known: {', '.join(known)}"
    return UsageError(
        f"unknown option '{shown}'",
        code="unknown-option",
        origin=Origin(str(config)) if config else None,
        hint=hint,
    )


def wrong_type(key: str, value: object, expected: str, config: Path | None) -> UsageError:
    """The complaint about a value that is not what the key takes."""
    return UsageError(
        f"{key} must be {expected}, not {value!r}",
        code="bad-option",
        origin=Origin(str(config)) if config else None,
        hint=_hint(expected, config),
    )


def _hint(expected: str, config: Path | None) -> str:
    if config is None:
        return "separate several by commas: 0.5,0.5,0.5" if expected == "numbers" else "see --help"
    return f"in TOML: {_EXAMPLES[expected]}" if expected in _EXAMPLES else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError
    return Path(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _whole_or_auto(value: Any) -> int | str:
    return value if value == "auto" else _whole(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return float(value)


def _switch(value: Any) -> bool:
    if value in ("on", "off"):
        return bool(value == "on")
    if not isinstance(value, bool):
        raise TypeError
    return value


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        return tuple(_number(float(part)) for part in value.split(","))
    return tuple(_number(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip() for part in parts for name in _text(part).split(",") if name.strip())


_CONVERTERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "str": (_text, "text"),
    "str | None": (_text, "text"),
    "Path | None": (_path, "a file name"),
    "int": (_whole, "a whole number"),
    "int | Auto": (_whole_or_auto, "a whole number or auto"),
    "int | None": (_whole, "a whole number"),
    "float | None": (_number, "a number"),
    "bool": (_switch, "true or false"),
    "tuple[float, ...]": (_numbers, "numbers"),
    "tuple[str, ...]": (_names, "names"),
}
"""How the value of a field is read, by the field's type, and what to call it in an error."""

_EXAMPLES = {
    "text": 'target = "loihi2"',
    "a file name": 'calibrate = "calibrate.npz"',
    "a whole number": "weight_bits = 4",
    "a whole number or auto": "weight_bits = 4",
    "a number": "max_accuracy_drop = 0.5",
    "true or false": "per_layer = true",
    "numbers": "mean_values = [0.5, 0.5, 0.5]",
    "names": 'emit = ["lava"]',
}
