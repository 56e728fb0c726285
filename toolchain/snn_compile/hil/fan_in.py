"""Fan-in of a neuron: sources and weights, for every kind of synapse group."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses


@dataclass(frozen=True, eq=False)
class FanIn:
    """The synapses of one group into one neuron.

    Attributes:
        sources: (K,) flat index of the presynaptic neuron.
        places: (K,) flat index of the weight in the group's tensor.
        weights: (K,) the weight.
    """

    sources: Int
    places: Int
    weights: Int


def fan_in(synapses: Synapses, source: Shape, neuron: int) -> FanIn:
    """The synapses of a group into one neuron; taps that fall on the padding are left out.

    Args:
        synapses: the group.
        source: shape of the population that it reads.
        neuron: flat index of the target, channel first.
    """
    if isinstance(synapses, ConvSynapses):
        sources, places = _conv(synapses, source, neuron)
    elif isinstance(synapses, DenseSynapses):
        sources = np.arange(prod(source))
        places = neuron * len(sources) + sources
    else:
        places = np.arange(synapses.indptr[neuron], synapses.indptr[neuron + 1])
        sources = synapses.indices[places]
    return FanIn(sources, places, synapses.weight.values.reshape(-1)[places])


def _conv(synapses: ConvSynapses, source: Shape, neuron: int) -> tuple[Int, Int]:
    geometry = synapses.geometry
    n_out, n_in, kernel_height, kernel_width = synapses.weight.shape
    _, height, width = source
    out, row, column = (int(i) for i in np.unravel_index(neuron, synapses.shape))
    i, dy, dx = np.indices((n_in, kernel_height, kernel_width)).reshape(3, -1)
    y = row * geometry.stride[0] - geometry.padding[0] + dy * geometry.dilation[0]
    x = column * geometry.stride[1] - geometry.padding[1] + dx * geometry.dilation[1]
    channel = geometry.channels_read(n_out, n_in)[out, i]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    sources = (channel * height + y) * width + x
    places = out * i.size + np.arange(i.size)
    return sources[inside], places[inside]
