"""The first difference between two recordings."""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.errors import VerificationError
from snn_compile.hil.divergence import Divergence, first_divergence
from snn_compile.hil.verification import Verification
from snn_compile.ir.graph import NodeId

A, B = NodeId("a"), NodeId("b")


def recordings():
    random = np.random.default_rng(0)
    expected = {A: random.integers(0, 9, (2, 3, 4)), B: random.integers(0, 9, (2, 3, 2, 5))}
    return expected, {key: value.astype(np.uint8) for key, value in expected.items()}


def test_equal_values_of_other_types_are_equal():
    assert first_divergence(*recordings()) is None


def test_the_first_layer_then_the_first_stimulus_counts():
    expected, actual = recordings()
    actual[B][0, 0, 0, 0] += 1
    actual[A][1, 2, 3] += 1
    actual[A][1, 2, 1] += 2
    value = int(expected[A][1, 2, 1])
    found = first_divergence(expected, actual)
    assert found == Divergence("a", 1, 2, (1,), value, value + 2)
    assert "layer 'a', stimulus 1, step 2, neuron [1]" in str(found)


def test_other_shapes_and_other_layers_are_errors():
    expected, actual = recordings()
    with pytest.raises(VerificationError, match="shape"):
        first_divergence(expected, actual | {B: actual[B][..., :2]})
    with pytest.raises(VerificationError, match="'b'"):
        first_divergence(expected, {A: actual[A]})


def test_the_report_has_the_keys_that_scripts_rely_on():
    found = Divergence("a", 0, 1, (2, 3), 4, 5)
    report = Verification("lava", "native 3.10", 6, 7, 8, False, found, ("x",)).as_dict()
    assert report["against"] == "lava"
    assert report["equal"] is False
    assert report["first_divergence"]["neuron"] == [2, 3]
    assert list(report)[:7] == [
        *("against", "mode", "stimuli", "steps", "compared", "equal", "first_divergence")
    ]
