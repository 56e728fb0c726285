"""Arithmetic with the integers of a file themselves, as real numbers within their type."""

from __future__ import annotations

import numpy as np

from snn_frontends.onnx.expansion.call import CONTRIBUTOR, Expansion, Rule
from snn_frontends.onnx.operators.whole import WITHIN


def on_numbers(op: str) -> Rule:
    """An operator on integers, which its constants are as well."""

    def rule(e: Expansion) -> None:
        if op == "Cast":
            e.add("Identity", e.input(0), to=e.outputs[0], main=True)
            return
        one = e.constant(1.0, np.float64)
        given = [e.dequantize(e.input(k), one) for k in range(len(e.inputs))]
        e.add(op, *given, to=e.outputs[0], main=True, **e.others())

    return rule


def within(rule: Rule, bits: int) -> Rule:
    """A rule whose result must be proven to stay within a signed type of so many bits."""

    def bounded(e: Expansion) -> None:
        rule(e)
        e.follow(WITHIN, domain=CONTRIBUTOR, bits=bits)

    return bounded
