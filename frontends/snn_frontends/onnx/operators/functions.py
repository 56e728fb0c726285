"""Element-wise operators: any chain of them is one function of one activation.

Each emits the function of the last preceding value that is not element-wise; intermediate nodes
without other readers are dropped with all that no output depends on. Sums, affine maps and
rectifiers remain separate nodes until they become part of a function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_compile.convert.signs import carries_sign
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
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.numerics import special
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import pairs
from snn_frontends.onnx.values import Tensor

TRUE = apply("sub", 1.0, apply("equal", X, 0.0))
"""1 for all numbers but 0."""


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


def unary(expression: Expression) -> Callable[[Call], Tensor]:
    """The handler of an operator without parameters."""

    def handler(call: Call) -> Tensor:
        return of(call, call.tensor(), expression)

    return handler


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


def _attribute(call: Call, name: str, otherwise: float) -> float:
    return float(np.float32(call.attributes.get(name, otherwise)))


def silu(x: Expression, slope: float = 1.0) -> Expression:
    """``x * sigmoid(slope * x)``."""
    return apply("mul", x, apply("sigmoid", x if slope == 1.0 else apply("mul", slope, x)))


def gelu(x: Expression, approximate: bool) -> Expression:
    """``x * Phi(x)``, or its approximation by tanh."""
    half = apply("mul", 0.5, x)
    if not approximate:
        return apply("mul", half, apply("add", 1.0, apply("erf", apply("mul", x, 0.5**0.5))))
    cubic = apply("add", x, apply("mul", 0.044715, apply("power", x, 3.0)))
    inner = apply("mul", (2.0 / np.pi) ** 0.5, cubic)
    return apply("mul", half, apply("add", 1.0, apply("tanh", inner)))


def hard_sigmoid(x: Expression, alpha: float, beta: float) -> Expression:
    """``min(max(alpha * x + beta, 0), 1)``."""
    line = apply("add", apply("mul", alpha, x), beta)
    return apply("min", apply("max", line, 0.0), 1.0)


def exponential_below(x: Expression, scale: float, width: float) -> Expression:
    """``x`` above 0, ``scale * (exp(x / width) - 1)`` below."""
    below = apply("min", x, 0.0)
    below = below if width == 1.0 else apply("div", below, width)
    curve = apply("mul", scale, apply("sub", apply("exp", below), 1.0))
    return apply("add", apply("max", x, 0.0), curve)


def gelu_operator(call: Call) -> Tensor:
    """``Gelu`` in both forms."""
    approximate = call.attributes.get("approximate", "none") == "tanh"
    return of(call, call.tensor(), gelu(X, approximate))


def fast_gelu(call: Call) -> Tensor:
    """``com.microsoft.FastGelu``: tanh, of the input and a bias."""
    return of(call, call.tensor(), gelu(_biased(call), approximate=True))


def bias_gelu(call: Call) -> Tensor:
    """``com.microsoft.BiasGelu``: of the input and a bias."""
    return of(call, call.tensor(), gelu(_biased(call), approximate=False))


def _biased(call: Call) -> Expression:
    return apply("add", X, operand(call, 1, call.tensor())) if call.has(1) else X


def swish(call: Call) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return of(call, call.tensor(), silu(X, _attribute(call, "alpha", 1.0)))


def quick_gelu(call: Call) -> Tensor:
    """``com.microsoft.QuickGelu``."""
    return of(call, call.tensor(), silu(X, _attribute(call, "alpha", 1.702)))


def hard_sigmoid_operator(call: Call) -> Tensor:
    """``HardSigmoid``."""
    alpha, beta = _attribute(call, "alpha", 0.2), _attribute(call, "beta", 0.5)
    return of(call, call.tensor(), hard_sigmoid(X, alpha, beta))


def elu(call: Call) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""
    return of(call, call.tensor(), exponential_below(X, _attribute(call, "alpha", 1.0), 1.0))


def celu(call: Call) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below."""
    alpha = _attribute(call, "alpha", 1.0)
    if not alpha > 0:
        raise call.refusal(f"its alpha is {alpha:g}", "only positive ones")
    return of(call, call.tensor(), exponential_below(X, alpha, alpha))


def selu(call: Call) -> Tensor:
    """``gamma`` times an ELU."""
    alpha, gamma = _attribute(call, "alpha", 1.67326319), _attribute(call, "gamma", 1.05070102)
    return of(call, call.tensor(), apply("mul", gamma, exponential_below(X, alpha, 1.0)))


def thresholded_relu(call: Call) -> Tensor:
    """``x`` above ``alpha``, else 0."""
    above = apply("greater", X, _attribute(call, "alpha", 1.0))
    return of(call, call.tensor(), apply("where", above, X, 0.0))


def shrink(call: Call) -> Tensor:
    """``x + bias`` below ``-lambd``, ``x - bias`` above ``lambd``, 0 between."""
    width, bias = _attribute(call, "lambd", 0.5), _attribute(call, "bias", 0.0)
    above = apply("where", apply("greater", X, width), apply("sub", X, bias), 0.0)
    below = apply("greater", -width, X)
    return of(call, call.tensor(), apply("where", below, apply("add", X, bias), above))


def clip(call: Call, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """``min(max(x, low), high)``; without limits, the value itself."""
    expression: Expression = X
    if low is not None:
        expression = apply("max", expression, low)
    if high is not None:
        expression = apply("min", expression, high)
    return x if expression is X else of(call, x, expression)


def extremum(call: Call, name: str) -> Tensor | None:
    """``Max`` or ``Min`` of functions of one value and constants; None for other operands."""
    values = [k for k, value in enumerate(call.inputs) if isinstance(value, Tensor)]
    limits = set(range(len(call.inputs))) - set(values)
    first = call.tensor(values[0])
    if not all(is_operand(call, k, first) for k in limits):
        return None
    found: Tensor | None = first
    if len(values) > 1:
        found = combine(call, name, *(call.tensor(k) for k in values))
    if found is None:
        return None
    expression: Expression = X
    for k in limits:
        expression = apply(name, expression, operand(call, k, first))
    return found if expression is X else of(call, found, expression)


def power(call: Call) -> Tensor:
    """``x ** n`` and ``b ** x`` with a constant exponent or base."""
    if isinstance(call.inputs[0], Tensor):
        x = call.tensor()
        exponent = operand(call, 1, x)
        if exponent.values.ndim:
            raise call.refusal("its exponents differ", "only one exponent for all values")
        return of(call, x, apply("power", X, exponent))
    x = call.tensor(1)
    base = operand(call, 0, x)
    if base.values.ndim or not base.values > 0:
        raise call.refusal("its base is not one positive number")
    return of(call, x, apply("exp", apply("mul", X, special.log(base.values))))


def quotient(call: Call) -> Tensor | None:
    """``a / b`` where b is an activation: a constant, or functions of one value; else None."""
    if isinstance(call.inputs[0], Tensor):
        return combine(call, "div", call.tensor(0), call.tensor(1))
    x = call.tensor(1)
    return of(call, x, apply("div", operand(call, 0, x), X)) if is_operand(call, 0, x) else None


def reciprocal(call: Call, x: Tensor) -> Tensor | None:
    """``1 / x`` where x is a function of one value, or bounded below, and wired; else None.

    The reciprocal is a part of that function, before the wiring, which often repeats it. That of
    another value has payloads as fine as operands can have: it is the larger, the smaller these
    are.
    """
    wiring: list[AnnNode] = []
    node = call.builder.node(x.node)
    while isinstance(node, ann.Gather | ann.Reshape | ann.Transpose):
        wiring.append(node)
        node = call.builder.node(node.inputs[0])
    padded = any(isinstance(n, ann.Gather) and (n.index < 0).any() for n in wiring)
    inner, inverse = Tensor(node.id, (call.batch, *node.shape)), apply("div", 1.0, X)
    if padded:
        return None
    if isinstance(node, ann.Function):
        y = of(call, inner, inverse, suffix="reciprocal")
    elif _is_positive(call.builder, node):
        y = call.emit(
            ann.Function,
            inner,
            suffix="reciprocal",
            expression=inverse,
            payload_bits=OPERAND_BITS - 1,
            exact=True,
        )
    else:
        return None
    for k, wired in enumerate(reversed(wiring)):
        fields = {
            name: getattr(wired, name) for name in ("index", "permutation") if hasattr(wired, name)
        }
        shape = (call.batch, *wired.shape)
        y = call.emit(type(wired), y, shape=shape, suffix=f"reciprocal.wired{k}", **fields)
    return Tensor(y.node, x.shape)


def _is_positive(builder: Builder, node: AnnNode) -> bool:
    """Whether a value is evidently no less than some positive number."""
    if not isinstance(node, ann.Affine) or node.scale.min() < 0 or node.shift.min() <= 0:
        return False
    ahead = list(node.inputs)
    while ahead:
        found = builder.node(ahead.pop())
        if isinstance(found, ann.Activation):
            if not found.non_negative:
                return False
        elif carries_sign(found) and found.inputs:
            ahead.extend(found.inputs)
        else:
            return False
    return True
