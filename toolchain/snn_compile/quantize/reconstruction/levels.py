"""Neurons with gradients: the staircase of their integers forward, a ramp backward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import QFormat, QTensor, round_half_even, round_half_up
from snn_compile.ir.quantized import ClipFloorNeurons, GradedNeurons, Population
from snn_compile.numerics.products import Float
from snn_compile.quantize.neurons import reciprocal
from snn_compile.sim.kernels import Array


def column(values: Float, like: Array) -> Array:
    """(C,) along the channels of (C, H, W, B), in its floating type."""
    return values[:, None, None, None].astype(like.dtype)


@dataclass(frozen=True, eq=False)
class Step:
    """Integers of a level: what a potential is divided by.

    Attributes:
        factor: levels per step of the potential, (C,), an exact quotient or a multiplier.
        divisor: what the product with ``factor`` is divided by, (C,).
        half: half a level, part of the bias, (C,).
        size: real size of a level in steps of the potential, (C,).
        fields: the population's fields that state it.
    """

    factor: Float
    divisor: Float
    half: Float
    size: Float
    fields: dict[str, QTensor]


class Levels:
    """The levels of graded or clip-floor neurons, whose size can be learned.

    ``n = clip(floor(V / size), 0, most)``, in the population's own integers.

    Attributes:
        carries: whether a level is one step.
        most: the largest level.
        given: sizes of the population's levels in steps of the potential, (C,).
    """

    def __init__(self, population: ClipFloorNeurons | GradedNeurons) -> None:
        self.population = population
        if isinstance(population, ClipFloorNeurons):
            self.given = population.threshold.values.astype(np.float64)
            self.most = population.levels
        else:
            self.given = np.ldexp(1.0, population.shift.values) / population.multiplier.values
            self.most = population.payload.max
        self.carries = population.relay and bool((self.given == 1).all())

    def step(self, ratio: Float) -> Step:
        """The integers of levels of these relative sizes."""
        size = self.given * ratio
        if isinstance(self.population, ClipFloorNeurons):
            whole = np.maximum(round_half_even(size), 1)
            size = whole.astype(np.float64)
            found = np.ones(len(size)), size, {"threshold": QTensor.of(whole)}
        else:
            multiplier, shift = reciprocal(size)
            stated = QTensor(multiplier, QFormat(12, signed=False))
            fields = {"multiplier": stated, "shift": QTensor.of(shift)}
            found = multiplier.astype(np.float64), np.ldexp(1.0, shift), fields
        return Step(found[0], found[1], self.half(size), size, found[2])

    @staticmethod
    def half(size: Float) -> Float:
        """The steps of half a level; a tie goes down."""
        return -round_half_up(-size / 2).astype(np.float64)

    def messages(self, potential: Array, step: Step) -> Array:
        """Integers (C, H, W, B) from potentials that include the half.

        Of whole numbers below 2**24, a quotient in float32 is never rounded up to a whole one.
        """
        if self.carries:
            return np.clip(potential, 0, self.most)
        if isinstance(self.population, ClipFloorNeurons):
            n = potential / column(step.divisor, potential)
        else:  # a product with a multiplier has more bits than float32
            n = potential * step.factor[:, None, None, None]
            n /= step.divisor[:, None, None, None]
        np.floor(n, out=n)
        return np.clip(n, 0, self.most, out=n).astype(potential.dtype, copy=False)

    def exact(self, potential: Array, step: Step) -> Array:
        """The same before it is rounded and clipped, without the half."""
        u = potential - column(step.half, potential)
        u /= column(step.size, potential)
        return u


def levels_of(population: Population) -> Levels | None:
    """Of neurons that have levels of a size."""
    return Levels(population) if isinstance(population, ClipFloorNeurons | GradedNeurons) else None
