"""The emitted unrolling of convolutions against the reference's convolution."""

from __future__ import annotations

import importlib.util
import sys
from importlib import resources
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from snn_compile.ir.quantized import ConvSynapses
from snn_compile.sim.reference import SynapseOperator


@pytest.fixture(scope="module")
def layout():
    """The emitted module, with a stand-in for the one class of Lava that it names."""
    names = ["lava", "lava.proc", "lava.proc.conv", "lava.proc.conv.process"]
    missing = [name for name in names if name not in sys.modules]
    for name in missing:
        sys.modules[name] = ModuleType(name)
    sys.modules["lava.proc.conv.process"].Conv = type("Conv", (), {})
    path = resources.files("snn_backends.lava") / "templates" / "layout.py"
    spec = importlib.util.spec_from_file_location("emitted_layout", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in missing:
        del sys.modules[name]
    return module


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_unrolled_convolution_equals_the_reference(layout, seed):
    program, _ = networks.branches(seed, 1)
    random = np.random.default_rng(seed)
    for node in program.graph:
        if not isinstance(node, ConvSynapses):
            continue
        source = program.graph[node.inputs[0]].shape
        g = node.geometry
        matrix = layout.unrolled_conv(
            node.weight.values.astype(np.int8),
            source,
            node.shape,
            g.stride,
            g.padding,
            g.dilation,
            g.groups,
            grid_shift=1,
        )
        assert matrix.has_sorted_indices
        x = random.integers(-9, 10, (*source, 1, 3))
        sums = (matrix @ x.reshape(-1, 3)) >> 1
        shifted = sums << node.exponent if node.exponent >= 0 else sums >> -node.exponent
        expected = SynapseOperator(node, (-9, 9))(x)
        assert (shifted.reshape(expected.shape) == expected).all()


def test_parameters_per_channel_and_per_element(layout):
    assert layout.per_neuron(np.array([1, 2]), (2, 1, 2)).tolist() == [1, 1, 2, 2]
    assert layout.per_neuron(np.array([1, 2]), (2,)).tolist() == [1, 2]
    assert layout.per_neuron(np.array([[[1, 2]], [[3, 4]]]), (2, 1, 2)).tolist() == [1, 2, 3, 4]
    assert layout.per_neuron(np.array(7), (2, 2)).tolist() == [7] * 4
