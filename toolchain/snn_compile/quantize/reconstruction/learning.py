"""Learning a block's integers: Adam on batches, and a part of the samples that decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId
from snn_compile.numerics import products
from snn_compile.numerics.products import Float
from snn_compile.quantize.reconstruction.levels import column
from snn_compile.quantize.reconstruction.network import BlockNetwork, Values

ITERATIONS = 300
PIXELS = 2048
"""Positions of the block's output in a batch, at least ``FEWEST`` and at most ``MOST`` samples."""
FEWEST, MOST = 4, 32
DROPPED = 0.5
"""Share of the messages that the first batch sees without rounding to whole levels. Falls to 0."""
HELD_OUT = 8
"""One of so many samples is held out."""
CHECKS = 6
"""How often the samples held out are looked at."""
RATE = 5e-3
"""First step, relative to the root mean square of a neuron's weights or to a level; falls to 0."""
MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999
TINY = 1e-30
PIECE = 1 << 21
"""Values of the largest population that are evaluated at once."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a block is to reproduce.

    Attributes:
        entries: potentials or messages of the sources, (N, *shape) each.
        target: drive of the last population in the float network, (N, *shape).
        unit: real value of a step of its potential, (C,).
        half: steps of its bias that only round, (C,).
        rectified: whether only positive drives are read.
    """

    entries: Mapping[NodeId, npt.NDArray[np.integer]]
    target: npt.NDArray[np.floating]
    unit: Float
    half: Float
    rectified: bool

    def error(self, potential: Float, target: Float) -> Float:
        """Real error of potentials (C, H, W, B); none where both are below 0, if rectified."""
        found = (potential - column(self.half)) * column(self.unit)
        if not self.rectified:
            return found - target
        np.maximum(found, 0.0, out=found, where=target <= 0)
        found -= np.maximum(target, 0.0)
        return found

    def batch(self, chosen: npt.NDArray[np.intp] | slice) -> tuple[dict[NodeId, Float], Float]:
        """Sources and target of some samples, the batch last."""
        entries = {
            name: np.moveaxis(entry[chosen], 0, -1).astype(np.float64, order="C")
            for name, entry in self.entries.items()
        }
        return entries, np.moveaxis(self.target[chosen], 0, -1).astype(np.float64, order="C")


@dataclass(frozen=True)
class Learned:
    """Mean squared errors of a block on the samples held out.

    Attributes:
        before: with the integers it had.
        after: with those that are kept; no larger.
        power: mean square of the target.
    """

    before: float
    after: float
    power: float


def learn(network: BlockNetwork, task: Task, seed: int, iterations: int | None = None) -> Learned:
    """Parameters with the least error on the samples held out; those of the start included."""
    iterations = ITERATIONS if iterations is None else iterations
    n = len(task.target)
    draw = np.random.default_rng(seed)
    held = max(n // HELD_OUT, 1)
    seen = n - held
    if not seen:
        alone = _held_out_error(network, task, 0)
        return Learned(alone, alone, _power(task, 0))
    start = {name: values.copy() for name, values in network.parameters.items()}
    before = best = _held_out_error(network, task, seen)
    kept, adam = start, _Adam(network.scales)
    size = min(max(PIXELS // prod(task.target.shape[2:]), FEWEST), MOST, seen)
    current = {name: values.copy() for name, values in start.items()}
    network.use(current)
    for step, chosen in enumerate(_batches(draw, seen, size, iterations)):
        entries, target = task.batch(chosen)
        left = 1 - step / iterations
        dropped = {
            name: draw.random(shape, dtype=np.float32) < DROPPED * left
            for name, shape in network.dropping(len(chosen)).items()
        }
        error = task.error(network.forward(entries, dropped), target)
        slopes = network.backward(error * column(task.unit))
        adam.move(current, slopes, left)
        if (step + 1) % max(iterations // CHECKS, 1) == 0:
            now = _held_out_error(network, task, seen)
            if now < best:
                best, kept = now, {name: values.copy() for name, values in current.items()}
    network.use(kept)
    return Learned(before, best, _power(task, seen))


def _batches(
    draw: np.random.Generator, n: int, size: int, iterations: int
) -> Iterator[npt.NDArray[np.intp]]:
    """Batches of different samples; all come once before any comes again."""
    left = np.zeros(0, np.intp)
    for _ in range(iterations):
        if len(left) < size:
            left = np.argsort(draw.random(n), kind="stable")
        yield left[:size]
        left = left[size:]


def _held_out_error(network: BlockNetwork, task: Task, first: int) -> float:
    n, total = len(task.target), 0.0
    size = max(PIECE // network.largest, 1)
    for start in range(first, n, size):
        entries, target = task.batch(slice(start, min(start + size, n)))
        error = task.error(network.forward(entries, {}), target)
        total += float(products.total(np.square(error).ravel(), axis=0))
    return total / prod(task.target[first:].shape)


def _power(task: Task, first: int) -> float:
    target = task.target[first:].astype(np.float64)
    if task.rectified:
        target = np.maximum(target, 0.0)
    return float(products.mean(np.square(target).ravel(), axis=0))


class _Adam:
    """Kingma and Ba 2015; each parameter moves in units of its own scale."""

    def __init__(self, scales: Values) -> None:
        self._scales = scales
        self._mean: Values = {}
        self._square: Values = {}
        self._decays = [1.0, 1.0]

    def move(self, parameters: Values, slopes: Values, share: float) -> None:
        """One step, in place."""
        self._decays[0] *= MEAN_DECAY
        self._decays[1] *= SQUARE_DECAY
        for name, slope in slopes.items():
            mean = self._mean.setdefault(name, np.zeros_like(slope))
            square = self._square.setdefault(name, np.zeros_like(slope))
            mean += (1 - MEAN_DECAY) * (slope - mean)
            square += (1 - SQUARE_DECAY) * (slope * slope - square)
            step = mean / (1 - self._decays[0])
            step /= np.sqrt(square / (1 - self._decays[1])) + TINY
            parameters[name] -= step * (share * RATE * self._scales[name])
