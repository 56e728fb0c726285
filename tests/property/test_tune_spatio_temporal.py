"""NormAD's errors and responses against the sums that define them, written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile.tune.spatio_temporal import Stage, backpropagate_errors

POLES = (0.8, 0.3)


def kernel(n_steps, rise=None):
    """The response of the filter to a single spike, by its definition."""
    t = np.arange(n_steps)
    shape = sum(POLES[0] ** (t - k) * POLES[1] ** k * (k <= t) for k in range(n_steps))
    if rise is not None:
        shape = shape - sum(rise ** (t - k) * POLES[1] ** k * (k <= t) for k in range(n_steps))
    return shape


def convolved(k, x):
    return np.stack([sum(k[t - j] * x[j] for j in range(t + 1)) for t in range(len(x))])


def changes(stages, errors):
    return [
        np.einsum("tbo,tbi->oi", share, response)
        for share, response in backpropagate_errors(stages, errors)
    ]


@given(
    seed=st.integers(0, 2**32 - 1),
    n_steps=st.integers(2, 12),
    rise=st.sampled_from([None, 0.4]),
)
@settings(max_examples=25, deadline=None)
def test_two_layers_are_the_normalized_gradient_of_the_linear_network(seed, n_steps, rise):
    random = np.random.default_rng(seed)
    n_in, n_hidden, n_out, batch = 4, 3, 2, 2
    x = (random.random((n_steps, batch, n_in)) < 0.4).astype(float)
    hidden = (random.random((n_steps, batch, n_hidden)) < 0.4).astype(float)
    errors = random.integers(-1, 2, (n_steps, batch, n_out)).astype(float)
    w = random.normal(size=(n_out, n_hidden))
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    stages = [
        Stage(x, POLES, lambda e: e, rise),
        Stage(hidden, POLES, lambda e: e @ unit, rise),
    ]
    found = changes(stages, errors)
    k = kernel(n_steps, rise)
    d_hidden, d_in = convolved(k, hidden), convolved(k, x)
    reach = convolved(k, d_in)  # of an input spike in the output's potential
    expected_out, expected_in = np.zeros((n_out, n_hidden)), np.zeros((n_hidden, n_in))
    for t in range(n_steps):
        for b in range(batch):
            if (size := np.linalg.norm(d_hidden[t, b])) > 0:
                expected_out += np.outer(errors[t, b], d_hidden[t, b]) / size
            if (size := np.linalg.norm(reach[t, b])) > 0:
                # g_hi = w_oh (F d_i)(t) over ||w_o|| ||F d(t)||, for each output o
                expected_in += np.outer(errors[t, b] @ unit, reach[t, b]) / size
    np.testing.assert_allclose(found[1], expected_out, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[0], expected_in, rtol=1e-9, atol=1e-9)


def test_one_wrong_spike_changes_the_weights_by_a_vector_of_length_one():
    random = np.random.default_rng(0)
    x = (random.random((20, 1, 6)) < 0.3).astype(float)
    errors = np.zeros((20, 1, 1))
    errors[15] = 1
    (change,) = changes([Stage(x, POLES, lambda e: e)], errors)
    assert np.isclose(np.linalg.norm(change), 1)
    (opposite,) = changes([Stage(x, POLES, lambda e: e)], -errors)
    assert (opposite == -change).all()


def test_without_input_nothing_is_responsible():
    (change,) = changes([Stage(np.zeros((5, 1, 3)), POLES, lambda e: e)], np.ones((5, 1, 2)))
    assert (change == 0).all()
