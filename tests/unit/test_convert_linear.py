"""Linear maps keep the most structured form that is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import anns
from anns import INPUT, Net
from snn_compile.convert import linear
from snn_compile.convert.expand import expand
from snn_compile.convert.linear import (
    Kernel,
    Matrix,
    Sparse,
    Wiring,
    as_kernel,
    as_tap,
    sparse,
)
from snn_compile.convert.to_spiking import over_maps
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import maps_shape

SAME = Geometry(padding=(1, 1, 1, 1))


def terms_of(net, node_id):
    """The terms that lead to a node, checked against the float values."""
    output = net.output(node_id)
    network = net.build()
    x = np.random.default_rng(0).normal(size=(3, *network.input.shape))
    values = anns.values(network, x)
    drive = expand(network)[output]
    total = drive.constant.reshape(-1, 1)
    for term in drive.terms:
        total = total + sparse(term.map) @ values[term.source].reshape(-1, 3)
    np.testing.assert_allclose(total, values[output].reshape(-1, 3), rtol=1e-9, atol=1e-9)
    return [(term.source, term.map) for term in drive.terms]


def test_convolution_of_a_population_is_itself():
    net = Net((4, 6, 5))
    layer = net.conv(INPUT, 6, (3, 2), Geometry((2, 1), (1, 0, 2, 1), (1, 2), 2))
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Kernel)
    assert found.weight is not None
    np.testing.assert_array_equal(found.weight, net[layer].weight)
    assert found.geometry == net[layer].geometry


def test_convolution_after_concat_stays_one_for_each_source():
    net = Net((3, 6, 6))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.conv(INPUT, 2, geometry=SAME))
    terms = terms_of(net, net.conv(net.concat(a, b, a), 5, geometry=SAME))
    assert [source for source, _ in terms] == [a, b, a]
    assert all(isinstance(found, Kernel) and found.geometry == SAME for _, found in terms)
    assert [found.weight.shape for _, found in terms] == [(5, 4, 3, 3), (5, 2, 3, 3), (5, 4, 3, 3)]


def test_grouped_convolution_after_concat_stays_a_convolution():
    net = Net((2, 6, 6))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.conv(INPUT, 4, geometry=SAME))
    grouped = Geometry(padding=(1, 1, 1, 1), groups=4)
    terms = terms_of(net, net.conv(net.concat(a, b), 8, geometry=grouped))
    assert all(isinstance(found, Kernel) for _, found in terms)


def test_option_a_shortcut_is_a_strided_convolution_with_one_tap():
    net = Net((4, 8, 8))
    halved = net.slice(INPUT, slice(0, 4, 1), slice(0, 8, 2), slice(0, 8, 2))
    ((_, found),) = terms_of(net, net.pad(halved, (2, 0, 0), (2, 0, 0)))
    assert isinstance(found, Wiring)
    kernel = as_kernel(found)
    assert kernel.geometry.stride == (2, 2)
    assert kernel.weight.shape == (8, 4, 1, 1)
    np.testing.assert_array_equal(kernel.weight[2:6, :, 0, 0], np.eye(4))
    assert not kernel.weight[[0, 1, 6, 7]].any()
    assert (sparse(kernel) != sparse(found)).nnz == 0


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3)])
def test_convolution_after_average_pool_is_one_strided_convolution(kernel):
    net = Net((3, 12, 12))
    pooled = net.average_pool(INPUT, kernel)
    ((_, found),) = terms_of(net, net.conv(pooled, 4, (3, 3), Geometry(padding=(1, 1, 1, 1))))
    assert isinstance(found, Kernel)
    assert found.weight.shape == (4, 3, 3 * kernel[0], 3 * kernel[1])
    assert found.geometry.stride == kernel
    assert found.geometry.padding == (kernel[0], kernel[1], kernel[0], kernel[1])


def test_padding_between_pool_and_convolution_that_does_not_tile_is_still_exact():
    net = Net((3, 7, 7))
    pooled = net.average_pool(INPUT, (3, 3), Geometry(stride=(2, 2)))
    ((_, found),) = terms_of(net, net.conv(pooled, 4, (3, 3), Geometry(padding=(1, 1, 1, 1))))
    assert isinstance(found, Sparse)


def test_average_pool_itself_is_depthwise():
    net = Net((3, 8, 8))
    ((_, found),) = terms_of(net, net.average_pool(INPUT))
    assert isinstance(found, Kernel)
    assert found.geometry == Geometry(stride=(2, 2), groups=3)
    assert (found.weight == 0.25).all()


def test_dense_layer_after_flatten_is_a_matrix():
    net = Net((3, 4, 5))
    layer = net.dense(net.flatten(INPUT), 7)
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Matrix)
    np.testing.assert_array_equal(found.weight, net[layer].weight)


def test_dense_layer_after_transposed_flatten_permutes_its_columns():
    net = Net((3, 4, 5))
    layer = net.dense(net.flatten(net.transpose(INPUT, 1, 2, 0)), 7)
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Matrix)
    expected = net[layer].weight.reshape(7, 4, 5, 3).transpose(0, 3, 1, 2).reshape(7, 60)
    np.testing.assert_array_equal(found.weight, expected)


def test_dense_layer_after_pool_is_a_matrix():
    net = Net((3, 4, 4))
    ((_, found),) = terms_of(net, net.dense(net.flatten(net.average_pool(INPUT, (4, 4))), 7))
    assert isinstance(found, Matrix)
    assert found.weight.shape == (7, 48)


def test_channel_shuffle_is_a_permuting_convolution():
    net = Net((6, 4, 4))
    shuffled = net.shuffle(INPUT, 2)
    ((_, found),) = terms_of(net, shuffled)
    kernel = as_kernel(found)
    assert kernel.weight.shape == (6, 6, 1, 1)
    assert [int(row.argmax()) for row in kernel.weight[:, :, 0, 0]] == [0, 3, 1, 4, 2, 5]


def test_convolution_after_channel_shuffle_is_a_convolution():
    net = Net((6, 4, 4))
    layer = net.conv(net.shuffle(INPUT, 3), 4, geometry=SAME)
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Kernel)
    order = np.arange(6).reshape(3, 2).T.ravel()
    np.testing.assert_array_equal(found.weight[:, order], net[layer].weight)


def test_channel_selection_after_a_convolution_picks_its_kernels():
    net = Net((2, 5, 5))
    layer = net.conv(INPUT, 6)
    ((_, found),) = terms_of(net, net.slice(layer, slice(4, None, -2), *[slice(0, 3, 1)] * 2))
    assert isinstance(found, Kernel)
    np.testing.assert_array_equal(found.weight, net[layer].weight[[4, 2, 0]])


def test_scaling_by_channel_stays_a_convolution_and_by_pixel_does_not():
    net = Net((2, 5, 5))
    ((_, found),) = terms_of(net, net.affine(net.conv(INPUT, 3), (3, 1, 1)))
    assert isinstance(found, Kernel)
    net = Net((2, 5, 5))
    ((_, found),) = terms_of(net, net.affine(net.conv(INPUT, 3)))
    assert isinstance(found, Sparse)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_after_a_scale_for_each_channel_stays_a_convolution(groups):
    """Preprocessing, or a batch norm of the input: the first layer must not become sparse."""
    net = Net((4, 6, 6))
    geometry = Geometry((2, 1), (1, 0, 1, 2), groups=groups)
    layer = net.conv(net.affine(INPUT, (4, 1, 1)), 8, geometry=geometry)
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Kernel)
    assert found.geometry == geometry


def test_convolution_after_scaled_and_shuffled_channels_stays_a_convolution():
    net = Net((4, 6, 6))
    layer = net.conv(net.affine(net.shuffle(INPUT, 2), (4, 1, 1)), 3, geometry=SAME)
    ((_, found),) = terms_of(net, layer)
    assert isinstance(found, Kernel)


# Each of these once was wrong.


def test_channels_of_reshaped_maps_are_not_channels_of_the_convolution():
    net = Net((2, 4, 4))
    reshaped = net.reshape(net.conv(INPUT, 4, geometry=SAME), 2, 8, 4)
    terms_of(net, net.slice(reshaped, slice(1, 2, 1), slice(0, 8, 1), slice(0, 4, 1)))


def test_vector_of_convolution_outputs_repeated():
    net = Net((3, 4, 8))
    layer = net.conv(INPUT, 3, geometry=Geometry((2, 3), groups=3))
    flat = net.reshape(layer, 6, 1, 1)
    terms_of(net, net.concat(flat, flat))


def test_zeros_padded_after_a_crop_do_not_bring_the_cropped_values_back():
    net = Net((2, 5, 6))
    cropped = net.pad(INPUT, (0, 0, 1), (0, 0, -1))
    terms_of(net, net.conv(cropped, 2, (1, 3), Geometry((3, 2), (0, 0, 0, 1))))


def test_pool_of_reshaped_maps():
    net = Net((4, 4, 4))
    pooled = net.average_pool(INPUT, (1, 1), Geometry())
    reshaped = net.reshape(pooled, 4, 2, 8)
    terms_of(net, net.conv(reshaped, 4, (2, 2), Geometry(stride=(8, 8))))


@pytest.mark.parametrize(
    ("shape", "maps"),
    [((5,), (5, 1, 1)), ((3, 7), (3, 1, 7)), ((2, 3, 4), (2, 3, 4)), ((2, 3, 4, 5), (2, 1, 60))],
)
def test_populations_are_maps(shape, maps):
    assert maps_shape(shape) == maps


def test_scale_sources_multiplies_the_columns():
    random = np.random.default_rng(0)
    unit = random.random(4) + 0.5
    weight = random.normal(size=(6, 2, 3, 3))
    kernel = Kernel((4, 5, 5), (6, 3, 3), weight, Geometry(groups=2))
    for form in (kernel, Sparse(kernel.source, kernel.target, sparse(kernel))):
        scaled = linear.scale_sources(form, unit)
        assert type(scaled) is type(form)
        expected = sparse(form).toarray() * np.repeat(unit, 25)
        np.testing.assert_allclose(sparse(scaled).toarray(), expected)


def test_depthwise_is_recognized_only_where_channels_read_themselves():
    weight = np.zeros((3, 3, 2, 2))
    weight[np.arange(3), np.arange(3)] = np.random.default_rng(0).normal(size=(3, 2, 2))
    kernel = Kernel((3, 4, 4), (3, 3, 3), weight, Geometry())
    assert linear.to_depthwise(kernel).geometry.groups == 3
    assert linear.to_depthwise(kernel).weight.shape == (3, 1, 2, 2)
    weight[0, 1, 0, 0] = 1e-9
    assert linear.to_depthwise(kernel).geometry.groups == 1
    back = linear.to_one_group(
        linear.to_depthwise(Kernel((3, 4, 4), (3, 3, 3), weight * 1.0, Geometry()))
    )
    np.testing.assert_array_equal(back.weight, weight)


@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((4, 4), Geometry((4, 4))),
        ((3, 2), Geometry((1, 2), (1, 0, 1, 1))),
        ((2, 2), Geometry((2, 1), (0, 1, 0, 0), (2, 3))),
    ],
)
def test_a_matrix_after_pooling_is_that_of_the_sparse_product(kernel, geometry):
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, 1, *kernel))
    size = geometry.output_size((8, 8), kernel)
    pool = Kernel((3, 8, 8), (3 * size[0] * size[1],), weight, replace(geometry, groups=3))
    after = random.normal(size=(5, *pool.target))
    found = linear.multiply(after, (5,), pool)
    np.testing.assert_array_equal(found.weight, after @ sparse(pool))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("reshaped", [(4, 1, 30), (4, 30, 1), (4, 3, 10)])
def test_a_convolution_of_single_positions_is_the_same_over_reshaped_maps(groups, reshaped):
    weight = np.random.default_rng(0).normal(size=(6, 4 // groups, 1, 1))
    maps = (6, *reshaped[1:])
    kernel = Kernel(reshaped, maps, weight, Geometry(groups=groups))
    found = over_maps(kernel, (4, 5, 6), (6, 5, 6))
    assert isinstance(found, Kernel)
    assert (found.source, found.maps) == ((4, 5, 6), (6, 5, 6))
    assert np.array_equal(sparse(found).toarray(), sparse(kernel).toarray())


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel((4, 1, 30), (6, 1, 28), np.ones((6, 4, 1, 3)), Geometry()),  # reads neighbours
        Kernel((4, 1, 60), (6, 1, 30), np.ones((6, 4, 1, 1)), Geometry((2, 2))),
        Kernel((2, 2, 30), (6, 2, 30), np.ones((6, 2, 1, 1)), Geometry()),  # other channels
    ],
)
def test_other_convolutions_over_reshaped_maps_are_unrolled(kernel):
    found = over_maps(kernel, (4, kernel.source[2] // 6, 6), (6, kernel.target[2] // 6, 6))
    assert isinstance(found, Sparse)
    assert np.array_equal(found.matrix.toarray(), sparse(kernel).toarray())


def wired(source, target, read):
    """Wiring between maps by what it does to an array of numbered values, 0 for none."""
    numbers = np.arange(1, np.prod(source) + 1).reshape(source)
    return Wiring(source, target, read(numbers).ravel() - 1)


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ((3, 4, 5), lambda x: x[[2, 0, 2]]),
        ((2, 4, 5), lambda x: np.stack([x[1], 0 * x[0]])),
        ((3, 2, 2), lambda x: x[:, ::2, 1::3]),
        ((3, 7, 6), lambda x: np.pad(x, [(0, 0), (2, 1), (0, 1)])),
        ((3, 3, 4), lambda x: x[:, 1:, :-1]),
    ],
)
def test_wiring_with_one_tap_for_each_channel_is_a_convolution(target, read):
    wiring = wired((3, 4, 5), target, read)
    tap = as_tap(wiring)
    assert tap.maps == target
    assert np.array_equal(sparse(tap).toarray(), sparse(wiring).toarray())


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ((3, 8, 10), lambda x: x.repeat(2, axis=1).repeat(2, axis=2)),
        ((3, 4, 5), lambda x: x[:, ::-1]),
        ((3, 4, 5), lambda x: np.stack([x[0], x[1], x[2][::-1]])),  # the last channel differs
        ((3, 5, 4), lambda x: x.transpose(0, 2, 1)),
        ((3, 4, 5), lambda x: 0 * x),
    ],
)
def test_other_wiring_is_not(target, read):
    assert as_tap(wired((3, 4, 5), target, read)) is None
