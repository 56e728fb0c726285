"""Synapse memory in bits."""

from __future__ import annotations

import math

import numpy as np

from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses
from snn_compile.mapping.block import Block
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.stored import RESET_WEIGHT_BITS, Float, Int, Sources
from snn_compile.targets.target import Target


class Bits:
    """Lists without gaps: nonzero weights with an index each, or all weights in order.

    A shared kernel is stored once, in the smaller form. All others are lists of synapses, one for
    each input axon, cut into entries; a dense group takes the smaller form. The number of entries
    is an upper bound, ``sum(ceil(n_i / k)) <= n_axons + sum(n_i) // k``.
    """

    def __init__(self, target: Target) -> None:
        self.index = target.index_bits.value
        self.per_axon = target.entry_overhead_bits.value
        self.longest = target.synapses_per_entry.value
        self.shared = target.shared_kernels.value

    def each(self, synapses: Synapses) -> int:
        """The width of a weight, without an index."""
        return synapses.weight.format.bits

    def taken(self, synapses: Synapses, counts: Counts, block: Block, n_axons: int) -> int:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        width = self.each(synapses)
        with_index = width + self.index
        plain, listed = counts.stored(block)
        if isinstance(synapses, ConvSynapses):
            if self.shared:
                return min(plain * width, listed * with_index)
            listed = counts.synapses(block)
        bits = listed * with_index + (n_axons + listed // self.longest) * self.per_axon
        if isinstance(synapses, DenseSynapses):
            entries = n_axons + plain // self.longest
            bits = min(bits, plain * width + entries * self.per_axon)
        return bits

    def reset(self) -> int:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        return RESET_WEIGHT_BITS + self.index + self.per_axon

    def estimated(
        self, synapses: Synapses, counts: Counts, cuts: tuple[Int, Int, Int], sources: Sources
    ) -> tuple[Float, Float]:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        width = self.each(synapses)
        if self.is_shared(synapses):
            kernels = float(synapses.weight.values.size * width)
            copies = cuts[1] * cuts[2]
            return np.asarray(kernels * copies), np.asarray(kernels / cuts[0], dtype=np.float64)
        overhead = self.per_axon
        listed = float(counts.fan_in().sum())
        each = listed * (width + self.index + overhead / self.longest)
        if isinstance(synapses, DenseSynapses):
            each = min(each, synapses.weight.values.size * (width + overhead / self.longest))
        n_blocks = math.prod(cuts)
        return each + overhead * sources.total, each / n_blocks + overhead * sources.most

    def is_shared(self, synapses: Synapses) -> bool:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        return self.shared and isinstance(synapses, ConvSynapses)

    def is_by_axon(self, synapses: Synapses) -> bool:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        return not self.is_shared(synapses)

    def least_kernels(self, synapses: ConvSynapses) -> Float:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        width, used = self.each(synapses), synapses.weight.values != 0
        listed = used.reshape(len(used), -1).sum(axis=1) * (width + self.index)
        return np.asarray(np.minimum(used[0].size * width, listed), dtype=np.float64)

    def least_lists(self, synapses: Synapses, fan_in: Float) -> Float:
        """See :class:`~snn_compile.mapping.stored.Format`."""
        width, share = self.each(synapses), self.per_axon / self.longest
        bits = fan_in * (width + self.index + share)
        if isinstance(synapses, DenseSynapses):
            bits = np.minimum(bits, synapses.weight.values.shape[1] * (width + share))
        return np.asarray(bits, dtype=np.float64)
