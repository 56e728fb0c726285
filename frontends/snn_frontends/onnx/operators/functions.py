"""Element-wise operators of one activation: the function that each adds to those before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_compile.convert.signs import carries_sign
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.numerics import special
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators.composition import combine, is_operand, of, operand
from snn_frontends.onnx.values import Tensor

TRUE = apply("sub", 1.0, apply("equal", X, 0.0))
"""1 for all numbers but 0."""


def unary(expression: Expression) -> Callable[[Call], Tensor]:
    """The handler of an operator without parameters."""

    def handler(call: Call) -> Tensor:
        return of(call, call.tensor(), expression)

    return handler


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
