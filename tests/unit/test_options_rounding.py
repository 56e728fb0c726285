"""Ways to round weights, and how many steps learn them."""

import pytest

from snn_compile.errors import CompileError
from snn_compile.options import CompileOptions
from snn_compile.options.rounding import reconstructs, steps_of, valid_rounding


@pytest.mark.parametrize(
    ("method", "steps"),
    [("reconstructed", None), ("reconstructed:7", 7), ("reconstructed:999999", 999999)],
)
def test_steps_may_be_stated(method, steps):
    assert valid_rounding(method)
    assert reconstructs(method)
    assert steps_of(method) == steps


@pytest.mark.parametrize("method", ["reconstructed:0", "reconstructed:", "reconstructed:1e3"])
def test_steps_are_whole_numbers(method):
    with pytest.raises(CompileError, match="nearest, compensated, reconstructed"):
        CompileOptions(rounding=method)
    assert not reconstructs(method)
