"""Weights on the integer grid, reciprocals, and the encoding of the input."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile.errors import Origin
from snn_compile.ir import spiking
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId
from snn_compile.quantize.neurons import reciprocal
from snn_compile.quantize.quantize import EXPONENTS
from snn_compile.quantize.weights import (
    MIN_RATIO,
    N_RATIOS,
    channel_of,
    integer_weights,
    with_unit,
)

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=60, deadline=None, derandomize=True)


def group(weight, shape, kind=spiking.DenseSynapses, **fields):
    return kind(
        id=NodeId("s"),
        inputs=(NodeId("x"),),
        shape=shape,
        origin=Origin("t"),
        weight=np.asarray(weight, np.float64),
        **fields,
    )


def random_group(random, form, channels=4):
    size = float(np.exp2(random.integers(-6, 7)))
    if form == "conv":
        weight = random.normal(size=(channels, 3, 3, 3)) * size
        return group(weight, (channels, 4, 4), spiking.ConvSynapses, geometry=Geometry())
    if form == "dense":
        return group(random.normal(size=(channels * 4, 10)) * size, (channels, 2, 2))
    wired = random.random((channels * 4, 10)) < 0.4
    return group(
        random.normal(size=wired.sum()) * size,
        (channels, 2, 2),
        spiking.SparseSynapses,
        indptr=np.concatenate([[0], wired.sum(axis=1).cumsum()]),
        indices=np.nonzero(wired)[1],
    )


@FEW
@given(
    SEEDS,
    st.lists(st.sampled_from(["conv", "dense", "sparse"]), min_size=1, max_size=3),
    st.integers(2, 8),
    st.booleans(),
)
def test_units_are_those_of_a_search_through_all_ratios(seed, forms, bits, readout):
    random = np.random.default_rng(seed)
    groups = tuple(random_group(random, form) for form in forms)
    threshold = None if readout else np.ones(4) * 0.77
    found = integer_weights(groups, bits, threshold)
    largest = (1 << (bits - 1)) - 1
    channels = [channel_of(one) for one in groups]
    flat = [one.weight.ravel() for one in groups]
    peaks = np.zeros((len(groups), 4))
    for peak, weight, channel in zip(peaks, flat, channels, strict=True):
        np.maximum.at(peak, channel, np.abs(weight))
    steps = np.ldexp(1.0, found.exponents)
    widest = (peaks / steps[:, None]).max(axis=0)
    widest = np.where(widest > 0, widest, max(float(widest.max()), 1.0))
    widest = (np.full(4, widest.max()) if readout else widest) / largest
    best, unit = np.full(4, np.inf), widest.copy()
    for ratio in np.linspace(1.0, MIN_RATIO, N_RATIOS):
        trial, error = widest * ratio, np.zeros(4)
        for weight, channel, step in zip(flat, channels, steps, strict=True):
            size = trial[channel] * step
            nearest = np.clip(np.rint(weight / size), -largest, largest) * size
            error += np.bincount(channel, (weight - nearest) ** 2, 4)
        error = np.full(4, error.sum()) if readout else error
        better = error < best
        best[better], unit[better] = error[better], trial[better]
    np.testing.assert_array_equal(found.unit, unit)


@FEW
@given(
    SEEDS,
    st.lists(st.sampled_from(["conv", "dense", "sparse"]), min_size=1, max_size=3),
    st.integers(2, 8),
    st.booleans(),
)
def test_every_weight_is_within_half_a_unit_or_clipped(seed, forms, bits, readout):
    random = np.random.default_rng(seed)
    groups = tuple(random_group(random, form) for form in forms)
    threshold = None if readout else random.random(4) + 0.5
    found = integer_weights(groups, bits, threshold)
    largest = 2 ** (bits - 1) - 1
    assert not found.exact
    assert min(found.exponents) == 0
    assert max(found.exponents) - min(found.exponents) < len(EXPONENTS)
    assert (found.unit > 0).all()
    if readout:
        assert (found.unit == found.unit[0]).all()
    clipped = 0
    for one, mantissa, exponent in zip(groups, found.mantissas, found.exponents, strict=True):
        assert mantissa.shape == (one.weight.size,)
        assert np.abs(mantissa).max(initial=0) <= largest
        step = found.unit[channel_of(one)] * 2.0**exponent
        error = np.abs(one.weight.ravel() - mantissa * step)
        inside = np.abs(one.weight.ravel()) <= (largest + 0.5) * step
        assert (error[inside] <= step[inside] / 2 * (1 + 1e-9)).all()
        assert (np.abs(mantissa[~inside]) == largest).all()
        assert (np.sign(mantissa[~inside]) == np.sign(one.weight.ravel()[~inside])).all()
        clipped += int((~inside).sum())
    total = sum(one.weight.size for one in groups)
    assert abs(found.saturated - clipped / max(total, 1)) < 1e-9


@FEW
@given(SEEDS, st.integers(2, 8))
def test_clipping_is_chosen_to_lose_less(seed, bits):
    random = np.random.default_rng(seed)
    one = group(random.standard_t(3, (4, 50)), (4,))
    found = integer_weights((one,), bits, np.ones(4))
    widest = np.abs(one.weight).max(axis=1) / (2 ** (bits - 1) - 1)

    def error(weights):
        return (
            (one.weight - weights.mantissas[0].reshape(4, 50) * weights.unit[:, None]) ** 2
        ).sum(axis=1)

    assert (error(found) <= error(with_unit((one,), found, widest, bits)) * (1 + 1e-9)).all()


def test_more_bits_lose_less():
    one = group(np.random.default_rng(0).normal(size=(4, 200)), (4,))
    errors = []
    for bits in range(2, 9):
        found = integer_weights((one,), bits, np.ones(4))
        back = found.mantissas[0].reshape(4, 200) * found.unit[:, None]
        errors.append(((back - one.weight) ** 2).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 < errors[0]


def test_a_channel_without_weights_does_no_harm():
    weight = np.random.default_rng(0).normal(size=(3, 5))
    weight[1] = 0
    found = integer_weights((group(weight, (3,)),), 8, np.ones(3))
    assert (found.mantissas[0].reshape(3, 5)[1] == 0).all()
    assert np.isfinite(found.unit).all()
    assert (found.unit > 0).all()
    nothing = integer_weights((group(np.zeros((3, 5)), (3,)),), 8, None)
    assert not nothing.mantissas[0].any()


def test_small_integers_pass_unrounded():
    """A relay: weight and threshold are one unit of its source, per channel."""
    unit = np.array([0.3, 7.0, 1e-3])
    relay = group(
        unit.reshape(3, 1, 1, 1), (3, 2, 2), spiking.ConvSynapses, geometry=Geometry(groups=3)
    )
    found = integer_weights((relay,), 8, unit)
    assert found.exact
    assert found.mantissas[0].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(found.unit, unit)
    # A comparator: ones of both signs on several groups.
    minus = group(-unit.reshape(3, 1, 1, 1), (3, 2, 2), spiking.ConvSynapses, geometry=Geometry())
    found = integer_weights((relay, minus, relay), 2, unit)
    assert found.exact
    assert found.mantissas[1].tolist() == [-1, -1, -1]
    assert (found.exponents, found.saturated) == ((0, 0, 0), 0.0)


@pytest.mark.parametrize(
    ("weights", "threshold"), [((1.0, 2.5), 1.0), ((1.0, 200.0), 1.0), ((1.0, 2.0), 1.5)]
)
def test_other_weights_are_not_exact(weights, threshold):
    found = integer_weights((group([weights], (1,)),), 8, np.array([threshold]))
    assert not found.exact


def test_readouts_are_never_exact():
    """Their potentials are compared with each other: resolution counts, not equality."""
    assert not integer_weights((group([[1.0, 2.0]], (1,)),), 8, None).exact


def test_arms_of_a_join_keep_their_bits():
    random = np.random.default_rng(0)
    small, large = random.normal(size=(2, 4, 30)) * [[[1.0]], [[64.0]]]
    found = integer_weights((group(small, (4,)), group(large, (4,))), 8, np.ones(4) * 0.77)
    assert found.exponents in ((0, 5), (0, 6), (0, 7))
    assert np.abs(found.mantissas[0]).max() > 60
    assert np.abs(found.mantissas[1]).max() > 60


def test_arms_of_sizes_beyond_the_exponents_of_the_chip():
    random = np.random.default_rng(0)
    small, large = random.normal(size=(2, 4, 30)) * [[[1.0]], [[2.0**25]]]
    found = integer_weights((group(small, (4,)), group(large, (4,))), 8, np.ones(4) * 0.77)
    assert max(found.exponents) - min(found.exponents) < len(EXPONENTS)
    back = found.mantissas[1].reshape(4, 30) * found.unit[:, None] * 2.0 ** found.exponents[1]
    assert np.abs(back - large).max() < np.abs(large).max() / 64


# ------------------------------------------------------------------------------------- reciprocal


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.floats(2.0**-11, 2.0**30))
def test_reciprocals_are_within_2_to_the_minus_12(threshold):
    multiplier, shift = reciprocal(np.array([threshold]))
    assert 2**11 <= multiplier[0] < 2**12
    assert shift[0] >= 0
    assert abs(multiplier[0] / 2.0 ** shift[0] * threshold - 1) <= 2.0**-12


@pytest.mark.parametrize("exponent", range(-11, 25))
def test_reciprocals_of_powers_of_two_are_exact(exponent):
    multiplier, shift = reciprocal(np.array([2.0**exponent]))
    assert multiplier[0] / 2.0 ** shift[0] == 2.0**-exponent
    for near in (np.nextafter(2.0**exponent, 0), np.nextafter(2.0**exponent, np.inf)):
        multiplier, shift = reciprocal(np.array([near]))
        assert 2**11 <= multiplier[0] < 2**12
        assert shift[0] >= 0


def test_tiny_thresholds_are_raised():
    multiplier, shift = reciprocal(np.array([1e-30]))
    assert (multiplier.tolist(), shift.tolist()) == ([2048], [0])


# --------------------------------------------------------------------------------------- encoding


@FEW
@given(
    st.lists(st.tuples(st.floats(-50, 0), st.floats(0, 50)), min_size=1, max_size=4),
    st.integers(1, 16),
    SEEDS,
)
def test_encoding_is_within_half_a_step_and_zero_is_zero(ranges, bits, seed):
    low, high = (np.array(r) for r in zip(*ranges, strict=True))
    low, high = np.where(low > -1e-3, 0, low), np.where(high < 1e-3, 0, high)
    shape = (len(low), 3, 2)
    encoding = InputEncoding.spanning(low, high, bits, shape, shape)
    x = np.random.default_rng(seed).uniform(0, 1, (4, *shape))
    x = low.reshape(-1, 1, 1) + x * (high - low).reshape(-1, 1, 1)
    encoded = encoding(x)
    assert encoded.dtype == np.int64
    assert encoded.min() >= encoding.low
    assert encoded.max() <= encoding.high
    unit = encoding.unit.reshape(-1, 1, 1)
    assert (np.abs(encoded * unit - x) <= unit / 2 * (1 + 1e-6)).all()
    assert not encoding(np.zeros((1, *shape))).any()
    assert encoding.low <= 0 < encoding.high
    assert (encoding.unit > 0).all()


def test_encoding_clips_what_calibration_has_not_seen():
    encoding = InputEncoding.spanning(np.array([-1.0]), np.array([3.0]), 8, (1, 1, 2), (1, 1, 2))
    assert encoding(np.array([[[[-9.0, 9.0]]]])).ravel().tolist() == [encoding.low, encoding.high]


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bytes_are_encoded_as_they_are(bits):
    most = 2**bits - 1
    encoding = InputEncoding.spanning(np.zeros(1), np.array([most]), bits, (1, 2, 2), (1, 2, 2))
    assert (encoding.low, encoding.high, encoding.unit.tolist()) == (0, most, [1.0])


def test_vectors_share_a_unit_and_maps_do_not():
    low, high = np.array([0.0, -1.0]), np.array([1.0, 3.0])
    vector = InputEncoding.spanning(low, high, 8, (2,), (2, 1, 1))
    assert vector.unit.shape == (1,)
    maps = InputEncoding.spanning(low, high, 8, (2, 4, 4), (2, 4, 4))
    np.testing.assert_allclose(maps.unit, [1 / 255, 4 / 255])
    assert vector(np.array([[1.0, 1.0]])).ravel().tolist() == [64, 64]


def test_an_input_that_is_always_zero():
    encoding = InputEncoding.spanning(np.zeros(2), np.zeros(2), 8, (2, 1, 3), (2, 1, 3))
    assert not encoding(np.zeros((2, 2, 1, 3))).any()


def test_decoding_multiplies_by_the_unit_of_the_channel():
    decoding = OutputDecoding(np.array([0.5, 2.0]), (2, 3))
    potential = np.arange(12).reshape(2, 2, 1, 3)
    expected = potential.reshape(2, 2, 3) * np.array([[0.5], [2.0]])
    np.testing.assert_array_equal(decoding(potential), expected)
    assert prod(decoding.shape) == 6
