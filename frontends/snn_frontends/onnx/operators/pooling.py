"""Pooling over windows and over whole maps."""

from __future__ import annotations

from dataclasses import replace

from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators.windows import Windows, as_map, from_map, windows
from snn_frontends.onnx.values import Tensor


def max_pool(call: Call) -> Tensor:
    """The maximum over windows; padding never wins."""
    x = call.tensor()
    call.ignore("storage_order")  # of the indices, which nothing reads
    maps, view = as_map(call, x), _windows(call, x)
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
    maps, view = as_map(call, x), _windows(call, x)
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


def _windows(call: Call, x: Tensor) -> Windows:
    """The windows of a pool, each of which must see some of the map."""
    if "kernel_shape" not in call.attributes:
        raise call.invalid("states no kernel_shape")
    view = windows(call, x.shape, tuple(call.attributes["kernel_shape"]))
    spans = [d * (k - 1) + 1 for d, k in zip(view.geometry.dilation, view.kernel, strict=True)]
    top, left, bottom, right = view.geometry.padding
    if top >= spans[0] or bottom >= spans[0] or left >= spans[1] or right >= spans[1]:
        raise call.invalid("pads are not smaller than the kernel: some windows see padding only")
    return view


def global_average_pool(call: Call) -> Tensor:
    """The mean over the whole map."""
    return _over_axes(call, ann.AveragePool, keep=True)


def global_max_pool(call: Call) -> Tensor:
    """The maximum over the whole map."""
    return _over_axes(call, ann.MaxPool, keep=True)


def reduce_mean(call: Call) -> Tensor:
    """The mean over spatial axes; over others, it is refused."""
    axes, keep = call.integers("axes", 1), bool(call.attributes.get("keepdims", 1))
    nothing = call.attributes.get("noop_with_empty_axes", 0)
    if axes:
        return _over_axes(call, ann.AveragePool, axes, keep)
    if nothing:
        return call.tensor()
    raise call.refusal("averages over all axes, the batch included", "name the axes")


def _over_axes(
    call: Call,
    kind: type[ann.AveragePool | ann.MaxPool],
    axes: tuple[int, ...] | None = None,
    keep: bool = True,
) -> Tensor:
    """A pool whose window is the whole map, along some or all of its axes."""
    x = call.tensor()
    rank = len(x.shape)
    chosen = set(range(2, rank)) if axes is None else {call.feature_axis(a, rank) for a in axes}
    if min(chosen, default=0) < 2:
        raise call.refusal(
            f"averages over axes {sorted(chosen)} of {list(x.shape)}; only spatial axes "
            "(2 and up) can be pooled",
            "put the channels in axis 1",
        )
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
