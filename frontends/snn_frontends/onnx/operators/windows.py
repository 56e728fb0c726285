"""Windows that slide over maps: padding, automatic padding, and one-dimensional maps."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry, Pair
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.values import Tensor


@dataclass(frozen=True)
class Windows:
    """Geometry of a kernel over a two-dimensional map.

    Attributes:
        kernel: height and width.
        geometry: stride, padding and dilation; groups are left at 1.
        overhang: excess of the last windows over the padded map (ceil mode).
        size: height and width of the result.
    """

    kernel: Pair
    geometry: Geometry
    overhang: Pair
    size: Pair


def as_map(call: Call, x: Tensor) -> Tensor:
    """A batch of maps (C, H, W); one-dimensional ones become maps of height 1.

    Raises:
        UnsupportedError: the maps have more than two dimensions, or none.
    """
    if len(x.shape) == 4:
        return x
    if len(x.shape) == 3:
        batch, channels, length = x.shape
        return call.emit(ann.Reshape, x, shape=(batch, channels, 1, length), suffix="lift")
    raise call.refusal(
        f"{len(x.shape) - 2}-dimensional maps are not supported: the input has shape "
        f"{list(x.shape)}",
        "layers over one, two and three dimensions have a spiking form",
    )


def from_map(call: Call, y: Tensor, like: Tensor) -> Tensor:
    """The result with the number of dimensions of the operator's input."""
    if len(like.shape) == 4:
        return y
    batch, channels, _, length = y.shape
    return call.emit(ann.Reshape, y, shape=(batch, channels, length), suffix="lower")


@dataclass(frozen=True)
class Slide:
    """Geometry of windows along one axis.

    Attributes:
        taps: number of values under the window.
        stride: distance of windows.
        dilation: distance of taps.
        before: zeros before the axis.
        after: zeros after it.
        overhang: excess of the last window over both (ceil mode).
        count: number of windows.
    """

    taps: int
    stride: int
    dilation: int
    before: int
    after: int
    overhang: int
    count: int

    @property
    def span(self) -> int:
        """Distance from the first tap to the last, inclusive."""
        return self.dilation * (self.taps - 1) + 1


UNMOVED = Slide(1, 1, 1, 0, 0, 0, 1)
"""Geometry of an axis that is missing or unchanged."""


def slides_of(call: Call, shape: Shape, kernel: tuple[int, ...]) -> list[Slide]:
    """The windows along each axis of (N, C, ...), from an operator's attributes.

    Raises:
        ModelError: the attributes do not fit the map or each other.
    """
    size = shape[2:]
    rank = len(size)
    strides = per_axis(call, "strides", rank, least=1)
    dilations = per_axis(call, "dilations", rank, least=1)
    if len(kernel) != rank or min(kernel) < 1:
        raise call.invalid(f"kernel {list(kernel)} does not fit the shape {list(shape)}")
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = _pads(call, size, spans, strides)
    ceil_mode = bool(call.attributes.get("ceil_mode", 0))
    out = [
        _count(n + before + after - span, stride, n + before, ceil_mode)
        for n, span, stride, (before, after) in zip(size, spans, strides, pads, strict=True)
    ]
    if min(out) < 1:
        raise call.invalid(f"the kernel is larger than the map of shape {list(shape)}")
    overhang = [
        max((m - 1) * stride + span - (n + before + after), 0)
        for m, n, span, stride, (before, after) in zip(out, size, spans, strides, pads, strict=True)
    ]
    return [
        Slide(taps, stride, dilation, before, after, over, count)
        for taps, stride, dilation, (before, after), over, count in zip(
            kernel, strides, dilations, pads, overhang, out, strict=True
        )
    ]


def windows(slides: list[Slide]) -> Windows:
    """The windows over a map; one with one dimension has height 1."""
    y, x = [UNMOVED, *slides][-2:]
    overhang, size = (y.overhang, x.overhang), (y.count, x.count)
    return Windows((y.taps, x.taps), geometry([y, x]), overhang, size)


def geometry(slides: list[Slide], *, whole: bool = False) -> Geometry:
    """The geometry of windows over a map.

    Args:
        slides: along its two axes.
        whole: whether the overhang counts as padding.
    """
    y, x = slides
    below, beside = (s.after + (s.overhang if whole else 0) for s in slides)
    return Geometry(
        stride=(y.stride, x.stride),
        padding=(y.before, x.before, below, beside),
        dilation=(y.dilation, x.dilation),
    )


def _count(room: int, stride: int, begin_of_end: int, ceil_mode: bool) -> int:
    """Number of windows, if the first one leaves ``room`` to slide."""
    if not ceil_mode:
        return room // stride + 1
    count = ceil(room / stride) + 1
    # A window that would start in the padding at the end is omitted.
    return count - 1 if (count - 1) * stride >= begin_of_end else count


def per_axis(call: Call, name: str, rank: int, least: int, otherwise: int = 1) -> tuple[int, ...]:
    """An attribute with a number for each axis."""
    values = tuple(int(v) for v in call.attributes.get(name, (otherwise,) * rank))
    if len(values) != rank or min(values) < least:
        raise call.invalid(f"{name} {list(values)} do not fit maps of {rank} dimensions")
    return values


def _pads(
    call: Call, size: tuple[int, ...], spans: list[int], strides: tuple[int, ...]
) -> list[Pair]:
    """Zeros before and after each axis."""
    mode = call.attributes.get("auto_pad", "NOTSET")
    pads = [int(p) for p in call.attributes.get("pads", (0,) * (2 * len(size)))]
    if len(pads) != 2 * len(size) or min(pads) < 0:
        raise call.invalid(f"pads {pads} do not fit maps of {len(size)} dimensions")
    if mode != "NOTSET" and any(pads):
        raise call.invalid(f"has both pads {pads} and auto_pad {mode}")
    if mode == "VALID":
        return [(0, 0)] * len(size)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((ceil(n / stride) - 1) * stride + span - n, 0)
            for n, span, stride in zip(size, spans, strides, strict=True)
        ]
        halves = [(total // 2, total - total // 2) for total in totals]
        return halves if mode == "SAME_UPPER" else [(b, a) for a, b in halves]
    if mode != "NOTSET":
        raise call.invalid(f"auto_pad '{mode}' is unknown")
    return list(zip(pads[: len(size)], pads[len(size) :], strict=True))
