"""The float network, evaluated with numpy.

One function per operator; the interpreter is a loop with an environment. Values are laid out
with the batch last (see ``kernels``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from math import prod
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import evaluate as value_of
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.products import blas
from snn_compile.samples.rows import Rows
from snn_compile.sim import kernels
from snn_compile.sim.batches import Advance, batch_size, map_batches, no_progress
from snn_compile.sim.kernels import Array

PIECE_BYTES = 1 << 20
"""Size of the largest value of one piece: a layer's input and output share the cache."""

Hook = Callable[[AnnNode, Array], Array]
"""Maps each node's value (``*shape, B``) to its replacement."""
Operators = Callable[[AnnNode, Sequence[Array]], Array]
"""The value of one operator from its sources, (*shape, B) each."""


def evaluate(
    ann: ANNGraph,
    x: Rows,
    *,
    hook: Hook | None = None,
    dtype: npt.DTypeLike = np.float32,
    operators: Operators | None = None,
    advance: Advance = no_progress,
    threads: bool = True,
    piece_bytes: int = PIECE_BYTES,
) -> npt.NDArray[np.floating]:
    """The first output for every sample; see :func:`evaluate_outputs`.

    Returns:
        (N, *output shape) of the given type.
    """
    return evaluate_outputs(
        ann,
        x,
        hook=hook,
        dtype=dtype,
        operators=operators,
        advance=advance,
        threads=threads,
        piece_bytes=piece_bytes,
    )[0]


def evaluate_outputs(
    ann: ANNGraph,
    x: Rows,
    *,
    hook: Hook | None = None,
    dtype: npt.DTypeLike = np.float32,
    operators: Operators | None = None,
    advance: Advance = no_progress,
    threads: bool = True,
    piece_bytes: int = PIECE_BYTES,
) -> list[npt.NDArray[np.floating]]:
    """Every output for every sample.

    Args:
        ann: the network.
        x: (N, *sample shape), any numeric type.
        hook: may observe or replace every intermediate value.
        dtype: floating type of the values.
        operators: evaluation of nodes, ``apply`` by default. Values that decide an integer of the
            compiled network require ``Reproducible``.
        advance: progress callback, in samples.
        threads: whether the hook may be called from several threads.
        piece_bytes: maximal size of a value passed to the hook.

    Returns:
        (N, *output shape) of the given type, for each output.
    """
    size = piece_size(ann, piece_bytes)

    def run(piece: npt.NDArray[np.generic], start: int) -> list[npt.NDArray[np.floating]]:
        del start
        values = forward(ann, batch_last(piece, dtype), hook, operators)
        return [np.moveaxis(values[output.id], -1, 0) for output in ann.outputs]

    pieces = list(map_batches(run, x, size, advance, threads=None if threads else 1))
    if not pieces:
        return [np.empty((0, *output.shape), dtype) for output in ann.outputs]
    return [np.concatenate(of_output) for of_output in zip(*pieces, strict=True)]


def traverse(
    ann: ANNGraph,
    x: Rows,
    hook: Callable[[int], Hook],
    *,
    operators: Operators | None = None,
    advance: Advance = no_progress,
    threads: bool = True,
    piece_bytes: int = PIECE_BYTES,
) -> None:
    """Pass every value of every sample to the hook of its piece, which begins with some sample.

    Other arguments are those of :func:`evaluate_outputs`.
    """

    def run(piece: npt.NDArray[np.generic], start: int) -> None:
        forward(ann, batch_last(piece), hook(start), operators)

    size = piece_size(ann, piece_bytes)
    for _ in map_batches(run, x, size, advance, threads=None if threads else 1):
        pass


def piece_size(ann: ANNGraph, piece_bytes: int = PIECE_BYTES) -> int:
    """Samples per piece, for a largest value of ``piece_bytes``."""
    largest = max(prod(node.shape) for node in ann.graph)
    return batch_size(largest, working_bytes=piece_bytes)


def multiplications(ann: ANNGraph) -> int:
    """Multiplications of the network for one sample; a node without weights counts its values."""

    def of(node: AnnNode) -> int:
        if isinstance(node, ops.Conv):
            return prod(node.shape[1:]) * node.weight.size
        return node.weight.size if isinstance(node, ops.Dense) else prod(node.shape)

    return sum(map(of, ann.graph))


def batch_last(x: npt.NDArray[np.generic], dtype: npt.DTypeLike = np.float32) -> Array:
    """Samples (N, *shape) in the evaluator's layout, (*shape, N), contiguous."""
    return np.moveaxis(x, 0, -1).astype(dtype, order="C")


def forward(
    ann: ANNGraph,
    x: Array,
    hook: Hook | None = None,
    operators: Operators | None = None,
    given: Mapping[NodeId, Array] = MappingProxyType({}),
) -> dict[NodeId, Array]:
    """The outputs for one piece; x is (*sample shape, B). Values are dropped after use.

    ``given`` values replace those of their nodes; nodes needed only for them are skipped.
    """
    compute = operators or apply
    computed = _computed(ann, given)
    readers = Counter(source for node in computed for source in set(node.inputs))
    values, arriving = dict(given), ann.inputs.split(x, 0)
    for node in computed:
        sources = [values[s] for s in node.inputs]
        if isinstance(node, ops.Input):
            value = entered(node, arriving[node.id])
        else:
            value = compute(node, sources)
        values[node.id] = value if hook is None else hook(node, value)
        for source in set(node.inputs):
            readers[source] -= 1
            if not readers[source]:
                del values[source]
    return values


def _computed(ann: ANNGraph, given: Mapping[NodeId, Array]) -> list[AnnNode]:
    """The nodes behind the given ones, in order."""
    for_nothing, found = set(given), list[AnnNode]()
    for node in reversed(tuple(ann.graph)):
        readers = ann.graph.consumers(node.id)
        if node.id not in given and (not readers or any(r.id not in for_nothing for r in readers)):
            found.append(node)
        else:
            for_nothing.add(node.id)
    return found[::-1]


def apply(node: AnnNode, sources: Sequence[Array]) -> Array:
    """The value of one operator; sources and result are (*shape, B)."""
    return _apply(node, *sources)


def entered(node: ops.Input, x: Array) -> Array:
    """The input on its grid, if it has one."""
    if node.step is None or node.ends is None:
        return x
    step = column(node.step, x)
    return np.clip(np.rint(x / step), *node.ends) * step


def column(parameter: ops.Float, x: Array) -> Array:
    """A per-channel parameter, shaped to multiply (C, ..., B)."""
    return parameter.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def on_levels(x: Array, full_scale: ops.Float, levels: int, *, signed: bool = False) -> Array:
    """Activations (C, ..., B) on the nearest of the levels from 0 to a full scale per channel.

    ``full_scale / levels * clip(floor(x * levels / full_scale + 1/2), 0, levels)``: an ideal coding
    (clip-floor-shift, Bu et al. 2022). Signed activations have as many levels below 0.
    """
    full = full_scale.astype(x.dtype)
    if len(full) != x.shape[0]:  # impossible: populations have the channels of their node
        raise ValueError(f"{len(full)} scales for shape {x.shape}")
    step = column(full / levels, x)
    level: Array = x / step
    level += 0.5
    np.clip(np.floor(level, out=level), -levels if signed else 0, levels, out=level)
    level *= step
    return level


@singledispatch
def _apply(node: AnnNode, *sources: Array) -> Array:
    raise TypeError(f"no evaluation rule for {type(node).__name__}")


@_apply.register
def _(node: ops.Output, x: Array) -> Array:
    del node
    return x


@_apply.register
def _(node: ops.Conv, x: Array) -> Array:
    return kernels.conv2d(x, node.weight, node.geometry, node.bias)


@_apply.register
def _(node: ops.Dense, x: Array) -> Array:
    y: Array = blas(node.weight.astype(x.dtype, copy=False), x)
    y += column(node.bias, y)
    return y


@_apply.register
def _(node: ops.BatchNorm, x: Array) -> Array:
    scale = node.gamma / np.sqrt(node.var + node.epsilon)
    shift = node.beta - node.mean * scale
    y = x * column(scale, x)
    y += column(shift, y)
    return y


@_apply.register
def _(node: ops.Affine, x: Array) -> Array:
    scale, shift = (p.astype(x.dtype)[..., None] for p in (node.scale, node.shift))
    y = x * scale
    y += shift
    return y


@_apply.register
def _(node: ops.Product, left: Array, right: Array) -> Array:
    return on_own_grid(node, left * right)


@_apply.register
def _(node: ops.Relu, x: Array) -> Array:
    return on_own_grid(node, np.clip(x, 0, node.cap))


def on_own_grid(node: ops.Activation, x: Array) -> Array:
    """Activations on the grid of a network with quantized activations; else unchanged."""
    if node.levels is None or node.full_scale is None:
        return x
    return on_levels(x, node.full_scale, node.levels, signed=not node.non_negative)


@_apply.register
def _(node: ops.Function, x: Array) -> Array:
    return on_own_grid(node, value_of(node.expression, x).astype(x.dtype))


@_apply.register
def _(node: ops.MaxPool, x: Array) -> Array:
    return kernels.max_pool(x, node.kernel, node.geometry)


@_apply.register
def _(node: ops.AveragePool, x: Array) -> Array:
    top, left, bottom, right = node.geometry.padding
    padding = (top, left, bottom + node.overhang[0], right + node.overhang[1])
    channels = x.shape[0]
    geometry = replace(node.geometry, padding=padding, groups=channels)
    ones = np.ones((channels, 1, *node.kernel), x.dtype)
    total = kernels.conv2d(x, ones, geometry)
    inside = np.ones((1, *x.shape[1:3], 1), x.dtype)
    if node.count_padding:
        inside = kernels.pad(inside, node.geometry.padding, 1.0)
        padding = (0, 0, *node.overhang)
    count = kernels.conv2d(inside, ones[:1], replace(node.geometry, padding=padding, groups=1))
    return total / count


@_apply.register
def _(node: ops.Add, *xs: Array) -> Array:
    total = xs[0] + xs[1] if len(xs) > 1 else xs[0]
    for x in xs[2:]:
        total = total + x
    return total


@_apply.register
def _(node: ops.Concat, *xs: Array) -> Array:
    return np.concatenate(xs, axis=node.axis)


@_apply.register
def _(node: ops.Pad, x: Array) -> Array:
    crop = tuple(
        slice(max(-b, 0), n - max(-a, 0))
        for b, a, n in zip(node.before, node.after, x.shape[:-1], strict=True)
    )
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(node.before, node.after, strict=True)]
    return np.pad(x[crop], [*widths, (0, 0)])


@_apply.register
def _(node: ops.Reshape, x: Array) -> Array:
    return x.reshape(*node.shape, x.shape[-1])


@_apply.register
def _(node: ops.Transpose, x: Array) -> Array:
    return x.transpose(*node.permutation, x.ndim - 1)


@_apply.register
def _(node: ops.Slice, x: Array) -> Array:
    return x[node.slices]


@_apply.register
def _(node: ops.Gather, x: Array) -> Array:
    flat = x.reshape(-1, x.shape[-1])
    y: Array = flat[np.maximum(node.index, 0)]
    y[node.index < 0] = 0
    return y.reshape(*node.shape, x.shape[-1])


@_apply.register
def _(node: ops.AxisMatrix, x: Array) -> Array:
    from scipy.sparse import csr_array

    first = np.moveaxis(x, node.axis, 0)
    # Rows of a sparse matrix are summed in a fixed order on every processor.
    flat = csr_array(node.matrix.astype(x.dtype)) @ first.reshape(len(first), -1)
    y: Array = np.moveaxis(flat.reshape(-1, *first.shape[1:]), 0, node.axis)
    return y
