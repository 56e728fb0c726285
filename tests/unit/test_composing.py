"""Pools that are kept as neurons where composing them exceeds the target, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile import compile_model
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """16 maps of 17 x 17, averaged: 4,624 sources of each class, 289 of each pooled value."""
    random = np.random.default_rng(0)
    weights = {
        "a": random.normal(size=(16, 1, 3, 3)).astype(np.float32),
        "b": random.normal(size=(10, 16)).astype(np.float32),
        "c": random.normal(size=10).astype(np.float32),
    }
    nodes = [
        node("Conv", "x a", "p", "conv", pads=[1, 1, 1, 1]),
        node("Relu", "p", "q", "relu"),
        node("GlobalAveragePool", "q", "r", "pool"),
        node("Flatten", "r", "s"),
        node("Gemm", "s b c", "y", "dense", transB=1),
    ]
    path = tmp_path_factory.mktemp("composing") / "net.onnx"
    onnx.save(model(nodes, ("N", 1, 17, 17), weights), str(path))
    return path, random.random((40, 1, 17, 17)).astype(np.float32)


def populations(network, **options):
    found = check_model(network, CompileOptions(**options))
    return [p.id for p in found.mapped.program.populations], {f.code for f in found.findings}


def test_a_pool_is_kept_where_the_composed_layer_has_too_many_sources(network):
    path, _ = network
    names, codes = populations(path, target="loihi2")
    assert names == ["relu", "pool.carry", "y"]
    assert "kept-pool" in codes
    assert "split-fan-in" not in codes


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"target": "unlimited"}, False),
        ({"target": "loihi2", "coding": "sync"}, False),  # split exactly
        ({"target": "loihi1"}, True),  # where nothing is split
    ],
)
def test_where_a_pool_is_kept(network, options, kept):
    path, _ = network
    names, codes = populations(path, **options)
    assert ("pool.carry" in names) == kept
    assert ("kept-pool" in codes) == kept


def test_the_ladder_shows_the_other_rounding(network):
    """The folded network computes the same; what is rounded twice differs in fixed point."""
    path, x = network
    found = {
        target: compile_model(
            path, calibrate=x[:20], evaluate=(x[20:], None), target=target, emit=()
        )
        for target in ("loihi2", "unlimited")
    }
    ladders = {
        name: {rung["stage"]: rung["agreement"] for rung in one.report["ladder"]}
        for name, one in found.items()
    }
    assert ladders["loihi2"]["folded"] == ladders["unlimited"]["folded"] == 100.0
    kept, composed = (found[name].run(x[20:]) for name in ("loihi2", "unlimited"))
    assert (kept != composed).any()
    np.testing.assert_allclose(kept, composed, atol=0.05 * np.abs(composed).max())
