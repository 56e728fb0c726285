"""Calibration against numpy, thresholds against their own objective, bounds against activations."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net
from onnx_models import model
from onnx_models import node as operator
from snn_compile.convert import balance_thresholds as balancing
from snn_compile.convert import calibrate as calibration
from snn_compile.convert import fuse_convolutions, linear, to_spiking
from snn_compile.convert import weight_bounds as bounding
from snn_compile.convert.balance_thresholds import balance_thresholds, least_error
from snn_compile.convert.calibrate import N_BINS, calibrate
from snn_compile.convert.expand import expand
from snn_compile.convert.linear import sparse
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model
from snn_compile.pipeline.folding import FOLDING

SAME = Geometry(padding=(1, 1, 1, 1))
SEEDS = st.integers(0, 2**32 - 1)


def small_network():
    net = Net((2, 6, 6))
    a = net.relu(net.conv(INPUT, 3, geometry=SAME))
    b = net.relu(net.conv(a, 4, (2, 2)), 0.75)
    net.dense(net.relu(net.dense(net.flatten(b), 5)), 3)
    return net.build()


def relus(network):
    return [node for node in network.graph if isinstance(node, ann.Relu)]


# ------------------------------------------------------------------------------------- calibrate


def test_statistics_are_those_of_the_activations():
    network = small_network()
    x = np.random.default_rng(0).normal(size=(20, 2, 6, 6)).astype(np.float32)
    found = calibrate(network, x)
    values = anns.values(network, x)
    assert set(found.activations) == {node.id for node in relus(network)}
    for node in relus(network):
        activations = found.activations[node.id]
        channels = values[node.id].reshape(node.shape[0], -1)
        np.testing.assert_allclose(activations.peak, channels.max(axis=1), rtol=1e-5)
        for counts, one, peak in zip(
            activations.histogram, channels, activations.peak, strict=True
        ):
            expected, _ = np.histogram(one[one > 0], N_BINS, (0, peak))
            assert counts.sum() == (one > 0).sum()
            # float32 may put a value one bin further on.
            assert np.abs(counts.cumsum() - expected.cumsum()).max() <= 2
    channels = x.transpose(1, 0, 2, 3).reshape(2, -1)
    ((low, high),) = found.inputs.values()
    np.testing.assert_allclose(low, channels.min(axis=1))
    np.testing.assert_allclose(high, channels.max(axis=1))
    assert found.n_samples == 20


def test_values_that_wait_for_their_peaks_give_the_histograms_of_a_second_run(monkeypatch):
    network = small_network()
    x = np.random.default_rng(1).normal(size=(50, 2, 6, 6)).astype(np.float32)
    monkeypatch.setattr(calibration, "PIECE_BYTES", 16 * 4 * 3 * 6 * 6)
    monkeypatch.setattr(calibration, "SAMPLES_PER_PIECE", 100)
    runs, progress = [], []
    traverse = calibration.traverse
    monkeypatch.setattr(
        calibration, "traverse", lambda *args, **rest: (runs.append(1), traverse(*args, **rest))
    )
    once = calibrate(network, x, advance=progress.append)
    assert (len(runs), sum(progress)) == (1, 2 * len(x))
    monkeypatch.setattr(calibration, "HELD_BYTES", 0)
    twice = calibrate(network, x, advance=progress.append)
    assert (len(runs), sum(progress)) == (3, 4 * len(x))
    for name, one in once.activations.items():
        other = twice.activations[name]
        assert one.n_seen == other.n_seen
        np.testing.assert_array_equal(one.peak, other.peak)
        np.testing.assert_array_equal(one.histogram, other.histogram)


def test_the_range_of_the_input_includes_zero():
    network = small_network()
    found = calibrate(network, np.full((2, 2, 6, 6), 3.0))
    assert [[end.tolist() for end in ends] for ends in found.inputs.values()] == [[[0, 0], [3, 3]]]
    found = calibrate(network, np.full((2, 2, 6, 6), -3.0))
    assert [[end.tolist() for end in ends] for ends in found.inputs.values()] == [
        [[-3, -3], [0, 0]]
    ]


def test_pieces_change_nothing(monkeypatch):
    network = small_network()
    x = np.random.default_rng(0).normal(size=(23, 2, 6, 6)).astype(np.float32)
    whole = calibrate(network, x)
    monkeypatch.setattr("snn_compile.sim.ann.piece_size", lambda *_: 4)
    advanced = []
    pieces = calibrate(network, x, advance=advanced.append)
    assert sum(advanced) == 2 * 23
    for node_id, activations in whole.activations.items():
        other = pieces.activations[node_id]
        np.testing.assert_allclose(other.peak, activations.peak, rtol=1e-6)
        difference = other.histogram.cumsum(axis=1) - activations.histogram.cumsum(axis=1)
        assert np.abs(difference).max() <= 3


def test_two_rectifiers_of_one_value_have_statistics_each():
    """Exporters write relu(x) twice where a program did."""
    net = Net((2, 5, 5))
    layer = net.conv(INPUT, 3)
    net.sum(net.relu(layer), net.relu(layer, 0.5))
    network = net.build()
    found = calibrate(network, np.random.default_rng(0).normal(size=(8, 2, 5, 5)))
    one, other = (found.activations[node.id] for node in relus(network))
    assert (other.peak <= 0.5).all()
    assert (one.peak > 0.5).any()
    assert (one.histogram.sum(axis=1) == other.histogram.sum(axis=1)).all()


def test_histograms_see_all_samples(monkeypatch):
    """Maps larger than what a piece may enter: the stride must not pick the same samples always."""
    net = Net((1, 16, 16))
    net.output(net.relu(INPUT))
    network = net.build()
    x = np.full((256, 1, 16, 16), 0.5, np.float32)
    x[1::2] = 1.0  # every second sample: all its activations are 1
    monkeypatch.setattr(calibration, "SAMPLES_PER_PIECE", 1 << 12)
    found = calibrate(network, x).activations[relus(network)[0].id]
    (bins,) = np.nonzero(found.histogram[0])
    counts = found.histogram[0][bins]
    assert len(bins) == 2
    assert 0.8 < counts[0] / counts[1] < 1.25


# ------------------------------------------------------------------------------ balance_thresholds


def statistics(samples):
    """What calibration says about a network that is one rectifier, for (C, N) activations."""
    return calibrate(one_relu(len(samples)), samples.T)


def activations_of(samples):
    return statistics(samples).activations[NodeId("relu")]


def one_relu(channels, cap=None):
    net = Net((channels,))
    net.add(ann.Relu, (INPUT,), (channels,), "relu", cap=cap)
    return net.build()


def error(samples, scale, levels):
    """Mean squared error of clipping and rounding, per channel."""
    step = (scale / levels)[:, None]
    rounded = np.clip(np.floor(samples / step + 0.5), 0, levels) * step
    return ((samples - rounded) ** 2).mean(axis=1)


@pytest.mark.parametrize("levels", [1, 4, 15, 32, 255])
@pytest.mark.parametrize("tail", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("n_samples", [200, 4000])
def test_mmse_is_no_worse_than_max_and_percentile_on_new_samples(levels, tail, n_samples):
    random = np.random.default_rng(3)
    seen, new = (
        np.maximum(random.standard_gamma(tail, (8, n)) - 0.3, 0) for n in (n_samples, 20000)
    )
    activations = activations_of(seen)
    best = error(new, least_error(activations, levels), levels).mean()
    others = [activations.peak, *(balancing._percentile(activations, p) for p in (99, 99.9))]
    for other in others:
        assert best < error(new, other, levels).mean() * 1.1


@pytest.mark.parametrize("levels", [1, 4, 15])
def test_mmse_is_close_to_brute_force(levels):
    samples = np.random.default_rng(1).standard_gamma(1.0, (2, 20000)) * [[1.0], [30.0]]
    found = error(samples, least_error(activations_of(samples), levels), levels)
    brute = np.min(
        [error(samples, samples.max(axis=1) * s, levels) for s in np.geomspace(0.02, 1.5, 400)],
        axis=0,
    )
    assert (found < brute * 1.05).all()


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9, 100.0])
def test_percentiles_are_those_of_numpy_within_a_bin(percentile):
    samples = np.maximum(np.random.default_rng(0).normal(size=(4, 9000)), 0)
    activations = activations_of(samples)
    found = balancing._percentile(activations, percentile)
    expected = [np.percentile(s[s > 0], percentile, method="inverted_cdf") for s in samples]
    width = activations.peak / N_BINS
    rounding = 1e-6 * activations.peak  # of float32
    assert (found >= np.array(expected) - rounding).all()
    assert (found <= np.array(expected) + width + rounding).all()


@pytest.mark.parametrize("method", ["mmse", "max", "l4", "lbs", "percentile:99", "spike-norm"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_a_cap_is_never_exceeded(method, per_layer):
    samples = np.minimum(np.random.default_rng(0).exponential(6, (3, 500)), 6)
    samples[2] *= 1e-3
    scales = balance_thresholds(
        one_relu(3, 6.0), statistics(samples), lambda _: method, levels=15, per_layer=per_layer
    )
    assert (scales["relu"] <= 6).all()
    assert (scales["relu"] > 0).all()


def test_channels_that_never_fire_get_the_median():
    samples = np.array([[1.0, 0.5], [0, 0], [3.0, 1.0], [2.0, 2.0]])
    scales = balance_thresholds(one_relu(4), statistics(samples), lambda _: "max", levels=15)
    assert scales["relu"].tolist() == [1, 2, 3, 2]


def test_a_layer_that_never_fires_gets_one():
    for method in ("max", "mmse", "l4", "lbs", "percentile:99"):
        for per_layer in (False, True):
            scales = balance_thresholds(
                one_relu(2),
                statistics(np.zeros((2, 5))),
                lambda _, m=method: m,
                levels=15,
                per_layer=per_layer,
            )
            assert scales["relu"].tolist() == [1, 1]


def test_one_threshold_a_layer():
    samples = np.random.default_rng(0).exponential([[1.0], [2.0], [4.0]], (3, 500))
    network, found = one_relu(3), statistics(samples)
    largest = balance_thresholds(network, found, lambda _: "max", levels=15, per_layer=True)
    np.testing.assert_allclose(largest["relu"], samples.max())
    percentile = balance_thresholds(
        network, found, lambda _: "percentile:90", levels=15, per_layer=True
    )["relu"]
    assert (percentile == percentile[0]).all()
    # Resampling a channel's bins onto the layer's moves a value by at most a bin of the layer.
    assert abs(percentile[0] - np.percentile(samples, 90)) < 4 * samples.max() / N_BINS
    mmse = balance_thresholds(network, found, lambda _: "mmse", levels=15, per_layer=True)["relu"]
    assert (mmse == mmse[0]).all()


def test_methods_by_layer_and_shared_scales():
    net = Net((2, 4, 4))
    a = net.relu(INPUT)
    b = net.relu(net.conv(a, 2, geometry=SAME))
    net.output(net.add(ann.Relu, (a,), net.shape(a), "carry", like=a))
    net.output(b)
    network = net.build()
    x = np.random.default_rng(0).normal(size=(50, 2, 4, 4))
    found = calibrate(network, x)
    scales = balance_thresholds(
        network, found, {a: "max", b: "percentile:50"}.__getitem__, levels=7
    )
    np.testing.assert_array_equal(scales[a], found.activations[a].peak)
    assert (scales[b] < found.activations[b].peak).all()
    np.testing.assert_array_equal(scales["carry"], scales[a])


# ---------------------------------------------------------------------------------- weight_bounds


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SEEDS, st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-3.0, 0.5), (0.0, 9.0)]))
def test_no_activation_exceeds_its_weight_bound(seed, limits):
    network = FOLDING(anns.random_chain(seed, 8)).graph
    low, high = limits
    bounds = weight_bounds(network, low=low, high=high)
    random = np.random.default_rng(seed)
    shape = network.input.shape
    x = random.uniform(low, high, (12, *shape))
    x[:6] = np.where(random.random((6, *shape)) < 0.5, low, high)
    values = anns.values(network, x)
    for node in relus(network):
        largest = values[node.id].reshape(maps_shape(node.shape)[0], -1).max(axis=1)
        assert (largest <= bounds.activations[node.id].peak * (1 + 1e-9)).all(), node.id


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 1.0)])
def test_the_weight_bound_of_one_layer_is_attained(low, high):
    net = Net((2, 5, 5))
    layer = net.conv(INPUT, 3)
    relu = net.relu(layer)
    network = net.build()
    weight, bias = net[layer].weight, net[layer].bias
    best = np.where(weight > 0, weight * high, weight * low).sum(axis=(1, 2, 3)) + bias
    peak = weight_bounds(network, low=low, high=high).activations[relu].peak
    np.testing.assert_allclose(peak, best, rtol=1e-9)
    assert prod(net.shape(relu)) == 27


def test_weight_bounds_respect_caps_and_the_range():
    net = Net((2, 5, 5))
    net.relu(net.conv(INPUT, 3), 0.25)
    found = weight_bounds(net.build(), low=-1.0, high=4.0)
    (activations,) = found.activations.values()
    assert (activations.peak <= 0.25).all()
    assert [[end.tolist() for end in ends] for ends in found.inputs.values()] == [
        [[-1, -1], [4, 4]]
    ]
    assert found.n_samples == 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS, st.sampled_from([(0.0, 1.0), (-3.0, 0.5)]))
def test_weight_bounds_are_those_of_the_unrolled_maps(seed, limits):
    network = FOLDING(anns.random_chain(seed, 8)).graph
    found = weight_bounds(network, low=limits[0], high=limits[1]).activations
    ranges = {network.input.id: limits}
    for name, drive in expand(network).items():
        layer = network.graph[name]
        if not isinstance(layer, ann.Relu):
            continue
        total = drive.constant.ravel().copy()
        for term in drive.terms:
            low, high = (
                np.broadcast_to(np.reshape(end, (-1, 1)), (maps_shape(source.shape)[0], 1))
                for source in [network.graph[term.source]]
                for end in ranges[term.source]
            )
            each = prod(term.map.source) // len(low)
            matrix = sparse(term.map).toarray()
            total += np.maximum(matrix, 0) @ np.repeat(high, each)
            total += np.minimum(matrix, 0) @ np.repeat(low, each)
        peak = np.maximum(total.reshape(maps_shape(layer.shape)[0], -1).max(axis=1), 0)
        peak = np.minimum(peak, np.inf if layer.cap is None else layer.cap)
        np.testing.assert_allclose(found[name].peak, np.where(peak > 0, peak, 1.0), rtol=1e-9)
        ranges[name] = (0.0 * peak, found[name].peak)


def test_no_convolution_is_unrolled_without_data(monkeypatch, tmp_path):
    nodes = [
        operator("Conv", "x a", "c0", pads=[1] * 4),
        operator("Relu", "c0", "r0"),
        operator("Conv", "r0 b", "c1", pads=[1] * 4, strides=[2, 2]),
        operator("Conv", "r0 s", "c2", strides=[2, 2]),
        operator("Add", "c1 c2", "j"),
        operator("Relu", "j", "r1"),
        operator("Conv", "r1 d", "c3", pads=[1] * 4, group=6),
        operator("Concat", "c3 r1", "cat", axis=1),
        operator("BatchNormalization", "cat g g g g", "n"),
        operator("Relu", "n", "r2"),
        operator("MaxPool", "r2", "m", kernel_shape=[2, 2], strides=[2, 2]),
        operator("GlobalAveragePool", "m", "p"),
        operator("Flatten", "p", "f"),
        operator("Gemm", "f w", "y"),
    ]
    random = np.random.default_rng(0)
    shapes = {"a": (4, 3, 3, 3), "b": (6, 4, 3, 3), "s": (6, 4, 1, 1), "d": (6, 1, 3, 3)}
    constants = {k: random.normal(size=v).astype(np.float32) for k, v in shapes.items()}
    constants |= {"g": np.ones(12, np.float32), "w": np.ones((12, 5), np.float32)}
    path = tmp_path / "net.onnx"
    path.write_bytes(model(nodes, ("N", 3, 16, 16), constants).SerializeToString())
    taps = linear._unroll

    def unrolled(kernel):
        assert np.count_nonzero(kernel.weight) <= len(kernel.weight), "more than wiring"
        return taps(kernel)

    def as_matrix(map_):
        raise AssertionError(f"{type(map_).__name__} from {map_.source} became a matrix")

    monkeypatch.setattr(linear, "_unroll", unrolled)  # wiring is held against its kernel
    for module in (linear, to_spiking, fuse_convolutions, bounding):
        monkeypatch.setattr(module, "sparse", as_matrix)
    check_model(path, CompileOptions().override({"target": "unlimited"}))
