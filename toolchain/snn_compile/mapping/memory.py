"""Synapse memory: what a block takes, and the least that any placement does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses
from snn_compile.mapping.block import Block
from snn_compile.mapping.counts import Counts
from snn_compile.targets.target import Target

Float = npt.NDArray[np.float64]

RESET_WEIGHT_BITS = 8
"""Width of the recurrent weight of a soft reset (NxTF: an 8-bit mantissa of the threshold)."""


def memory_bits(
    synapses: Synapses, counts: Counts, block: Block, n_axons: int, target: Target
) -> int:
    """Synapse memory of a synapse group on the core of a block.

    Weights are stored in one of two forms: nonzero weights with an index each, or all weights in
    order. A shared kernel is stored once, in the smaller form. All others are lists of synapses,
    one for each input axon, cut into entries; a dense group takes the smaller form. The number of
    entries is an upper bound, ``sum(ceil(n_i / k)) <= n_axons + sum(n_i) // k``.
    """
    width = synapses.weight.format.bits
    with_index = width + target.index_bits.value
    plain, listed = counts.stored(block)
    if isinstance(synapses, ConvSynapses):
        if target.shared_kernels.value:
            return min(plain * width, listed * with_index)
        listed = counts.synapses(block)
    overhead, longest = target.entry_overhead_bits.value, target.synapses_per_entry.value
    bits = listed * with_index + (n_axons + listed // longest) * overhead
    if isinstance(synapses, DenseSynapses):
        bits = min(bits, plain * width + (n_axons + plain // longest) * overhead)
    return bits


class LeastMemory:
    """The least memory of a layer, however its neurons are spread over cores.

    Attributes:
        kernels: (channels,) bits of the shared kernels of each channel, once.
        lists: (channels, neurons of a channel) bits of the lists of each neuron, without what an
            axon adds.
        per_axon: bits that each input axon of a block adds to such lists, but the first.
        is_listed: for each group, whether it is stored as lists.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        incoming: Sequence[tuple[Synapses, Counts]],
        recurrent: int,
        target: Target,
    ) -> None:
        channels, self.per_channel = shape[0], shape[1] * shape[2]
        self.kernels = np.zeros(channels)
        self.lists = np.zeros((channels, self.per_channel))
        self.per_axon = 0
        self.is_listed: list[bool] = []
        overhead = target.entry_overhead_bits.value
        longest = target.synapses_per_entry.value
        self.lists += recurrent * (RESET_WEIGHT_BITS + target.index_bits.value + overhead)
        for synapses, counts in incoming:
            width = synapses.weight.format.bits
            with_index = width + target.index_bits.value
            if isinstance(synapses, ConvSynapses) and target.shared_kernels.value:
                used = synapses.weight.values != 0
                listed = used.reshape(channels, -1).sum(axis=1)
                self.kernels += np.minimum(used[0].size * width, listed * with_index)
                self.is_listed.append(False)
                continue
            self.per_axon = overhead
            self.is_listed.append(True)
            fan_in = counts.fan_in().reshape(channels, -1)
            bits = fan_in * (with_index + overhead / longest)
            if isinstance(synapses, DenseSynapses):
                plain = synapses.weight.values.shape[1]
                bits = np.minimum(bits, plain * (width + overhead / longest))
            self.lists += bits

    def room(self, limit: float) -> float:
        """The most neurons that so much memory can suffice for."""
        kernels = np.sort(self.kernels).cumsum()
        by_kernels = np.searchsorted(kernels, limit, side="right") * self.per_channel
        if not self.lists.any():
            return float(min(int(by_kernels), self.lists.size))
        lists = np.sort(self.lists, axis=None).cumsum()
        return float(min(by_kernels, np.searchsorted(lists, limit, side="right")))

    def total(self, copies: int, axons: float) -> float:
        """The least of all cores.

        Args:
            copies: the fewest cores that hold neurons of any one channel.
            axons: the fewest axons into such lists, without the first of each block and group.
        """
        kernels, lists = float(self.kernels.sum()), float(self.lists.sum())
        return copies * kernels + lists + self.per_axon * axons
