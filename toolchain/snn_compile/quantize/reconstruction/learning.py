"""Learning a segment's integers: Adam on mixtures, and samples held out that decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId
from snn_compile.numerics import products
from snn_compile.numerics.products import Float
from snn_compile.quantize.reconstruction.levels import column
from snn_compile.quantize.reconstruction.network import SegmentNetwork, Values
from snn_compile.quantize.reconstruction.whitening import Whitening
from snn_compile.sim.kernels import Array

STEPS = 1200
"""Steps of a segment, unless they would take more than ``WORK``."""
BATCH = 16
"""Samples of a step; all are mixtures."""
WORK = 1 << 40
"""Multiplications of the network that a compilation spends on learning, forward passes alone."""
HELD_OUT = 8
"""One of so many samples is held out."""
CHECKS = 5
"""How often the samples held out are looked at."""
RATE, MOST_RATE = 0.02, 0.01
"""First step over the largest number of levels, relative to the root mean square of a neuron's
weights (in the coordinates that they move in) or to a level; falls to 0. The more levels, the
smaller is what noise must not exceed."""
MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999
AVERAGE_DECAY, WARM_UP = 0.98, 10
"""The average of n steps looks back on at most a share (n + 1) / (n + 10) of them."""
TINY = 1e-30
PIECE, AT_ONCE = 1 << 26, 16
"""Values, and samples, that pass the segment at once at most: what they share with the next layer
stays in the cache."""

Entries = dict[NodeId, Array]
Errors = dict[NodeId, float]
Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Goal:
    """What the potential of a population is to be.

    Attributes:
        unit: real value of a step of it, (C,).
        power: mean square of the target.
        weight: of its error.
        rectified: whether only positive drives are read.
        most: drives above it are as good as it, (C,) or None.
    """

    unit: Float
    power: float
    weight: float
    rectified: bool
    most: Float | None = None

    def error(self, potential: Array, half: Float, target: Array) -> Array:
        """Real error of potentials (C, H, W, B); none where nobody reads a difference."""
        found = potential - column(half, potential)
        found *= column(self.unit, found)
        found = found.astype(np.float32, copy=False)
        if not self.rectified:
            return found - target
        found -= np.clip(target, 0, None if self.most is None else column(self.most, target))
        unread = (target <= 0) & (found < 0)
        if self.most is not None:
            unread |= (target >= column(self.most, target)) & (found > 0)
        found *= ~unread
        return found


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a segment is to reproduce.

    Attributes:
        goals: of populations.
        judged: those whose error decides on the samples held out.
        n: number of samples.
        batch: sources and targets of some samples, mixed if random numbers are given.
        whitenings: of the inputs of synapse groups.
    """

    goals: Mapping[NodeId, Goal]
    judged: frozenset[NodeId]
    n: int
    batch: Callable[
        [npt.NDArray[np.intp], np.random.Generator | None], tuple[Entries, dict[NodeId, Array]]
    ]
    whitenings: Mapping[str, Whitening]


@dataclass(frozen=True)
class Learned:
    """Errors of a segment on the samples held out, over their power.

    Attributes:
        before: with the integers it had.
        after: with those that are kept; no larger.
        drives: of each population by itself, both.
    """

    before: float
    after: float
    drives: Mapping[NodeId, tuple[float, float]]


def n_held(n: int) -> int:
    """How many of n samples, the last ones, only judge."""
    return max(n // HELD_OUT, 1)


def n_steps(multiplications: int) -> int:
    """How many steps are spent on a network of so many multiplications."""
    return max(min(STEPS, WORK // (BATCH * max(multiplications, 1))), 1)


def learn(
    network: SegmentNetwork, lesson: Lesson, seed: int, steps: int, advance: Advance
) -> Learned:
    """Parameters with the least error on the samples held out; those of the start included."""
    seen = lesson.n - n_held(lesson.n)
    before = best = held_out_errors(network, lesson)
    if not seen:
        return _learned(lesson, before, before)
    kept = _copy(network.parameters)
    current, average = _copy(kept), _copy(kept)
    draw, adam = np.random.default_rng(seed), _Adam(network, lesson.whitenings, _rate(network))
    size = min(max(PIECE // network.largest, 1), AT_ONCE)
    for step in range(steps):
        network.use(current)
        chosen = draw.integers(seen, size=BATCH)
        slopes: Values = {}
        for start in range(0, BATCH, size):
            found = _slopes(network, lesson, chosen[start : start + size], draw)
            for name, slope in found.items():
                slopes[name] = slopes[name] + slope if name in slopes else slope
        adam.move(current, slopes, 0.5 + 0.5 * _cosine(step / steps))
        decay = min(AVERAGE_DECAY, (1 + step) / (WARM_UP + step))
        for name, values in current.items():
            average[name] += (1 - decay) * (values - average[name])
        if (step + 1) % max(steps // CHECKS, 1) == 0:
            network.use(average)
            now = held_out_errors(network, lesson)
            if judged(lesson, now) < judged(lesson, best):
                best, kept = now, _copy(average)
        advance(1)
    network.use(kept)
    return _learned(lesson, before, best)


def _learned(lesson: Lesson, before: Errors, after: Errors) -> Learned:
    drives = {name: (before[name], after[name]) for name in before}
    return Learned(judged(lesson, before), judged(lesson, after), drives)


def _rate(network: SegmentNetwork) -> float:
    return min(RATE / network.most, MOST_RATE)


def _copy(parameters: Values) -> Values:
    return {name: values.copy() for name, values in parameters.items()}


def _cosine(share: float) -> float:
    """About ``cos(pi share)`` from 1 to -1, by operations that are the same everywhere."""
    x = 1 - 2 * share
    return x * (1.5 - 0.5 * x * x)


def _slopes(
    network: SegmentNetwork,
    lesson: Lesson,
    chosen: npt.NDArray[np.intp],
    draw: np.random.Generator,
) -> Values:
    """Gradient of the weighted errors of some samples, summed."""
    entries, targets = lesson.batch(chosen, draw)
    potentials = network.forward(entries)
    slopes: dict[NodeId, Array] = {}
    for name, goal in lesson.goals.items():
        error = goal.error(potentials[name], network.half(name), targets[name])
        factor = goal.weight / (goal.power * error[..., 0].size)
        error *= column(goal.unit * factor, error)
        slopes[name] = error
    return network.backward(slopes)


def judged(lesson: Lesson, errors: Errors) -> float:
    """Mean error of what decides."""
    return sum(errors[name] for name in sorted(lesson.judged)) / len(lesson.judged)


def held_out_errors(network: SegmentNetwork, lesson: Lesson) -> Errors:
    """Mean squared errors, each over its target's power, on the samples held out."""
    size = min(max(PIECE // network.largest, 1), AT_ONCE)
    found = dict.fromkeys(lesson.goals, 0.0)
    for start in range(lesson.n - n_held(lesson.n), lesson.n, size):
        chosen = np.arange(start, min(start + size, lesson.n))
        entries, targets = lesson.batch(chosen, None)
        potentials = network.forward(entries)
        for name, goal in lesson.goals.items():
            error = goal.error(potentials[name], network.half(name), targets[name])
            squares = np.square(error.astype(np.float64)).ravel()
            found[name] += float(products.total(squares, axis=0)) / prod(error.shape[:-1])
    n = n_held(lesson.n)
    return {name: total / (n * lesson.goals[name].power) for name, total in found.items()}


class _Adam:
    """Kingma and Ba 2015; each parameter moves in units of its own scale.

    Weights move in the coordinates that whiten their inputs, if those are known.
    """

    def __init__(
        self, network: SegmentNetwork, whitenings: Mapping[str, Whitening], rate: float
    ) -> None:
        self._whitenings, self._rate = whitenings, rate
        self._scales = {
            name: whitenings[name].scale(network.parameters[name]) if name in whitenings else scale
            for name, scale in network.scales.items()
        }
        self._mean: Values = {}
        self._square: Values = {}
        self._decays = [1.0, 1.0]

    def move(self, parameters: Values, slopes: Values, share: float) -> None:
        """One step, in place."""
        self._decays[0] *= MEAN_DECAY
        self._decays[1] *= SQUARE_DECAY
        for name, slope in slopes.items():
            white = self._whitenings.get(name)
            step = self._step(name, slope if white is None else white.slope(slope))
            step *= share * self._rate * self._scales[name]
            parameters[name] -= step if white is None else white.weights(step)

    def _step(self, name: str, slope: Float) -> Float:
        mean = self._mean.setdefault(name, np.zeros_like(slope))
        square = self._square.setdefault(name, np.zeros_like(slope))
        mean += (1 - MEAN_DECAY) * (slope - mean)
        square += (1 - SQUARE_DECAY) * (slope * slope - square)
        step: Float = mean / (1 - self._decays[0])
        step /= np.sqrt(square / (1 - self._decays[1])) + TINY
        return step
