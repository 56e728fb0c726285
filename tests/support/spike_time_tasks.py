"""Spike-time tasks for NormAD with the neuron of its papers, in numpy, many seeds at once.

The neuron: ``C dV/dt = -g (V - E) + sum_i w_i c_i``, a spike at V >= V_T sets V to E for 3 ms, and
``c_i`` is a sum of ``exp(-t/5 ms) - exp(-t/1.25 ms)`` over the source's spikes. No compiler has it
here: a chip's synapse has one exponential, and its neuron no pause of many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from snn_compile.tune.spatio_temporal import Stage, backpropagate_errors
from snn_compile.tune.spike_targets import correlation

C, LEAK, REST, THRESHOLD = 300.0, 30.0, -70.0, 20.0  # pF, nS, mV, mV
PAUSE, DECAY, RISE, SHORT = 3.0, 5.0, 1.25, 1.0  # ms; SHORT is the membrane's in the rule
XOR_RATE = 40.0  # pA


@dataclass(frozen=True)
class Clock:
    """Steps of dt ms."""

    dt: float
    n_steps: int

    @classmethod
    def of(cls, duration, dt):
        return cls(dt, round(duration / dt))


def run(weights, spikes, clock):
    """Spikes of each layer (T, S, B, neurons); weights (S, neurons, sources), seed by seed."""
    sent = [spikes]
    decay, rise = np.exp(-clock.dt / DECAY), np.exp(-clock.dt / RISE)
    for w in weights:
        s = sent[-1]
        shape = (s.shape[1], s.shape[2], w.shape[1])
        slow, fast, v = np.zeros(s.shape[1:]), np.zeros(s.shape[1:]), np.full(shape, REST)
        ready, out = np.zeros(shape), np.zeros((clock.n_steps, *shape))
        slow_all, fast_all = np.empty_like(s), np.empty_like(s)
        for t in range(clock.n_steps):
            slow = slow_all[t] = slow * decay + s[t]
            fast = fast_all[t] = fast * rise + s[t]
        currents = np.einsum("tsbi,shi->tsbh", slow_all - fast_all, w, optimize=True)
        for t in range(clock.n_steps):
            v = v + clock.dt / C * (-LEAK * (v - REST) + currents[t])
            v = np.where(ready > t, REST, v)
            fired = v >= THRESHOLD
            v = np.where(fired, REST, v)
            ready = np.where(fired, t + 1 + PAUSE / clock.dt, ready)
            out[t] = fired
        sent.append(out)
    return sent


def changes(weights, sent, wanted, clock):
    """Changes of all weights for a rate of 1, summed over samples."""
    poles = (np.exp(-clock.dt / DECAY), np.exp(-clock.dt / SHORT))
    rise = np.exp(-clock.dt / RISE)
    stages = []
    for w, s in zip(weights, sent, strict=False):
        norm = np.linalg.norm(w, axis=2, keepdims=True)
        scaled = w / np.maximum(norm, 1e-12)
        stages.append(Stage(s, poles, lambda e, m=scaled: np.einsum("tsbo,soi->tsbi", e, m), rise))
    shares = backpropagate_errors(stages, wanted - sent[-1])
    return [np.einsum("tsbo,tsbi->soi", e, d, optimize=True) for e, d in shares]


@dataclass(frozen=True)
class Xor:
    """What becomes of each seed.

    Attributes:
        solved: epochs until all four patterns are answered right for the first time; more than
            there were where that never happens.
        at_end: whether they are after the last epoch.
        offset: mean distance of the wanted spikes from 20 ms then, in ms; nan where not.
    """

    solved: np.ndarray
    at_end: np.ndarray
    offset: np.ndarray


def xor(seeds, hidden=3, epochs=400, dt=0.25):
    """Spike-XOR of each seed.

    Bits are spikes at 0 ms (0) or 6 ms (1), beside a reference spike at 0 ms. Right is: one spike
    in 50 ms for two different bits, which training wants at 20 ms, and none for two equal ones.
    """
    clock = Clock.of(50, dt)
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    n = len(seeds)
    x, wanted = np.zeros((clock.n_steps, n, 4, 3)), np.zeros((clock.n_steps, n, 4, 1))
    for b, pair in enumerate(bits):
        for i, bit in enumerate((*pair, 0)):
            x[round(6 * bit / dt), :, b, i] = 1
        if pair.sum() == 1:
            wanted[round(20 / dt), :, b, 0] = 1
    draws = [np.random.default_rng(seed) for seed in seeds]
    weights = [
        np.stack([d.normal(554, 600, (hidden, 3)) for d in draws]),
        np.stack([d.normal(300, 400, (1, hidden)) for d in draws]),
    ]
    solved = np.full(n, epochs + 1)
    for epoch in range(1, epochs + 1):
        for b in range(4):
            some = slice(b, b + 1)
            sent = run(weights, x[:, :, some], clock)
            steps = changes(weights, sent, wanted[:, :, some], clock)
            weights = [w + XOR_RATE * step for w, step in zip(weights, steps, strict=True)]
        out = run(weights, x, clock)[-1]
        right = (out.sum(axis=0) == wanted.sum(axis=0)).all(axis=(1, 2))
        solved = np.where((solved > epochs) & right, epoch, solved)
    times = out[..., 0].argmax(axis=0)[:, [1, 2]] * dt
    offset = np.where(right, np.abs(times - 20).mean(axis=1), np.nan)
    return Xor(solved, right, offset)


@dataclass(frozen=True)
class Course:
    """How a network learns a train.

    Attributes:
        epochs: of training.
        rate: norm of a neuron's change for one wrong spike at first, in pA; it ends near 0.
        mean: of the weights at first, for 100 sources, in pA; in proportion for other numbers.
        spread: their standard deviation, likewise.
    """

    epochs: int
    rate: float
    mean: float
    spread: float


ONE_LAYER = Course(epochs=100, rate=4000, mean=0, spread=100)
TWO_LAYERS = Course(epochs=300, rate=1000, mean=600, spread=1000)


def generic(seeds, course, hidden=None, dead=PAUSE, dt=0.5):
    """Correlations (epochs, seeds) of one output with a Poisson train of 20 Hz.

    100 inputs of 10 Hz, 500 ms; correlations after an exponential filter of 5 ms. The
    wanted trains have no interval below `dead` ms: by default the neuron's own pause.
    """
    clock = Clock.of(500, dt)
    draws = [np.random.default_rng(seed) for seed in seeds]
    x = np.stack([d.random((clock.n_steps, 1, 100)) < 0.01 * dt for d in draws], 1).astype(float)
    wanted = np.stack([_train(d, clock, dead) for d in draws], 1)
    sizes = (100, 1) if hidden is None else (100, hidden, 1)
    weights = [
        np.stack([d.normal(course.mean, course.spread, (n_out, n_in)) * 100 / n_in for d in draws])
        for n_in, n_out in pairwise(sizes)
    ]
    found = []
    for epoch in range(course.epochs):
        sent = run(weights, x, clock)
        trains = (np.moveaxis(s[:, :, 0, 0], 0, -1) for s in (sent[-1], wanted))
        found.append(correlation(*trains, tau=5 / dt))
        rate = course.rate * (1 - 0.98 * epoch / course.epochs)
        steps = changes(weights, sent, wanted, clock)
        weights = [w + rate * step for w, step in zip(weights, steps, strict=True)]
    return np.array(found)


def first_at(found, level=0.9):
    """The first epoch at which each seed has a correlation, from 1; 0 where it never has."""
    reached = found >= level
    return np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, 0)


def _train(random, clock, dead):
    """A Poisson train (T, 1, 1) of 20 Hz with at least one spike, no two within dead ms."""
    while True:
        s = (random.random(clock.n_steps) < 0.02 * clock.dt).astype(float)
        last = 0.0
        for t in np.flatnonzero(s):
            s[t] = t * clock.dt - last > dead
            last = t * clock.dt if s[t] else last
        if s.any():
            return s[:, None, None]
