"""Operators that rearrange values without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from onnx import TensorProto

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.builder import MixesSamplesError
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import View, plain, unbatch, view
from snn_frontends.onnx.operators import composition, functions
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.operators.gathering import places, take_places, zero_pad
from snn_frontends.onnx.values import FLOATS, Tensor


def identity(call: Call) -> Tensor:
    """The value itself."""
    return call.value()


def cast(call: Call) -> Tensor:
    """The value itself; activations have one floating-point type here."""
    call.ignore("saturate", "round_mode")  # of types that are refused
    target = int(call.attributes.get("to", TensorProto.FLOAT))
    if target == TensorProto.BOOL:
        return composition.of(call, call.tensor(), functions.TRUE)
    if target not in FLOATS:
        raise call.refusal(
            f"converts an activation to {TensorProto.DataType.Name(target)}",
            "rounding inside the network has no spiking form; keep activations floating point",
        )
    return call.value()


def cast_like(call: Call) -> Tensor:
    """The value itself; the other input must be floating point, too."""
    x = call.value()
    call.ignore("saturate", "round_mode")  # of types that are refused
    if not isinstance(call.inputs[1], Tensor) and call.constant(1).dtype.kind != "f":
        raise call.refusal("converts an activation to integers", "keep activations floating point")
    return x


def reshape(call: Call) -> Tensor:
    """Another shape; 0 keeps an axis and -1 infers one."""
    x = call.value()
    target = list(call.integers("shape", 1) or ())
    if not call.attributes.get("allowzero", 0):
        if any(n == 0 and k >= len(x.shape) for k, n in enumerate(target)):
            raise call.invalid(f"shape {target} keeps an axis that {list(x.shape)} lacks")
        target = [x.shape[k] if n == 0 else n for k, n in enumerate(target)]
    rest = prod(n for n in target if n != -1)
    if target.count(-1) == 1 and rest > 0 and prod(x.shape) % rest == 0:
        target = [prod(x.shape) // rest if n == -1 else n for n in target]
    if min(target, default=1) < 0 or prod(target) != prod(x.shape):
        raise call.invalid(f"a value of shape {list(x.shape)} cannot take the shape {target}")
    return _reshaped(call, x, target)


def flatten(call: Call) -> Tensor:
    """The axes before one, and those from it on, merged into one each."""
    x = call.value()
    axis = int(call.attributes.get("axis", 1))
    axis = axis if axis == len(x.shape) else call.axis(axis, len(x.shape))
    if axis == 0 and x.axis is not None and not call.builder.batch.one:
        raise call.mixing(x)
    return _reshaped(call, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def squeeze(call: Call) -> Tensor:
    """Axes of length 1 removed."""
    x = call.value()
    rank, stated = len(x.shape), call.integers("axes", 1)
    if stated is None:
        kept = x.axis if call.builder.batch.symbolic else None
        stated = tuple(k for k in range(rank) if x.shape[k] == 1 and k != kept)
    axes = {call.axis(axis, rank) for axis in stated}
    if any(x.shape[k] != 1 for k in axes):
        raise call.invalid(f"axes {sorted(axes)} of {list(x.shape)} are not all of length 1")
    seen = view(call, 0, tuple(axes))
    shape = [n for k, n in enumerate(x.shape) if k not in axes]
    return _relabelled(call, seen, shape, tuple(axes))


def unsqueeze(call: Call) -> Tensor:
    """Axes of length 1 inserted."""
    x = call.value()
    stated = call.integers("axes", 1)
    if stated is None:
        raise call.invalid("has no axes")
    rank = len(x.shape) + len(stated)
    axes = {call.axis(axis, rank) for axis in stated}
    if len(axes) != len(stated):
        raise call.invalid(f"axes {list(stated)} contain an axis twice")
    sizes = iter(enumerate(x.shape))
    old = [None if k in axes else next(sizes) for k in range(rank)]
    shape = [1 if one is None else one[1] for one in old]
    at = [None if one is None else one[0] for one in old]
    added = 0 if x.axis is None else at.index(x.axis) - x.axis
    return _relabelled(call, View(plain(call, x), x), shape, added=added)


def _relabelled(
    call: Call, seen: View, shape: Sequence[int], removed: Sequence[int] = (), added: int = 0
) -> Tensor:
    """A value with axes of length 1 removed or inserted."""
    axis = seen.like.axis
    if axis is not None:
        axis += added - sum(gone < axis for gone in removed)
    sample = replace(seen.like, node=seen.x.node, shape=tuple(shape), axis=axis)
    if sample.sample == seen.x.shape[1:]:
        return sample
    y = call.emit(ann.Reshape, seen.x, shape=(call.batch, *sample.sample))
    return replace(sample, node=y.node)


def _reshaped(call: Call, x: Tensor, shape: Sequence[int], suffix: str = "") -> Tensor:
    shape = tuple(shape)
    if shape == x.shape:
        return x
    if x.axis is None:
        target = Tensor(x.node, shape, None)
    elif place := _batch_in(x, shape, call.batch):
        target = Tensor(x.node, shape, *place)
    elif call.builder.batch.one:
        target = Tensor(x.node, shape, None)
    else:
        raise MixesSamplesError(
            f"gives shape {list(shape)}, which does not keep the batch axis "
            f"(of size {call.batch}) apart",
            origin=call.origin,
            hint="samples must be independent; keep axis 0 unchanged",
        )
    if target.sample == x.sample:
        return target
    y = call.emit(ann.Reshape, plain(call, x), shape=(call.batch, *target.sample), suffix=suffix)
    return replace(target, node=y.node)


def _batch_in(x: Tensor, shape: Shape, batch: int) -> tuple[int, int, int] | None:
    """The batch axis of a new shape, with the positions around and within it.

    Values keep their order, so as many positions of a sample must precede the batch as before. Of
    several axes (a batch of 1 is hard to see) the first one counts in which it is alone.
    """
    before = prod(x.shape[: x.axis]) * x.outer
    found = []
    for axis, size in enumerate(shape):
        outer, rest = divmod(before, max(prod(shape[:axis]), 1))
        if not rest and outer and size % (outer * batch) == 0:
            inner = size // (outer * batch)
            found.append((outer * inner, axis, outer, inner))
    return min(found)[1:] if found else None


def transpose(call: Call) -> Tensor:
    """Axes in another order."""
    x = call.value()
    rank = len(x.shape)
    order = tuple(int(k) for k in call.attributes.get("perm", reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise call.invalid(f"perm {list(order)} does not fit the shape {list(x.shape)}")
    return _transposed(call, x, order)


def _transposed(call: Call, x: Tensor, order: tuple[int, ...], suffix: str = "") -> Tensor:
    seen = View(plain(call, x), x)
    alone = x.axis is not None and x.merged == 1
    inner = tuple(seen.axis(k) - 1 for k in order if not (alone and k == x.axis))
    target = replace(
        x,
        shape=tuple(x.shape[k] for k in order),
        axis=None if x.axis is None else order.index(x.axis),
    )
    if inner == tuple(range(len(inner))):
        return target
    y = call.emit(
        ann.Transpose,
        seen.x,
        shape=(call.batch, *target.sample),
        suffix=suffix,
        permutation=inner,
    )
    return replace(target, node=y.node)


def depth_to_space(call: Call) -> Tensor:
    """Channels moved into blocks of the map."""
    x, block = call.tensor(), int(call.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[1] % block**2:
        raise call.invalid(f"blocks of {block} do not fit the shape {list(x.shape)}")
    _, c, h, w = x.shape
    if _by_depth(call):
        split, order = (block, block, c // block**2, h, w), (2, 3, 0, 4, 1)
    else:
        split, order = (c // block**2, block, block, h, w), (0, 3, 1, 4, 2)
    index = places(x).reshape(split).transpose(order)
    return take_places(call, x, index.reshape(c // block**2, h * block, w * block))


def _by_depth(call: Call) -> bool:
    """Whether the position in a block is the leading factor of a channel's index."""
    mode = call.attributes.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise call.invalid(f"mode '{mode}' is unknown")
    return bool(mode == "DCR")


def space_to_depth(call: Call) -> Tensor:
    """Blocks of the map moved into channels."""
    x, block = call.tensor(), int(call.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise call.invalid(f"blocks of {block} do not fit the shape {list(x.shape)}")
    _, c, h, w = x.shape
    split = (c, h // block, block, w // block, block)
    order = (2, 4, 0, 1, 3) if _by_depth(call) else (0, 2, 4, 1, 3)
    index = places(x).reshape(split).transpose(order)
    return take_places(call, x, index.reshape(c * block**2, h // block, w // block))


def slice_(call: Call) -> Tensor:
    """Part of a value along some axes."""
    x = call.value()
    rank = len(x.shape)
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise call.invalid("has no starts or no ends")
    axes = call.integers("axes", 3) or tuple(range(len(starts)))
    steps = call.integers("steps", 4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.invalid("its starts, ends, axes and steps do not fit each other")
    slices = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        slices[call.axis(axis, rank)] = slice(start, end, step)
    return _sliced(call, x, slices)


def _whole(call: Call, x: Tensor, part: slice) -> bool:
    """Whether a slice along the batch axis covers all of it."""
    size = call.batch * x.merged
    length = 1 << 62 if call.builder.batch.symbolic else size
    start, stop, step = part.indices(length)
    return start == 0 and step == 1 and stop >= min(length, (1 << 31) - 1)


def _sliced(call: Call, x: Tensor, slices: Sequence[slice], suffix: str = "") -> Tensor:
    """A slice with Python's bounds; the batch must remain complete."""
    if x.axis is not None and not _whole(call, x, slices[x.axis]):
        if not call.builder.batch.one:
            raise call.mixing(x)
        x = unbatch(call, x)
    ranges = [range(*s.indices(n)) for s, n in zip(slices, x.shape, strict=True)]
    if all(r == range(n) for r, n in zip(ranges, x.shape, strict=True)):
        return x
    target = replace(x, shape=tuple(map(len, ranges)))
    if x.axis is not None and x.merged == 1:
        del ranges[x.axis]
    elif x.axis is not None:
        ranges[x.axis] = range(x.merged)
    y = call.emit(
        ann.Slice,
        plain(call, x),
        shape=(call.batch, *target.sample),
        suffix=suffix,
        slices=tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges),
    )
    return replace(target, node=y.node)


def part_of(call: Call, x: Tensor, axis: int, start: int, size: int, suffix: str) -> Tensor:
    """A contiguous part along one axis."""
    slices = [slice(None)] * len(x.shape)
    slices[axis] = slice(start, start + size)
    return _sliced(call, x, slices, suffix)


def split(call: Call) -> Sequence[Tensor]:
    """Parts along one axis, as one slice each."""
    x = call.value()
    axis = call.axis(int(call.attributes.get("axis", 0)), len(x.shape))
    x = view(call, 0, (axis,)).like
    size, n_parts = x.shape[axis], call.n_outputs
    stated = call.integers("split", 1)
    if call.attributes.get("num_outputs", n_parts) != n_parts:
        raise call.invalid(f"has {n_parts} outputs, but another number in its attributes")
    if stated is None:
        each = -(-size // n_parts)
        stated = (each,) * (n_parts - 1) + (size - each * (n_parts - 1),)
    if sum(stated) != size or len(stated) != n_parts or min(stated) < 1:
        raise call.invalid(f"{size} values cannot be split into {list(stated)}")
    starts = [sum(stated[:k]) for k in range(n_parts)]
    return [
        part_of(call, x, axis, start, length, str(k))
        for k, (start, length) in enumerate(zip(starts, stated, strict=True))
    ]


def concat(call: Call) -> Tensor:
    """Concatenation; constants among the inputs become padding and a shift."""
    tensors = [k for k, value in enumerate(call.inputs) if isinstance(value, Tensor)]
    rank = len(call.value(tensors[0]).shape)
    axis = call.axis(int(call.attributes.get("axis", 1)), rank)
    views = {k: view(call, k, (axis,)) for k in tensors}
    first = views[tensors[0]].like
    if any((v.like.axis, v.like.merged) != (first.axis, first.merged) for v in views.values()):
        raise call.refusal(
            "its inputs have different batch axes", "move the batch to one axis before it"
        )
    shapes = [v.shape for v in call.inputs if isinstance(v, Tensor | np.ndarray)]
    if any(
        s[:axis] + s[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :] for s in shapes
    ):
        raise call.invalid(f"shapes {[list(s) for s in shapes]} do not fit along axis {axis}")
    sizes = [shape[axis] for shape in shapes]
    shape = (*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])
    call.builder.check_size(shape, call.origin)
    target = replace(first, shape=shape)
    shift = np.zeros(shape if len(tensors) < len(shapes) else 1, np.float32)
    along = views[tensors[0]].axis(axis)
    pieces, constants = list[Tensor](), 0
    for k in range(len(call.inputs)):
        if k in views:
            after = sum(sizes[k + 1 :]) if k == tensors[-1] else 0
            pieces.append(_embedded(call, views[k].x, along, constants, after, f"pad_{k}"))
            constants = 0
        else:
            place = (slice(None),) * axis + (slice(sum(sizes[:k]), sum(sizes[: k + 1])),)
            shift[place] = call.parameter(k)
            constants += sizes[k]
    joined = pieces[0]
    if len(pieces) > 1:
        suffix = "joined" if shift.any() else ""
        whole = (call.batch, *target.sample)
        joined = call.emit(ann.Concat, *pieces, shape=whole, suffix=suffix, axis=along - 1)
    if shift.any():
        joined = affine(call, joined, shift=_of_sample(call, shift, target))
    return replace(target, node=joined.node)


def _of_sample(call: Call, value: Float, like: Tensor) -> Float:
    """A constant of a value's shape as ``(batch, *sample)``."""
    if like.axis is None:
        return value[None]
    if like.merged > 1:
        first = np.take(value, range(0, value.shape[like.axis], call.batch), like.axis)
        return np.broadcast_to(first, like.sample)[None]
    return np.moveaxis(value, like.axis, 0)


def _embedded(call: Call, x: Tensor, axis: int, before: int, after: int, suffix: str) -> Tensor:
    """A value with zeros around it along one axis."""
    widths = [(before, after) if k == axis else (0, 0) for k in range(len(x.shape))]
    return zero_pad(call, x, [b for b, _ in widths], [a for _, a in widths], suffix)
