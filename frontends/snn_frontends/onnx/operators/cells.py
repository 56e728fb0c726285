"""One step of an RNN, a GRU or an LSTM, as layers, functions and products.

The weights of a cell are the same arrays in every step. So are the scales of what it computes: the
activations of one name have one scale in all steps (``ann.Activation.peers``). States, and what is
added up to them, have another in common, so that a sum of them is exact up to its own rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.expression import Expression, X, apply, substitute
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.numerics import products
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.values import Tensor

BITS = OPERAND_BITS - 1
"""Payload bits of gates and states: as many as an operand of a product can have."""
STATE = "state"

Number = Float
"""A value that is the same for all samples, (H,)."""
Value = Tensor | Number
State = tuple[Value, ...]
"""The hidden state, and of an LSTM the cell state."""


@dataclass(frozen=True)
class Step:
    """One step of a cell under construction.

    Attributes:
        call: the operator.
        name: prefix of the names of its nodes.
        group: prefix of the names of its groups of equal scale.
        weights: parameters by name: ``W.i`` (H, I), ``R.i`` (H, H), ``b.i`` (H,) and so on.
        functions: functions of the cell.
        clip: limit of their arguments, or None.
        x: its input.
        whole: whether the input is a whole population, and not a part of one.
    """

    call: Call
    name: str
    group: str
    weights: Mapping[str, Float]
    functions: Sequence[Expression]
    clip: float | None
    x: Tensor
    whole: bool

    def input(self, gate: str) -> Tensor:
        """``W x``.

        A dense layer of a part of a population would have a column for all of its neurons.
        """
        weight = self.weights[f"W.{gate}"]
        if self.whole:
            return self.linear(weight, self.x, f"{gate}.input")
        shape = (self.call.batch, len(weight))
        suffix = f"{self.name}.{gate}.input"
        return self.call.emit(
            ann.AxisMatrix, self.x, shape=shape, suffix=suffix, axis=0, matrix=weight
        )

    def recurrent(self, gate: str, state: Value) -> Value:
        """``R h``."""
        weight = self.weights[f"R.{gate}"]
        if isinstance(state, Tensor):
            return self.linear(weight, state, f"{gate}.recurrent")
        return products.total(weight * state, axis=1)

    def linear(self, weight: Float, x: Tensor, name: str) -> Tensor:
        """A dense layer without bias."""
        return self.call.emit(
            ann.Dense,
            x,
            shape=(self.call.batch, len(weight)),
            suffix=f"{self.name}.{name}",
            weight=weight,
            bias=np.zeros(len(weight), weight.dtype),
        )

    def total(self, name: str, *parts: Value) -> Tensor:
        """The sum of values; at least one depends on the network's input."""
        values = [part for part in parts if isinstance(part, Tensor)]
        shift = sum((p for p in parts if not isinstance(p, Tensor)), np.zeros(1, np.float32))
        y = values[0]
        if len(values) > 1:
            y = self.call.emit(ann.Add, *values, suffix=f"{self.name}.{name}.sum")
        return self.affine(f"{name}.shifted", y, np.ones(1, np.float32), shift)

    def affine(self, name: str, x: Tensor, scale: Number, shift: Number) -> Tensor:
        """``scale * x + shift``; ``x`` itself where that is all."""
        if (scale == 1).all() and not shift.any():
            return x
        return self.call.emit(ann.Affine, x, suffix=f"{self.name}.{name}", scale=scale, shift=shift)

    def minus(self, name: str, x: Tensor) -> Tensor:
        """``-x``."""
        return self.affine(name, x, -np.ones(1, np.float32), np.zeros(1, np.float32))

    def product(self, name: str, left: Value, right: Value, peers: str = "") -> Value:
        """``a * b``."""
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            return self.call.emit(
                ann.Product,
                left,
                right,
                suffix=f"{self.name}.{name}",
                payload_bits=BITS,
                peers=f"{self.group}{peers or name}",
            )
        factor, value = (right, left) if isinstance(left, Tensor) else (left, right)
        if isinstance(factor, Tensor):
            raise TypeError("one of two values is a number here")
        if isinstance(value, Tensor) and factor.any():
            return self.affine(name, value, factor, np.zeros(1, np.float32))
        return factor * value if not isinstance(value, Tensor) else np.zeros_like(factor)

    def apply(
        self, name: str, which: int, x: Tensor, peers: str = "", outer: Expression = X
    ) -> Tensor:
        """A function of the cell, with its clipped argument; ``outer`` is applied afterwards."""
        expression = self.functions[which]
        if self.clip is not None:
            inside = apply("min", apply("max", X, -self.clip), self.clip)
            expression = substitute(expression, inside)
        return self.neurons(name, x, substitute(outer, expression), peers or name)

    def neurons(self, name: str, x: Tensor, expression: Expression, peers: str) -> Tensor:
        """A population that computes a function, or carries a value if that is the identity."""
        fields: dict[str, Any] = {"payload_bits": BITS, "peers": f"{self.group}{peers}"}
        suffix = f"{self.name}.{name}"
        if expression == RELU:
            return self.call.emit(ann.Relu, x, suffix=suffix, **fields)
        # Sums of values with one scale have one weight, which is not fitted.
        is_sum = expression == X
        return self.call.emit(
            ann.Function, x, suffix=suffix, expression=expression, exact=is_sum, **fields
        )


RELU = apply("max", X, 0.0)


def computed(value: Value) -> Tensor:
    """A value that depends on the network's input, as every state after a step does."""
    if not isinstance(value, Tensor):
        raise TypeError("a state does not depend on the network's input")
    return value


def rnn(step: Step, state: State) -> State:
    """``h = f(W x + R h + b)``."""
    (h,) = state
    drive = step.total("state", step.input("h"), step.recurrent("h", h), step.weights["b.h"])
    return (step.apply("state", 0, drive),)


def gru(step: Step, state: State, *, reset_after: bool) -> State:
    """``h = (1 - z) * n + z * h``, written ``n - z * n + z * h``.

    ``n = g(W x + R (r * h) + b)``, or with a reset after the layer ``g(W x + b + r * (R h + b'))``.
    """
    (h,) = state
    bias = step.weights
    z, r = (
        step.apply(
            name,
            0,
            step.total(name, step.input(gate), step.recurrent(gate, h), bias[f"b.{gate}"]),
        )
        for name, gate in (("update", "z"), ("reset", "r"))
    )
    if reset_after:
        before = step.recurrent("n", h)
        own = bias["r.n"]
        if isinstance(before, Tensor):
            before = step.neurons("before", step.total("before", before, own), X, "before")
        else:
            before = before + own
        past = step.product("past", r, before)
        drive = step.total("new", step.input("n"), past, bias["b.n"])
    else:
        past = step.recurrent("n", _reset(step, r, h))
        drive = step.total("new", step.input("n"), past, bias["b.n"], bias["r.n"])
    n = step.apply("new", 1, drive, STATE)
    parts: list[Value] = [n, step.minus("replaced", computed(step.product("shed", z, n, STATE)))]
    parts.append(step.product("kept", z, h, STATE))
    return (step.neurons("state", step.total("state", *parts), X, STATE),)


def _reset(step: Step, r: Tensor, h: Value) -> Value:
    """``r * h``; 0 for a state of 0."""
    if not isinstance(h, Tensor) and not h.any():
        return h
    return step.product("past", r, h)


def lstm(step: Step, state: State, *, coupled: bool) -> State:
    """``c = f * c + i * g(...)``, ``h = o * h(c)``; coupled gates have ``f = 1 - i``.

    Peepholes read the cell state: that before the step for i and f, that after it for o.
    """
    h, c = state
    bias = step.weights

    def drive(gate: str, cell: Value | None) -> Tensor:
        parts: list[Value] = [step.input(gate), step.recurrent(gate, h), bias[f"b.{gate}"]]
        if cell is not None and f"P.{gate}" in bias:
            parts.append(step.product(f"{gate}.peephole", cell, bias[f"P.{gate}"]))
        return step.total(gate, *parts)

    entering = drive("i", c)
    i = step.apply("input", 0, entering)
    if coupled:
        f = step.apply("forget", 0, entering, outer=apply("sub", 1.0, X))
    else:
        f = step.apply("forget", 0, drive("f", c))
    new = step.apply("new", 1, drive("c", None))
    kept = step.product("kept", f, c, "cell")
    total = step.total("cell", step.product("added", i, new, "cell"), kept)
    cell = step.neurons("cell", total, X, "cell")
    o = step.apply("output", 0, drive("o", cell))
    shown = step.functions[2]
    seen = step.neurons("shown", total, shown, "shown")
    return computed(step.product("state", o, seen, STATE)), cell
