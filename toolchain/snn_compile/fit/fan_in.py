"""The demand on a core of the neuron with the largest fan-in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Population,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block, Demand, as_map
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.partition import Cutter
from snn_compile.targets.target import Target

Incoming = Sequence[tuple[Synapses, Shape]]
"""Synapse groups, each with the shape of its source."""


def fan_in(group: Synapses, source: Shape) -> Int:
    """Nonzero synapses of each neuron, int64 in the group's shape."""
    used = group.weight.values != 0
    match group:
        case ConvSynapses():
            rows, columns = (_taps_inside(group, source, axis) for axis in (0, 1))
            return _sums_of_taps(used.sum(axis=1), rows, columns)
        case DenseSynapses():
            counted = np.count_nonzero(used, axis=1)
        case SparseSynapses():
            counted = np.diff(np.append(0, np.cumsum(used))[group.indptr])
    shaped: Int = counted.reshape(group.shape)
    return shaped


def _taps_inside(group: ConvSynapses, source: Shape, axis: int) -> npt.NDArray[np.bool_]:
    """(outputs, taps), bool: whether a tap along an axis reads the map rather than its padding."""
    geometry, n_taps = group.geometry, group.weight.shape[2 + axis]
    first = np.arange(group.shape[1 + axis])[:, None] * geometry.stride[axis]
    at = first - geometry.padding[axis] + geometry.dilation[axis] * np.arange(n_taps)
    inside: npt.NDArray[np.bool_] = (at >= 0) & (at < source[1 + axis])
    return inside


def _sums_of_taps(taps: Int, rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]) -> Int:
    """(C, H, W), int64: sums of the taps (C, kh, kw) inside the map; equal rows are summed once."""
    rows, row = np.unique(rows, axis=0, return_inverse=True)
    columns, column = np.unique(columns, axis=0, return_inverse=True)
    found = np.einsum("ckl,yk,xl->cyx", taps, rows.astype(np.int64), columns.astype(np.int64))
    spread: Int = found[:, row.ravel()][:, :, column.ravel()]
    return spread


@dataclass(frozen=True)
class Need:
    """The demand of one neuron and the capacity of a core; a capacity is None without a limit.

    Attributes:
        sources: pairs of a source neuron and a synapse group.
        memory: synapse memory of the neuron, in bits.
        most_sources: input axons of the core, less those of the neuron's own reset.
        most_memory: synapse memory of the core, in bits.
    """

    sources: int
    memory: int
    most_sources: int | None
    most_memory: int | None

    @property
    def parts(self) -> int:
        """The least number of parts that may each fit a core; 1 for a neuron that fits."""
        parts = [-(-self.sources // max(self.most_sources or self.sources, 1))]
        parts.append(-(-self.memory // max(self.most_memory or self.memory, 1)))
        return max(*parts, 1)

    @property
    def fits(self) -> bool:
        """Whether the neuron fits a core."""
        return not self.has_too_many_sources and not self.has_too_much_memory

    @property
    def has_too_many_sources(self) -> bool:
        """Whether its fan-in exceeds the input axons of a core."""
        return self.most_sources is not None and self.sources > self.most_sources

    @property
    def has_too_much_memory(self) -> bool:
        """Whether its weights exceed the synapse memory of a core."""
        return self.most_memory is not None and self.memory > self.most_memory


def need(population: Population, incoming: Incoming, target: Target) -> Need:
    """The demand of the neuron with the most synapses in a population."""
    demand = _largest_demand(population, incoming, target)
    own = target.synapses_per_soft_reset_neuron.value if population.soft_reset else 0
    most = target.input_axons_per_core.value
    return Need(
        demand.input_axons - own,
        demand.synapse_memory_bits,
        None if most is None else most - own,
        target.synapse_memory_per_core.value,
    )


def _largest_demand(population: Population, incoming: Incoming, target: Target) -> Demand:
    size = as_map(population.shape)
    total = sum(fan_in(group, source).reshape(size) for group, source in incoming)
    largest = np.unravel_index(int(np.argmax(total)), size)
    counted = [(group, counts_of(group, source)) for group, source in incoming]
    unread = np.zeros(size, dtype=np.int64)
    cutter = Cutter(population, counted, unread, target)
    return cutter.demand(Block(*((int(i), int(i) + 1) for i in largest)))


def limits_fan_in(target: Target) -> bool:
    """Whether a target limits fan-in, by input axons or by synapse memory."""
    limits: Iterable[int | None] = (
        target.input_axons_per_core.value,
        target.synapse_memory_per_core.value,
    )
    return any(limit is not None for limit in limits)
