"""Normalizations by statistics of the activations themselves, on neurons.

A mean is linear, a square and the root of its mean are functions of one value, and what is divided
is a product: ``y = d * f(mean(d**2))`` with ``d = x - mean(x)``. Exporters that write these steps
one by one get the same network (``convert/refine_statistics.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.geometry import Geometry
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import View, plain, unbatch
from snn_frontends.onnx.operators import pairs
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.values import Tensor

SQUARE = apply("mul", X, X)
SMALLEST = 2.0**-40
"""Replaces a norm of 0, for which the numerator is 0 as well."""


def inverse_root(epsilon: float) -> Expression:
    """``1 / sqrt(x + epsilon)``."""
    mean = apply("max", X, 0.0) if epsilon > 0 else apply("max", X, SMALLEST**2)
    return apply("div", 1.0, apply("sqrt", apply("add", mean, epsilon)))


def layer_normalization(call: Call) -> Sequence[Tensor]:
    """``LayerNormalization``: over all axes from one on, then a scale and a bias for each value."""
    call.ignore("stash_type")
    return _of_last(call, call.value(), centre=True, scale=1, bias=2)


def rms_normalization(call: Call) -> Sequence[Tensor]:
    """``RMSNormalization``, ``SimplifiedLayerNormalization``: the same without the mean."""
    call.ignore("stash_type")
    return _of_last(call, call.value(), centre=False, scale=1, bias=None)


def skip_layer_normalization(call: Call) -> Sequence[Tensor]:
    """``com.microsoft.SkipLayerNormalization``: of a sum."""
    return _of_last(call, _skipped(call, bias=4), centre=True, scale=2, bias=3)


def skip_rms_normalization(call: Call) -> Sequence[Tensor]:
    """``com.microsoft.SkipSimplifiedLayerNormalization``: of a sum."""
    return _of_last(call, _skipped(call, bias=3), centre=False, scale=2, bias=None)


def _skipped(call: Call, bias: int) -> Tensor:
    left, right = call.tensor(0), call.tensor(1)
    total = call.emit(ann.Add, *pairs.broadcast(call, left, right), suffix="skip")
    if not call.has(bias):
        return total
    return affine(call, total, shift=call.parameter(bias), suffix="shifted")


def _of_last(
    call: Call, x: Tensor, *, centre: bool, scale: int, bias: int | None
) -> Sequence[Tensor]:
    rank = len(x.shape)
    first = call.axis(int(call.attributes.get("axis", -1)), rank)
    axes = tuple(range(first, rank))
    seen = _view(call, x, axes)
    epsilon = _number(call, "epsilon", 1e-5)
    over = [seen.axis(axis) for axis in axes]
    y, mean, factor = _normalized(call, seen.x, over, inverse_root(epsilon), centre=centre)
    parameters = [
        _at_end(call, index, seen) if index is not None and call.has(index) else None
        for index in (scale, bias)
    ]
    y = _scaled(call, y, *parameters)
    further = [mean, factor] if mean is not None else [factor]
    return [seen.restored(value) for value in (y, *further)]


def _at_end(call: Call, index: int, seen: View) -> np.ndarray:
    """A parameter of the last axes, for (batch, *sample)."""
    value = call.parameter(index)
    missing = len(seen.x.shape) - value.ndim
    return value.reshape((1,) * missing + value.shape)


def instance_normalization(call: Call) -> Tensor:
    """Each channel of each sample by its own mean and variance."""
    x = call.tensor()
    axes = range(2, len(x.shape))
    function = inverse_root(_number(call, "epsilon", 1e-5))
    y, _, _ = _normalized(call, x, axes, function, centre=True)
    return _scaled(call, y, *(_of_channels(call, k, len(x.shape)) for k in (1, 2)))


def group_normalization(call: Call) -> Tensor:
    """Groups of channels; before operator set 21 with a scale and a bias per group."""
    x = call.tensor()
    groups, channels = int(call.attributes["num_groups"]), x.shape[1]
    call.ignore("stash_type")
    if channels % groups:
        raise call.invalid(f"{channels} channels are no multiple of {groups} groups")
    grouped = (call.batch, groups, prod(x.shape[1:]) // groups)
    flat = call.emit(ann.Reshape, x, shape=grouped, suffix="groups")
    function = inverse_root(_number(call, "epsilon", 1e-5))
    y, _, _ = _normalized(call, flat, (2,), function, centre=True)
    y = call.emit(ann.Reshape, y, shape=x.shape, suffix="channels")
    parameters = [call.parameter(k) for k in (1, 2)]
    repeats = [channels // len(p) for p in parameters]
    column = (1, -1, *[1] * (len(x.shape) - 2))
    full = [np.repeat(p, n).reshape(column) for p, n in zip(parameters, repeats, strict=True)]
    return _scaled(call, y, *full)


def mean_variance_normalization(call: Call) -> Tensor:
    """``(x - mean) / sqrt(variance)`` over any axes except the batch axis."""
    rank = len(call.value().shape)
    stated = call.attributes.get("axes", [0, 2, 3])
    axes = tuple(sorted(call.axis(int(axis), rank) for axis in stated))
    seen = _view(call, call.value(), axes)
    over = [seen.axis(axis) for axis in axes]
    y, _, _ = _normalized(call, seen.x, over, inverse_root(1e-9), centre=True)
    return seen.restored(_scaled(call, y))


def lp_normalization(call: Call) -> Tensor:
    """``x / (sum |x|**p)**(1/p)`` along one axis."""
    x, order = call.value(), int(call.attributes.get("p", 2))
    axis = call.axis(int(call.attributes.get("axis", -1)), len(x.shape))
    if order not in (1, 2):
        raise call.invalid(f"p is {order}; only 1 and 2 are defined")
    seen = _view(call, x, (axis,))
    along = seen.axis(axis)
    n = float(seen.x.shape[along])
    if order == 2:
        inner, function = SQUARE, inverse_root(0.0)
        function = apply("mul", n**-0.5, function)
    else:
        inner = apply("abs", X)
        function = apply("div", 1.0 / n, apply("max", X, SMALLEST))
    y, _, _ = _normalized(call, seen.x, (along,), function, centre=False, inner=inner)
    return seen.restored(_scaled(call, y))


def lrn(call: Call) -> Tensor:
    """``x / (bias + alpha / size * sum of squares of neighbouring channels) ** beta``."""
    x, size = call.tensor(), int(call.attributes["size"])
    alpha, beta = _number(call, "alpha", 1e-4), _number(call, "beta", 0.75)
    bias, channels = _number(call, "bias", 1.0), x.shape[1]
    call.builder.check_matrix(channels, channels, call.origin)
    apart = np.arange(channels) - np.arange(channels)[:, None]
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    matrix = near.astype(np.float32) * np.float32(alpha / size)
    squares = call.emit(ann.Function, x, suffix="square", expression=SQUARE)
    total = call.emit(ann.AxisMatrix, squares, suffix="neighbours", axis=0, matrix=matrix)
    shifted = apply("add", apply("max", X, 0.0), bias)
    function = apply("div", 1.0, apply("power", shifted, beta))
    factor = call.emit(ann.Function, total, suffix="factor", expression=function)
    return call.emit(ann.Product, x, factor)


@dataclass(frozen=True)
class _Base:
    """A value in the layout of its populations, before transpositions and reshapes.

    Attributes:
        x: the value there.
        wiring: the nodes from there to the value.
    """

    x: Tensor
    wiring: tuple[ann.Reshape | ann.Transpose, ...]


def _normalized(
    call: Call,
    x: Tensor,
    axes: Sequence[int],
    function: Expression,
    *,
    centre: bool,
    inner: Expression = SQUARE,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """``d * function(mean(inner(d)))``, the mean and the factor; ``d = x - mean(x)`` if centred.

    Element-wise operators are applied before transpositions and reshapes, so that populations keep
    the maps of the layers around them.
    """
    base = _base(call, x)
    mean = None
    d = base.x
    if centre:
        mean = _mean(call, x, axes, "mean")
        repeated = _back(
            call, base, pairs.repeat_axes(call, mean, x.shape, "mean.repeated"), "mean"
        )
        minus = affine(call, repeated, scale=np.float32(-1), suffix="mean.mirrored")
        d = call.emit(ann.Add, base.x, minus, suffix="centred")
    power = call.emit(ann.Function, d, suffix="square", expression=inner)
    power = _mean(call, _forth(call, base, power, "square"), axes, "power")
    factor = call.emit(ann.Function, power, suffix="factor", expression=function)
    full = pairs.repeat_axes(call, factor, x.shape, "factor.repeated")
    y = call.emit(ann.Product, d, _back(call, base, full, "factor"), suffix="normalized")
    return _forth(call, base, y, "normalized"), mean, factor


def _base(call: Call, x: Tensor) -> _Base:
    wiring: list[ann.Reshape | ann.Transpose] = []
    node = call.builder.node(x.node)
    while isinstance(node, ann.Reshape | ann.Transpose):
        wiring.append(node)
        node = call.builder.node(node.inputs[0])
    return _Base(Tensor(node.id, (call.batch, *node.shape)), tuple(reversed(wiring)))


def _forth(call: Call, base: _Base, y: Tensor, name: str) -> Tensor:
    """A value like the base, transposed and reshaped as the base was."""
    for k, node in enumerate(base.wiring):
        more = {"permutation": node.permutation} if isinstance(node, ann.Transpose) else {}
        shape = (call.batch, *node.shape)
        y = call.emit(type(node), y, shape=shape, suffix=f"{name}.wired{k}", **more)
    return y


def _back(call: Call, base: _Base, y: Tensor, name: str) -> Tensor:
    """The inverse of it."""
    shapes = [base.x.shape[1:], *(node.shape for node in base.wiring)]
    for k in reversed(range(len(base.wiring))):
        node, shape = base.wiring[k], (call.batch, *shapes[k])
        more = {}
        if isinstance(node, ann.Transpose):
            more = {"permutation": tuple(int(p) for p in np.argsort(node.permutation))}
        y = call.emit(type(node), y, shape=shape, suffix=f"{name}.back{k}", **more)
    return y


def _mean(call: Call, x: Tensor, axes: Sequence[int], name: str) -> Tensor:
    """The mean over axes, which stay with a length of 1."""
    whole = len(x.shape) == 4 and tuple(axes) == (2, 3)
    if whole:
        kernel = (x.shape[2], x.shape[3])
        shape = (*x.shape[:2], 1, 1)
        geometry = Geometry(stride=kernel)
        return call.emit(
            ann.AveragePool, x, shape=shape, suffix=name, kernel=kernel, geometry=geometry
        )
    for k in axes:
        n = x.shape[k]
        x = call.emit(
            ann.AxisMatrix,
            x,
            shape=(*x.shape[:k], 1, *x.shape[k + 1 :]),
            suffix=name if k == axes[-1] else f"{name}.axis{k}",
            axis=k - 1,
            matrix=np.full((1, n), 1 / n),
        )
    return x


def _scaled(
    call: Call, y: Tensor, scale: np.ndarray | None = None, bias: np.ndarray | None = None
) -> Tensor:
    """``scale * y + bias`` under the operator's own name."""
    return affine(call, y, scale=scale, shift=bias)


def _of_channels(call: Call, index: int, rank: int) -> np.ndarray:
    return call.parameter(index).reshape(1, -1, *[1] * (rank - 2))


def _number(call: Call, name: str, otherwise: float) -> float:
    return float(np.float32(call.attributes.get(name, otherwise)))


def _view(call: Call, x: Tensor, axes: Sequence[int]) -> View:
    """A value with the axes to normalize, which exclude the batch axis."""
    if x.axis is not None and x.axis in axes:
        if not call.builder.batch.one:
            raise call.mixing(x)
        x = unbatch(call, x)
    return View(plain(call, x), x)
