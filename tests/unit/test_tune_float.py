"""The float network with quantized activations: the one that the ladder's rung ``rate`` is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

import anns  # noqa: E402
from quantized_cases import NETWORKS  # noqa: E402
from snn_compile.convert.balance_thresholds import balance_thresholds  # noqa: E402
from snn_compile.convert.calibrate import calibrate  # noqa: E402
from snn_compile.ir import ann as ops  # noqa: E402
from snn_compile.pipeline.folding import FOLDING  # noqa: E402
from snn_compile.report.evaluation import on_levels  # noqa: E402
from snn_compile.sim import ann  # noqa: E402
from snn_compile.tune.float_network import FloatNetwork, apply  # noqa: E402
from snn_compile.tune.method import Batch  # noqa: E402
from snn_compile.tune.options import TuneOptions  # noqa: E402
from snn_compile.tune.qcfs import QuantizedActivations  # noqa: E402
from snn_compile.tune.trainer import HeldOutAccuracy, Trainer, TrainingData  # noqa: E402

LEVELS = 4


def case(name, seed=0):
    folded = FOLDING(NETWORKS[name]()).graph
    x = np.random.default_rng(seed).normal(size=(64, *folded.input.shape))
    scales = balance_thresholds(folded, calibrate(folded, x), lambda _: "mmse", levels=LEVELS)
    return folded, scales, x


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_evaluator_does(name):
    folded, scales, x = case(name)
    network = FloatNetwork(folded, scales, LEVELS, dtype=torch.float64)
    with torch.no_grad():
        found = network(network.messages(x)).numpy()
    hook = on_levels(scales, dict.fromkeys(scales, LEVELS))
    expected = ann.evaluate(folded, x, hook=hook, dtype=np.float64)
    # A rounding error of the last digit may move an activation by a level: rarely.
    equal = np.isclose(found, expected, atol=1e-9).reshape(len(x), -1).all(axis=1)
    assert equal.mean() > 0.9


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_parameters_come_back_as_they_were(name):
    folded, scales, _ = case(name)
    graph, found = FloatNetwork(folded, scales, LEVELS, dtype=torch.float64).tuned()
    for key, scale in scales.items():
        assert np.array_equal(found[key], scale), key
    for node in folded.graph:
        if isinstance(node, ops.Conv | ops.Dense):
            assert np.array_equal(graph.graph[node.id].weight, node.weight)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_converted_is_what_was_trained(name):
    """Calibrations correct towards the quantized activations, not towards plain rectifiers."""
    folded, scales, x = case(name)
    tuned, found = FloatNetwork(folded, scales, LEVELS, dtype=torch.float64).tuned()
    expected = ann.evaluate(folded, x, hook=on_levels(found, dict.fromkeys(found, LEVELS)))
    np.testing.assert_array_equal(ann.evaluate(tuned, x), expected)
    assert (ann.evaluate(folded, x) != expected).any()


def test_every_operator_without_weights():
    net = anns.Net((4, 9, 7), seed=1)
    x = np.random.default_rng(0).normal(size=(3, 4, 9, 7))
    origin = net[anns.INPUT].origin
    place = {"id": "n", "inputs": ("x",), "origin": origin}
    geometry = ops.Geometry if hasattr(ops, "Geometry") else anns.Geometry
    nodes = [
        ops.AveragePool(
            **place,
            shape=(4, 5, 4),
            kernel=(3, 3),
            geometry=geometry(stride=(2, 2), padding=(1, 1, 1, 1)),
            count_padding=False,
        ),
        ops.AveragePool(
            **place,
            shape=(4, 5, 4),
            kernel=(2, 2),
            geometry=geometry(stride=(2, 2)),
            overhang=(1, 1),
        ),
        ops.BatchNorm(
            **place,
            shape=(4, 9, 7),
            gamma=np.arange(1.0, 5),
            beta=np.arange(4.0),
            mean=np.ones(4),
            var=np.arange(1.0, 5),
            epsilon=1e-3,
        ),
        ops.Affine(
            **place, shape=(4, 9, 7), scale=np.full((4, 1, 1), 2.0), shift=np.ones((1, 1, 7))
        ),
        ops.Pad(**place, shape=(4, 9, 7), before=(0, 1, -2), after=(1, 0, 3)),
        ops.Reshape(**place, shape=(4 * 63,)),
        ops.Transpose(**place, shape=(7, 4, 9), permutation=(2, 0, 1)),
        ops.Gather(**place, shape=(2, 3), index=np.array([7, -1, 0, 251, 7, 63])),
        ops.AxisMatrix(**place, shape=(4, 2, 7), axis=1, matrix=np.arange(18.0).reshape(2, 9) % 5),
        ops.Slice(
            **place, shape=(4, 3, 7), slices=(slice(None), slice(8, 2, -2), slice(None, None, -1))
        ),
    ]
    for node in nodes:
        expected = np.moveaxis(ann.apply(node, [np.moveaxis(x, 0, -1)]), -1, 0)
        found = apply(node, torch.tensor(x)).numpy()
        assert np.allclose(found, expected, atol=1e-12), type(node).__name__
    both = [torch.tensor(x), torch.tensor(2 * x)]
    add = ops.Add(**place, shape=(4, 9, 7))
    assert np.allclose(apply(add, *both).numpy(), 3 * x)
    concat = ops.Concat(**place, shape=(8, 9, 7), axis=0)
    assert np.array_equal(apply(concat, *both).numpy(), np.concatenate([x, 2 * x], axis=1))


def test_training_lowers_the_loss():
    folded, scales, x = case("mlp")
    labels = ann.evaluate(folded, x).argmax(axis=1).astype(np.int64)
    options = TuneOptions(method="qcfs", epochs=8, learning_rate=0.02, distill=0.0, batch_size=8)
    network = FloatNetwork(folded, scales, LEVELS)
    method = QuantizedActivations(network, options)
    batch = Batch(network.messages(x), torch.tensor(labels))
    network.parameters()
    before = method.gradients(batch)

    def judge():
        loss = method.gradients(batch)
        return HeldOutAccuracy(0.0, loss, merit=-loss)

    progress = Trainer(network, method, TrainingData(x, labels), judge, options).run()
    assert progress.curve[progress.best].held_out_loss < before / 2
    assert any((network.trained[key] != 1).any() for key in network.trained if "scale" in key)
