"""From neurons in floating point to neurons in integers: one rule for each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from snn_compile.errors import UnsupportedError
from snn_compile.ir import quantized, spiking
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor, round_half_even, round_half_up
from snn_compile.ir.models.arithmetic import OFFSET_BITS
from snn_compile.ir.models.product import MAX_SHIFT
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.ir.spiking import Float
from snn_compile.numerics.functions import ceil_log2, floor_log2
from snn_compile.quantize.trained import as_trained

FLATTEST = 2.0**-28
"""Payload steps per step of the potential below which a line counts as constant."""

FINEST = 36
"""Largest shift of a line. Rounding its multiplier then changes any payload by less than 2**-13 of
a step, and the largest offsets exceed the largest payload by more than a slope can compensate."""
MAX_OFFSET = (1 << (OFFSET_BITS - 1)) - 1

Rule = Callable[[Any, Float, Float], quantized.Population]


def in_fixed_point(node: spiking.Population, bias: Float, step: Float) -> quantized.Population:
    """Neurons in steps of their potential.

    Args:
        node: the neurons in floating point.
        bias: real bias in these steps; broadcasts to the shape.
        step: value of one step, (C,).

    Raises:
        UnsupportedError: the class of neurons has no rule.
    """
    if type(node) not in RULES:
        raise UnsupportedError(
            f"layer '{node.id}' has {type(node).__name__}, which have no form in fixed point",
            code="unknown-neurons",
            origin=node.origin,
            hint="use another --coding, or install the package of the neuron model",
        )
    return RULES[type(node)](node, bias, step)


def _readout(node: spiking.Readout, bias: Float, step: Float) -> quantized.Readout:
    del step
    return quantized.Readout(**node.common_fields, bias=QTensor.of(round_half_even(bias)))


def _clip_floor(
    node: spiking.ClipFloorNeurons, bias: Float, step: Float
) -> quantized.ClipFloorNeurons:
    threshold = _threshold(node, step)
    return quantized.ClipFloorNeurons(
        **node.common_fields,
        threshold=QTensor.of(threshold),
        bias=_with_half(bias, threshold),
        levels=node.levels,
        relay=node.relay,
    )


def _graded(node: spiking.GradedNeurons, bias: Float, step: Float) -> quantized.GradedNeurons:
    threshold = node.threshold / step
    multiplier, shift = reciprocal(threshold)
    return quantized.GradedNeurons(
        **node.common_fields,
        bias=_with_half(bias, threshold),
        multiplier=QTensor(multiplier, QFormat(12, signed=False)),
        shift=QTensor.of(shift),
        payload=QFormat.holding(0, node.levels),
        relay=node.relay,
    )


def _piecewise_linear(
    node: spiking.PiecewiseLinearNeurons, bias: Float, step: Float
) -> quantized.PiecewiseLinearNeurons:
    """Lines in steps of the potential and of the payload.

    A line is exact at its anchor, regardless of its rounded slope. If the payload saturates there
    (channels of small values share lines with others), the anchor moves to where it does not, and
    from outside the range of potentials to its end. Too large an offset saturates the payload
    anyway.
    """
    per_step = step[:, None]
    unit = node.step[:, None]
    multiplier, shift = fixed_point_factor(node.slope * per_step / unit)
    off = np.clip(node.value, node.low * unit, node.high * unit) - node.value
    moved = np.divide(off, node.slope, out=np.zeros_like(off), where=node.slope != 0.0)
    anchor = np.clip(node.anchor + moved, -VOLTAGE_LIMIT * per_step, VOLTAGE_LIMIT * per_step)
    value = (node.value + node.slope * (anchor - node.anchor)) / unit
    at_anchor = np.ldexp(value, shift) - multiplier * (anchor / per_step)
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    level = round_half_up(-_within(value))  # a tie goes down, as for graded neurons
    offset = np.where(shift > 0, round_half_even(_within(at_anchor)) + half, -level)
    offset = np.clip(offset, -MAX_OFFSET, MAX_OFFSET)
    beyond = np.full_like(node.breakpoints, VOLTAGE_LIMIT + 1)
    begins = np.where(np.isfinite(node.breakpoints), node.breakpoints / per_step, beyond)
    begins = np.clip(np.ceil(begins), -VOLTAGE_LIMIT - 1, VOLTAGE_LIMIT + 1)
    return quantized.PiecewiseLinearNeurons(
        **node.common_fields,
        bias=QTensor.of(round_half_even(bias)),
        breakpoints=QTensor.of(begins.astype(np.int64)),
        multiplier=QTensor.of(multiplier),
        offset=QTensor.of(offset),
        shift=QTensor.of(shift),
        low=node.low,
        high=node.high,
        relay=node.relay,
    )


def _within(value: Float) -> Float:
    """An offset clipped to its format."""
    return np.clip(value, -float(MAX_OFFSET), float(MAX_OFFSET))


def _product(node: spiking.ProductNeurons, bias: Float, step: Float) -> quantized.ProductNeurons:
    del step  # one: operands are payloads
    most = 2.0 ** (MAX_SHIFT - 11)
    multiplier, shift = reciprocal(np.minimum(node.threshold / node.step, most))
    return quantized.ProductNeurons(
        **node.common_fields,
        bias=QTensor.of(round_half_even(bias)),
        multiplier=QTensor(multiplier, QFormat(12, signed=False)),
        shift=QTensor.of(shift),
        low=node.low,
        high=node.high,
        relay=node.relay,
    )


def _signed(node: spiking.SignedIFNeurons, bias: Float, step: Float) -> quantized.SignedIFNeurons:
    threshold = _threshold(node, step)
    return quantized.SignedIFNeurons(
        **node.common_fields,
        threshold=QTensor.of(threshold),
        bias=QTensor.of(round_half_even(bias)),
        initial_potential=_share(threshold, node.initial_potential),
        relay=node.relay,
    )


def _integrate_and_fire(node: spiking.IFNeurons, bias: Float, step: Float) -> quantized.IFNeurons:
    threshold = _threshold(node, step)
    return quantized.IFNeurons(
        **node.common_fields,
        threshold=QTensor.of(threshold),
        bias=QTensor.of(round_half_even(bias)),
        initial_potential=_share(threshold, node.initial_potential),
        reset=node.reset,
        burst=node.burst,
        relay=node.relay,
    )


RULES: dict[type[spiking.Population], Rule] = {
    spiking.Readout: _readout,
    spiking.ClipFloorNeurons: _clip_floor,
    spiking.GradedNeurons: _graded,
    spiking.PiecewiseLinearNeurons: _piecewise_linear,
    spiking.ProductNeurons: _product,
    spiking.SignedIFNeurons: _signed,
    spiking.IFNeurons: _integrate_and_fire,
    spiking.LIFNeurons: as_trained,
}
"""One rule per class, not inherited; a package registers rules for its own classes."""


def _threshold(node: spiking.Neurons, step: Float) -> Int:
    """Threshold in whole steps, at least one."""
    return np.maximum(round_half_even(node.threshold / step), 1)


def _with_half(bias: Float, threshold: Float | Int) -> QTensor:
    """A bias plus half a threshold, so that the following floor rounds.

    A tie goes down, so that a threshold of one step (relays) adds nothing at all.
    """
    return QTensor.of(-round_half_up(-bias - threshold[:, None, None] / 2))


def _share(threshold: Int, share: float) -> QTensor:
    return QTensor.of(np.floor(threshold * share).astype(np.int64))


def reciprocal(threshold: Float) -> tuple[Int, Int]:
    """``1 / threshold`` as ``multiplier / 2**shift`` with ``2**11 <= multiplier < 2**12``.

    Loihi's decay multiplier has 12 bits; the relative error is below 2**-12.
    Thresholds below 2**-11 of a step cannot be expressed and are raised to it.
    """
    threshold = np.maximum(threshold, 2.0**-11)
    shift = 11 + ceil_log2(threshold)
    multiplier = round_half_even(np.ldexp(1.0, shift) / threshold)
    over = multiplier > 4095
    return np.where(over, 2048, multiplier), np.where(over, shift - 1, shift)


def fixed_point_factor(slope: Float) -> tuple[Int, Int]:
    """``slope`` as ``multiplier / 2**shift`` with ``2**11 <= |multiplier| < 2**12``, or 0.

    Small slopes have fewer bits, so that shifts are at most 36. Slopes of 4096 and more cannot be
    expressed and become 4095.
    """
    size = np.abs(slope)
    known = np.clip(np.where(size >= FLATTEST, size, 1.0), FLATTEST, 4095.0)
    shift = np.minimum(11 - floor_log2(known), FINEST)
    multiplier = round_half_even(np.ldexp(known, shift))
    over = multiplier > 4095
    multiplier, shift = np.where(over, 2048, multiplier), np.where(over, shift - 1, shift)
    level = size < FLATTEST
    signed = np.where(slope < 0, -multiplier, multiplier)
    return np.where(level, 0, signed), np.where(level, 0, shift)
