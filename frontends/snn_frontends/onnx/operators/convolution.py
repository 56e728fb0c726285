"""Convolutions and transposed convolutions over one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.operators.gathering import places, take_places
from snn_frontends.onnx.operators.windows import (
    UNMOVED,
    Slide,
    as_map,
    from_map,
    geometry,
    per_axis,
    slides_of,
)
from snn_frontends.onnx.values import Tensor


def conv(call: Call) -> Tensor:
    """A convolution with constant weights."""
    x, weight = call.tensor(), call.parameter(1)
    groups = int(call.attributes.get("group", 1))
    stated = tuple(call.attributes.get("kernel_shape", weight.shape[2:]))
    if weight.ndim != len(x.shape) or stated != weight.shape[2:]:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit kernel {list(stated)} and input "
            f"{list(x.shape)}"
        )
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != x.shape[1]:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit {x.shape[1]} input channels in "
            f"{groups} groups"
        )
    bias = _bias(call, weight.shape[0], weight)
    slides = slides_of(call, x.shape, weight.shape[2:])
    return _convolved(call, x, weight, bias, slides, groups)


def _bias(call: Call, n_out: int, weight: Float) -> Float:
    """The optional bias of a layer, or zeros."""
    if not call.has(2):
        return np.zeros(n_out, weight.dtype)
    bias = call.parameter(2)
    if bias.shape != (n_out,):
        raise call.invalid(f"bias of shape {list(bias.shape)} does not fit {n_out} outputs")
    return bias


def _convolved(
    call: Call, x: Tensor, weight: Float, bias: Float, slides: list[Slide], groups: int
) -> Tensor:
    """A convolution of (N, C, ...) by windows without negative padding."""
    if len(x.shape) == 5:
        return _volumes(call, x, weight, bias, slides, groups)
    maps = as_map(call, x)
    y, z = [UNMOVED, *slides][-2:]
    result = call.emit(
        ann.Conv,
        maps,
        shape=(call.batch, weight.shape[0], y.count, z.count),
        weight=weight.reshape(*weight.shape[:2], y.taps, z.taps),
        bias=bias,
        geometry=replace(geometry([y, z]), groups=groups),
    )
    return from_map(call, result, like=x)


def _volumes(
    call: Call, x: Tensor, weight: Float, bias: Float, slides: list[Slide], groups: int
) -> Tensor:
    """A convolution over volumes as one over maps: (C, D, H, W) has C * D channels.

    A channel of the result at one depth reads all channels of its group at the depths under the
    window, and nothing at the others.
    """
    depth, *plane = slides
    n_out, per_group, taps = weight.shape[:3]
    _, c, d, h, w = x.shape
    full = (n_out, depth.count, per_group, d, *weight.shape[3:])
    call.builder.check_size(full, call.origin)
    spread = np.zeros(full, weight.dtype)
    for row in range(depth.count):
        for tap in range(taps):
            at = row * depth.stride - depth.before + tap * depth.dilation
            if 0 <= at < d:
                spread[:, row, :, at] = weight[:, :, tap]
    height, width = (slide.count for slide in plane)
    folded = call.emit(ann.Reshape, x, shape=(call.batch, c * d, h, w), suffix="fold")
    y = call.emit(
        ann.Conv,
        folded,
        shape=(call.batch, n_out * depth.count, height, width),
        weight=spread.reshape(n_out * depth.count, per_group * d, *weight.shape[3:]),
        bias=np.repeat(bias, depth.count),
        geometry=replace(geometry(plane), groups=groups),
    )
    return call.emit(
        ann.Reshape, y, shape=(call.batch, n_out, depth.count, height, width), suffix="lower"
    )


@dataclass(frozen=True)
class Stretch:
    """A transposed convolution along one axis.

    Value ``stride * q + r`` is the sum over the taps of phase r at input ``q - shift``: for each
    phase an ordinary convolution, so all phases are its channels and are interleaved afterwards.

    Attributes:
        size: size of the input.
        taps: taps of the kernel.
        stride: number of phases.
        dilation: distance of taps in the output.
        before: number of values cropped at the start.
        count: number of values of the result.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    before: int
    count: int

    def at(self, tap: int) -> tuple[int, int]:
        """The phase of a tap, and its shift."""
        shift, phase = divmod(tap * self.dilation, self.stride)
        return phase, shift

    @property
    def length(self) -> int:
        """Number of taps of the ordinary convolution."""
        return self.at(self.taps - 1)[1] + 1

    @property
    def first(self) -> int:
        """The first position of the input's grid that is computed."""
        return min(self.before // self.stride, self.length - 1)

    @property
    def slide(self) -> Slide:
        """The windows of the ordinary convolution."""
        before = self.length - 1 - self.first
        wanted = (self.before + self.count - 1) // self.stride - self.first + 1
        after = max(wanted + self.length - 1 - self.size - before, 0)
        return Slide(
            self.length, 1, 1, before, after, 0, self.size + before + after - self.length + 1
        )


def conv_transpose(call: Call) -> Tensor:
    """The transpose of a convolution: a convolution to all phases, which are interleaved."""
    x, weight = call.tensor(), call.parameter(1)
    groups = int(call.attributes.get("group", 1))
    if weight.ndim != len(x.shape) or not 3 <= weight.ndim <= 5:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit the input {list(x.shape)}"
        )
    stated = tuple(call.attributes.get("kernel_shape", weight.shape[2:]))
    if stated != weight.shape[2:] or groups < 1 or weight.shape[0] != x.shape[1]:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit kernel {list(stated)} and input "
            f"{list(x.shape)}"
        )
    if x.shape[1] % groups:
        raise call.invalid(f"{x.shape[1]} channels do not fall into {groups} groups")
    axes = _stretches(call, x, weight.shape[2:])
    bias = _bias(call, weight.shape[1] * groups, weight)
    return transposed(call, x, weight, bias, axes, groups)


def transposed(
    call: Call, x: Tensor, weight: Float, bias: Float, axes: list[Stretch], groups: int
) -> Tensor:
    """A transposed convolution of (N, C, ...), with weights (C, O / groups, ...).

    Its nodes are a convolution to all phases, and wiring that interleaves them.
    """
    per_group = weight.shape[1]
    phases = [axis.stride for axis in axes]
    n_phases = prod(phases)
    full = (groups, per_group, *phases, x.shape[1] // groups, *(axis.length for axis in axes))
    slides = [axis.slide for axis in axes]
    maps = (per_group * groups * n_phases, *(slide.count for slide in slides))
    for size in (full, maps):
        call.builder.check_size(size, call.origin)
    spread = np.zeros(full, weight.dtype)
    by_group = weight.reshape(groups, x.shape[1] // groups, *weight.shape[1:]).swapaxes(1, 2)
    whole: Any = slice(None)
    for taps in np.ndindex(*weight.shape[2:]):
        found = [axis.at(tap) for axis, tap in zip(axes, taps, strict=True)]
        phase = tuple(p for p, _ in found)
        # A cross-correlation: the tap with the largest shift comes first.
        kernel = tuple(axis.length - 1 - s for axis, (_, s) in zip(axes, found, strict=True))
        spread[(whole, whole, *phase, whole, *kernel)] = by_group[(whole, whole, whole, *taps)]
    n_out = per_group * groups
    layer = spread.reshape(n_out * n_phases, x.shape[1] // groups, *full[3 + len(axes) :])
    plain = n_phases == 1 and all(
        a.before == a.first and a.count == s.count for a, s in zip(axes, slides, strict=True)
    )
    inner = call if plain else replace(call, name=f"{call.name}.phases")
    y = _convolved(inner, x, layer, np.repeat(bias, n_phases), slides, groups)
    return y if plain else _interleaved(call, y, axes, n_out)


def col2im(call: Call) -> Tensor:
    """Blocks restored to their positions, and summed where they overlap.

    It is a transposed convolution in which each channel of a block has one tap.
    """
    x = call.tensor()
    image, block = (
        tuple(int(n) for n in np.atleast_1d(call.constant(k, INTEGERS))) for k in (1, 2)
    )
    rank = len(block)
    if len(x.shape) != 3 or len(image) != rank or min(*image, *block) < 1 or rank > 3:
        raise call.invalid(f"blocks {list(block)} do not fit {list(x.shape)}")
    channels, rest = divmod(x.shape[1], prod(block))
    strides = per_axis(call, "strides", rank, least=1)
    dilations = per_axis(call, "dilations", rank, least=1)
    pads = [int(p) for p in call.attributes.get("pads", (0,) * (2 * rank))]
    spans = [d * (n - 1) + 1 for d, n in zip(dilations, block, strict=True)]
    if rest or len(pads) != 2 * rank or min(pads) < 0:
        raise call.invalid(f"blocks {list(block)} and pads {pads} do not fit {list(x.shape)}")
    counts = [
        (image[k] + pads[k] + pads[k + rank] - spans[k]) // strides[k] + 1 for k in range(rank)
    ]
    if min(counts) < 1 or prod(counts) != x.shape[2]:
        raise call.invalid(f"{x.shape[2]} blocks do not fit an image of {list(image)}")
    axes = [
        Stretch(counts[k], block[k], strides[k], dilations[k], pads[k], image[k])
        for k in range(rank)
    ]
    call.builder.check_size((prod(block), x.shape[1]), call.origin)
    own = np.eye(prod(block), dtype=np.float32).reshape(prod(block), 1, *block)
    weight = np.tile(own, (channels, *[1] * (rank + 1)))
    bias = np.zeros(channels, np.float32)
    blocks = call.emit(ann.Reshape, x, shape=(call.batch, x.shape[1], *counts), suffix="blocks")
    return transposed(call, blocks, weight, bias, axes, channels)


def _interleaved(call: Call, y: Tensor, axes: list[Stretch], n_out: int) -> Tensor:
    """Channels of phases interleaved, without cropped values."""
    index = places(y).reshape(n_out, *(axis.stride for axis in axes), *y.shape[2:])
    rank = len(axes)
    order = [0, *(k + 1 + side * rank for k in range(rank) for side in (1, 0))]
    index = index.transpose(order)
    index = index.reshape(
        n_out, *(n * axis.stride for n, axis in zip(y.shape[2:], axes, strict=True))
    )
    starts = [axis.before - axis.first * axis.stride for axis in axes]
    parts = tuple(slice(s, s + axis.count) for s, axis in zip(starts, axes, strict=True))
    return take_places(call, y, index[(slice(None), *parts)])


def _stretches(call: Call, x: Tensor, kernel: Sequence[int]) -> list[Stretch]:
    """The parameters of each axis from the attributes.

    Raises:
        ModelError: they do not fit the map or each other.
    """
    size = x.shape[2:]
    rank = len(size)
    strides = per_axis(call, "strides", rank, least=1)
    dilations = per_axis(call, "dilations", rank, least=1)
    extra = per_axis(call, "output_padding", rank, least=0, otherwise=0)
    stated = call.attributes.get("output_shape")
    mode = call.attributes.get("auto_pad", "NOTSET")
    pads = [int(p) for p in call.attributes.get("pads", (0,) * (2 * rank))]
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise call.invalid(f"auto_pad '{mode}' is unknown")
    if len(pads) != 2 * rank or (stated is not None and len(stated) not in (rank, rank + 2)):
        raise call.invalid(f"pads {pads} or output_shape {stated} do not fit {rank} dimensions")
    found = []
    for k, (n, s, d, taps) in enumerate(zip(size, strides, dilations, kernel, strict=True)):
        whole = s * (n - 1) + extra[k] + d * (taps - 1) + 1
        before, count = pads[k], whole - pads[k] - pads[k + rank]
        if stated is not None or mode.startswith("SAME"):
            count = int(stated[k - rank]) if stated is not None else n * s
            if count > whole and stated is None:
                raise call.refusal(
                    f"extends an axis of {whole} values to {count}, for which onnx and onnxruntime "
                    "differ",
                    "export it with pads and output_padding",
                )
            cut = max(whole - count, 0)  # a larger count pads at the end
            before = cut // 2 if mode == "SAME_UPPER" else cut - cut // 2
        if min(count, taps) < 1 or before < 0:
            raise call.invalid(f"gives an axis of {count} values")
        found.append(Stretch(n, taps, s, d, before, count))
    return found
