"""Sums of activations, and arithmetic with constants."""

from __future__ import annotations

from collections import Counter

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.expression import X, apply
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import composition, functions, pairs
from snn_frontends.onnx.values import Tensor


def add(call: Call) -> Tensor:
    """``Add`` and ``Sum``: any mixture of activations and constants."""
    tensors = [value for value in call.inputs if isinstance(value, Tensor)]
    constants = [k for k, value in enumerate(call.inputs) if not isinstance(value, Tensor)]
    shift = sum((call.parameter(k) for k in constants), start=np.zeros((), np.float32))
    if not constants and composition.is_curve(call.builder, tensors):
        found = composition.combine(call, "add", *tensors)
        if found is not None:
            return found
    total = _sum(call, tensors, suffix="sum" if constants else "")
    return affine(call, total, shift=shift) if constants else total


def mean(call: Call) -> Tensor:
    """``Mean``: the sum over the number of its terms."""
    return affine(call, add(call), scale=np.float32(1 / len(call.inputs)), suffix="mean")


def sub(call: Call) -> Tensor:
    """``a - b``."""
    left, right = _operands(call)
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if composition.is_curve(call.builder, [left, right]):
            found = composition.combine(call, "sub", left, right)
            if found is not None:
                return found
        mirrored = affine(call, right, scale=np.float32(-1), suffix="mirrored")
        return _sum(call, [left, mirrored])
    if isinstance(left, Tensor):
        return affine(call, left, shift=-call.parameter(1))
    return affine(call, call.tensor(1), scale=np.float32(-1), shift=call.parameter(0))


def neg(call: Call) -> Tensor:
    """``-x``."""
    return affine(call, call.tensor(), scale=np.float32(-1))


def mul(call: Call) -> Tensor:
    """``a * b``, of activations or constants."""
    left, right = _operands(call)
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        found = composition.combine(call, "mul", left, right)
        return pairs.product(call, left, right) if found is None else found
    if isinstance(left, Tensor):
        return affine(call, left, scale=call.parameter(1))
    return affine(call, call.tensor(1), scale=call.parameter(0))


def div(call: Call) -> Tensor:
    """``a / b``, with ``b`` constant."""
    _, right = _operands(call)
    if isinstance(right, Tensor):
        if (found := functions.quotient(call)) is not None:
            return found
        factor = functions.reciprocal(call, right)
        if factor is not None and isinstance(call.inputs[0], Tensor):
            return pairs.product(call, call.tensor(0), factor)
        if not isinstance(call.inputs[0], Tensor):
            if factor is None:
                factor = composition.of(call, right, apply("div", 1.0, X), suffix="reciprocal")
            return affine(call, factor, scale=call.parameter(0))
        raise call.refusal(
            pairs.DIVIDES,
            "only divisors that are constant, or limited: by a Clip with a positive minimum, or as"
            " a sum of what is not negative and a positive number",
        )
    divisor = call.parameter(1)
    if not divisor.all():
        raise call.invalid(f"'{call.names[1]}' holds zeros, by which it divides", "not-finite")
    return affine(call, call.tensor(), scale=1 / divisor)


def affine(
    call: Call,
    x: Tensor,
    *,
    scale: Float | np.floating | None = None,
    shift: Float | np.floating | None = None,
    suffix: str = "",
) -> Tensor:
    """``scale * x + shift`` with constants that broadcast as in ONNX."""
    scale = np.ones((), np.float32) if scale is None else np.asarray(scale)
    shift = np.zeros((), np.float32) if shift is None else np.asarray(shift)
    x = pairs.repeat_for(call, x, scale.shape, shift.shape)
    return call.emit(
        ann.Affine,
        x,
        suffix=suffix,
        scale=call.per_sample(scale, x.shape),
        shift=call.per_sample(shift, x.shape),
    )


def _operands(call: Call) -> tuple[object, object]:
    if len(call.inputs) != 2:
        raise call.invalid(f"has {len(call.inputs)} inputs instead of 2")
    return call.inputs[0], call.inputs[1]


def _sum(call: Call, tensors: list[Tensor], suffix: str = "") -> Tensor:
    """The sum of activations; repeated ones are scaled."""
    if len({tensor.shape for tensor in tensors}) > 1:
        tensors = pairs.broadcast(call, *tensors)
    terms = [
        tensor
        if times == 1
        else affine(
            call,
            tensor,
            scale=np.float32(times),
            suffix="times" if len(set(tensors)) > 1 else suffix,
        )
        for tensor, times in Counter(tensors).items()
    ]
    return terms[0] if len(terms) == 1 else call.emit(ann.Add, *terms, suffix=suffix)
