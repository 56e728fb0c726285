"""What happens to an image before a network sees it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

WHITE = 255
"""Largest value of a pixel."""
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
COLOURS = ("rgb", "bgr", "grey")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Recipe:
    """Size, colours and normalization of images.

    ``mean`` and ``std`` are not applied to the samples: they are folded into the network, which
    takes the pixels themselves.

    Attributes:
        name: of the published recipe that it began with.
        resize: of the shorter side, or height and width; none leaves the size.
        interpolation: of the resizing, as Pillow calls it.
        crop: height and width of the centre that is kept; none for all.
        mean: of each channel, or one for all; none for 0.
        std: likewise; none for 1.
        range: the value of a white pixel in the units of mean and std, 1 or 255.
        colour: order of the channels; ``grey`` makes one of three.
        layout: of arrays in data files; empty for channels first.
        input: the input that takes images, where there are several.
    """

    name: str = ""
    resize: tuple[int, ...] = ()
    interpolation: str = "bilinear"
    crop: tuple[int, ...] = ()
    mean: tuple[str, ...] = ()
    std: tuple[str, ...] = ()
    range: int = 1
    colour: str = ""
    layout: str = ""
    input: str = ""

    @property
    def stated(self) -> dict[str, Any]:
        """Options that it states, by their names."""
        values: dict[str, Any] = {
            "mean_values": self.mean_values,
            "scale_values": self.scale_values,
        }
        if self.input:
            values = {name: ((self.input, numbers),) for name, numbers in values.items()}
        return values | ({"layout": self.layout} if self.layout else {})

    @property
    def mean_values(self) -> tuple[float, ...]:
        """The mean of pixels from 0 to 255."""
        return tuple(map(self._of_pixels, self.mean or ("0",)))

    @property
    def scale_values(self) -> tuple[float, ...]:
        """What the difference of a pixel and the mean is divided by."""
        return tuple(map(self._of_pixels, self.std or ("1",)))

    def _of_pixels(self, value: str) -> float:
        """In decimals: 0.485 of 255 is 123.675, and not the product of two rounded numbers."""
        return float(Decimal(value) * WHITE / self.range)

    @property
    def text(self) -> str:
        """All that it states, as words that ``read_recipe`` reads."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default and field.name != "range":
                continue
            listed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{field.name}={listed}")
        return " ".join(words)

    def described(self) -> str:
        """In words, for people."""
        steps = []
        if len(self.resize) == 1:
            steps.append(f"shorter side to {self.resize[0]} ({self.interpolation})")
        elif self.resize:
            steps.append(f"resized to {_by(self.resize)} ({self.interpolation})")
        if self.crop:
            steps.append(f"centre {_by(self.crop)}")
        if self.colour:
            steps.append(self.colour.upper() if self.colour != "grey" else "grey")
        mean, scale = (
            ", ".join(f"{value:.6g}" for value in values)
            for values in (self.mean_values, self.scale_values)
        )
        steps.append(f"(x - {mean}) / ({scale}) folded into the network")
        return f"{self.name or 'own recipe'}: {' · '.join(steps)}"


def _by(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))
