"""Thresholds from spike trains, against a simulation that walks the trained network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anns import INPUT, Net
from snn_compile.codings.rate import Rate
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.spike_norm import spike_norm
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import UsageError
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.spiking import IFNeurons, InputCoding, Reset
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.quantize import quantize
from snn_compile.sim import spiking as simulation
from snn_compile.sim.ann import forward

SAME = Geometry(padding=(1, 1, 1, 1))


def mlp():
    net = Net((12,))
    hidden = net.relu(net.dense(net.relu(net.dense(INPUT, 10)), 9))
    net.dense(hidden, 3)
    return net.build()


def residual():
    net = Net((2, 6, 6))
    a = net.relu(net.conv(INPUT, 3, geometry=SAME))
    b = net.relu(net.sum(net.conv(net.relu(net.conv(a, 3, geometry=SAME)), 3, geometry=SAME), a))
    net.dense(net.flatten(net.average_pool(b)), 3)
    return net.build()


def pooled():
    net = Net((2, 8, 8))
    a = net.relu(net.conv(INPUT, 3, geometry=SAME))
    b = net.relu(net.conv(net.max_pool(a), 4, (2, 2)))
    net.dense(net.flatten(b), 3)
    return net.build()


def capped():
    net = Net((2, 6, 6))
    a = net.relu(net.conv(INPUT, 3, geometry=SAME), 0.5)
    net.dense(net.flatten(net.relu(net.conv(a, 3))), 3)
    return net.build()


NETWORKS = {build.__name__: build for build in (mlp, residual, pooled, capped)}


class Case:
    """A network with everything that the threshold search needs."""

    def __init__(self, name, *, n_steps=7, reset=Reset.SUBTRACT, poisson=False, per_layer=False):
        self.network = FOLDING(NETWORKS[name]()).graph
        shape = self.network.input.shape
        x = np.random.default_rng(3).normal(size=(9, *shape)) * (1 if name != "mlp" else 2)
        found = calibrate(self.network, x)
        self.encoding = InputEncoding.spanning(
            *next(iter(found.inputs.values())), 8, shape, maps_shape(shape)
        )
        self.frames = self.encoding(x)
        self.scales = balance_thresholds(
            self.network, found, lambda _: "max", levels=n_steps, per_layer=per_layer
        )
        self.relus = [node for node in self.network.graph if isinstance(node, ann.Relu)]
        self.like = {n.id: n.like for n in self.relus if n.like is not None}
        self.caps = {n.id: n.cap for n in self.relus if n.cap is not None}
        self.coding = Rate(n_steps, reset)
        self.per_layer = per_layer
        arrival = InputCoding.POISSON if poisson else None
        to_spiking = ToSpiking(self.coding, self.scales, self.encoding, arrival, 11)
        self.spiking = to_spiking(self.network).graph

    def found(self, chosen=lambda _: True):
        return spike_norm(
            self.spiking,
            self.frames,
            self.scales,
            chosen,
            like=self.like,
            caps=self.caps,
            per_layer=self.per_layer,
        )

    def inputs(self):
        """What arrives at each step in real values, (*shape, B)."""
        (sent,) = simulation.encode_inputs(self.spiking, self.frames).values()
        real = sent.astype(np.float64) * self.spiking.input.unit[:, None, None, None, None]
        shape = (*self.network.input.shape, len(self.frames))
        return [
            real[..., min(t, real.shape[-2] - 1), :].reshape(shape)
            for t in range(self.coding.n_steps)
        ]

    def simulate(self, thresholds):
        """Run the trained network at every step with spikes in place of activations.

        Returns:
            The largest drive of each rectifier's channels over samples and steps.
        """
        potential, largest = {}, {}
        for x in self.inputs():
            seen = {}

            def spike(node, value, seen=seen):
                seen[node.id] = value
                if not isinstance(node, ann.Relu):
                    return value
                drive = seen[node.inputs[0]]
                peak = drive.reshape(len(drive), -1).max(axis=1)
                largest[node.id] = np.maximum(largest.get(node.id, -np.inf), peak)
                if node.id not in thresholds:
                    return value
                theta = thresholds[node.id].reshape(-1, *[1] * (drive.ndim - 1))
                start = self.coding.initial_potential * theta
                v = potential.get(node.id, start) + drive
                fired = v >= theta
                left = v - theta if self.coding.reset is Reset.SUBTRACT else np.zeros_like(v)
                potential[node.id] = np.where(fired, left, v)
                return fired * theta

            forward(self.network, x, spike)
        return largest

    def brute_force(self):
        """Algorithm 1 of Sengupta et al. 2019: one layer after the other."""
        thresholds = {}
        for node in self.relus:
            if node.id in self.like:
                thresholds[node.id] = thresholds[node.like]
                continue
            peak = self.simulate(thresholds)[node.id]
            if self.per_layer:
                peak = np.full_like(peak, peak.max())
            peak = np.where(peak > 0, peak, self.scales[node.id])
            thresholds[node.id] = np.minimum(peak, self.caps.get(node.id, np.inf))
        return thresholds


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_thresholds_are_the_largest_drives(name, per_layer):
    case = Case(name, per_layer=per_layer)
    found, expected = case.found(), case.brute_force()
    assert found.keys() == expected.keys()
    for key, threshold in expected.items():
        np.testing.assert_allclose(found[key], threshold, rtol=1e-5, err_msg=key)
    assert any((found[key] > 1.05 * case.scales[key]).any() for key in found)


@pytest.mark.parametrize(
    "options", [{"reset": Reset.ZERO}, {"poisson": True}, {"n_steps": 1}, {"n_steps": 40}]
)
def test_in_every_coding(options):
    case = Case("residual", **options)
    found, expected = case.found(), case.brute_force()
    for key, threshold in expected.items():
        np.testing.assert_allclose(found[key], threshold, rtol=1e-5, err_msg=key)


def test_only_the_chosen_are_replaced():
    case = Case("mlp")
    first, second = (node.id for node in case.relus)
    found = case.found(lambda name: name == second)
    np.testing.assert_array_equal(found[first], case.scales[first])
    expected = case.simulate({first: case.scales[first]})[second]
    alive = expected > 0
    np.testing.assert_allclose(found[second][alive], expected[alive], rtol=1e-5)


def test_pools_share_the_scale_of_what_they_pool():
    case = Case("pooled")
    found = case.found()
    assert len(case.like) >= 4
    for comparator, owner in case.like.items():
        np.testing.assert_array_equal(found[comparator], found[owner])
    assert (found[case.relus[0].id] != case.scales[case.relus[0].id]).any()


def test_a_cap_is_never_exceeded():
    """Or a neuron could send more than ReLU6 lets through."""
    case = Case("capped")
    first = case.relus[0].id
    assert case.simulate({})[first].max() > 0.5
    assert (case.found()[first] <= 0.5).all()


def test_channels_without_a_drive_keep_their_threshold():
    net = Net((5,))
    layer = net.dense(INPUT, 4)
    bias = np.array([0.1, -1e6, 0.2, 0.3])
    net.nodes[layer] = replace(net[layer], bias=bias)
    net.dense(net.relu(layer), 2)
    NETWORKS["dying"] = net.build
    try:
        case = Case("dying")
    finally:
        del NETWORKS["dying"]
    (relu,) = case.relus
    found = case.found()[relu.id]
    assert found[1] == case.scales[relu.id][1]
    assert (found > 0).all()


def test_few_samples_are_enough_for_large_networks(monkeypatch):
    """The samples that are looked at are limited by what they cost."""
    case = Case("residual")
    largest = 3 * 6 * 6
    monkeypatch.setattr(
        "snn_compile.convert.spike_norm.MESSAGES", 5 * largest * case.coding.n_steps
    )
    some = case.found()
    case.frames = case.frames[:5]
    fewer = case.found()
    for key in some:
        np.testing.assert_array_equal(some[key], fewer[key])


# ------------------------------------------------------------------------------- through the driver


@pytest.fixture(scope="module")
def digits(examples):
    return examples / "digits_mlp.onnx", np.load(examples / "digits_calibrate.npz")["x"][:64]


@pytest.mark.parametrize(
    ("coding", "calibrated"), [("graded", True), ("rate", False), ("graded", False)]
)
def test_refused_where_there_are_no_spike_trains(digits, coding, calibrated):
    model, x = digits
    with pytest.raises(UsageError, match="spike-norm takes thresholds from spike trains"):
        compile_model(
            model, calibrate=x if calibrated else None, coding=coding, thresholds="spike-norm"
        )


@pytest.mark.parametrize("per_layer", [False, True])
def test_through_the_driver(digits, per_layer, monkeypatch):
    model, x = digits
    seen = []

    def watched(network, *options):
        seen.append(network)
        return quantize(network, *options)

    monkeypatch.setattr("snn_compile.quantize.to_fixed_point.quantize", watched)
    for method in ("max", "spike-norm"):
        compile_model(
            model,
            calibrate=x,
            coding="rate",
            timesteps=16,
            thresholds=method,
            per_layer=per_layer,
        )
    by_activation, by_spikes = (
        [p for p in graph.populations if isinstance(p, IFNeurons)] for graph in seen
    )
    for one, other in zip(by_activation, by_spikes, strict=True):
        assert one.id == other.id
        assert (len(set(other.threshold.tolist())) == 1) == per_layer
    # The first layer sees a constant current: the two methods differ by its rounding only.
    np.testing.assert_allclose(by_spikes[0].threshold, by_activation[0].threshold, rtol=0.02)
    assert by_spikes[1].threshold.max() > by_activation[1].threshold.max()
