"""Neurons of networks trained with spikes, in fixed point."""

from __future__ import annotations

import numpy as np

from snn_compile.ir import quantized, spiking
from snn_compile.ir.fixedpoint import Int, QTensor, round_half_even, to_int64
from snn_compile.ir.quantized import FRACTION_BITS
from snn_compile.ir.spiking import Float, Reset

DECAY_ONE = 1 << 12
"""Denominator of a decay."""


def own_fraction_bits(node: spiking.Population) -> int:
    """Fraction bits of a population's states below the unit of its weights, by definition."""
    return FRACTION_BITS if isinstance(node, spiking.LIFNeurons) and node.leaks else 0


def decays(alpha: float, beta: float) -> tuple[int, int]:
    """Loihi's du and dv for the fractions of current and potential that remain after a step.

    du is one less than the decay: Lava and the chip add one. Either may lie outside 0 to 4095, the
    range of the chip.
    """
    du, dv = round_half_even(DECAY_ONE * (1 - np.array([alpha, beta])))
    return int(du) - 1, int(dv)


def as_trained(
    node: spiking.LIFNeurons, bias: Float, step: Float
) -> quantized.IFNeurons | quantized.CubaLIFNeurons:
    """The neurons in steps of their weights' unit; ``bias`` is real, in those steps.

    Args:
        node: the neurons.
        bias: the bias, broadcasts to the shape.
        step: value of one step, (C,).
    """
    return _leaky(node, bias, step) if node.leaks else _integrate_and_fire(node, bias, step)


def _integrate_and_fire(node: spiking.LIFNeurons, bias: Float, step: Float) -> quantized.IFNeurons:
    initial = node.initial_potential
    steps = step if initial.ndim == 1 else step[:, None, None]
    threshold, start = _integer_rule(node, node.threshold / step, initial / steps)
    return quantized.IFNeurons(
        **node.common_fields,
        threshold=QTensor.of(np.maximum(threshold, 1)),
        bias=QTensor.of(round_half_even(bias)),
        initial_potential=QTensor.of(start),
        reset=node.reset,
    )


def _integer_rule(node: spiking.LIFNeurons, threshold: Float, start: Float) -> tuple[Int, Int]:
    """Threshold and initial value of ``V >= threshold`` equivalent to the neurons on integers.

    A strict comparison equals one with a threshold one step higher. With reset by subtraction
    a spike would subtract more; then all potentials are one step lower instead.
    """
    if node.reset is Reset.ZERO:
        lowest = np.floor(threshold) + 1 if node.strict else np.ceil(threshold)
        return to_int64(lowest), round_half_even(start)
    first = np.ceil(start) - 1 if node.strict else np.floor(start)
    return round_half_even(threshold), to_int64(first)


def _leaky(node: spiking.LIFNeurons, bias: Float, step: Float) -> quantized.CubaLIFNeurons:
    if node.initial_potential.any():
        raise ValueError(f"'{node.id}' is leaky and does not start at 0")
    own = 1 << FRACTION_BITS
    du, dv = decays(node.alpha, node.beta)
    fine = round_half_even(bias * own)
    drop = QTensor.of(round_half_even(node.drop / step * own))
    return quantized.CubaLIFNeurons(
        **node.common_fields,
        threshold=QTensor.of(np.maximum(round_half_even(node.threshold / step), 1)),
        bias=QTensor.of(fine),
        current_decay=du,
        voltage_decay=dv,
        reset=node.reset,
        drop=drop if node.reset is Reset.SUBTRACT else None,
        filtered_bias=node.alpha != 0 and bool(fine.any()),
    )
