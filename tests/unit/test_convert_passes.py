"""Every pass that must not change the function of a network does not."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net, assert_same_function
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.join_rectifiers import JoinRectifiers
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.signs import non_negative
from snn_compile.errors import UsageError
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.text import to_text
from snn_compile.pipeline.folding import FOLDING

SAME = Geometry(padding=(1, 1, 1, 1))


def samples(network, n=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *network.input.shape))


def kinds(network):
    found = [type(node).__name__ for node in network.graph]
    return [kind for kind in found if kind not in ("Input", "Output")]


def unchanged(step, net, *, like=None):
    """The network after a pass; checks function, outputs and that the input was left alone."""
    network = net.build() if isinstance(net, Net) else net
    text = to_text(network)
    result = step(network)
    assert to_text(network) == text
    assert [o.id for o in result.graph.outputs] == [o.id for o in network.outputs]
    assert_same_function(network, result.graph, samples(network) if like is None else like)
    again = step(result.graph).graph
    assert to_text(again) == to_text(result.graph), "a second run changes something"
    return result


# -------------------------------------------------------------------------------- FoldBatchNorm


def test_batch_norm_folds_into_convolution():
    net = Net((3, 6, 6))
    net.relu(net.batch_norm(net.conv(INPUT, 4, geometry=SAME)))
    result = unchanged(FoldBatchNorm(), net)
    assert kinds(result.graph) == ["Conv", "Relu"]
    assert [f.message for f in result.findings] == ["folded into 'conv1'"]


def test_batch_norm_folds_into_grouped_convolution_and_dense():
    net = Net((4, 4, 4))
    layer = net.batch_norm(net.conv(INPUT, 8, geometry=Geometry(groups=4)))
    net.batch_norm(net.dense(net.flatten(net.relu(layer)), 5))
    assert kinds(unchanged(FoldBatchNorm(), net).graph) == ["Conv", "Relu", "Reshape", "Dense"]


def test_a_chain_of_scalings_folds_at_once():
    net = Net((3, 6, 6))
    net.relu(net.affine(net.batch_norm(net.affine(net.conv(INPUT, 4), (4, 1, 1))), (4, 1, 1)))
    assert kinds(unchanged(FoldBatchNorm(), net).graph) == ["Conv", "Relu"]


def test_a_scale_for_every_pixel_stays():
    net = Net((3, 6, 6))
    net.relu(net.affine(net.conv(INPUT, 4)))
    assert kinds(unchanged(FoldBatchNorm(), net).graph) == ["Conv", "Affine", "Relu"]


def test_a_scalar_folds():
    net = Net((3, 6, 6))
    net.relu(net.affine(net.conv(INPUT, 4), (1, 1, 1)))
    assert kinds(unchanged(FoldBatchNorm(), net).graph) == ["Conv", "Relu"]


def test_batch_norm_of_a_layer_with_other_readers_stays():
    net = Net((3, 6, 6))
    layer = net.conv(INPUT, 4)
    net.relu(net.batch_norm(layer))
    net.relu(layer)
    result = unchanged(FoldBatchNorm(), net)
    assert "BatchNorm" in kinds(result.graph)
    assert [f.message for f in result.findings] == ["kept: its input has other readers"]


def test_batch_norm_of_the_input_stays():
    net = Net((3, 6, 6))
    net.relu(net.conv(net.batch_norm(INPUT), 4, geometry=SAME))
    assert kinds(unchanged(FoldBatchNorm(), net).graph) == ["BatchNorm", "Conv", "Relu"]


# ---------------------------------------------------------------------------------- FoldPadding


def test_padding_folds_into_all_its_convolutions():
    net = Net((3, 6, 6))
    padded = net.pad(INPUT, (0, 1, 2), (0, 3, 0))
    net.relu(net.conv(padded, 4, geometry=Geometry((2, 1), (1, 0, 0, 1))))
    net.relu(net.conv(padded, 2, (2, 2)))
    result = unchanged(FoldPadding(), net)
    assert "Pad" not in kinds(result.graph)
    convs = [n for n in result.graph.graph if isinstance(n, ann.Conv)]
    assert [c.geometry.padding for c in convs] == [(2, 2, 3, 1), (1, 2, 3, 0)]


@pytest.mark.parametrize(
    ("before", "after"), [((1, 1, 1), (0, 1, 1)), ((0, -1, 1), (0, 1, 1)), ((0, 0, 0), (0, -1, 0))]
)
def test_padding_of_channels_and_cropping_stay(before, after):
    net = Net((3, 6, 6))
    net.relu(net.conv(net.pad(INPUT, before, after), 4, geometry=SAME))
    assert kinds(unchanged(FoldPadding(), net).graph) == ["Pad", "Conv", "Relu"]


def test_padding_with_other_readers_stays():
    net = Net((3, 6, 6))
    padded = net.pad(INPUT, (0, 1, 1), (0, 1, 1))
    net.relu(net.conv(padded, 4))
    net.relu(padded)
    assert "Pad" in kinds(unchanged(FoldPadding(), net).graph)


def test_padding_before_a_pool_stays():
    net = Net((3, 6, 6))
    net.relu(net.average_pool(net.pad(INPUT, (0, 1, 1), (0, 1, 1))))
    assert "Pad" in kinds(unchanged(FoldPadding(), net).graph)


# ----------------------------------------------------------------------------- InsertRectifiers


def assert_spiking_form(network):
    """Between two layers lies a rectifier, or a pool that the next layer's synapses take over."""

    def layers_above(node):
        source = network.graph[node.inputs[0]] if node.inputs else None
        found = set()
        for s in node.inputs:
            source = network.graph[s]
            if isinstance(source, ann.Conv | ann.Dense | ann.AveragePool):
                found.add(source.id)
            elif not isinstance(source, ann.Relu | ann.Input):
                found |= layers_above(source)
        return found

    for node in network.graph:
        if isinstance(node, ann.Conv | ann.Dense):
            above = [network.graph[n] for n in layers_above(node)]
            assert all(isinstance(n, ann.AveragePool) for n in above), node.id
            for pool in above:
                assert not layers_above(pool), pool.id


def rectified(net):
    result = unchanged_once(InsertRectifiers(), net)
    assert_spiking_form(result.graph)
    return result


def unchanged_once(step, net):
    network = net.build()
    result = step(network)
    assert_same_function(network, result.graph, samples(network))
    return result


def scaled(net, source, factor):
    scale = np.full((1, 1, 1), factor, np.float32)
    return net.add(ann.Affine, (source,), net.shape(source), scale=scale, shift=0 * scale)


def leaky(net, source, slope):
    negative = net.relu(scaled(net, source, -1.0))
    return net.sum(net.relu(source), scaled(net, negative, -slope))


def test_a_leaky_rectifier_is_one_function():
    net = Net((3, 8, 8))
    a = leaky(net, net.conv(INPUT, 4, geometry=SAME), 0.1)
    b = leaky(net, net.conv(a, 4, geometry=SAME), -1.0)
    net.dense(net.flatten(b), 5)
    result = unchanged_once(JoinRectifiers(), net)
    assert [type(node).__name__ for node in result.graph.graph] == [
        *("Input", "Conv", "Function", "Conv", "Function", "Reshape", "Dense", "Output")
    ]


def test_rectifiers_that_others_read_are_not_joined():
    net = Net((3, 8, 8))
    x = net.conv(INPUT, 4, geometry=SAME)
    positive, other = net.relu(x), net.relu(scaled(net, x, -1.0))
    net.dense(net.flatten(net.sum(net.sum(positive, other), positive)), 5)
    network = net.build()
    assert to_text(JoinRectifiers()(network).graph) == to_text(network)


@pytest.mark.parametrize("signed", [False, True])
def test_a_large_layer_does_not_read_a_sum_of_many(signed):
    net = Net((8, 4, 4))
    stream = net.relu(net.conv(INPUT, 64, geometry=SAME))
    for _ in range(3):
        stream = net.sum(stream, net.relu(net.conv(INPUT, 64, geometry=SAME)))
    net.dense(net.flatten(net.relu(net.conv(stream, 128, geometry=SAME))), 3)
    result = unchanged_once(InsertRectifiers(signed), net)
    assert sum(f.code == "rectifiers-inserted" for f in result.findings) == 1


def test_an_ordinary_network_is_left_alone():
    net = Net((3, 8, 8))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.sum(net.conv(a, 4, geometry=SAME), a))
    net.dense(net.flatten(net.average_pool(b)), 5)
    network = net.build()
    result = InsertRectifiers()(network)
    assert to_text(result.graph) == to_text(network)
    assert not result.findings


def test_two_convolutions_without_rectifier():
    net = Net((2, 6, 6))
    net.conv(net.conv(INPUT, 3), 4)
    result = rectified(net)
    assert kinds(result.graph).count("Relu") == 2
    (finding,) = result.findings
    assert finding.code == "rectifiers-inserted"
    assert finding.message.startswith(f"{2 * 3 * 4 * 4} neurons")


def test_linear_bottlenecks_with_residuals():
    """MobileNetV2: expand, depthwise, project linearly, add the linear input."""
    net = Net((2, 6, 6))
    stream = net.conv(INPUT, 4, geometry=SAME)
    for _ in range(2):
        wide = net.relu(net.conv(stream, 8, (1, 1)), 6.0)
        deep = net.relu(net.conv(wide, 8, geometry=Geometry((1, 1), (1, 1, 1, 1), groups=8)), 6.0)
        stream = net.sum(net.conv(deep, 4, (1, 1)), stream)
    net.dense(net.flatten(net.average_pool(net.relu(net.conv(stream, 8, (1, 1))), (6, 6))), 3)
    rectified(net)


def test_a_stream_that_is_never_rectified():
    """A pre-activation residual network."""
    net = Net((2, 6, 6))
    stream = net.conv(INPUT, 4, geometry=SAME)
    for _ in range(3):
        inner = net.relu(net.batch_norm(stream))
        inner = net.relu(net.batch_norm(net.conv(inner, 4, geometry=SAME)))
        stream = net.sum(net.conv(inner, 4, geometry=SAME), stream)
    net.dense(net.flatten(net.average_pool(net.relu(net.batch_norm(stream)), (6, 6))), 3)
    rectified(net)


def test_pool_of_a_convolution_is_rectified_before():
    net = Net((2, 6, 6))
    net.relu(net.average_pool(net.conv(INPUT, 3, geometry=SAME)))
    result = unchanged_once(InsertRectifiers(), net)
    assert kinds(result.graph).count("Relu") == 3


def test_pool_that_cannot_be_fused_carries_its_value():
    net = Net((2, 7, 7))
    pooled = net.average_pool(net.relu(INPUT), (3, 3), Geometry((2, 2), (1, 1, 1, 1)))
    net.relu(net.conv(pooled, 3, geometry=SAME))
    result = rectified(net)
    assert f"{pooled}.carry" in result.graph.graph


def test_pool_before_a_small_dense_layer_fuses_and_before_a_large_one_does_not(monkeypatch):
    def network():
        net = Net((4, 8, 8))
        pooled = net.average_pool(net.relu(net.conv(INPUT, 6, geometry=SAME)), (8, 8))
        net.dense(net.flatten(pooled), 5)
        return net

    assert kinds(rectified(network()).graph).count("Relu") == 1
    monkeypatch.setattr("snn_compile.convert.insert_rectifiers.FUSED_WEIGHTS", 5 * 6 * 64 - 1)
    result = unchanged_once(InsertRectifiers(), network())
    carried = [n for n in result.graph.graph if isinstance(n, ann.Relu)]
    assert [n.shape for n in carried] == [(6, 8, 8), (6, 1, 1)]  # before the flattening


def test_the_same_value_is_split_once():
    net = Net((2, 6, 6))
    layer = net.conv(INPUT, 3, geometry=SAME)
    net.relu(net.conv(layer, 3, geometry=SAME))
    net.relu(net.conv(layer, 2, geometry=SAME))
    assert len(rectified(net).findings) == 1


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_any_network_keeps_its_function_through_all_folding(seed):
    network = anns.random_chain(seed, 8)
    folded = FOLDING(network).graph
    assert_same_function(network, folded, samples(network), 1e-7)
    assert_spiking_form(folded)


# ---------------------------------------------------------------------------- FoldPreprocessing


def test_preprocessing_takes_raw_values_also_at_padded_borders():
    net = Net((3, 6, 6))
    net.relu(net.conv(INPUT, 4, geometry=Geometry(padding=(2, 1, 0, 2))))
    network = net.build()
    mean, scale = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    result = FoldPreprocessing(mean, scale)(network).graph
    raw = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6)).astype(np.float64)
    normal = (raw - np.reshape(mean, (3, 1, 1))) / np.reshape(scale, (3, 1, 1))
    expected, actual = anns.outputs(network, normal)[0], anns.outputs(result, raw)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    folded = FOLDING(result).graph
    np.testing.assert_allclose(anns.outputs(folded, raw)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("mean", "scale", "value"), [((2.0,), (), 3.0), ((), (4.0,), 1.25), ((1.0,), (2.0,), 2.0)]
)
def test_one_value_serves_all_channels(mean, scale, value):
    net = Net((3, 2, 2))
    net.output(INPUT)
    network = FoldPreprocessing(mean, scale)(net.build()).graph
    assert (anns.outputs(network, np.full((1, 3, 2, 2), 5.0))[0] == value).all()


def test_preprocessing_of_vectors():
    net = Net((3,))
    net.dense(INPUT, 2)
    network = FoldPreprocessing((1.0, 2.0, 3.0), (2.0,))(net.build()).graph
    expected = anns.outputs(net.build(), np.array([[0.5, 0.0, -0.5]]))
    np.testing.assert_allclose(anns.outputs(network, np.full((1, 3), 2.0)), expected)


def test_nothing_to_preprocess():
    net = Net((3, 2, 2))
    net.output(INPUT)
    network = net.build()
    assert FoldPreprocessing()(network).graph is network


def test_preprocessing_with_the_wrong_number_of_channels():
    net = Net((3, 2, 2))
    net.output(INPUT)
    with pytest.raises(UsageError, match="mean-values has 2 values for 3 channels") as error:
        FoldPreprocessing((1.0, 2.0))(net.build())
    assert error.value.hint == "give one value or 3"


# ---------------------------------------------------------------------------------------- signs


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_what_is_said_never_to_be_negative_is_not(seed):
    network = anns.random_chain(seed, 8)
    known = non_negative(network)
    found = anns.values(network, 3 * samples(network))
    for node in network.graph:
        if known[node.id]:
            assert found[node.id].min() >= 0, node.id
    assert all(known[n.id] for n in network.graph if isinstance(n, ann.Relu))
    assert not known[network.input.id]
    assert prod(network.input.shape) > 0


def test_a_large_layer_that_many_populations_read_gets_neurons(monkeypatch):
    net = Net((2, 5, 5))
    layer = net.conv(INPUT, 3, geometry=SAME)  # 54 weights
    for _ in range(3):
        net.relu(net.batch_norm(layer))
    before = len(net.build().graph)
    monkeypatch.setattr("snn_compile.convert.insert_rectifiers.REPEATED_WEIGHTS", 54)
    assert len(rectified(net).graph.graph) == before
    monkeypatch.setattr("snn_compile.convert.insert_rectifiers.REPEATED_WEIGHTS", 53)
    result = rectified(net)
    assert len(result.graph.graph) == before + 5
    assert [finding.code for finding in result.findings] == ["rectifiers-inserted"]
