"""Max pooling as a tournament of rectifiers: the float function, and the exact integers."""

from __future__ import annotations

from math import ceil, log2, prod

import numpy as np
import onnx
import pytest

import anns
from anns import INPUT, Net, assert_same_function
from onnx_models import model, node, session
from snn_compile import compile_model
from snn_compile.coding_registry import coding_names
from snn_compile.codings.graded import Graded
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, maps_shape
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.quantize import quantize
from snn_compile.sim import kernels, reference

SAME = Geometry(padding=(1, 1, 1, 1))

POOLS = {
    "2x2": ((2, 2), Geometry(stride=(2, 2))),
    "3x3 over borders": ((3, 3), Geometry(stride=(2, 2), padding=(1, 1, 1, 1))),
    "overlapping": ((3, 3), Geometry(stride=(1, 1))),
    "uneven borders": ((2, 3), Geometry(stride=(2, 2), padding=(0, 1, 1, 0))),
    "dilated": ((2, 2), Geometry(dilation=(2, 3))),
    "1x3": ((1, 3), Geometry(stride=(1, 2))),
    "one tap": ((1, 1), Geometry(stride=(2, 2))),
    "global": ((8, 8), Geometry()),
}


def samples(network, n=6):
    return np.random.default_rng(0).normal(size=(n, *network.input.shape))


def lowered(net):
    network = net.build()
    result = LowerMaxPool()(network)
    assert not [n for n in result.graph.graph if isinstance(n, ann.MaxPool)]
    assert_same_function(network, result.graph, samples(network))
    return result


@pytest.mark.parametrize("pool", POOLS)
def test_every_geometry(pool):
    net = Net((2, 8, 8))
    pooled = net.max_pool(net.relu(net.conv(INPUT, 3, geometry=SAME)), *POOLS[pool])
    net.relu(net.conv(pooled, 2, (1, 1)))
    result = lowered(net)
    kernel = POOLS[pool][0]
    (finding,) = result.findings
    assert finding.code == "max-pool-lowered"
    added = [n for n in result.graph.graph if isinstance(n, ann.Relu) and n.like]
    assert f"becomes {sum(prod(n.shape) for n in added)} comparator" in finding.message
    assert f"in {ceil(log2(prod(kernel)))} layers" in finding.message
    assert {n.like for n in added} == {"relu2"}


def test_pool_before_the_rectifier():
    net = Net((2, 8, 8))
    net.relu(net.max_pool(net.conv(INPUT, 3, geometry=SAME)), cap=0.5)
    result = lowered(net)
    first = next(n for n in result.graph.graph if isinstance(n, ann.Relu))
    assert (first.shape, first.cap) == ((3, 8, 8), 0.5)


def test_the_pooled_value_is_an_output():
    net = Net((2, 8, 8))
    net.output(net.max_pool(net.relu(INPUT)))
    lowered(net)


def test_pool_with_several_readers():
    net = Net((2, 8, 8))
    pooled = net.max_pool(net.relu(INPUT))
    net.relu(net.sum(net.conv(pooled, 2, geometry=SAME), pooled))
    lowered(net)


def test_chained_pools():
    net = Net((2, 12, 12))
    pooled = net.max_pool(net.relu(net.conv(INPUT, 3, geometry=SAME)))
    net.relu(net.conv(net.max_pool(pooled, (3, 3), Geometry()), 2))
    lowered(net)


def test_chained_pools_before_the_rectifier():
    net = Net((2, 12, 12))
    pooled = net.max_pool(net.max_pool(net.conv(INPUT, 3, geometry=SAME)))
    net.relu(pooled)
    lowered(net)


def test_pool_after_concat_of_pools():
    """The pooling branch of an inception block."""
    net = Net((2, 8, 8))
    a = net.relu(net.conv(INPUT, 2, geometry=SAME))
    b = net.max_pool(a, (3, 3), SAME)
    net.relu(net.conv(net.max_pool(net.concat(a, b)), 3))
    lowered(net)


def test_pool_after_a_residual_sum():
    net = Net((2, 8, 8))
    a, b = net.relu(net.conv(INPUT, 2, geometry=SAME)), net.relu(INPUT)
    net.relu(net.conv(net.max_pool(net.sum(a, b)), 3))
    lowered(net)


SIGNED = POOLS | {
    "dilated over borders": ((2, 3), Geometry((2, 1), (1, 2, 2, 1), (3, 2))),
}


@pytest.mark.parametrize("pool", SIGNED)
def test_values_of_both_signs(pool):
    """Windows in which all are negative included, and borders, where no zero may win."""
    net = Net((2, 8, 8))
    net.relu(net.conv(net.max_pool(net.conv(INPUT, 3, geometry=SAME), *SIGNED[pool]), 2, (1, 1)))
    net.output(net.max_pool(INPUT, *SIGNED[pool]))
    lowered(net)


def test_pools_of_both_signs_in_a_chain():
    net = Net((2, 12, 12))
    net.output(net.max_pool(net.max_pool(net.conv(INPUT, 3)), (3, 3), SAME))
    lowered(net)


def quantized(network, x, bits=4, weight_bits=8):
    """Encoding and program of a float network with graded payloads."""
    folded = FOLDING(network).graph
    coding = Graded(bits)
    statistics = calibrate(folded, x)
    scales = balance_thresholds(folded, statistics, lambda _: "max", levels=coding.levels)
    shape = folded.input.shape
    encoding = InputEncoding.spanning(
        *next(iter(statistics.inputs.values())), 6, shape, maps_shape(shape)
    )
    spikes = AlignPaths()(ToSpiking(coding, scales, encoding)(folded).graph).graph
    return encoding, quantize(spikes, lambda _: weight_bits)


def assert_exact_maximum(pools, bits):
    """The payloads after the pools are the maximum of those before, for a second reader too."""
    net = Net((2, 8, 8))
    source = pooled = net.relu(net.conv(INPUT, 3, geometry=SAME))
    for kernel, geometry in pools:
        pooled = net.max_pool(pooled, kernel, geometry)
    # A rectifier that shares the scale shows the pooled payloads themselves. The pool's second
    # reader keeps the pass from swapping the two.
    carried = net.add(ann.Relu, (pooled,), net.shape(pooled), like=source)
    net.dense(net.flatten(net.sum(carried, pooled)), 2)
    network = net.build()
    x = samples(network, 16)
    encoding, quantization = quantized(network, x, bits)
    program = quantization.program
    run = reference.run(program, encoding(x), record=True)
    expected = np.moveaxis(run.messages[source][:, 0], 0, -1).astype(np.float64)
    assert len(np.unique(expected)) > min(2**bits, 20) // 2
    for kernel, geometry in pools:
        expected = kernels.max_pool(expected, kernel, geometry)
    actual = np.moveaxis(run.messages[carried][:, 0], 0, -1)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("pool", POOLS)
def test_pooled_payloads_are_the_exact_integer_maximum(pool, bits):
    assert_exact_maximum([POOLS[pool]], bits)


def test_chained_pools_are_exact_too():
    assert_exact_maximum([POOLS["2x2"], POOLS["3x3 over borders"]], 8)
    assert_exact_maximum([POOLS["overlapping"], POOLS["uneven borders"], POOLS["2x2"]], 4)


def test_the_pass_leaves_networks_without_pools_alone():
    net = Net((2, 8, 8))
    net.relu(net.conv(INPUT, 2))
    network = net.build()
    result = LowerMaxPool()(network)
    assert isinstance(result.graph.graph, Graph)
    assert [n.id for n in result.graph.graph] == [n.id for n in network.graph]
    assert not result.findings


def test_padding_never_wins_for_unpadded_windows_alone():
    """Values of a rectifier are >= 0, so the zeros of the padding cannot win either."""
    net = Net((1, 4, 4))
    net.output(net.max_pool(net.relu(INPUT), (3, 3), Geometry((2, 2), (1, 1, 1, 1))))
    network = net.build()
    lowered_network = LowerMaxPool()(network).graph
    x = -np.ones((1, 1, 4, 4))
    assert not anns.outputs(lowered_network, x)[0].any()


BOUNDS = {"graded": 0.02, "sigma-delta": 0.02, "radix": 0.03}
"""Largest error of codings by the bits of a value, relative to the largest output; others count."""


@pytest.mark.parametrize("coding", coding_names())
def test_values_of_both_signs_in_every_coding(coding, tmp_path):
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(0, 0.4, (4, 3, 3, 3)).astype(np.float32),
        "b": random.normal(-0.3, 0.3, 4).astype(np.float32),
        "v": random.normal(0, 0.3, (64, 5)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w b", "c", pads=[1] * 4),
        node("MaxPool", "c", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "y"),
    ]
    made = model(nodes, ("N", 3, 8, 8), constants)
    onnx.save(made, tmp_path / "net.onnx")
    x = random.normal(size=(32, 3, 8, 8)).astype(np.float32)
    compiled = compile_model(
        tmp_path / "net.onnx", calibrate=x, coding=coding, target="unlimited", emit=()
    )
    (wanted,) = session(made).run(None, {"x": x})
    error = np.abs(compiled.run(x) - wanted).max() / np.abs(wanted).max()
    assert error <= BOUNDS.get(coding, 0.08)


@pytest.mark.parametrize("function", ["Softplus", "Relu", "Sigmoid"])
def test_a_pool_over_the_axis_of_a_layer(function, tmp_path):
    """A layer over the last axis has its channels there, which the pool then compares."""
    random = np.random.default_rng(1)
    constants = {
        "w": random.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32),
        "v": random.normal(0, 0.4, (6, 6)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("MatMul", "c v", "m"),
        node(function, "m", "f"),
        node("MaxPool", "f", "y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    made = model(nodes, ("N", 1, 8, 8), constants)
    onnx.save(made, tmp_path / "net.onnx")
    x = random.normal(size=(32, 1, 8, 8)).astype(np.float32)
    compiled = compile_model(tmp_path / "net.onnx", calibrate=x, target="unlimited", emit=())
    (wanted,) = session(made).run(None, {"x": x})
    error = np.abs(compiled.run(x) - wanted).max() / np.abs(wanted).max()
    assert error <= BOUNDS["graded"]
