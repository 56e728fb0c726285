"""Reading of recipes; everything wrong with one is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import MAX_TOML_SIZE, parse_toml, read_bytes, reading
from snn_compile.files.presence import no_such_file
from snn_compile.recipes.published import closest, published
from snn_compile.recipes.recipe import COLOURS, INTERPOLATIONS, LAYOUTS, WHITE, Recipe

MAX_SIDE = 1 << 14
MAX_NUMBERS = 1024
MIN_STD = Decimal("1e-9")
MAX_NUMBER = Decimal("1e9")


def read_recipe(value: Any) -> Recipe:
    """A recipe from a name, a TOML file, words ``key=value``, or a mapping.

    Raises:
        TypeError: the value is none of these.
        UsageError: an unknown name or key, or a value that is not one of its key's; all at once.
    """
    if isinstance(value, Recipe):
        return value
    if isinstance(value, Mapping):
        return _of_words({str(key): _written(one) for key, one in value.items()}, "")
    if isinstance(value, Path) or (isinstance(value, str) and value.endswith(".toml")):
        return _of_file(Path(value))
    if not isinstance(value, str):
        raise TypeError
    words = value.split()
    name = words.pop(0) if words and "=" not in words[0] else ""
    pairs = [word.partition("=")[::2] for word in words]
    repeated = [key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number])]
    raise_all([_error(f"states {key} twice", f"once: {key}=...", "") for key in repeated])
    return _of_words({"name": name, **dict(pairs)} if name else dict(pairs), "")


def _of_file(path: Path) -> Recipe:
    if not path.exists():
        raise no_such_file(path)
    hint = "write a recipe: resize = 256"
    with reading(path, UsageError, "bad-recipe", "it is no recipe", hint):
        tables = parse_toml(read_bytes(path, MAX_TOML_SIZE))
    return _of_words({key: _written(value) for key, value in tables.items()}, str(path))


def _written(value: Any) -> str:
    """A value of TOML or Python as a word."""
    if isinstance(value, list | tuple):
        return ",".join(_written(item) for item in value)
    return str(value)


def _of_words(words: Mapping[str, str], file: str) -> Recipe:
    errors: list[CompileError] = []
    values: dict[str, Any] = {}
    name = words.get("name", "")
    if name:
        known = published(name)
        # A recipe that was written out states everything, and its name is only remembered.
        if known is None and "range" not in words:
            errors.append(_error(f"'{name}' is no known recipe", closest(name), file))
        elif "range" not in words:
            values |= known or {}
        values["name"] = name
    for key, word in words.items():
        reader = _READERS.get(key)
        if reader is None:
            close = get_close_matches(key, _READERS, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(_READERS)}"
            errors.append(_error(f"has no key '{key}'", hint, file))
            continue
        try:
            values[key] = reader(word)
        except ValueError as error:
            errors.append(_error(f"{key} cannot be '{word}'", f"use {error}", file))
    if not errors:
        errors += _contradictions(Recipe(**values), file)
    raise_all(errors)
    return Recipe(**values)


def _contradictions(recipe: Recipe, file: str) -> Iterator[CompileError]:
    if recipe.crop and len(recipe.resize) == 2:
        too_large = any(c > r for c, r in zip(recipe.crop, recipe.resize, strict=True))
    else:
        too_large = bool(recipe.resize) and max(recipe.crop, default=0) > recipe.resize[0]
    if too_large:
        yield _error(
            "crops more than there is after resizing", "a crop is at most as large as resize", file
        )
    if recipe.colour == "grey" and max(len(recipe.mean), len(recipe.std)) > 1:
        yield _error("has several channels, and makes images grey", "give one mean and std", file)


def _error(message: str, hint: str, file: str) -> UsageError:
    return UsageError(
        f"the recipe {message}" if not message.startswith("'") else message,
        code="bad-recipe",
        origin=Origin(file) if file else None,
        hint=hint,
    )


def _sizes(word: str) -> tuple[int, ...]:
    parts = word.split(",")
    numbers = [int(part) for part in parts if part.strip().isascii() and part.strip().isdigit()]
    if len(numbers) != len(parts) or len(parts) > 2 or not all(0 < n <= MAX_SIDE for n in numbers):
        raise ValueError(f"a size, or height and width, of 1 to {MAX_SIDE} pixels: 224 or 224,224")
    return tuple(numbers)


def _square(word: str) -> tuple[int, ...]:
    sizes = _sizes(word)
    return sizes * 2 if len(sizes) == 1 else sizes


def _numbers(least: Decimal | None) -> Callable[[str], tuple[str, ...]]:
    def read(word: str) -> tuple[str, ...]:
        try:
            numbers = [Decimal(part.strip()) for part in word.split(",")]
        except InvalidOperation:
            numbers = []
        fits = [
            n.is_finite() and abs(n) <= MAX_NUMBER and (least is None or abs(n) >= least)
            for n in numbers
        ]
        if not fits or not all(fits) or len(fits) > MAX_NUMBERS:
            other = "" if least is None else " other than 0"
            raise ValueError(f"one number{other}, or one for each channel: 0.485,0.456,0.406")
        return tuple(str(n) for n in numbers)

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(word: str) -> str:
        if word not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return word

    return read


def _range(word: str) -> int:
    return int(_one_of("1", str(WHITE))(word))


_READERS: dict[str, Callable[[str], Any]] = {
    "name": str,
    "resize": _sizes,
    "interpolation": _one_of(*INTERPOLATIONS),
    "crop": _square,
    "mean": _numbers(None),
    "std": _numbers(MIN_STD),
    "range": _range,
    "colour": _one_of(*COLOURS),
    "layout": _one_of(*LAYOUTS),
    "input": str,
}
assert set(_READERS) == {field.name for field in fields(Recipe)}  # noqa: S101
