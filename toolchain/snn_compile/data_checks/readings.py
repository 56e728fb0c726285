"""Other readings of the same samples: another normalization, order of colours, or order of axes.

What the model file gets is ``(arranged(x) - mean) / scale``. A reading changes one part of that, or
two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt, log, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import Shape

NORMALIZATION, COLOURS, AXES = "other-normalization", "other-colour-order", "other-axis-order"
"""Codes of the findings."""
SAME = 0.02
"""Two normalizations that differ by less, as a share of the range, are the same."""
MAX_FLAGGED = 16
"""Values of an option that a hint lists."""
MIN_SIDE = 4
"""Smallest side of an image that may have been flattened."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arrangement:
    """Values of a sample in another order.

    Attributes:
        code: of the finding.
        name: the order, in words for a message.
        remedy: what to do about it.
        apply: on samples (N, *shape).
    """

    code: str
    name: str
    remedy: str
    apply: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Reading:
    """How samples of one input are read.

    Attributes:
        mean: subtracted, one for all values or one for each channel, in units of the samples.
        scale: divides the difference.
        normalization: in words; empty for that of the user.
        arrangement: the order of values, if it is not that of the user.
    """

    mean: Array
    scale: Array
    normalization: str = ""
    arrangement: Arrangement | None = None

    def __call__(self, x: Array) -> Array:
        """What the model file gets of samples (N, *shape)."""
        x = x.astype(np.float32)
        x = x if self.arrangement is None else self.arrangement.apply(x)
        columns = (-1, *[1] * (x.ndim - 2))
        mean, scale = (v.reshape(columns).astype(np.float32) for v in (self.mean, self.scale))
        return np.asarray((x - mean) / scale, np.float32)

    @property
    def code(self) -> str:
        """Of the finding."""
        return (
            NORMALIZATION if self.normalization or not self.arrangement else self.arrangement.code
        )

    @property
    def name(self) -> str:
        """In words, as what samples are."""
        order = [self.arrangement.name] if self.arrangement else []
        return " and ".join([*([self.normalization] if self.normalization else []), *order])

    def remedy(self, name: str, *, whole_numbers: bool) -> str:
        """What to type, and what to do to the samples where no option does it.

        Args:
            name: of the input, if there are several.
            whole_numbers: whether samples are integers, which need their scale stated.
        """
        parts = []
        if self.normalization:
            parts.append(self._flags(name, whole_numbers))
        if self.arrangement:
            parts.append(self.arrangement.remedy)
        return "; ".join(parts)

    def _flags(self, name: str, whole_numbers: bool) -> str:
        if len(self.mean) > MAX_FLAGGED:
            return "normalize each feature: x = (x - mean) / std, of the training samples"
        if not self.mean.any() and (self.scale == 1).all() and not whole_numbers:
            return "leave out --mean-values and --scale-values"
        prefix = f"{name}=" if name else ""
        stated = {"--mean-values": self.mean, "--scale-values": self.scale}
        words = [
            f"{option} {prefix}{','.join(f'{value:.6g}' for value in values)}"
            for option, values in stated.items()
            if (values != (option == "--scale-values")).any()
        ]
        return f"set {' '.join(words or ['--scale-values 1'])}"


@dataclass(frozen=True, eq=False)
class _Pixels:
    """What values of samples are as pixels from 0 to 1: ``(x - zero) / one``."""

    zero: Array
    one: Array


def readings(x: Array, present: Reading, shape: Shape, layout: str) -> list[Reading]:
    """Readings that differ from the present one in its normalization or its order.

    Args:
        x: (n, *shape) samples, as the user's file has them.
        present: the user's reading.
        shape: of a sample.
        layout: of the user's file.
    """
    found = [replace(present, arrangement=one) for one in arrangements(shape, layout)]
    known, ends = [present], _ends(x, shape)
    for reading in _normalizations(x, shape, present):
        if not any(_is_same(reading, other, ends) for other in known):
            known.append(reading)
    return [*known[1:], *found]


def combined(best: Reading, others: Sequence[Reading]) -> list[Reading]:
    """Readings with the change of the best one and one of the other kind."""
    if best.arrangement is None:
        kept = [one.arrangement for one in others if one.arrangement is not None]
        return [replace(best, arrangement=one) for one in kept]
    return [replace(one, arrangement=best.arrangement) for one in others if one.normalization]


def image_shape(shape: Shape) -> Shape | None:
    """The channels and sides of an image, also of one that was flattened; None for other data."""
    if len(shape) == 3 and min(shape[1:]) > 1:
        return shape
    n = prod(shape)
    if n != max(shape):
        return None
    for channels in (1, 3):
        side = isqrt(n // channels)
        if channels * side * side == n and side >= MIN_SIDE:
            return channels, side, side
    return None


def arrangements(shape: Shape, layout: str) -> Iterator[Arrangement]:
    """Other orders of the values of an image."""
    image = image_shape(shape)
    if image is None:
        return
    c, h, w = image
    flat = image != shape
    last = layout == "nhwc" and not flat

    def on_images(change: Callable[[Array], Array]) -> Callable[[Array], Array]:
        def apply(x: Array) -> Array:
            return change(x.reshape(len(x), *image)).reshape(x.shape)

        return apply

    def hint(expression: str, on_flat: str) -> str:
        return f"write {on_flat if flat else expression} in place of x"

    view, back = f"x.reshape(-1, {c}, {h}, {w})", ".reshape(x.shape)"
    if c == 3:
        yield Arrangement(
            COLOURS,
            "with the first and last colour exchanged (RGB, BGR)",
            hint("x[..., ::-1]" if last else "x[:, ::-1]", f"{view}[:, ::-1]{back}"),
            on_images(lambda images: images[:, ::-1]),
        )
    swapped = "x.swapaxes(1, 2)" if last else "x.swapaxes(2, 3)"
    if h != w:
        swapped = f"x.reshape(-1, {c}, {w}, {h}).swapaxes(2, 3)"
    if h == w or not last:
        yield Arrangement(
            AXES,
            "with height and width exchanged",
            hint(swapped, f"{view}.swapaxes(2, 3){back}"),
            on_images(lambda images: images.reshape(-1, c, w, h).swapaxes(2, 3)),
        )
    if c == 1:
        return
    is_cube = c == h == w
    turned = f"x.reshape(-1, {h}, {w}, {c}).transpose(0, 3, 1, 2)"
    if not last:
        yield Arrangement(
            AXES,
            "with the channels last",
            "set --layout nhwc" if is_cube else hint(turned, f"{turned}{back}"),
            on_images(lambda images: images.reshape(-1, h, w, c).transpose(0, 3, 1, 2)),
        )
        return
    yield Arrangement(
        AXES,
        "with the channels first",
        "leave out --layout nhwc" if is_cube else f"set --layout nchw and write {view}",
        on_images(lambda images: images.transpose(0, 2, 3, 1).reshape(-1, c, h, w)),
    )


def _channel_axes(shape: Shape) -> tuple[int, ...]:
    """Axes of samples (n, *shape) that share one normalization."""
    axes = tuple(range(1, len(shape) + 1))
    return (0, *(axes[1:] if prod(shape[1:]) > 1 else axes))


def _ends(x: Array, shape: Shape) -> tuple[Array, Array]:
    """Smallest and largest value of each channel; those of a vector together."""
    axes = _channel_axes(shape)
    return x.min(axis=axes).reshape(-1), x.max(axis=axes).reshape(-1)


def _is_same(reading: Reading, other: Reading, ends: tuple[Array, Array]) -> bool:
    """Whether two normalizations make about the same of both ends of the range."""
    low, high = ends
    if (high == low).all():
        return True
    if len(reading.mean) not in (1, len(low)) or len(other.mean) not in (1, len(low)):
        return False  # one of them is of single features
    a, b = (np.stack([(end - r.mean) / r.scale for end in ends]) for r in (reading, other))
    span = np.abs(b[1] - b[0]).max()
    return bool(np.abs(a - b).max() <= SAME * span)


IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CIFAR = np.array([0.4914, 0.4822, 0.4465]), np.array([0.247, 0.2435, 0.2616])
_COLOURED = {
    "normalized as for ImageNet": IMAGENET,
    "normalized as for CIFAR-10": _CIFAR,
    "from 0 to 255 less the mean of ImageNet": (IMAGENET[0], np.array([1 / 255])),
}
_GREY = {
    "normalized as for MNIST": (np.array([0.1307]), np.array([0.3081])),
    "normalized as for Fashion-MNIST": (np.array([0.286]), np.array([0.353])),
}
_RANGES = {
    "from 0 to 1": (np.zeros(1), np.ones(1)),
    "from 0 to 255": (np.zeros(1), np.array([1 / 255])),
    "from -1 to 1": (np.array([0.5]), np.array([0.5])),
    "from -0.5 to 0.5": (np.array([0.5]), np.ones(1)),
}

_LOGARITHMS = {
    "over 2.303, as natural logarithms for those to base 10 (log=log10)": log(10),
    "over 0.2303, as natural logarithms for decibels (log=db)": log(10) / 10,
    "times 2.303, as logarithms to base 10 for natural ones (log=ln)": 1 / log(10),
    "times 10, as logarithms to base 10 for decibels (log=db)": 0.1,
    "over 10, as decibels for logarithms to base 10 (log=log10)": 10.0,
    "over 4.343, as decibels for natural logarithms (log=ln)": 10 / log(10),
    "twice as large, as logarithms of magnitudes for those of energies (power=2)": 0.5,
    "half as large, as logarithms of energies for those of magnitudes (power=1)": 2.0,
}
"""Features of sound in another unit, and what they are divided by."""


def _normalizations(x: Array, shape: Shape, present: Reading) -> Iterator[Reading]:
    """Normalizations that networks are trained with, of what the values may be."""
    yield Reading(np.zeros(1), np.ones(1), "as stored")
    image = image_shape(shape)
    trained = dict(_RANGES)
    if image is not None:
        trained |= _COLOURED if image == shape and image[0] == 3 else _GREY
    for pixels in _pixels(x, shape):
        for name, (mean, scale) in trained.items():
            yield Reading(pixels.zero + pixels.one * mean, pixels.one * scale, name)
        mirrored = 2 * pixels.zero + pixels.one - present.mean
        yield Reading(mirrored, -present.scale + 0 * mirrored, "inverted, dark for bright")
    axes = _channel_axes(shape)
    own = x.mean(axis=axes, dtype=np.float64), x.std(axis=axes, dtype=np.float64)
    if all((part > 0).all() for part in own[1:]):
        mean, scale = (np.reshape(part, -1) for part in own)
        yield Reading(mean, scale, "less their own mean, over their own standard deviation")
    if sum(size > 1 for size in shape) == 2 and x.dtype.kind == "f" and x.min() < 0:
        for name, factor in _LOGARITHMS.items():  # bands over time
            yield Reading(present.mean, present.scale * factor, name)
    if image is None and prod(shape) == shape[0] > 1:
        mean, scale = x.mean(axis=0).reshape(-1), x.std(axis=0).reshape(-1)
        if (scale > 0).all():
            yield Reading(mean, scale, "with each feature less its mean, over its deviation")


def _pixels(x: Array, shape: Shape) -> Iterator[_Pixels]:
    """What the values are as pixels from 0 to 1, by their range."""
    low, high = (end.astype(np.float64) for end in _ends(x, shape))
    least, most, zero = float(low.min()), float(high.max()), np.zeros(1)
    if least >= 0:
        whole = x.dtype.kind in "iub" or (most > 2 and bool((x == np.rint(x)).all()))
        sizes = (255, 1023, 4095, 16383, 65535) if whole or most > 2 else (1,)
        size = next((size for size in sizes if most <= size * 1.001), most)
        yield _Pixels(zero, np.array([float(size)]))
        return
    for end in (0.5, 1.0, 128.0):
        if max(-least, most) <= end * 1.001 and max(-least, most) > end / 2:
            yield _Pixels(np.array([-end]), np.array([2 * end]))
    for mean, scale in (*_COLOURED.values(), *_GREY.values()):
        if len(mean) not in (1, len(low)) or (scale == 1 / 255).all():
            continue
        dark, bright = low * scale + mean, high * scale + mean
        if dark.min() > -SAME and bright.max() < 1 + SAME and bright.max() > 1 - 2 * SAME:
            yield _Pixels(-mean / scale, 1 / scale)
    if (high > low).all():
        yield _Pixels(low, high - low)
