"""Networks that are wrong in a known way: what a layer would be if a hypothesis were true.

Each variant of a population or of a synapse group is one thing that a person, a converter or a chip
gets wrong. Device fakes inject them, and a diagnosis tests them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Population,
    SigmaDeltaNeurons,
    SignedIFNeurons,
    Synapses,
    SyncIFNeurons,
)
from snn_compile.ir.spiking import Reset

T = TypeVar("T")
NARROWEST_STATE = 8

Thresholded = IFNeurons | SignedIFNeurons | SyncIFNeurons | ClipFloorNeurons | CubaLIFNeurons
Requantizing = GradedNeurons | SigmaDeltaNeurons


@dataclass(frozen=True)
class Variant(Generic[T]):
    """A part of the network as it would be.

    Attributes:
        kind: stable name of what is wrong.
        text: the same for people.
        part: the population or the synapse group.
    """

    kind: str
    text: str
    part: T


def of_population(population: Population) -> Iterator[Variant[Population]]:
    """Every way in which neurons can be wrong, the likelier ones first."""
    yield Variant("no-bias", "the bias is missing", without_bias(population))
    yield from _of_thresholds(population)
    if isinstance(population, IFNeurons | SignedIFNeurons):
        nothing = QTensor.of(np.zeros_like(population.initial_potential.values))
        part: Any = replace(population, initial_potential=nothing)
        yield Variant("no-initial-potential", "windows start at potential 0", part)
    if isinstance(population, IFNeurons) and population.burst > 1:
        yield Variant("no-burst", "a step has one spike at most", replace(population, burst=1))
    elif isinstance(population, IFNeurons):
        other = Reset.ZERO if population.reset is Reset.SUBTRACT else Reset.SUBTRACT
        how = "to zero" if other is Reset.ZERO else "by subtraction"
        yield Variant("reset", f"a spike resets {how}", replace(population, reset=other))
    if isinstance(population, Requantizing):
        for by in (1, -1):
            shift = _added(population.shift, by)
            if shift.values.min() >= 0:
                half = "halved" if by > 0 else "doubled"
                part = replace(population, shift=shift)
                yield Variant("shift", f"payloads are {half}: the shift is off by one", part)
        for by in (1, -1):
            part = replace(population, multiplier=_added(population.multiplier, by))
            how = "high" if by > 0 else "low"
            yield Variant("multiplier", f"the multiplier is one too {how}", part)
    yield from of_state(population)


def _of_thresholds(population: Population) -> Iterator[Variant[Population]]:
    if not isinstance(population, Thresholded):
        return
    for by in (1, -1):
        yield Variant(
            "threshold",
            f"the threshold is one too {'high' if by > 0 else 'low'}",
            with_threshold(population, by),
        )
    strict: Any = None
    if isinstance(population, IFNeurons) and population.reset is Reset.SUBTRACT:
        # V > threshold is V - 1 >= threshold, and a potential that starts one lower stays so.
        strict = replace(population, initial_potential=_added(population.initial_potential, -1))
    elif isinstance(population, SyncIFNeurons | ClipFloorNeurons):
        strict = replace(population, bias=_added(population.bias, -1))
    if strict is not None:
        yield Variant("strict-comparison", "it fires only above the threshold, not at it", strict)


def of_state(population: Population) -> Iterator[Variant[Population]]:
    """States that wrap, or that have fewer bits, from the widest to the narrowest."""
    if isinstance(population, CubaLIFNeurons):
        return
    for bits in range(population.state.bits, NARROWEST_STATE - 1, -1):
        for overflow in (Overflow.WRAP, Overflow.SATURATE):
            if (bits, overflow) != (population.state.bits, population.overflow):
                part: Any = replace(population, state=QFormat(bits), overflow=overflow)
                how = "wraps" if overflow is Overflow.WRAP else "saturates"
                yield Variant(overflow.value, f"the state {how} at {bits} bits", part)


def without_bias(population: Population) -> Population:
    """The population with a bias of 0."""
    changed: Any = replace(population, bias=QTensor.of(np.zeros_like(population.bias.values)))
    population = changed
    return population


def with_threshold(population: Thresholded, by: int) -> Population:
    """The population with another threshold, at least 1."""
    threshold = QTensor.of(np.maximum(population.threshold.values + by, 1))
    changed: Any = replace(population, threshold=threshold)
    population = changed
    return population


def of_synapses(synapses: Synapses, source: Shape) -> Iterator[Variant[Synapses]]:
    """Every way in which a whole group of synapses can be wrong."""
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


def _added(tensor: QTensor, by: int) -> QTensor:
    return QTensor.of(tensor.values + by)
