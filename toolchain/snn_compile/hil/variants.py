"""Networks with a known fault: the layer under a hypothesis.

Each variant of a population or of a synapse group is a typical mistake of a person, a converter or
a chip. Device fakes inject them, and a diagnosis tests them. Those of populations are in their
neuron models (``Population.variants``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Shape
from snn_compile.ir.models.answers import Variant
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses


def of_synapses(synapses: Synapses, source: Shape) -> Iterator[Variant[Synapses]]:
    """All faulty variants of a whole synapse group."""
    weight = synapses.weight.values
    if isinstance(synapses, ConvSynapses):
        flipped = with_weight(synapses, weight[:, :, ::-1, ::-1])
        yield Variant("flipped-kernel", "the kernel is flipped (a true convolution)", flipped)
        if weight.shape[2] == weight.shape[3]:
            turned = with_weight(synapses, weight.swapaxes(2, 3))
            yield Variant("transposed-kernel", "the kernel's rows and columns are swapped", turned)
    if isinstance(synapses, DenseSynapses) and len(source) == 3:
        maps = weight.reshape(-1, *source)
        for axes, text in _ORDERS.items():
            permuted = maps.transpose(0, *(1 + axis for axis in axes)).reshape(weight.shape)
            yield Variant("flatten-order", text, with_weight(synapses, permuted))
    for by in (1, -1):
        part: Any = replace(synapses, exponent=synapses.exponent + by)
        yield Variant("exponent", f"the weight exponent is {synapses.exponent + by}", part)


_ORDERS = {
    (1, 2, 0): "its weights are read with the channel last",
    (2, 1, 0): "its weights are read in the order width, height, channel",
    (0, 2, 1): "its weights are read with rows and columns swapped",
}


def with_weight(synapses: Synapses, weight: Int) -> Synapses:
    """The group with other weights in the same format."""
    changed: Any = replace(synapses, weight=QTensor(weight, synapses.weight.format))
    synapses = changed
    return synapses


def flipped_bit(values: Int, bit: int, bits: int) -> Int:
    """Signed integers of some width with one bit flipped, in two's complement."""
    flipped = (values ^ (1 << bit)) & ((1 << bits) - 1)
    wrapped: Int = np.where(flipped >> (bits - 1) & 1, flipped - (1 << bits), flipped)
    return wrapped
