"""The closed forms of the mapping against networks unrolled synapse by synapse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses
from snn_compile.mapping.block import Block, as_map
from snn_compile.mapping.cost import fan_out
from snn_compile.mapping.counts import counts_of

HERE = Origin("test")
FIELDS = {"id": NodeId("s"), "inputs": (NodeId("x"),), "origin": HERE, "exponent": 0}


def unroll(synapses, source):
    """(targets, sources) number of synapses, one at a time."""
    out = np.zeros((int(np.prod(synapses.shape)), int(np.prod(source))), dtype=int)
    weight = synapses.weight.values
    if isinstance(synapses, DenseSynapses):
        return (weight != 0).astype(int)
    if isinstance(synapses, SparseSynapses):
        for target in range(len(synapses.indptr) - 1):
            for k in range(synapses.indptr[target], synapses.indptr[target + 1]):
                out[target, synapses.indices[k]] += weight[k] != 0
        return out
    g = synapses.geometry
    _, height, width = source
    n_out, per_group, kh, kw = weight.shape
    for o, y, x in np.ndindex(*synapses.shape):
        first = o // (n_out // g.groups) * per_group
        for i, ky, kx in np.ndindex(per_group, kh, kw):
            sy = y * g.stride[0] + ky * g.dilation[0] - g.padding[0]
            sx = x * g.stride[1] + kx * g.dilation[1] - g.padding[1]
            if 0 <= sy < height and 0 <= sx < width and weight[o, i, ky, kx]:
                target = np.ravel_multi_index((o, y, x), synapses.shape)
                out[target, np.ravel_multi_index((first + i, sy, sx), source)] += 1
    return out


def weights(draw, shape):
    """Small weights, from none to most of them zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    zeros = draw(st.sampled_from([0.0, 0.3, 0.8]))
    values = rng.integers(1, 4, shape) * (rng.random(shape) >= zeros)
    return QTensor(values, QFormat(8))


@st.composite
def convolutions(draw):
    small = st.integers(1, 3)
    groups = draw(small)
    kernel = (draw(small), draw(small))
    geometry = Geometry(
        stride=(draw(small), draw(small)),
        padding=tuple(draw(st.integers(0, 3)) for _ in range(4)),
        dilation=(draw(small), draw(small)),
        groups=groups,
    )
    size = []
    for axis, k in enumerate(kernel):
        needed = geometry.dilation[axis] * (k - 1) + 1
        needed -= geometry.padding[axis] + geometry.padding[axis + 2]
        size.append(max(needed, 1) + draw(st.integers(0, 4)))
    per_group, out = draw(small), draw(small)
    shape = (groups * out, *geometry.output_size(tuple(size), kernel))
    weight = weights(draw, (groups * out, per_group, *kernel))
    synapses = ConvSynapses(shape=shape, weight=weight, geometry=geometry, **FIELDS)
    return synapses, (groups * per_group, *size)


@st.composite
def dense(draw):
    source = draw(st.sampled_from([(5,), (2, 3), (2, 2, 3)]))
    shape = draw(st.sampled_from([(6,), (3, 4), (2, 3, 2)]))
    weight = weights(draw, (int(np.prod(shape)), int(np.prod(source))))
    return DenseSynapses(shape=shape, weight=weight, **FIELDS), source


@st.composite
def sparse(draw):
    dense_one, source = draw(dense())
    values = dense_one.weight.values
    kept = np.random.default_rng(draw(st.integers(0, 99))).random(values.shape) < 0.6
    weight = QTensor(values[kept], QFormat(8))  # zeros among them stay, as explicit synapses
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    indices = np.nonzero(kept)[1]
    synapses = SparseSynapses(
        shape=dense_one.shape, weight=weight, indptr=indptr, indices=indices, **FIELDS
    )
    return synapses, source


@st.composite
def spans(draw, n):
    start = draw(st.integers(0, n - 1))
    return start, draw(st.integers(start + 1, n))


@pytest.mark.parametrize(
    "groups", [convolutions(), dense(), sparse()], ids=["conv", "dense", "csr"]
)
def test_counts_equal_those_of_the_unrolled_network(groups):
    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def check(data):
        synapses, source = data.draw(groups)
        unrolled = unroll(synapses, source)
        whole = Block.whole(synapses.shape)
        block = Block(
            *(data.draw(spans(n)) for _, n in (whole.channels, whole.rows, whole.columns))
        )
        onto = unrolled[block.flat(synapses.shape)]
        counts = counts_of(synapses, source)
        assert counts.synapses(block) == onto.sum()
        assert counts.sources(block) == np.count_nonzero(onto.sum(axis=0))
        reached = np.zeros(as_map(source), dtype=np.int64)
        counts.mark(block, reached)
        np.testing.assert_array_equal(reached.ravel(), (onto.sum(axis=0) > 0).astype(int))
        np.testing.assert_array_equal(fan_out(synapses, source).ravel(), unrolled.sum(axis=0))
        assert fan_out(synapses, source).shape == source
        assert counts.synapses(whole) == unrolled.sum()

    check()
