"""Sums of products of an activation and a constant, axes named as in Einstein's notation.

In every case, with the shared axes as groups and the contracted ones as channels, it is a
convolution with a kernel of one tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.geometry import Geometry
from snn_compile.numerics.products import total
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import place_batch_axis, view
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.operators.gathering import places, take_places
from snn_frontends.onnx.values import Tensor

Labels = tuple[str, ...]


def contract(call: Call, index: int, x: Labels, weight: Float, w: Labels, out: Labels) -> Tensor:
    """The sum of products of an input and a constant.

    Args:
        call: the operator.
        index: of the input that depends on the network's.
        x: names of its axes.
        weight: the constant.
        w: names of its axes; lengths of 1 broadcast.
        out: names of the axes of the result, each once.
    """
    value = call.value(index)
    _check_sizes(call, value, x, weight, w)
    weight, w = _unrepeated(weight, w)
    longer = {name: n for name, n in zip(x, value.shape, strict=True) if n > 1}
    weight, w = _dropped(weight, w, [k for k in w if weight.shape[w.index(k)] == 1 and k in longer])
    batch = "" if value.axis is None else x[value.axis]
    if batch in w and (weight == np.take(weight, [0], w.index(batch))).all() and batch in out:
        weight, w = _dropped(weight, w, [batch])
    touched = [k for k, name in enumerate(x) if name in w or name not in out or x.count(name) > 1]
    seen = view(call, index, touched)
    alone = seen.like.axis is not None and seen.like.merged == 1
    names = [name for k, name in enumerate(x) if not (alone and k == seen.like.axis)]
    kept = [name for name in out if not (alone and name == batch)]
    y = _diagonal(call, seen.x, names)
    names = list(dict.fromkeys(names))
    y, names = _squeezed(call, y, names, [k for k in names if k not in longer and k in w])
    for name in [name for name in w if name not in kept and name not in names]:
        weight, w = total(weight, w.index(name)), tuple(n for n in w if n != name)
    y = _product(call, y, names, weight, w, kept)
    if seen.like.axis is None:
        return place_batch_axis(y, None)
    return place_batch_axis(y, out.index(batch), seen.like.outer, seen.like.inner)


def _check_sizes(call: Call, value: Tensor, x: Labels, weight: Float, w: Labels) -> None:
    """Check that axes of one name have one length, or length 1."""
    pairs = [*zip(x, value.shape, strict=True), *zip(w, weight.shape, strict=True)]
    for name in {*x, *w}:
        if len({n for other, n in pairs if other == name and n != 1}) > 1:
            raise call.invalid(
                f"operands of shapes {list(value.shape)} and {list(weight.shape)} do not fit"
            )


def _unrepeated(weight: Float, w: Labels) -> tuple[Float, Labels]:
    """A constant with distinct axis names; the diagonal along repeated ones."""
    for name in dict.fromkeys(w):
        while w.count(name) > 1:
            first = w.index(name)
            second = w.index(name, first + 1)
            weight = np.diagonal(weight, axis1=first, axis2=second)
            w = (*(n for k, n in enumerate(w) if k not in (first, second)), name)
    return weight, w


def _dropped(weight: Float, w: Labels, names: Sequence[str]) -> tuple[Float, Labels]:
    """A constant without axes along which it is uniform."""
    for name in names:
        weight = np.take(weight, 0, w.index(name))
        w = tuple(n for n in w if n != name)
    return weight, w


def _diagonal(call: Call, x: Tensor, names: Sequence[str]) -> Tensor:
    """A value with distinct axis names."""
    known = list(dict.fromkeys(names))
    if len(known) == len(names):
        return x
    index = np.einsum(places(x), [known.index(n) for n in names], range(len(known)))
    return take_places(call, x, index, "diagonal")


def _squeezed(
    call: Call, x: Tensor, names: list[str], gone: Sequence[str]
) -> tuple[Tensor, list[str]]:
    """A value without axes of length 1 that the constant repeats."""
    if not gone:
        return x, names
    shape = [n for n, name in zip(x.shape[1:], names, strict=True) if name not in gone]
    x = call.emit(ann.Reshape, x, shape=(call.batch, *shape), suffix="squeezed")
    return x, [name for name in names if name not in gone]


def _product(
    call: Call, x: Tensor, names: list[str], weight: Float, w: Labels, out: Sequence[str]
) -> Tensor:
    """The sum of products over ``(batch, *sample)``, each name at most once in each."""
    size = dict(zip(names, x.shape[1:], strict=True)) | dict(zip(w, weight.shape, strict=True))
    shared = [name for name in out if name in names and name in w]
    summed = [name for name in names if name not in out]
    fresh = [name for name in out if name not in names]
    passed = [name for name in names if name in out and name not in w]
    if not summed and not fresh:
        plain = not w and bool((weight == 1).all())
        y = _permuted(call, x, names, out, "" if plain else "order")
        if plain:
            return y
        order = sorted(range(len(w)), key=lambda k: out.index(w[k]))
        factor = weight.transpose(order).reshape([size[n] if n in w else 1 for n in out])
        return affine(call, y, scale=factor[None])
    missing = [name for name in summed if name not in w]
    weight = weight.reshape(*weight.shape, *[1] * len(missing))
    w = (*w, *missing)
    weight = weight.transpose([w.index(n) for n in (*shared, *fresh, *summed)])
    groups, n_out, n_in, n_passed = (
        prod(size[n] for n in part) for part in (shared, fresh, summed, passed)
    )
    whole = [size[n] for n in (*shared, *fresh, *summed)]
    call.builder.check_size(tuple(whole), call.origin)
    weight = np.broadcast_to(weight, whole).reshape(groups * n_out, n_in, 1, 1)
    x = _permuted(call, x, names, [*shared, *summed, *passed], "order")
    y = _multiplied(call, x, np.ascontiguousarray(weight), groups, n_passed)
    result = [*shared, *fresh, *passed]
    shape = (call.batch, *(size[n] for n in result))
    y = y if y.shape == shape else call.emit(ann.Reshape, y, shape=shape, suffix="restore")
    return _permuted(call, y, result, out, "back")


def _multiplied(call: Call, x: Tensor, weight: Float, groups: int, n_passed: int) -> Tensor:
    """(groups * I, positions) to (groups * O, positions)."""
    n_out, n_in = len(weight), weight.shape[1] * groups
    bias = np.zeros(n_out, weight.dtype)
    if groups == n_passed == 1:
        if x.shape != (call.batch, n_in):
            x = call.emit(ann.Reshape, x, shape=(call.batch, n_in), suffix="vector")
        matrix = weight.reshape(n_out, n_in)
        return call.emit(ann.Dense, x, shape=(call.batch, n_out), weight=matrix, bias=bias)
    x = call.emit(ann.Reshape, x, shape=(call.batch, n_in, 1, n_passed), suffix="lift")
    return call.emit(
        ann.Conv,
        x,
        shape=(call.batch, n_out, 1, n_passed),
        weight=weight,
        bias=bias,
        geometry=Geometry(groups=groups),
    )


def _permuted(
    call: Call, x: Tensor, names: Sequence[str], wanted: Sequence[str], suffix: str
) -> Tensor:
    """A sample's axes in another order."""
    order = tuple(names.index(name) for name in wanted)
    if order == tuple(range(len(order))):
        return x
    shape = (call.batch, *(x.shape[k + 1] for k in order))
    return call.emit(ann.Transpose, x, shape=shape, suffix=suffix, permutation=order)


def mat_mul(call: Call, index: int) -> Tensor:
    """A matrix product with a constant on either side, over any axes around it."""
    value, weight = call.value(index), call.parameter(1 - index)
    ranks = [0, 0]
    ranks[index], ranks[1 - index] = len(value.shape), weight.ndim
    if min(ranks) < 1:
        raise call.invalid("multiplies a number, not a matrix")
    around = [f"b{k}" for k in range(max(ranks) - 2)]
    left = (*around[len(around) - ranks[0] + 2 :], "i", "k") if ranks[0] > 1 else ("k",)
    right = (*around[len(around) - ranks[1] + 2 :], "k", "j") if ranks[1] > 1 else ("k",)
    out = (*around, *(("i",) if ranks[0] > 1 else ()), *(("j",) if ranks[1] > 1 else ()))
    names = (left, right)
    return contract(call, index, names[index], weight, names[1 - index], out)


def gemm(call: Call, index: int) -> Tensor:
    """``A @ B`` with either of them transposed, for any batch axis."""
    left = ("k", "m") if call.attributes.get("transA", 0) else ("m", "k")
    right = ("n", "k") if call.attributes.get("transB", 0) else ("k", "n")
    names = (left, right)
    weight = call.parameter(1 - index)
    if len(call.value(index).shape) != 2 or weight.ndim != 2:
        raise call.invalid("has operands that are not matrices")
    return contract(call, index, names[index], weight, names[1 - index], ("m", "n"))


def einsum(call: Call) -> Tensor:
    """Einstein's notation, for one activation and constants."""
    tensors = [k for k, value in enumerate(call.inputs) if isinstance(value, Tensor)]
    if len(tensors) > 1:
        raise call.refusal(
            "multiplies activations with each other, which has no spiking form",
            "use a network of convolutions and dense layers",
        )
    (index,) = tensors
    ranks = [len(getattr(value, "shape", ())) for value in call.inputs]
    operands, out = _equation(call, str(call.attributes["equation"]), ranks)
    weight, w = np.ones((), np.float32), Labels(())
    for k, names in enumerate(operands):
        if k != index:
            other, names = _unrepeated(call.parameter(k), names)
            weight, w = _outer(call, weight, w, other, names)
    if len(set(out)) < len(out):
        raise call.invalid("names an axis of the result twice")
    return contract(call, index, operands[index], weight, w, out)


def _outer(
    call: Call, a: Float, a_names: Labels, b: Float, b_names: Labels
) -> tuple[Float, Labels]:
    """The product of two constants, all axes kept."""
    names = tuple(dict.fromkeys((*a_names, *b_names)))

    def spread(value: Float, own: Labels) -> Float:
        order = sorted(range(len(own)), key=lambda k: names.index(own[k]))
        shape = [value.shape[own.index(n)] if n in own else 1 for n in names]
        return value.transpose(order).reshape(shape)

    left, right = spread(a, a_names), spread(b, b_names)
    call.builder.check_size(np.broadcast_shapes(left.shape, right.shape), call.origin)
    return left * right, names


def _equation(call: Call, text: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """The names of the axes of each operand and of the result."""
    sides = text.replace(" ", "").split("->")
    terms = sides[0].split(",")
    if len(terms) != len(ranks) or len(sides) > 2:
        raise call.invalid(f"equation '{text}' does not fit {len(ranks)} operands")
    dotted = [
        (term.replace("...", ""), n) for term, n in zip(terms, ranks, strict=True) if "..." in term
    ]
    most = max((n - len(term) for term, n in dotted), default=0)
    rest = tuple(f".{k}" for k in range(most))

    def named(term: str, rank: int | None) -> Labels:
        before, dots, after = term.partition("...")
        n = len(rest) if rank is None else rank - len(before) - len(after)
        if n < 0 or (n and not dots):
            raise call.invalid(f"equation '{text}' does not fit an operand of {rank} axes")
        return (*before, *rest[len(rest) - n :], *after) if dots else tuple(before)

    operands = [named(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    if len(sides) == 2:
        return operands, named(sides[1], None)
    letters = [name for names in operands for name in names if not name.startswith(".")]
    once = sorted(name for name in set(letters) if letters.count(name) == 1)
    return operands, (*rest, *once)
