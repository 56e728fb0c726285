"""Recipes by name: those of common data sets, and those that model libraries publish.

``published.tsv`` has the constants of torchvision's and timm's weights: a line for all that share
them. A name without a tag means the library's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from snn_compile.recipes.audio import OWN as SOUND

_TABLE = Path(__file__).with_name("published.tsv")
_IMAGENET = {"mean": ("0.485", "0.456", "0.406"), "std": ("0.229", "0.224", "0.225")}
OWN: Mapping[str, Mapping[str, Any]] = {
    "raw": {"range": 255},
    "unit": {},
    "symmetric": {"mean": ("0.5",), "std": ("0.5",)},
    "imagenet": {"resize": (256,), "crop": (224, 224), **_IMAGENET},
    "imagenet-colours": _IMAGENET,
    "caffe": {"mean": ("103.939", "116.779", "123.68"), "range": 255, "colour": "bgr"},
    "mnist": {"mean": ("0.1307",), "std": ("0.3081",)},
    "fashion-mnist": {"mean": ("0.2860",), "std": ("0.3530",)},
    "cifar10": {"mean": ("0.4914", "0.4822", "0.4465"), "std": ("0.2470", "0.2435", "0.2616")},
    "cifar100": {"mean": ("0.5071", "0.4865", "0.4409"), "std": ("0.2673", "0.2564", "0.2762")},
}
"""Of the network's input: pixels as they are, from 0 to 1, from -1 to 1, or as of a data set."""


def published(name: str) -> dict[str, Any] | None:
    """What a recipe states, by the fields of ``Recipe``; None for an unknown name."""
    if name in OWN:
        return dict(OWN[name])
    line = _lines().get(name)
    if line is None:
        return None
    resize, interpolation, crop, mean, std = line
    size = tuple(map(int, crop.split(",")))
    return {
        "resize": tuple(map(int, resize.split(","))),
        "interpolation": interpolation,
        "crop": size * 2 if len(size) == 1 else size,
        "mean": tuple(mean.split(",")),
        "std": tuple(std.split(",")),
    }


def closest(name: str) -> str:
    """What to say where a name is unknown."""
    own = [*OWN, *SOUND]
    close = get_close_matches(name, [*own, *_lines()], 3)
    if not close and ":" in name:
        library, _, model = name.partition(":")
        close = get_close_matches(f"{library}:{model.partition('.')[0]}", _lines(), 3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(own)}, torchvision:NAME, timm:NAME; or a TOML file"


@cache
def _lines() -> dict[str, tuple[str, ...]]:
    lines = _TABLE.read_text(encoding="ascii").splitlines()[1:]
    parts = [line.split("\t") for line in lines]
    return {name: tuple(rest) for *rest, names in parts for name in names.split(" ")}
