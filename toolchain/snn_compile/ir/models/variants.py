"""Faults common to several neuron models."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.models.answers import Variant
from snn_compile.ir.models.population import Population


def increase(tensor: QTensor, by: int) -> QTensor:
    """A parameter that is larger everywhere."""
    return QTensor.of(tensor.values + by)


def of_threshold(population: Population, threshold: QTensor) -> Iterator[Variant[Population]]:
    """A threshold off by one, but not below 1."""
    for by, how in ((1, "high"), (-1, "low")):
        part = population.changed(threshold=QTensor.of(np.maximum(threshold.values + by, 1)))
        yield Variant("threshold", f"the threshold is one too {how}", part)


def strict(part: Population) -> Variant[Population]:
    """Neurons that compare with ``>``; their parameters depend on the model."""
    return Variant("strict-comparison", "it fires only above the threshold, not at it", part)


def of_start(population: Population, start: QTensor) -> Iterator[Variant[Population]]:
    """Windows that start at 0."""
    part = population.changed(initial_potential=QTensor.of(np.zeros_like(start.values)))
    yield Variant("no-initial-potential", "windows start at potential 0", part)


def of_scale(
    population: Population, multiplier: QTensor, shift: QTensor
) -> Iterator[Variant[Population]]:
    """A multiplier or a shift off by one."""
    for by, how in ((1, "halved"), (-1, "doubled")):
        places = increase(shift, by)
        if places.values.min() >= 0:
            text = f"payloads are {how}: the shift is off by one"
            yield Variant("shift", text, population.changed(shift=places))
    for by, how in ((1, "high"), (-1, "low")):
        part = population.changed(multiplier=increase(multiplier, by))
        yield Variant("multiplier", f"the multiplier is one too {how}", part)
