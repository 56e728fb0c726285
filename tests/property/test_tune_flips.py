"""Neighborhood aggregation against its definition: one flip at a time, from the start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

from snn_compile.tune import flips  # noqa: E402
from snn_compile.tune.flips import (  # noqa: E402
    Membrane,
    Rescaling,
    VanRossum,
    add_input,
    difference,
    fire,
    simulate,
    slopes,
)

SHAPE = (3, 2)
RESETS = {"zero": None, "subtract": 0.8}


def real_neuron(seed, n_steps, reset, curvature=None):
    """A neuron of real numbers with leak 0.8 and threshold 1: membrane, drive, threshold."""
    random = torch.Generator().manual_seed(seed)
    drive = torch.randn(n_steps, *SHAPE, generator=random, dtype=torch.float64) * 0.7
    drop = RESETS[reset]
    membrane = Membrane(
        n_steps,
        lambda v: v * 0.8,
        None if drop is None else torch.tensor(drop, dtype=torch.float64),
        quantum=1e-3,
        curvature=curvature,
    )
    return membrane, drive, torch.ones((), dtype=torch.float64), random


def flipped_trains(membrane, drive, threshold, k):
    """Spikes (T, *SHAPE) of the neighbour k of every neuron, neuron by neuron in plain Python."""
    trains = np.zeros((membrane.n_steps, *SHAPE))
    for place in np.ndindex(*SHAPE):
        v = 0.0
        for t in range(membrane.n_steps):
            v = v * 0.8 + float(drive[(t, *place)])
            spikes = v >= float(threshold)
            if t == k:
                v = float(threshold) - membrane.quantum if spikes else float(threshold)
                spikes = not spikes
            trains[(t, *place)] = spikes
            if spikes:
                v = 0.0 if membrane.drop is None else v - float(membrane.drop)
    return trains


def to_flip(membrane, potentials, threshold):
    """What each step's input needs for a flip, signed."""
    spikes = potentials >= threshold
    return torch.where(spikes, threshold - membrane.quantum, threshold) - potentials


@pytest.mark.parametrize("reset", RESETS)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_delta_is_the_loss_of_each_flip_over_its_distance(reset, seed, n_steps):
    membrane, drive, threshold, random = real_neuron(seed, n_steps, reset)
    gradient = torch.randn(n_steps, *SHAPE, generator=random, dtype=torch.float64)
    potentials = simulate(membrane, drive, threshold, torch.zeros(SHAPE, dtype=torch.float64))
    found = slopes(membrane, drive, potentials, threshold, gradient).numpy()
    spikes = (potentials >= threshold).double().numpy()
    distance = to_flip(membrane, potentials, threshold).numpy()
    for k in range(n_steps):
        changed = flipped_trains(membrane, drive, threshold, k) - spikes
        expected = (gradient.numpy() * changed).sum(axis=0) / distance[k]
        np.testing.assert_allclose(found[k], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reset", RESETS)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_a_van_rossum_loss_is_met_exactly(reset, seed, n_steps):
    keep, weight = 0.5, 0.7
    membrane, drive, threshold, random = real_neuron(seed, n_steps, reset, VanRossum(keep, weight))
    wanted = (torch.rand(n_steps, *SHAPE, generator=random) < 0.4).double()

    def filtered(x):
        a, out = torch.zeros(SHAPE, dtype=torch.float64), []
        for part in x:
            a = keep * a + (1 - keep) * part
            out.append(a)
        return torch.stack(out)

    def loss(x):
        return weight / 2 * (filtered(x - wanted) ** 2).sum(dim=0)

    potentials = simulate(membrane, drive, threshold, torch.zeros(SHAPE, dtype=torch.float64))
    spikes = (potentials >= threshold).double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(spikes).sum(), spikes)
    found = slopes(membrane, drive, potentials, threshold, gradient)
    distance = to_flip(membrane, potentials, threshold)
    for k in range(n_steps):
        other = torch.tensor(flipped_trains(membrane, drive, threshold, k))
        expected = (loss(other) - loss(spikes.detach())) / distance[k]
        torch.testing.assert_close(found[k], expected, rtol=1e-9, atol=1e-12)


def dense_changes(membrane, drive, potentials, threshold, gradient):
    """``f_k`` of every neighbour, each simulated to the end of the window."""
    spikes = (potentials >= threshold).double()
    found = torch.zeros_like(potentials)
    for k in range(membrane.n_steps):
        v = None
        for t in range(k, membrane.n_steps):
            if t == k:
                s = 1 - spikes[t]
                v = torch.where(s > 0, threshold, threshold - membrane.quantum).expand(SHAPE)
            else:
                v = membrane.leak(v) + drive[t]
                s = (v >= threshold).double()
            v = membrane.after(v, s)
            found[k] += gradient[t] * (s - spikes[t])
    return found


@pytest.mark.parametrize("reset", RESETS)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 70), width=st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_neighbours_that_end_early_change_no_bit(reset, seed, n_steps, width):
    membrane, drive, threshold = whole_neuron(seed, n_steps, reset)
    u = simulate(membrane, drive, threshold, torch.zeros(SHAPE, dtype=torch.float64))
    gradient = torch.tensor(np.random.default_rng(seed).normal(size=u.shape))
    expected = dense_changes(membrane, drive, u, threshold, gradient) / to_flip(
        membrane, u, threshold
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flips, "NARROWEST", width)
        patch.setattr(flips, "IN_CACHE", 1)
        found = slopes(membrane, drive, u, threshold, gradient)
    assert torch.equal(found, expected)


def whole_neuron(seed, n_steps, reset):
    """A neuron of integers as compiled ones are, with truncation: membrane, drive, threshold."""
    random = np.random.default_rng(seed)
    drive = torch.tensor(random.integers(-600, 900, (n_steps, *SHAPE)), dtype=torch.float64)
    drop = None if reset == "zero" else torch.tensor(700.0, dtype=torch.float64)
    membrane = Membrane(n_steps, lambda v: torch.trunc(v * 3277 / 4096), drop)
    return membrane, drive, torch.tensor(1000.0, dtype=torch.float64)


@pytest.mark.parametrize("reset", RESETS)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_a_potential_plus_the_difference_of_two_is_the_other(reset, seed, n_steps):
    membrane, drive, threshold = whole_neuron(seed, n_steps, reset)
    start = torch.zeros(SHAPE, dtype=torch.float64)
    u = simulate(membrane, drive, threshold, start)
    _, other_drive, _ = whole_neuron(seed + 1, n_steps, reset)
    other = simulate(membrane, other_drive, threshold, start)
    change = difference(membrane, other, u, threshold)
    assert torch.equal(change, other_drive - drive)
    assert torch.equal(add_input(membrane, u, change, threshold), other)


@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_neighbours_lie_along_the_axes_so_that_aggregation_is_the_identity(seed, n_steps):
    membrane, drive, threshold = whole_neuron(seed, n_steps, "zero")
    u = simulate(membrane, drive, threshold, torch.zeros(SHAPE, dtype=torch.float64))
    gradient = torch.tensor(np.random.default_rng(seed).normal(size=u.shape))
    delta = slopes(membrane, drive, u, threshold, gradient)
    spikes = (u >= threshold).double()
    steps = to_flip(membrane, u, threshold)
    place = (1, 1)
    directions, rates = [], []
    for k in range(n_steps):
        change = torch.zeros_like(u)
        change[k] = steps[k]
        neighbour = add_input(membrane, u, change, threshold)
        other = (neighbour >= threshold).double()
        assert (other[k] == 1 - spikes[k]).all()
        towards = difference(membrane, neighbour, u, threshold)[(slice(None), *place)].numpy()
        length = np.linalg.norm(towards)
        directions.append(towards / length)
        lost = (gradient * (other - spikes)).sum(dim=0)[place]
        rates.append(float(lost) / length)
    aggregated = np.linalg.pinv(np.array(directions)) @ np.array(rates)
    np.testing.assert_allclose(delta[(slice(None), *place)].numpy(), aggregated, rtol=1e-9)


def test_beyond_its_reach_a_potential_is_pushed_only_where_that_helps():
    start, one = torch.zeros(SHAPE, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    drive = torch.full((1, *SHAPE), -5.0, dtype=torch.float64)
    membrane = Membrane(1, lambda v: v, reach=2 * one, quantum=1e-3)
    u = simulate(membrane, drive, one, start)
    for gradient, expected in ((-3.0, -3.0 / 2), (3.0, 0.0)):
        delta = slopes(membrane, drive, u, one, torch.full_like(u, gradient))
        assert (delta == expected).all()


def test_gradients_of_hidden_layers_come_near_those_of_the_last():
    rescaling = Rescaling()
    last = rescaling.of_layer(torch.tensor(10.0))(torch.full((4,), 0.1))
    assert torch.allclose(last, torch.full((4,), 0.1 * 1.2 * math.log(2.02)))
    hidden = rescaling.of_layer(torch.tensor(1000.0))(torch.tensor([0.0, 2e-5]))
    size = float(last[0]) * 10
    assert float(hidden[1]) == pytest.approx(2e-5 * 1.2 * math.log(size / 0.01 + 1.02))
    assert torch.equal(rescaling.of_layer(torch.tensor(1.0))(torch.zeros(3)), torch.zeros(3))


def test_an_input_that_is_held_gets_the_sum_over_the_steps():
    membrane, drive, threshold = whole_neuron(3, 6, "zero")
    start = torch.zeros(SHAPE, dtype=torch.float64)
    held = drive[:1].clone().requires_grad_()
    spread = drive[:1].expand(6, *SHAPE).clone().requires_grad_()
    weights = torch.arange(6.0, dtype=torch.float64).reshape(6, 1, 1)
    for given_drive in (held, spread):
        (fire(given_drive, threshold, start, membrane) * weights).sum().backward()
    torch.testing.assert_close(held.grad[0], spread.grad.sum(dim=0))
