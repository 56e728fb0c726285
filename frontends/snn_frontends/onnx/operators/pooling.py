"""Pooling over windows and over whole maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators.windows import (
    UNMOVED,
    Slide,
    as_map,
    from_map,
    geometry,
    slides_of,
    windows,
)
from snn_frontends.onnx.values import Tensor


def max_pool(call: Call) -> Tensor:
    """The maximum over windows; padding never wins."""
    padded = call.tensor()
    call.ignore("storage_order")  # of the indices, which nothing reads
    x, slides = _without_border(call, padded, _sliding(call, padded))
    if len(x.shape) == 5:
        return _max_volumes(call, x, slides)
    maps, view = as_map(call, x), windows(slides)
    top, left, bottom, right = view.geometry.padding
    padding = (top, left, bottom + view.overhang[0], right + view.overhang[1])
    y = call.emit(
        ann.MaxPool,
        maps,
        shape=(*x.shape[:2], *view.size),
        kernel=view.kernel,
        geometry=replace(view.geometry, padding=padding),
    )
    return from_map(call, y, like=x)


def average_pool(call: Call) -> Tensor:
    """The mean over windows, with or without the padding in the denominator."""
    x = call.tensor()
    if len(x.shape) == 5:
        return _average_volumes(call, x)
    maps, view = as_map(call, x), windows(_sliding(call, x))
    y = call.emit(
        ann.AveragePool,
        maps,
        shape=(*x.shape[:2], *view.size),
        kernel=view.kernel,
        geometry=view.geometry,
        count_padding=bool(call.attributes.get("count_include_pad", 0)),
        overhang=view.overhang,
    )
    return from_map(call, y, like=x)


def _max_volumes(call: Call, x: Tensor, slides: list[Slide]) -> Tensor:
    """A maximum over volumes: over the maps of each depth, and then over depths."""
    depth, *plane = slides
    _, c, d, h, w = x.shape
    _, height, width = (slide.count for slide in slides)
    folded = call.emit(ann.Reshape, x, shape=(call.batch, c * d, h, w), suffix="fold")
    y = call.emit(
        ann.MaxPool,
        folded,
        shape=(call.batch, c * d, height, width),
        suffix="plane",
        kernel=(plane[0].taps, plane[1].taps),
        geometry=geometry(plane, whole=True),
    )
    columns = (call.batch, c, d, height * width)
    y = call.emit(ann.Reshape, y, shape=columns, suffix="columns")
    y = call.emit(
        ann.MaxPool,
        y,
        shape=(call.batch, c, depth.count, height * width),
        kernel=(depth.taps, 1),
        geometry=geometry([depth, UNMOVED], whole=True),
    )
    return call.emit(
        ann.Reshape, y, shape=(*x.shape[:2], depth.count, height, width), suffix="lower"
    )


def _without_border(call: Call, x: Tensor, slides: list[Slide]) -> tuple[Tensor, list[Slide]]:
    """A value without its border of values below any other, which is a pool's own padding."""
    if not x.border:
        return x, slides
    wider = [
        replace(slide, before=slide.before + before, after=slide.after + after)
        for slide, (before, after) in zip(slides, x.border[2:], strict=True)
    ]
    if any(x.border[1]) or any(max(s.before, s.after) >= s.span for s in wider):
        raise call.refusal(
            "the border of -inf that it reads is not smaller than its kernel: some windows see"
            " nothing else",
            "pad by less",
        )
    shape = (n - sum(widths) for n, widths in zip(x.shape, x.border, strict=True))
    return replace(x, shape=tuple(shape), border=()), wider


def _average_volumes(call: Call, x: Tensor) -> Tensor:
    """A mean over volumes: the mean along each axis, which also divides by the taps inside."""
    padding = bool(call.attributes.get("count_include_pad", 0))
    y = x
    for k, slide in enumerate(_sliding(call, x)):
        size = x.shape[k + 2]
        call.builder.check_matrix(slide.count, size, call.origin)
        matrix = np.zeros((slide.count, size))
        for row in range(slide.count):
            at = row * slide.stride - slide.before + slide.dilation * np.arange(slide.taps)
            inside = at[(at >= 0) & (at < size)]
            within = (at < size + slide.after).sum() if padding else len(inside)
            matrix[row, inside] = 1 / within
        shape = [*y.shape[: k + 2], slide.count, *y.shape[k + 3 :]]
        suffix = "" if k == 2 else f"axis{k + 2}"
        y = call.emit(ann.AxisMatrix, y, shape=shape, suffix=suffix, axis=k + 1, matrix=matrix)
    return y


def _sliding(call: Call, x: Tensor) -> list[Slide]:
    """The windows of a pool along each axis; each must overlap the map."""
    if "kernel_shape" not in call.attributes:
        raise call.invalid("has no kernel_shape")
    slides = slides_of(call, x.shape, tuple(call.attributes["kernel_shape"]))
    if any(max(s.before, s.after) >= s.span for s in slides):
        raise call.invalid("pads are not smaller than the kernel: some windows see padding only")
    return slides


def over_maps(
    call: Call, kind: type[ann.AveragePool | ann.MaxPool], axes: Sequence[int], keep: bool
) -> Tensor:
    """A pool whose window is the whole map, along some or all of its axes."""
    x = call.tensor()
    rank, chosen = len(x.shape), set(axes)
    maps = as_map(call, x)
    lifted = 4 - rank
    height, width = maps.shape[2:]
    kernel = (height if 2 - lifted in chosen else 1, width if 3 - lifted in chosen else 1)
    y = call.emit(
        kind,
        maps,
        shape=(*x.shape[:2], height // kernel[0], width // kernel[1]),
        kernel=kernel,
        geometry=Geometry(stride=kernel),
    )
    if keep:
        return from_map(call, y, like=x)
    shape = [n for k, n in enumerate(x.shape) if k not in chosen]
    return call.emit(ann.Reshape, y, shape=shape, suffix="squeeze")
