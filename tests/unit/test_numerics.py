"""Sums in any order, functions against exact arithmetic, factors against LAPACK."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from blas_orders import shuffled_blas
from snn_compile.convert.balance_thresholds import MAX_HEADROOM, MIN_SHARE, N_CANDIDATES
from snn_compile.numerics import factors, functions, products
from snn_compile.quantize.calibrate_resets import COARSE
from snn_compile.sim import ann, kernels
from snn_compile.sim.reproducible import Coarse, Reproducible, _coarse

SIZES = st.integers(1, 40)


def drawn(seed, *shape):
    """Numbers of all magnitudes, a few of them 0."""
    random = np.random.default_rng(seed)
    values = random.normal(size=shape) * np.exp(random.normal(0, 4, shape))
    return np.where(random.random(shape) < 0.1, 0.0, values)


@pytest.fixture
def another_blas(monkeypatch):
    """Make every product add up in another order from here on."""

    def switch(seed):
        for module in (products, kernels, ann):
            monkeypatch.setattr(module, "blas", shuffled_blas(seed))
        monkeypatch.setattr("snn_compile.sim.reproducible.blas", shuffled_blas(seed))

    return switch


def in_all_orders(compute):
    """The value of a function under BLAS and under shuffled products, which has to be one."""
    with pytest.MonkeyPatch.context() as patch:
        found = [compute()]
        for seed in range(3):
            patch.setattr(products, "blas", shuffled_blas(seed))
            found.append(compute())
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    return found[0]


def test_plain_sums_do_depend_on_the_order():
    """Else the tests below could not fail."""
    a, b = drawn(0, 20, 300), drawn(1, 300, 20)
    assert (a @ b != shuffled_blas(0)(a, b)).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 16), m=SIZES, k=st.integers(1, 300), n=SIZES)
def test_matrix_products_in_any_order(seed, m, k, n):
    a, b = drawn(seed, m, k), drawn(seed + 1, k, n)
    scale = np.abs(a).max(axis=1)[:, None] * np.abs(b).max(axis=0) * k
    for slices, bits in ((1, 20), (2, 40), (3, 48)):
        found = in_all_orders(lambda slices=slices: products.matmul(a, b, slices=slices))
        assert (np.abs(found - a @ b) <= scale * 2.0**-bits + 1e-300).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 16), m=SIZES, k=st.integers(1, 300), n=SIZES)
def test_products_with_integers_in_any_order(seed, m, k, n):
    a = drawn(seed, m, k)
    b = np.random.default_rng(seed).integers(-300, 300, (k, n))
    found = in_all_orders(lambda: products.times_integers(a, b))
    scale = np.abs(a).max(axis=1)[:, None] * (np.abs(b).sum(axis=0) + 1)
    assert (np.abs(found - a @ b) <= scale * 2.0**-32).all()
    np.testing.assert_array_equal(in_all_orders(lambda: products.gram(b)), b @ b.T)


def test_integers_have_to_be_integers():
    with pytest.raises(TypeError, match="float64"):
        products.times_integers(np.ones((1, 2)), np.ones((2, 1)))
    with pytest.raises(OverflowError, match="exact"):
        products.gram(np.full((1, 2), 1 << 26))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1 << 16), n=st.integers(0, 2000))
def test_totals_in_any_order(seed, n):
    x = drawn(seed, n)
    found = products.total(x, 0)
    random = np.random.default_rng(seed)
    for _ in range(3):
        assert products.total(random.permutation(x), 0) == found
    exact = float(sum(map(Fraction, x.tolist()), Fraction()))
    assert abs(found - exact) <= np.abs(x).max(initial=0) * max(n, 1) * 2.0**-38
    assert products.mean(x, 0) == found / max(n, 1)


@given(st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=50), st.integers(-60, 60))
def test_rounding_is_to_multiples_and_ties_to_even(values, exponent):
    x = np.ldexp(np.array(values, np.float64), exponent - 3)
    np.testing.assert_array_equal(
        products.rounded(x, exponent), np.ldexp(np.rint(np.ldexp(x, -exponent)), exponent)
    )


def exact(network, x):
    return Reproducible(network, x)


def coarse(network, x):
    return Coarse(Reproducible(network, x))


@pytest.mark.parametrize(("operators", "precision"), [(exact, 2e-6), (coarse, 0.04)])
def test_networks_do_not_depend_on_the_order_or_the_batch(operators, precision, another_blas):
    networks = [anns.random_chain(seed, 8) for seed in range(12)]
    random = np.random.default_rng(0)
    data = [random.normal(size=(5, *net.input.shape)) for net in networks]

    def scores(network, x, first):
        return ann.evaluate(network, x, operators=operators(network, first))

    found = [scores(net, x, x) for net, x in zip(networks, data, strict=True)]
    plain = [ann.evaluate(*pair) for pair in zip(networks, data, strict=True)]
    for network, x, one in zip(networks, data, found, strict=True):
        right = ann.evaluate(network, x, dtype=np.float64)
        assert np.abs(one - right).max() <= precision * np.abs(right).max()
        for k in range(len(x)):
            np.testing.assert_array_equal(scores(network, x[k : k + 1], x), one[k : k + 1])
    another_blas(1)
    changed = 0
    for network, x, one, other in zip(networks, data, found, plain, strict=True):
        np.testing.assert_array_equal(scores(network, x, x), one)
        changed += (ann.evaluate(network, x) != other).any()
    assert changed  # the switch has an effect


@pytest.mark.parametrize("n", [5, 1000, 40000])
def test_coarse_weights_add_up_to_fourteen_bits(n):
    """However many they are: those of one size would all be rounded up."""
    weight = np.stack([np.full(n, 0.7), drawn(n, n), np.zeros(n)])
    found = _coarse(weight)
    unit = np.ldexp(1.0, products.bit_length(np.abs(weight).sum(axis=1)) - 14)[:, None]
    assert (np.rint(found / unit) == found / unit).all()
    assert (np.abs(found / unit).sum(axis=1) <= 1 << 14).all()
    assert np.abs(found - weight).max() <= unit.max()


@given(st.floats(-700, 700))
def test_exp(x):
    getcontext().prec = 40
    exact = Decimal(x).exp()
    assert abs(Decimal(float(functions.exp(x))) / exact - 1) < Decimal(2) ** -50


@given(st.floats(1e-300, 1e300))
def test_log2(x):
    getcontext().prec = 40
    exact = Decimal(x).ln() / Decimal(2).ln()
    found = Decimal(float(functions.log2(x)))
    assert abs(found - exact) <= max(abs(exact), Decimal(1)) * Decimal(2) ** -50


@given(st.integers(-1000, 1000))
def test_powers_of_two_are_exact(n):
    assert functions.log2(math.ldexp(1.0, n)) == n
    assert functions.floor_log2(math.ldexp(1.0, n)) == n == functions.ceil_log2(math.ldexp(1.0, n))
    above = math.nextafter(math.ldexp(1.0, n), math.inf)
    assert functions.floor_log2(above) == n
    assert functions.ceil_log2(above) == n + 1


@given(st.floats(1e-3, 1e3), st.floats(0, 2))
def test_power(x, exponent):
    assert functions.power(x, 1) == x
    assert functions.power(x, exponent) == pytest.approx(x**exponent, rel=1e-13)


@pytest.mark.parametrize(
    ("first", "last", "n", "found"),
    [
        (MAX_HEADROOM, MIN_SHARE, N_CANDIDATES, None),
        (0.2, 1.4, 14, COARSE),
    ],
)
def test_constants_are_far_from_where_libraries_could_differ(first, last, n, found):
    """Rounded to 32 bits, and none so near a tie that the last bits of a library decide."""
    getcontext().prec = 40
    values = functions.geometric(first, last, n)
    ratio = (Decimal(last) / Decimal(first)) ** (Decimal(1) / (n - 1))
    for k, value in enumerate(values[1:-1].tolist(), start=1):
        exact = Decimal(first) * ratio**k
        step = Decimal(2) ** (math.frexp(value)[1] - 32)
        assert abs(Decimal(value) - exact) <= step * (Decimal("0.5") - Decimal(2) ** -16)
    assert values[0] == first
    assert values[-1] == last
    assert found is None or (values == found).all()


def positive_definite(seed, n):
    random = np.random.default_rng(seed)
    a = random.normal(size=(n, n + 10))
    return a @ a.T / n + 0.05 * np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_factors(n):
    matrix = positive_definite(n, n)
    right = np.random.default_rng(n).normal(size=(n, 7))
    lower = in_all_orders(lambda: factors.cholesky(matrix))
    assert (np.triu(lower, 1) == 0).all()
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-11)
    assert (products.outer(lower) == products.matmul(lower, np.ascontiguousarray(lower.T))).all()
    assert (factors.inverse_of_lower(lower) == factors.solve_lower(lower, np.eye(n))).all()
    upper = in_all_orders(lambda: factors.upper_factor_of_inverse(matrix))
    expected = np.linalg.cholesky(np.linalg.inv(matrix)).T
    np.testing.assert_allclose(upper, expected, rtol=1e-9, atol=1e-10)
    solved = in_all_orders(lambda: factors.solve_factored(factors.cholesky(matrix), right))
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-9)


def test_what_has_no_factor_is_refused():
    for bad in (np.diag([1.0, 0.0]), np.array([[1.0, 2.0], [2.0, 1.0]])):
        with pytest.raises(ValueError, match="positive definite"):
            factors.cholesky(bad)
