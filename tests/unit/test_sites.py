"""Sites: the same neurons of the same samples, whether in float, in spikes or by their fields."""

import numpy as np
import pytest

import anns
from quantized_cases import NETWORKS
from snn_compile.ir import ann
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses
from snn_compile.quantize.sites import Sites, float_drives, rectifiers_and_outputs
from snn_compile.sim import kernels


def batches(x):
    """Batch last, in pieces of different sizes."""
    return np.split(np.moveaxis(x, 0, -1), [3, 4], axis=-1)


@pytest.mark.parametrize("most", [1, 9, 40, 10_000])
def test_every_sample_has_as_many_sites_none_of_them_twice(most):
    sites = Sites.spread((5, 4, 6), 9, most)
    n_each = max(1, min(24, most // 9))
    assert sites.positions.shape == (9, n_each)
    assert len(sites) == 9 * n_each
    assert (np.bincount(sites.samples) == n_each).all()
    for row in sites.positions:
        assert len(set(row.tolist())) == n_each
        assert set(row.tolist()) <= set(range(24))
    if n_each == 4:
        assert len({tuple(row) for row in sites.positions.tolist()}) > 1


def test_values_are_those_of_each_sample_at_its_positions():
    x = np.random.default_rng(0).normal(size=(9, 5, 4, 6))
    sites = Sites.spread((5, 4, 6), 9, 40)
    expected = [
        x[n, :, p // 6, p % 6] for n, row in enumerate(sites.positions.tolist()) for p in row
    ]
    np.testing.assert_allclose(sites.of(batches(x)), np.transpose(expected), rtol=1e-6)
    with pytest.raises(ValueError, match="9 samples in 8"):
        sites.of(batches(x[:8]))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 2, 1, 0)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
def test_weights_times_fields_are_the_convolution(groups, stride, padding, dilation):
    random = np.random.default_rng(1)
    geometry = Geometry(stride=stride, padding=padding, dilation=dilation, groups=groups)
    weight = random.integers(-7, 8, (8, 4 // groups, 3, 2))
    x = random.integers(-5, 6, (9, 4, 7, 8))
    out = kernels.conv2d(np.moveaxis(x, 0, -1).astype(float), weight.astype(float), geometry)
    group = ConvSynapses(
        id="g",
        inputs=("s",),
        shape=out.shape[:-1],
        origin=None,
        weight=QTensor(weight, QFormat(8)),
        exponent=0,
        geometry=geometry,
    )
    sites = Sites.spread(group.shape, 9, 50)
    found = np.empty((8, len(sites)))
    for rows, columns in sites.fields(group, batches(x)):
        found[rows] = weight.reshape(8, -1)[rows] @ columns
    expected = sites.of(np.split(out, [3, 4], axis=-1))
    np.testing.assert_array_equal(found, expected[:, sites.by_halves])


def test_a_dense_layer_reads_everything():
    x = np.random.default_rng(2).normal(size=(9, 2, 3, 4))
    weight = QTensor(np.ones((5, 24), np.int64), QFormat(8))
    group = DenseSynapses(
        id="g", inputs=("s",), shape=(5, 1, 1), origin=None, weight=weight, exponent=0
    )
    sites = Sites.spread((5, 1, 1), 9, 100)
    ((rows, columns),) = sites.fields(group, batches(x))
    assert rows == slice(None)
    assert sites.n_first == 5
    by_halves = x.reshape(9, -1)[[0, 2, 4, 6, 8, 1, 3, 5, 7]]
    np.testing.assert_allclose(columns.T, by_halves, rtol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_drives_are_those_of_the_float_network(name):
    network = NETWORKS[name]()
    x = np.random.default_rng(3).normal(size=(40, *network.input.shape))
    known = rectifiers_and_outputs(network)
    readers = [n for n in network.graph if isinstance(n, ann.Relu | ann.Output)]
    assert known == [n.id for n in readers]
    sites = {n.id: Sites.spread(maps_shape(n.shape), 40, 100) for n in readers}
    found = float_drives(network, x, sites)
    values = anns.values(network, x)
    for node in readers:
        drive = values[node.inputs[0]].reshape(*maps_shape(node.shape), 40)
        np.testing.assert_allclose(found[node.id], sites[node.id].of([drive]), atol=1e-4)
