"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import prod

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.geometry import Geometry
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.layout import View, plain, view
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.operators.pooling import over_maps
from snn_frontends.onnx.values import Tensor


def _over_axes(
    reduce: Callable[[Call, tuple[int, ...], bool], Tensor],
) -> Callable[[Call], Tensor]:
    """The handler of a reduction, given its axes and whether they are kept.

    Its result is the input where there is nothing to reduce.
    """

    @wraps(reduce)
    def handler(call: Call) -> Tensor:
        axes = _axes(call)
        if axes is None:
            return call.value()
        return reduce(call, axes, bool(call.attributes.get("keepdims", 1)))

    return handler


def _are_of_maps(x: Tensor, axes: Sequence[int]) -> bool:
    """Whether the axes are those of maps, over which pools reduce."""
    return x.plain and len(x.shape) in (3, 4) and min(axes, default=0) >= 2


@_over_axes
def reduce_mean(call: Call, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The mean over axes; a pool over those of maps."""
    if _are_of_maps(call.value(), axes):
        return over_maps(call, ann.AveragePool, axes, keep)
    return _summed(call, view(call, 0, axes), axes, keep, mean=True)


@_over_axes
def reduce_sum(call: Call, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The sum over axes."""
    return _summed(call, view(call, 0, axes), axes, keep, mean=False)


@_over_axes
def reduce_max(call: Call, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The maximum over axes, as a pool over all their values."""
    if _are_of_maps(call.value(), axes):
        return over_maps(call, ann.MaxPool, axes, keep)
    seen = view(call, 0, axes)
    return _largest(call, seen, seen.x, axes, keep)


@_over_axes
def reduce_min(call: Call, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The minimum over axes: the negated maximum of the negated value."""
    seen, minus = view(call, 0, axes), np.float32(-1)
    mirrored = affine(call, seen.x, scale=minus, suffix="mirrored")
    y = _largest(call, seen, mirrored, axes, keep, suffix="largest")
    back = affine(call, plain(call, y), scale=minus)
    return Tensor(back.node, y.shape, y.axis, y.outer, y.inner)


def reduce_sum_square(call: Call) -> Tensor:
    """The sum of squares over axes."""
    return _norm(call, apply("mul", X, X), X)


def reduce_l1(call: Call) -> Tensor:
    """The sum of magnitudes over axes."""
    return _norm(call, apply("abs", X), X)


def reduce_l2(call: Call) -> Tensor:
    """The root of the sum of squares over axes."""
    return _norm(call, apply("mul", X, X), apply("sqrt", apply("max", X, 0.0)))


def _norm(call: Call, inner: Expression, outer: Expression) -> Tensor:
    axes = _axes(call)
    keep = bool(call.attributes.get("keepdims", 1))
    seen = view(call, 0, axes or ())
    parts = call.emit(ann.Function, seen.x, suffix="parts", expression=inner)
    y = seen.restored(parts)
    if axes is not None:
        y = _summed(call, View(parts, seen.like), axes, keep, mean=False)
    if outer is X:
        return y
    root = call.emit(ann.Function, plain(call, y), suffix="root", expression=outer)
    return Tensor(root.node, y.shape, y.axis, y.outer, y.inner)


def global_average_pool(call: Call) -> Tensor:
    """The mean over the whole map."""
    x = call.tensor()
    axes = tuple(range(2, len(x.shape)))
    if len(x.shape) in (3, 4):
        return over_maps(call, ann.AveragePool, axes, keep=True)
    return _summed(call, View(x, x), axes, keep=True, mean=True)


def global_max_pool(call: Call) -> Tensor:
    """The maximum over the whole map."""
    x = call.tensor()
    axes = tuple(range(2, len(x.shape)))
    if len(x.shape) in (3, 4):
        return over_maps(call, ann.MaxPool, axes, keep=True)
    return _largest(call, View(x, x), x, axes, keep=True)


def cum_sum(call: Call) -> Tensor:
    """Sums of all values up to each, along one axis."""
    rank = len(call.value().shape)
    axis = call.axis(int(call.constant(1, INTEGERS).reshape(())), rank)
    seen = view(call, 0, (axis,))
    along = seen.axis(axis)
    n = seen.x.shape[along]
    call.builder.check_matrix(n, n, call.origin)
    exclusive = bool(call.attributes.get("exclusive", 0))
    matrix = np.tri(n, k=-1 if exclusive else 0, dtype=np.float32)
    if call.attributes.get("reverse", 0):
        matrix = np.ascontiguousarray(matrix.T)
    return seen.restored(call.emit(ann.AxisMatrix, seen.x, axis=along - 1, matrix=matrix))


def _axes(call: Call) -> tuple[int, ...] | None:
    """The axes to reduce, counted from the front; None for no reduction."""
    rank = len(call.value().shape)
    stated = call.integers("axes", 1)
    nothing = bool(call.attributes.get("noop_with_empty_axes", 0))
    call.ignore("keepdims")  # where there is nothing to reduce
    if stated:
        return tuple(sorted({call.axis(axis, rank) for axis in stated}))
    return None if nothing else tuple(range(rank))


def _summed(call: Call, seen: View, axes: Sequence[int], keep: bool, *, mean: bool) -> Tensor:
    """Sums or means, one axis after the other."""
    y = seen.x
    along = [k for k in (seen.axis(axis) for axis in axes) if y.shape[k] > 1]
    for k in along:
        n = y.shape[k]
        last = k == along[-1] and keep
        y = call.emit(
            ann.AxisMatrix,
            y,
            shape=[*y.shape[:k], 1, *y.shape[k + 1 :]],
            suffix="" if last else f"axis{k}",
            axis=k - 1,
            matrix=np.full((1, n), 1 / n if mean else 1.0, np.float32),
        )
    return _kept(call, seen, y, axes, keep)


def _largest(
    call: Call, seen: View, x: Tensor, axes: Sequence[int], keep: bool, suffix: str = ""
) -> Tensor:
    """The maximum over axes of ``(batch, *sample)``, moved to the end and pooled."""
    gone = [seen.axis(axis) for axis in axes]
    rest = [k for k in range(1, len(x.shape)) if k not in gone]
    n, m = prod(x.shape[k] for k in gone), prod(x.shape[k] for k in rest)
    y = x
    if n > 1:
        order = tuple(k - 1 for k in (*rest, *gone))
        if order != tuple(range(len(order))):
            shape = (call.batch, *(x.shape[k + 1] for k in order))
            y = call.emit(ann.Transpose, y, shape=shape, suffix="last", permutation=order)
        y = call.emit(ann.Reshape, y, shape=(call.batch, m, 1, n), suffix="window")
        y = call.emit(
            ann.MaxPool,
            y,
            shape=(call.batch, m, 1, 1),
            suffix=suffix,
            kernel=(1, n),
            geometry=Geometry(stride=(1, n)),
        )
        shape = (call.batch, *(1 if k in gone else x.shape[k] for k in range(1, len(x.shape))))
        if keep:
            y = call.emit(ann.Reshape, y, shape=shape, suffix="kept")
        else:
            y = Tensor(y.node, shape)
            return _kept(call, seen, y, axes, keep, always=True)
    return _kept(call, seen, y, axes, keep)


def _kept(
    call: Call, seen: View, y: Tensor, axes: Sequence[int], keep: bool, *, always: bool = False
) -> Tensor:
    """A result with or without the reduced axes."""
    if keep:
        return seen.restored(y)
    gone = {seen.axis(axis) for axis in axes}
    shape = [n for k, n in enumerate(y.shape) if k not in gone]
    if tuple(shape) != y.shape or always:
        y = call.emit(ann.Reshape, y, shape=shape, suffix="squeeze")
    return seen.restored(y, removed=axes)
