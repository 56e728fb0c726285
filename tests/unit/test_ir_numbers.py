"""Formats, fixed-point tensors, rounding and shifts."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile.ir.fixedpoint import QFormat, QTensor, arithmetic_shift, round_half_even

MANY = settings(max_examples=200, deadline=None, derandomize=True)
INTEGERS = st.integers(-(2**40), 2**40)


@MANY
@given(st.integers(1, 63), st.booleans())
def test_a_format_has_two_to_the_bits_values(bits, signed):
    fmt = QFormat(bits, signed)
    assert fmt.max - fmt.min + 1 == 2**bits
    assert (fmt.min < 0) is signed
    assert str(fmt) == f"{'s' if signed else 'u'}{bits}"


@MANY
@given(INTEGERS, INTEGERS)
def test_holding_is_the_narrowest_format(one, other):
    low, high = min(one, other), max(one, other)
    fmt = QFormat.holding(low, high)
    assert fmt.min <= low
    assert high <= fmt.max
    assert fmt.signed is (low < 0)
    if fmt.bits > 1:
        narrower = QFormat(fmt.bits - 1, fmt.signed)
        assert not narrower.min <= low <= high <= narrower.max


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 0, "u1"),
        (0, 255, "u8"),
        (0, 256, "u9"),
        (-1, -1, "s1"),
        (-8, -8, "s4"),
        (-128, 127, "s8"),
    ],
)
def test_formats_by_hand(low, high, text):
    assert str(QFormat.holding(low, high)) == text


@pytest.mark.parametrize("bits", [0, 64, -1])
def test_impossible_widths(bits):
    with pytest.raises(ValueError, match="1 to 63 bits"):
        QFormat(bits)


@MANY
@given(st.lists(st.integers(-(2**30), 2**30), max_size=8))
def test_tensors_hold_what_was_given(values):
    tensor = QTensor.of(values)
    assert tensor.values.tolist() == values
    assert tensor.values.dtype == np.int64
    assert tensor.shape == (len(values),)
    assert not tensor.values.flags.writeable


def test_tensors_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"values -1\.\.200 do not fit s8 \(-128\.\.127\)"):
        QTensor(np.array([-1, 200]), QFormat(8))
    with pytest.raises(ValueError, match="do not fit u3"):
        QTensor(np.array([-1]), QFormat(3, signed=False))
    with pytest.raises(TypeError, match="integers, not float64"):
        QTensor(np.array([1.0]), QFormat(8))


def test_tensors_of_unsigned_and_small_types_are_the_same_numbers():
    for dtype in (np.int8, np.uint8, np.int32, np.uint16):
        assert QTensor(np.array([0, 100], dtype), QFormat(8)).values.tolist() == [0, 100]


@MANY
@given(INTEGERS, st.integers(-45, 20))
def test_shift_is_the_floor_of_the_product(x, exponent):
    found = arithmetic_shift(np.array([x]), exponent)
    assert found.tolist() == [floor(Fraction(x) * Fraction(2) ** exponent)]


@MANY
@given(st.floats(-(2.0**40), 2.0**40))
def test_rounding_is_python_s(x):
    assert round_half_even([x]).tolist() == [round(x)]


def test_ties_go_to_even():
    assert round_half_even([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]).tolist() == [-2, -2, 0, 0, 2, 2]
