"""Operators that repeat, reorder or omit values, with constant indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.layout import View, plain, view
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.values import Tensor

Index = npt.NDArray[np.int64]

LOWEST = float(np.finfo(np.float32).min)
"""No value is below it."""
PAD_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def places(x: Tensor) -> Index:
    """The index of each value in a sample of ``(batch, *sample)``, in the sample's shape."""
    return np.arange(prod(x.shape[1:])).reshape(x.shape[1:])


def take_places(call: Call, x: Tensor, index: Index, suffix: str = "") -> Tensor:
    """Values of a sample of ``(batch, *sample)`` by their indices; -1 for a zero."""
    shape = (call.batch, *index.shape)
    flat = np.ascontiguousarray(index, np.int64).ravel()
    if np.array_equal(flat, np.arange(prod(x.shape[1:]))):
        return x if shape == x.shape else call.emit(ann.Reshape, x, shape=shape, suffix=suffix)
    return call.emit(ann.Gather, x, shape=shape, suffix=suffix, index=flat)


def zero_pad(
    call: Call, x: Tensor, before: Sequence[int], after: Sequence[int], suffix: str = ""
) -> Tensor:
    """``(batch, *sample)`` with zeros around it; negative widths crop."""
    if not any(before) and not any(after):
        return x
    return call.emit(
        ann.Pad,
        x,
        shape=[b + n + a for b, n, a in zip(before, x.shape, after, strict=True)],
        suffix=suffix,
        before=tuple(before[1:]),
        after=tuple(after[1:]),
    )


def gather(call: Call) -> Tensor:
    """Values along one axis, in any order and number."""
    rank, indices = len(call.value().shape), call.constant(1, INTEGERS)
    axis = call.axis(int(call.attributes.get("axis", 0)), rank)
    if axis == 0 and (of_sample := _of_sample(call, indices)):
        return of_sample
    seen = view(call, 0, (axis,))
    chosen, along = _within(call, indices, seen.like.shape[axis]), seen.axis(axis)
    shape = (*seen.x.shape[1:along], *chosen.shape, *seen.x.shape[along + 1 :])
    call.builder.check_size((call.batch, *shape), call.origin)
    if chosen.ndim <= 1 and chosen.size and (np.diff(np.atleast_1d(chosen)) == 1).all():
        y = _run(call, seen.x, along, np.atleast_1d(chosen), scalar=not chosen.ndim)
    else:
        y = take_places(call, seen.x, np.take(places(seen.x), chosen, along - 1))
    before_batch = seen.like.axis is not None and axis < seen.like.axis
    return seen.restored(y, added=chosen.ndim - 1 if before_batch else 0)


def _of_sample(call: Call, indices: Index) -> Tensor | None:
    """Each sample's own values from a batch that has been flattened with other axes.

    Exporters write strided views so: indices ``n * size + k`` for sample n.
    """
    x, pair = call.value(), call.of_pair.get(1)
    if x.axis != 0 or x.outer != 1 or pair is None or indices.ndim < 1 or len(indices) != 1:
        return None
    own = _within(call, indices, x.inner)
    if not np.array_equal(pair, np.concatenate([own, own + x.inner])):
        return None
    source = places(plain(call, x)).reshape(x.inner, *x.shape[1:])
    call.builder.check_size((*own.shape, *x.shape[1:]), call.origin)
    return take_places(call, plain(call, x), np.take(source, own[0], 0))


def _run(call: Call, x: Tensor, axis: int, chosen: Index, *, scalar: bool) -> Tensor:
    """Neighbouring values along an axis of ``(batch, *sample)``, as a slice."""
    parts = [slice(0, n, 1) for n in x.shape[1:]]
    parts[axis - 1] = slice(int(chosen[0]), int(chosen[-1]) + 1, 1)
    shape = [*x.shape[:axis], len(chosen), *x.shape[axis + 1 :]]
    suffix = "slice" if scalar else ""
    if len(chosen) < x.shape[axis]:
        x = call.emit(ann.Slice, x, shape=shape, suffix=suffix, slices=tuple(parts))
    if not scalar:
        return x
    return call.emit(ann.Reshape, x, shape=(*shape[:axis], *shape[axis + 1 :]))


def _within(call: Call, indices: npt.NDArray[np.integer], size: int) -> Index:
    """Indices counted from the front."""
    if not ((indices >= -size) & (indices < size)).all():
        raise call.invalid(f"its indices exceed an axis of {size} values")
    if not indices.size:
        raise call.invalid("gathers nothing")
    return indices.astype(np.int64) % size


def gather_elements(call: Call) -> Tensor:
    """For each element, its index along one axis."""
    rank, indices = len(call.value().shape), call.constant(1, INTEGERS)
    axis = call.axis(int(call.attributes.get("axis", 0)), rank)
    seen = view(call, 0, (axis,))
    if indices.ndim != rank:
        raise call.invalid(f"indices of shape {list(indices.shape)} do not fit the value")
    chosen = _of_each(call, _within(call, indices, seen.like.shape[axis]), seen)
    source, along = places(seen.x), seen.axis(axis) - 1
    parts = [slice(n) for n in chosen.shape]
    parts[along] = slice(None)
    part = source[tuple(parts)]
    if any(
        m != n for k, (m, n) in enumerate(zip(chosen.shape, part.shape, strict=True)) if k != along
    ):
        raise call.invalid(f"indices of shape {list(indices.shape)} do not fit the value")
    return seen.restored(take_places(call, seen.x, np.take_along_axis(part, chosen, along)))


def _of_each(call: Call, value: Index, seen: View) -> Index:
    """One sample of a constant that has the rank of a value and is equal for all samples."""
    batch = seen.like.axis
    if batch is None:
        return value
    if seen.like.merged > 1:
        raise call.mixing(seen.like)
    if (value != np.take(value, [0], batch)).any() or value.shape[batch] != call.batch:
        raise call.differing()
    one: Index = np.take(value, 0, batch)
    return one


def gather_nd(call: Call) -> Tensor:
    """Slices selected by their leading indices."""
    indices = call.constant(1, INTEGERS)
    n_batch = int(call.attributes.get("batch_dims", 0))
    depth = indices.shape[-1] if indices.ndim else 0
    if not depth or n_batch >= indices.ndim or n_batch + depth > len(call.value().shape):
        raise call.invalid(f"indices of shape {list(indices.shape)} do not fit the value")
    seen = view(call, 0, range(n_batch, n_batch + depth))
    moved = indices.ndim - 1 - n_batch - depth
    if seen.like.axis is not None and seen.like.axis < n_batch:
        indices = _of_each(call, indices, seen)
        n_batch, moved = n_batch - 1, 0
    source = places(seen.x)
    around = source.shape[:n_batch]
    if indices.shape[:n_batch] != around:
        raise call.invalid(f"indices of shape {list(indices.shape)} do not fit the value")
    sizes = source.shape[n_batch : n_batch + depth]
    within = [_within(call, indices[..., k], n) for k, n in enumerate(sizes)]
    rest = source.shape[n_batch + depth :]
    call.builder.check_size((call.batch, *indices.shape[:-1], *rest), call.origin)
    grid = [
        np.arange(n).reshape(*[1] * k, n, *[1] * (indices.ndim - 2 - k))
        for k, n in enumerate(around)
    ]
    return seen.restored(take_places(call, seen.x, source[(*grid, *within)]), added=moved)


def tile(call: Call) -> Tensor:
    """A value repeated along its axes."""
    x, repeats = call.value(), call.constant(1, INTEGERS)
    if repeats.shape != (len(x.shape),) or (repeats < 1).any():
        raise call.invalid(f"repeats {repeats.tolist()} do not fit the shape {list(x.shape)}")
    seen = view(call, 0, tuple(int(k) for k in np.flatnonzero(repeats != 1)))
    times = _kept(seen, [int(n) for n in repeats])
    shape = (n * m for n, m in zip(times, seen.x.shape[1:], strict=True))
    call.builder.check_size((call.batch, *shape), call.origin)
    return seen.restored(take_places(call, seen.x, np.tile(places(seen.x), times)))


def _kept(seen: View, values: Sequence[int], otherwise: int = 1) -> list[int]:
    """Numbers per axis of a value, as numbers per axis of a sample."""
    axis, found = seen.like.axis, list(values)
    if axis is not None and seen.like.merged == 1:
        del found[axis]
    elif axis is not None:
        found[axis] = otherwise
    return found


def expand(call: Call) -> Tensor:
    """A value repeated along axes of length 1."""
    x, target = call.value(), tuple(int(n) for n in call.constant(1, INTEGERS))
    try:
        shape = np.broadcast_shapes(x.shape, target)
    except ValueError:
        raise call.invalid(
            f"a value of shape {list(x.shape)} cannot be repeated to {list(target)}"
        ) from None
    if shape == x.shape:
        return x
    added = len(shape) - len(x.shape)
    old = (1,) * added + x.shape
    grown = [k - added for k, (n, m) in enumerate(zip(old, shape, strict=True)) if n != m]
    seen = view(call, 0, [k for k in grown if k >= 0])
    return repeat_to(call, seen, shape, added)


def repeat_to(call: Call, seen: View, shape: Sequence[int], added: int) -> Tensor:
    """A value with additional leading axes, repeated to the given shape in the file."""
    call.builder.check_size(tuple(shape), call.origin)
    full = (*shape[:added], *_kept(seen, shape[added:], seen.like.merged))
    index = np.broadcast_to(places(seen.x), full)
    return seen.restored(take_places(call, seen.x, index), added=added)


def pad(call: Call) -> Tensor:
    """A value with a border: zeros, a constant, or its own values; negative widths crop."""
    x = call.value()
    mode, rank = call.attributes.get("mode", "constant"), len(x.shape)
    if mode != "constant" and mode not in PAD_MODES:
        raise call.invalid(f"mode '{mode}' is unknown")
    value = call.constant(2) if call.has(2) else np.asarray(call.attributes.get("value", 0.0))
    pads = call.integers("pads", 1)
    stated = call.constant(3, INTEGERS) if call.has(3) else range(rank)
    axes = [call.axis(int(axis), rank) for axis in stated]
    if pads is None or len(pads) != 2 * len(axes):
        raise call.invalid(f"pads do not fit the shape {list(x.shape)}")
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    if not any(before) and not any(after):
        return x
    seen = view(call, 0, [k for k in range(rank) if before[k] or after[k]])
    before, after = _kept(seen, before, 0), _kept(seen, after, 0)
    if mode == "constant" and value.item() <= LOWEST:
        return _below(call, seen, before, after)
    if mode == "constant" and not np.isfinite(np.float64(value.item())):
        raise call.invalid(f"pads with {value.item()}", "not-finite")
    if mode != "constant":
        return seen.restored(mirrored(call, seen.x, before, after, PAD_MODES[mode]))
    if not value.any():
        return seen.restored(zero_pad(call, seen.x, [0, *before], [0, *after]))
    y = zero_pad(call, seen.x, [0, *before], [0, *after], "zeros")
    border = np.full(y.shape[1:], np.float32(value.item()))
    border[_inside(before, y.shape[1:], after)] = 0
    return seen.restored(affine(call, y, shift=border[None]))


def _below(call: Call, seen: View, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """A border that no maximum takes, for the pools that read the value."""
    if call.readers != {"MaxPool"}:
        raise call.refusal(
            "pads with -inf, or the least float, what is not read by max pooling alone",
            "pad with 0, or use the pads of MaxPool",
        )
    x = seen.x
    if not seen.like.plain or min(*before, *after) < 0:
        raise call.refusal(
            "pads with -inf along the batch axis, or crops",
            "pad maps only, and crop with Slice",
        )
    border = tuple(zip((0, *before), (0, *after), strict=True))
    shape = tuple(n + sum(widths) for n, widths in zip(x.shape, border, strict=True))
    call.builder.check_size(shape, call.origin)
    return replace(x, shape=shape, border=border)


def center_crop_pad(call: Call) -> Tensor:
    """The centre of a value, or the value centred in zeros."""
    x = call.value()
    rank = len(x.shape)
    axes = [call.axis(int(k), rank) for k in call.attributes.get("axes", range(rank))]
    wanted = [int(n) for n in call.constant(1, INTEGERS)]
    if len(wanted) != len(axes) or min(wanted, default=0) < 1:
        raise call.invalid(f"the sizes {wanted} do not fit axes {axes}")
    before, after = [0] * rank, [0] * rank
    for axis, n in zip(axes, wanted, strict=True):
        less, more = max(x.shape[axis] - n, 0), max(n - x.shape[axis], 0)
        before[axis] = more // 2 - less // 2
        after[axis] = (more - more // 2) - (less - less // 2)
    seen = view(call, 0, [k for k in range(rank) if before[k] or after[k]])
    widths = ([0, *_kept(seen, before, 0)], [0, *_kept(seen, after, 0)])
    return seen.restored(zero_pad(call, seen.x, *widths))


def _inside(before: Sequence[int], shape: Sequence[int], after: Sequence[int]) -> tuple[slice, ...]:
    """The part of a padded value inside the border."""
    return tuple(
        slice(max(b, 0), n - max(a, 0)) for b, n, a in zip(before, shape, after, strict=True)
    )


def mirrored(
    call: Call,
    x: Tensor,
    before: Sequence[int],
    after: Sequence[int],
    mode: str,
    suffix: str = "",
) -> Tensor:
    """``(batch, *sample)`` with a border of its own values; widths are those of the sample."""
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    grown = [n + b + a for n, (b, a) in zip(x.shape[1:], widths, strict=True)]
    call.builder.check_size((call.batch, *grown), call.origin)
    cropped = places(x)[
        tuple(
            slice(max(-b, 0), n - max(-a, 0))
            for b, a, n in zip(before, after, x.shape[1:], strict=True)
        )
    ]
    if not cropped.size:
        raise call.invalid("crops the whole value")
    return take_places(call, x, np.pad(cropped, widths, mode=mode), suffix)  # type: ignore[call-overload]


def trilu(call: Call) -> Tensor:
    """The upper or lower triangle of the last two axes, zeros elsewhere."""
    rank = len(call.value().shape)
    if rank < 2:
        raise call.invalid("needs two axes")
    seen = view(call, 0, (rank - 2, rank - 1))
    k = int(call.constant(1, INTEGERS).reshape(())) if call.has(1) else 0
    index = places(seen.x)
    keep = np.ones(index.shape[-2:], bool)
    keep = np.triu(keep, k) if call.attributes.get("upper", 1) else np.tril(keep, k)
    return seen.restored(take_places(call, seen.x, np.where(keep, index, -1)))


def reverse_sequence(call: Call) -> Tensor:
    """The first values along one axis reversed; their number depends on another axis."""
    rank = len(call.value().shape)
    time = call.axis(int(call.attributes.get("time_axis", 0)), rank)
    batch = call.axis(int(call.attributes.get("batch_axis", 1)), rank)
    lengths = call.constant(1, INTEGERS)
    alike = lengths.size and (lengths == lengths[:1]).all()
    seen = view(call, 0, (time,) if alike else (time, batch))
    if lengths.shape != call.value().shape[batch : batch + 1] or time == batch:
        raise call.invalid(f"{lengths.size} lengths do not fit its axes")
    index = np.moveaxis(places(seen.x), seen.axis(time) - 1, 0).copy()
    if alike:
        index[: lengths[0]] = index[: lengths[0]][::-1]
    else:
        order = (seen.axis(time) - 1, seen.axis(batch) - 1)
        by_row = np.moveaxis(places(seen.x), order, (0, 1)).copy()
        for k, length in enumerate(lengths):
            by_row[:length, k] = by_row[:length, k][::-1]
        return seen.restored(take_places(call, seen.x, np.moveaxis(by_row, (0, 1), order)))
    return seen.restored(take_places(call, seen.x, np.moveaxis(index, 0, seen.axis(time) - 1)))
