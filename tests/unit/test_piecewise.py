"""Lines in the place of a function, and the neurons that they become."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile.convert.curve_samples import NoValueError
from snn_compile.convert.piecewise import fit_curve
from snn_compile.errors import Origin
from snn_compile.ir import spiking
from snn_compile.ir.expression import Number, X, apply, evaluate
from snn_compile.numerics import special
from snn_compile.quantize.neurons import in_fixed_point

SILU = apply("mul", X, apply("sigmoid", X))
SMOOTH = {
    "sigmoid": apply("sigmoid", X),
    "tanh": apply("tanh", X),
    "silu": SILU,
    "gelu": apply("mul", X, apply("add", 1.0, apply("erf", X))),
    "square": apply("mul", X, X),
    "exp": apply("exp", X),
}
HARD = apply("max", apply("add", apply("mul", X, 0.2), 0.5), 0.0)
PIECES = {
    "identity": (X, 1),
    "abs": (apply("abs", X), 2),
    "leaky": (apply("max", X, apply("mul", 0.01, X)), 2),
    "hard-sigmoid": (apply("min", HARD, 1.0), 3),
    "clip": (apply("min", apply("max", X, -1.3), 0.77), 3),
    "sign": (apply("sign", X), 3),
    "floor": (apply("floor", apply("mul", X, 0.5)), 13),
}


def curve(expression, low, high, bits=8, segments=32, channels=1):
    x = np.linspace(low, high, 20001)
    levels = 2**bits - 1
    all_channels = np.broadcast_to(x, (channels, len(x)))
    step = np.full(channels, np.abs(evaluate(expression, all_channels)).max() / levels)
    ends = np.full(channels, low), np.full(channels, high)
    return x, step, fit_curve(expression, *ends, step, segments, levels)


@pytest.mark.parametrize("name", ["erf", "sin", "cos", "tanh"])
def test_special_functions(name):
    x = np.concatenate([np.linspace(-8, 8, 4001), [0.0, 1e-9, -1e-9, 40.0, -40.0]])
    expected = np.array([getattr(math, name)(v) for v in x])
    np.testing.assert_allclose(getattr(special, name)(x), expected, rtol=0, atol=2e-15)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("reach", [0.5, 4.0, 30.0])
def test_lines_are_as_near_as_they_say(name, reach):
    x, step, found = curve(SMOOTH[name], -reach, reach)
    y = evaluate(SMOOTH[name], x[None])
    off = np.abs(found(x[None]) - y)
    assert off.max() <= found.error[0] + step[0] / 16
    assert found.error[0] <= step[0] / 2
    assert found.slope.shape[1] <= 32


@pytest.mark.parametrize("name", PIECES)
def test_what_is_linear_in_pieces_stays_as_it_is(name):
    expression, pieces = PIECES[name]
    x, step, found = curve(expression, -6.0, 6.0)
    assert found.slope.shape[1] == pieces
    away = np.ones(len(x), bool) if name not in ("sign", "floor") else np.abs(x % 2) > 1e-6
    y = evaluate(expression, x[None])
    assert np.abs(found(x[None]) - y)[0, away].max() <= step[0] / 512


@pytest.mark.parametrize("share", [1.0, 1.25, 1.45, 1.6, 1.95])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu"])
def test_proportional_errors_reach_up_to_the_largest_payload(name, share):
    """Steps are rounded down for sharing; what is left out must be beyond the true full scale."""
    most, step = 2047, share * 2.0**-12
    x = np.linspace(-1.2, 1.2, 20001)
    y = evaluate(SMOOTH[name], x[None])
    ends = np.array([-1.2]), np.array([1.2])
    found = fit_curve(SMOOTH[name], *ends, np.array([step]), 12, most, relative=True)
    off = np.abs(found(x[None]) - y)[np.abs(y) <= most * step]
    assert off.max() <= found.error[0] + step / 16


POLES = {
    "reciprocal": (apply("div", 1.0, X), 0.001, 2.0),
    "logarithm": (apply("log", X), 1e-4, 2.0),
    "beside": (apply("div", 1.0, apply("sub", X, 3.0)), 3.002, 7.0),
    "on-the-right": (apply("log", apply("sub", 1.0, X)), -3.0, 0.9999),
}


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", POLES)
def test_lines_reach_where_a_function_ends(name, share):
    expression, low, high = POLES[name]
    x = np.linspace(low, high, 200001)
    y = evaluate(expression, x[None])[0]
    full = share * np.abs(y).max()
    step = np.array([full / 2047])
    found = fit_curve(expression, np.array([low]), np.array([high]), step, 32, 2047, relative=True)
    line = np.searchsorted(found.breakpoints[0], x, side="right")
    lines = found.value[0, line] + found.slope[0, line] * (x - found.anchor[0, line])
    apart = np.abs(np.clip(lines, -full, full) - np.clip(y, -full, full)).max()
    assert apart <= found.error[0] * (1 + 1e-3)


def test_fewer_lines_cost_more():
    errors = [curve(SILU, -6.0, 6.0, segments=n)[2].error[0] for n in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 4 * errors[-1]


def test_channels_have_functions_of_their_own():
    slopes = Number(np.array([0.5, 2.0]))
    expression = apply("max", X, apply("mul", slopes, X))
    x, _, found = curve(expression, -3.0, 3.0, channels=2)
    both = np.stack([x, x])
    np.testing.assert_allclose(found(both), evaluate(expression, both), atol=1e-4)


@pytest.mark.parametrize("name", ["log", "sqrt"])
def test_a_function_without_a_value_is_refused(name):
    with pytest.raises(NoValueError):
        curve(apply(name, X), -1.0, 1.0)
    for low in (0.25, 0.1, 0.02):  # a range is rounded outwards, to 0 and below
        x, step, found = curve(apply(name, X), low, 4.0)
        off = np.abs(found(x[None]) - evaluate(apply(name, X), x[None])).max()
        assert off <= step[0] / 2


def one_neuron(found, step, levels):
    """A neuron in floating point that has the lines of a curve."""
    return spiking.PiecewiseLinearNeurons(
        id="n",
        inputs=("s",),
        shape=(1, 1, 1),
        origin=Origin("test"),
        threshold=step,
        bias=np.zeros((1, 1, 1)),
        step=step,
        breakpoints=found.breakpoints,
        anchor=found.anchor,
        value=found.value,
        slope=found.slope,
        error=found.error / step,
        low=-levels,
        high=levels,
    )


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(SMOOTH)),
    st.floats(0.2, 20.0),
    st.floats(-10.0, 10.0),
    st.integers(2, 10),
    st.integers(6, 20),
)
def test_neurons_are_within_a_step_of_the_function(name, reach, middle, bits, fraction):
    """Whatever the range, the payload and the unit of the potential."""
    expression = SMOOTH[name]
    low, high = middle - reach, middle + reach
    x, step, found = curve(expression, low, high, bits, segments=256)
    levels = 2**bits - 1
    unit = np.array([max(abs(low), abs(high)) * 2.0**-fraction])
    node = one_neuron(found, step, levels)
    neurons = in_fixed_point(node, np.zeros((1, 1, 1)), unit)
    assert not list(neurons.misfits())
    v = np.unique(np.rint(x / unit)).astype(np.int64)
    v = v[(v * unit >= low) & (v * unit <= high)]
    sent = neurons.respond(v.reshape(1, 1, 1, 1, -1), 1).ravel()
    exact = np.clip(evaluate(expression, (v * unit)[None])[0] / step, -levels, levels)
    slope = np.abs(np.gradient(exact)).max() if len(v) > 1 else 0.0
    assert np.abs(sent - exact).max() <= 0.5 + node.error[0] + 0.2 + min(slope, 0.5)


@pytest.mark.parametrize("reach", [1e30, 1e6, 40.0])
@pytest.mark.parametrize("unit", [1e-9, 1e-4, 1e20])
def test_numbers_fit_whatever_bounds_allow(reach, unit):
    """Arguments that no potential holds, and potentials in which a payload has no slope."""
    _, step, found = curve(SILU, -reach, reach)
    node = one_neuron(found, step, 255)
    neurons = in_fixed_point(node, np.zeros((1, 1, 1)), np.array([unit]))
    assert not list(neurons.misfits())
    v = np.array([-(1 << 23) + 1, -1000, 0, 1000, (1 << 23) - 1])
    sent = neurons.respond(v.reshape(1, 1, 1, 1, -1), 1).ravel()
    exact = np.clip(found(v[None] * unit)[0] / step, -255, 255)
    assert np.abs(sent - exact).max() <= 0.75


def test_a_channel_of_small_values_shares_the_line_of_large_ones():
    low, high = np.array([-1.0, -1e-4]), np.array([1.0, 1e-4])
    step, unit = high / 255, high / 500
    found = fit_curve(X, low, high, step, 8, 255)
    node = spiking.PiecewiseLinearNeurons(
        id="n",
        inputs=("s",),
        shape=(2, 1, 1),
        origin=Origin("test"),
        threshold=step,
        bias=np.zeros((2, 1, 1)),
        step=step,
        breakpoints=found.breakpoints,
        anchor=found.anchor + 0.7,
        value=found.value + 0.7,
        slope=found.slope,
        error=found.error / step,
        low=-255,
        high=255,
    )
    neurons = in_fixed_point(node, np.zeros((2, 1, 1)), unit)
    v = np.arange(-500, 501)
    sent = neurons.respond(np.stack([v, v]).reshape(2, 1, 1, 1, -1), 1).reshape(2, -1)
    assert np.abs(sent - v * unit[:, None] / step[:, None]).max() <= 0.6


def test_relays_pass_every_payload():
    _, step, found = curve(SILU, -6.0, 6.0)
    place = {"id": "n", "inputs": ("s",), "shape": (1, 1, 1), "origin": Origin("test")}
    node = spiking.PiecewiseLinearNeurons(
        **place,
        threshold=step,
        bias=np.zeros((1, 1, 1)),
        step=step,
        breakpoints=found.breakpoints,
        anchor=found.anchor,
        value=found.value,
        slope=found.slope,
        error=found.error,
        low=-255,
        high=255,
    )
    relay = in_fixed_point(node.relaying("r", "s"), np.zeros((1, 1, 1)), step)
    payloads = np.arange(-255, 256).reshape(1, 1, 1, 1, -1)
    np.testing.assert_array_equal(relay.respond(payloads, 1), payloads)
