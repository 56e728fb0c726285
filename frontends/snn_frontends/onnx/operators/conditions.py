"""Comparisons, conditions, and choices that depend on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.expression import Number, X, apply
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import pairs
from snn_frontends.onnx.operators.composition import combine, is_operand, of, operand, trace_back
from snn_frontends.onnx.values import Tensor


def comparison(
    name: str, *, swapped: bool = False, negated: bool = False
) -> Callable[[Call], Tensor]:
    """The handler of a comparison; its value is 1 or 0."""

    def handler(call: Call) -> Tensor:
        where = 0 if isinstance(call.inputs[0], Tensor) else 1
        x = call.tensor(where)
        if all(isinstance(value, Tensor) for value in call.inputs):
            root, left = trace_back(call.builder, x)
            other, right = trace_back(call.builder, call.tensor(1))
            if root != other:
                raise call.refusal("compares two activations", "only with constants")
            x = root
        elif is_operand(call, 1 - where, x):
            constant = operand(call, 1 - where, x)
            left, right = (X, constant) if where == 0 else (constant, X)
        else:  # neurons of a channel share their function, and differ in their biases
            x = pairs.less(call, x, call.parameter(1 - where))
            left, right = (X, Number(np.zeros(()))) if where == 0 else (Number(np.zeros(())), X)
        found = apply(name, right, left) if swapped else apply(name, left, right)
        return of(call, x, apply("sub", 1.0, found) if negated else found)

    return handler


def negation(call: Call) -> Tensor:
    """``not x`` of a comparison."""
    return of(call, call.tensor(), apply("sub", 1.0, X))


def conjunction(name: str) -> Callable[[Call], Tensor]:
    """The handler of ``And`` (a product) and ``Or`` (a maximum) of comparisons."""

    def handler(call: Call) -> Tensor:
        found = combine(call, name, call.tensor(0), call.tensor(1))
        if found is None:
            raise call.refusal("joins conditions on two activations", "only on the same one")
        return found

    return handler


def where(call: Call) -> Tensor:
    """A choice that depends on functions of the same value as its alternatives."""
    tensors = [value for value in call.inputs if isinstance(value, Tensor)]
    if not isinstance(call.inputs[0], Tensor):
        return pairs.where(call)
    roots = {trace_back(call.builder, value)[0] for value in tensors}
    if len(roots) > 1 or len({value.shape for value in tensors}) > 1:
        raise call.refusal(
            "chooses by one activation between others", "only between functions of the same value"
        )
    parts = [
        trace_back(call.builder, value)[1]
        if isinstance(value, Tensor)
        else operand(call, k, tensors[0])
        for k, value in enumerate(call.inputs)
    ]
    (root,) = roots
    return call.emit(ann.Function, root, expression=apply("where", *parts))
