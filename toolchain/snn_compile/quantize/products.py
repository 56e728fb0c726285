"""Synapses of product neurons: two operands in one sum."""

from __future__ import annotations

import numpy as np

from snn_compile.errors import CapacityError
from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor, round_half_even
from snn_compile.ir.graph import Graph
from snn_compile.ir.models.product import MAX_OPERAND, OPERAND_BITS
from snn_compile.ir.quantized import (
    Population,
    ProductDeltaNeurons,
    ProductNeurons,
    QuantizedNode,
    Synapses,
)
from snn_compile.quantize.integers import IntegerWeights
from snn_compile.sim import bounds

OPERAND_WEIGHT = QFormat(8)
"""Format of their weights, independent of --weight-bits: they only encode connections."""
EXPONENT = 6
"""Exponent of the first operand's synapses: a mantissa of 2**6 is a weight of 2**12."""


def operand_weights(groups: tuple[spiking.Synapses, ...]) -> IntegerWeights:
    """Weights of 2**12 as mantissas with an exponent, weights of 1 unchanged."""
    large = [int(np.abs(group.weight).max(initial=0)) >= 1 << OPERAND_BITS for group in groups]
    exponents = tuple(EXPONENT if is_large else 0 for is_large in large)
    tensors = tuple(
        QTensor(round_half_even(np.asarray(group.weight) / (1 << exponent)), OPERAND_WEIGHT)
        for group, exponent in zip(groups, exponents, strict=True)
    )
    unit = np.ones(groups[0].shape[0])
    return IntegerWeights(tensors, exponents, unit, 0.0, True)


def check_operands(graph: Graph[QuantizedNode], population: Population, n_steps: int) -> None:
    """Check that the lower operand of product neurons cannot overflow into the upper one.

    Raises:
        CapacityError: it could.
    """
    if not isinstance(population, ProductNeurons | ProductDeltaNeurons):
        return
    bias = population.bias.values
    largest = int(np.abs(bias - (upper_operand(bias) << OPERAND_BITS)).max(initial=0))
    for name in population.inputs:
        group = graph[name]
        if not isinstance(group, Synapses):
            raise TypeError(f"'{name}' is not a synapse group")
        weights = group.weight.values << max(group.exponent, 0)
        if (weights & ((1 << OPERAND_BITS) - 1)).any():
            reaching = bounds.total_range(graph, group, n_steps)
            interval, _ = bounds.synapse_sums(group, reaching)
            largest += interval.magnitude << max(group.exponent, 0)
    if largest > MAX_OPERAND:
        raise CapacityError(
            f"an operand of the product '{population.id}' could reach {largest:,};"
            f" {MAX_OPERAND:,} at most",
            code="wide-product",
            origin=population.origin,
            hint=f"use --payload-bits {OPERAND_BITS - 1} or less",
        )


def upper_operand(bias: Int) -> Int:
    """The upper operand's part of a sum."""
    upper: Int = (bias + (1 << (OPERAND_BITS - 1))) >> OPERAND_BITS
    return upper
