"""Compensated rounding: no worse than nearest integers, far better where inputs correlate."""

import numpy as np
import pytest

from half_samples import moments_of
from snn_compile.quantize.rounding import BLOCK, _one_by_one, compensate


def error(weights, wanted, columns):
    return (((weights - wanted) @ columns) ** 2).sum(axis=1)


def found_on(columns, wanted, nearest, limit):
    integers = np.rint(1024 * columns).astype(np.int64)
    moments = moments_of(integers, np.arange(columns.shape[1]))
    return compensate(wanted, nearest, moments, limit)


@pytest.mark.parametrize("limit", [1, 7, 127])
def test_never_worse_than_the_nearest_on_what_is_held_out(limit):
    random = np.random.default_rng(0)
    wanted = random.normal(0, limit / 2, (20, 30))
    nearest = np.clip(np.rint(wanted), -limit, limit).astype(np.int64)
    columns = random.normal(0, 1, (30, 40)).astype(np.float32)
    found = found_on(columns, wanted, nearest, limit)
    assert np.abs(found).max() <= limit
    held_out = columns[:, 1::2].astype(np.float64)
    slack = 1 + 1e-5  # the choice is made on moments summed in float32
    before, after = error(nearest, wanted, held_out), error(found, wanted, held_out)
    assert (after <= before * slack).all()
    assert (after < before).any()


def test_errors_cancel_where_inputs_move_together():
    """Ten copies of each of three signals: what one weight loses another can give."""
    random = np.random.default_rng(1)
    signals = random.gamma(1.0, 1.0, (3, 4000))
    columns = np.repeat(signals, 10, axis=0).astype(np.float32)
    wanted = random.normal(0, 2, (50, 30))
    nearest = np.rint(wanted).astype(np.int64)
    found = found_on(columns, wanted, nearest, 127)
    fresh = np.repeat(random.gamma(1.0, 1.0, (3, 1000)), 10, axis=0)
    ratio = error(found, wanted, fresh).sum() / error(nearest, wanted, fresh).sum()
    assert ratio < 0.25


def test_a_weight_hears_of_every_one_before_it():
    """Blocks change nothing: the definition is one column after the other."""
    random = np.random.default_rng(2)
    wanted = random.normal(0, 20, (7, 2 * BLOCK + 5))
    spread = random.normal(size=(wanted.shape[1], 200))
    factor = np.linalg.cholesky(np.linalg.inv(spread @ spread.T / 200)).T
    moving, expected = wanted.copy(), np.empty_like(wanted)
    for i in range(wanted.shape[1]):
        expected[:, i] = np.clip(np.rint(moving[:, i]), -30, 30)
        error = (moving[:, i] - expected[:, i]) / factor[i, i]
        moving -= error[:, None] * factor[i]
    np.testing.assert_array_equal(_one_by_one(wanted, factor, 30), expected)


@pytest.mark.parametrize("n_fields", [0, 1, 10])
def test_silent_inputs_change_nothing(n_fields):
    wanted = np.array([[0.4, 1.6]])
    nearest = np.array([[0, 2]])
    assert (found_on(np.zeros((2, n_fields), np.float32), wanted, nearest, 127) == nearest).all()
