"""Chains of element-wise operators: one function of the last value that is not element-wise.

Intermediate nodes without other readers are dropped with all that no output depends on. Sums,
affine maps and rectifiers remain separate nodes until they become part of a function.
"""

from __future__ import annotations

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.expression import (
    MAX_OPERATIONS,
    Apply,
    Expression,
    Number,
    X,
    apply,
    substitute,
)
from snn_compile.ir.graph import NodeId
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import pairs
from snn_frontends.onnx.values import Tensor

Traced = tuple[Tensor, Expression]


def trace_back(builder: Builder, value: Tensor, *, unrounded: bool = False) -> Traced:
    """The last preceding value that is not a function of one other, and the function of it.

    Chained sums of a value with a function of itself have exponentially many paths: each node is
    visited once.

    Args:
        builder: the network under construction.
        value: the value.
        unrounded: whether a function may stand for one that a quantized file rounds to a grid.
    """
    return _traced(builder, value, {}, MAX_OPERATIONS, unrounded)


def _traced(
    builder: Builder,
    value: Tensor,
    known: dict[NodeId, Traced],
    steps_left: int,
    unrounded: bool,
) -> Traced:
    if value.node not in known:
        found = None
        if steps_left:
            found = _step_back(builder, value, known, steps_left - 1, unrounded)
        if found is None or _size(found[1]) > MAX_OPERATIONS:
            found = value, X
        known[value.node] = found
    return known[value.node]


def _step_back(
    builder: Builder,
    value: Tensor,
    known: dict[NodeId, Traced],
    steps_left: int,
    unrounded: bool,
) -> Traced | None:
    """The argument of a value and its function, from its node; None if not a function."""
    node = builder.node(value.node)

    def source(name: NodeId) -> Traced:
        return _traced(builder, Tensor(name, value.shape), known, steps_left, unrounded)

    match node:
        case ann.Function(expression=expression, levels=levels) if levels is None or unrounded:
            return Tensor(node.inputs[0], value.shape), expression
        case ann.Affine():
            scale, shift = _of_channels(node.scale), _of_channels(node.shift)
            if scale is not None and shift is not None:
                root, inner = source(node.inputs[0])
                return root, _affine(inner, scale, shift)
        case ann.Relu(levels=None, like=None):
            root, inner = source(node.inputs[0])
            limited = apply("max", inner, 0.0)
            return root, limited if node.cap is None else apply("min", limited, node.cap)
        case ann.Add():
            parts = [source(name) for name in node.inputs]
            if len({root for root, _ in parts}) == 1:
                total = parts[0][1]
                for _, part in parts[1:]:
                    total = apply("add", total, part)
                return parts[0][0], total
    return None


def _size(expression: Expression) -> int:
    return expression.size if isinstance(expression, Apply) else 0


def _affine(inner: Expression, scale: Float, shift: Float) -> Expression:
    scaled = inner if (scale == 1).all() else apply("mul", inner, scale)
    return scaled if not shift.any() else apply("add", scaled, shift)


def _of_channels(value: Float) -> Float | None:
    """A constant (C or 1, ...) as one number or one per channel; None if it is neither.

    A sample of an input without batch and with one axis is one number without axes.
    """
    flat = value.reshape(*value.shape[:1] or (1,), -1)
    return flat[:, 0] if (flat == flat[:, :1]).all() else None


def of(call: Call, x: Tensor, expression: Expression, suffix: str = "") -> Tensor:
    """A function of a value, composed with the functions before it.

    A chain too long for one expression is split.
    """
    root, inner = trace_back(call.builder, x)
    if _size(inner) + _size(expression) > MAX_OPERATIONS:
        root, inner = x, X
    return call.emit(ann.Function, root, suffix=suffix, expression=substitute(expression, inner))


def combine(call: Call, name: str, *values: Tensor) -> Tensor | None:
    """An operation on several functions of one value, or None for other operands.

    One population for a product costs less than product neurons, even where a quantized file rounds
    its factors.
    """
    if len({value.shape for value in values}) > 1:
        return None
    parts = [trace_back(call.builder, value) for value in values]
    if len({root for root, _ in parts}) > 1:
        parts = [trace_back(call.builder, value, unrounded=True) for value in values]
    if len({root for root, _ in parts}) > 1:
        return None
    expression = apply(name, parts[0][1], parts[1][1])
    for _, part in parts[2:]:
        expression = apply(name, expression, part)
    if _size(expression) > MAX_OPERATIONS:
        return None
    return call.emit(ann.Function, parts[0][0], expression=expression)


def is_curve(builder: Builder, values: list[Tensor]) -> bool:
    """Whether a sum of values is one function of one other, and not a mere rectifier."""
    nodes = [builder.node(value.node) for value in values]
    if not any(_on_a_function(builder, node) for node in nodes):
        return False
    return len({trace_back(builder, value)[0] for value in values}) == 1


def _on_a_function(builder: Builder, node: AnnNode) -> bool:
    while isinstance(node, ann.Affine):
        node = builder.node(node.inputs[0])
    return isinstance(node, ann.Function)


def is_operand(call: Call, index: int, x: Tensor) -> bool:
    """Whether a constant input is a number, or one per channel."""
    value = call.parameter(index)
    if pairs.common_shape(call, value.shape, x.shape) != x.shape:
        return False
    return _of_channels(call.per_sample(value, x.shape)) is not None


def operand(call: Call, index: int, x: Tensor) -> Number:
    """A constant input as a number, or one per channel."""
    value = _of_channels(call.per_sample(call.parameter(index), x.shape))
    if value is None:
        raise call.refusal(
            f"its constant '{call.names[index]}' differs inside a channel",
            "neurons of a channel share their function; use one number per channel",
        )
    return Number(value.astype(np.float64))
