"""Reading of recipes; everything wrong with one is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import MAX_TOML_SIZE, parse_toml, read_bytes, reading
from snn_compile.files.presence import no_such_file
from snn_compile.recipes import audio
from snn_compile.recipes.audio import AudioRecipe
from snn_compile.recipes.published import closest, published
from snn_compile.recipes.recipe import COLOURS, INTERPOLATIONS, LAYOUTS, WHITE, Recipe

MAX_SIDE = 1 << 14
MAX_NUMBERS = 1024
MAX_RATE, MAX_WINDOW, MAX_BANDS = 1 << 20, 1 << 13, 1 << 10
"""Of recordings: samples a second, samples of a frame, and mel bands."""
MIN_STD = Decimal("1e-9")
MAX_NUMBER = Decimal("1e9")


def read_recipe(value: Any) -> Recipe | AudioRecipe:
    """A recipe of images or of sound from a name, a TOML file, words ``key=value``, or a mapping.

    Raises:
        TypeError: the value is none of these.
        UsageError: an unknown name or key, or a value that is not one of its key's; all at once.
    """
    if isinstance(value, Recipe | AudioRecipe):
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
    if name:
        return _of_words({"name": name, **dict(pairs)}, "")
    return _of_words(dict(pairs), "", is_whole=True)


def _of_file(path: Path) -> Recipe | AudioRecipe:
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


def _of_words(
    words: Mapping[str, str], file: str, *, is_whole: bool = False
) -> Recipe | AudioRecipe:
    """The recipe that words state.

    Args:
        words: by their keys.
        file: that they stand in; empty for none.
        is_whole: whether they may be a recipe that was written out. It states everything, and its
            name is only remembered.
    """
    errors: list[CompileError] = []
    values: dict[str, Any] = {}
    name = words.get("name", "")
    form = _AUDIO if name in audio.OWN or "features" in words else _IMAGES
    if name:
        known = form.published(name)
        is_written_out = is_whole and form.always in words
        if known is None and not is_written_out:
            errors.append(_error(f"'{name}' is no known recipe", closest(name), file))
        elif not is_written_out:
            values |= known or {}
        values["name"] = name
    for key, word in words.items():
        reader = form.readers.get(key)
        if reader is None:
            close = get_close_matches(key, form.readers, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(form.readers)}"
            errors.append(_error(f"has no key '{key}'", hint, file))
            continue
        try:
            values[key] = reader(word)
        except ValueError as error:
            errors.append(_error(f"{key} cannot be '{word}'", f"use {error}", file))
    if not errors:
        errors += form.contradictions(form.of(**values), file)
    raise_all(errors)
    found: Recipe | AudioRecipe = form.of(**values)
    return found


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


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        if not (word.isascii() and word.isdigit() and least <= int(word) <= most):
            raise ValueError(f"a whole number from {least:,} to {most:,}")
        return int(word)

    return read


def _positive(least: float = 0.0) -> Callable[[str], float]:
    def read(word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            number = -1.0
        if not least <= number <= float(MAX_NUMBER):
            raise ValueError("a number of 0 or more")
        return number

    return read


def _switch(word: str) -> bool:
    return _one_of("true", "false")(word.lower()) == "true"


def _audio_contradictions(recipe: AudioRecipe, file: str) -> Iterator[CompileError]:
    if recipe.features == "samples":
        return
    if recipe.n_fft < recipe.window:
        yield _error("has an fft shorter than a window", "fft is as long, or longer", file)
    if not recipe.lowest < recipe.top <= recipe.rate / 2:
        hint = f"bands lie between 0 and {recipe.rate / 2:g} Hz, half the rate"
        yield _error("has bands that end below their beginning, or beyond the rate", hint, file)
    if recipe.features == "mfcc" and not 0 < recipe.coefficients <= recipe.bands:
        hint = f"coefficients are 1 to {recipe.bands}, the number of bands"
        yield _error("has no coefficients, or more than bands", hint, file)
    if recipe.offset == recipe.floor == 0:
        yield _error("has no logarithm of silence", "state an offset, or a floor", file)
    for key in ("mean", "std"):
        if (n := len(getattr(recipe, key))) not in (0, 1, recipe.n_features):
            hint = f"give one, or one for each of {recipe.n_features} features"
            yield _error(f"has {n} values of {key}", hint, file)


@dataclass(frozen=True)
class _Form:
    """Recipes of one kind.

    Attributes:
        of: their class.
        readers: of the value of each key.
        always: a key that a recipe that was written out always has.
        published: what a name states; None for an unknown name.
        contradictions: of the values of a recipe.
    """

    of: Callable[..., Any]
    readers: Mapping[str, Callable[[str], Any]]
    always: str
    published: Callable[[str], Mapping[str, Any] | None]
    contradictions: Callable[[Any, str], Iterator[CompileError]]


_IMAGES = _Form(
    Recipe,
    {
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
    },
    "range",
    published,
    _contradictions,
)
_AUDIO = _Form(
    AudioRecipe,
    {
        "name": str,
        "features": _one_of(*audio.FEATURES),
        "rate": _whole(1, MAX_RATE),
        "window": _whole(1, MAX_WINDOW),
        "hop": _whole(1, MAX_WINDOW),
        "fft": _whole(0, MAX_WINDOW),
        "taper": _one_of(*audio.TAPERS),
        "bands": _whole(1, MAX_BANDS),
        "lowest": _positive(),
        "highest": _positive(),
        "mel": _one_of(*audio.MEL),
        "area": _switch,
        "power": _whole(1, 2),
        "log": _one_of(*audio.LOGARITHMS),
        "offset": _positive(),
        "floor": _positive(),
        "coefficients": _whole(0, MAX_BANDS),
        "mean": _numbers(None),
        "std": _numbers(MIN_STD),
        "step": _positive(),
        "keep": _one_of(*audio.KEPT),
        "pad": _one_of(*audio.PADDED),
        "axes": _one_of(*audio.AXES),
        "input": str,
    },
    "features",
    audio.OWN.get,
    _audio_contradictions,
)
for _form, _class in ((_IMAGES, Recipe), (_AUDIO, AudioRecipe)):
    assert set(_form.readers) == {field.name for field in fields(_class)}  # noqa: S101
