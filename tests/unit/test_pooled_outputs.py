"""Thresholds of what a max pool picks: nothing of an output is clipped on the calibration set."""

from __future__ import annotations

import numpy as np
import pytest

from anns import INPUT, Net
from snn_compile.codings import coding_of
from snn_compile.convert.balance_thresholds import balance_thresholds, least_error
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.lowering import lower
from snn_compile.options import CompileOptions
from snn_compile.pipeline.folding import FOLDING
from snn_compile.samples.arrays import Samples
from snn_compile.sim.ann import evaluate

SAME, LEVELS = Geometry(padding=(1, 1, 1, 1)), 32


def pooled(kernel, ending):
    net = Net((2, 8, 8), seed=5)
    pool = net.max_pool(net.relu(net.conv(INPUT, 4, geometry=SAME)), kernel)
    if ending == "chain":
        pool = net.max_pool(pool)
    if ending == "wired":
        net.flatten(net.transpose(pool, 1, 2, 0))
    if ending == "dense":
        net.dense(net.flatten(pool), 3)
    return net.build()


def long_tailed(network, n=80):
    random = np.random.default_rng(0)
    shape = (n, *network.input.shape)
    return random.normal(size=shape) * random.gamma(1.5, 1, size=(n, 1, 1, 1))


def first_rectifier(folded):
    return next(node for node in folded.graph if isinstance(node, ann.Relu))


@pytest.mark.parametrize(
    ("kernel", "ending"), [((2, 2), ""), ((4, 4), ""), ((3, 3), "wired"), ((2, 2), "chain")]
)
def test_what_is_picked_for_an_output_is_not_clipped(kernel, ending):
    """Each answer to a calibration sample is within two steps of the float network's."""
    network = pooled(kernel, ending)
    folded, x = FOLDING(network).graph, long_tailed(network)
    options = CompileOptions(coding="sync", timesteps=LEVELS)
    found = lower(folded, calibrate(folded, x), Samples(x), options, coding_of(options, "graded"))
    wanted = evaluate(network, x, dtype=np.float64)
    error = np.abs(found.outputs(x)[0].reshape(len(x), -1) - wanted.reshape(len(x), -1))
    step = found.scales[first_rectifier(folded).id].max() / LEVELS
    assert error.max() < 2 * step


@pytest.mark.parametrize("per_layer", [False, True])
def test_only_outputs_and_only_mmse(per_layer):
    """Layers behind a pool average; and who asks for a percentile says what is to be clipped."""
    for ending in ("", "dense"):
        network = pooled((2, 2), ending)
        folded, x = FOLDING(network).graph, long_tailed(network)
        owner, found = first_rectifier(folded).id, calibrate(folded, x)
        one = found.activations[owner]
        mmse, percentile = (
            balance_thresholds(
                folded, found, lambda _, m=method: m, levels=LEVELS, per_layer=per_layer
            )
            for method in ("mmse", "percentile:99")
        )
        assert percentile[owner].max() < one.peak.max()
        if not per_layer:
            expected = least_error(one, LEVELS)
            if not ending:
                expected = np.maximum(expected, one.peak)
            np.testing.assert_array_equal(mmse[owner], expected)
        assert bool(mmse[owner].max() >= one.peak.max()) is not bool(ending)
        comparators = [n.id for n in folded.graph if isinstance(n, ann.Relu) and n.like == owner]
        assert comparators
        for name in comparators:
            np.testing.assert_array_equal(mmse[name], mmse[owner])
