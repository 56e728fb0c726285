"""Synapse memory in whole words.

What a message finds on a core is a list: a header, the weights that it meets and, where they belong
to neurons in any order, an index with each. Each list starts a word. A shared kernel has a list for
each input channel and tap, with a weight for each output channel of the block and no index; any
other group has one for each input axon. Weights of 0 are stored, except in sparse groups and in
convolutions that are not shared.

A weight takes the layer's own width: what its integers need once their common power of two, which
the layer's exponent holds, is taken out. ``loihi2-nxcore.toml`` states what of this is public.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import numpy as np

from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses
from snn_compile.mapping.block import Block
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.stored import RESET_WEIGHT_BITS, Float, Int, Sources
from snn_compile.targets.target import Target

FINE = 2.0**20
"""Shares of a word are multiples of 1 / FINE, so that their sums are exact."""


def own_width(weights: Int) -> int:
    """Bits of the narrowest format that holds the weights without their common power of two."""
    together = int(np.bitwise_or.reduce(weights, axis=None)) if weights.size else 0
    if not together:
        return 1
    common = together & -together
    return QFormat.holding(int(weights.min()) // common, int(weights.max()) // common).bits


class Words:
    """The format; its methods are those of :class:`~snn_compile.mapping.stored.Format`.

    Args:
        target: the chip.
        word: bits of a word.
    """

    def __init__(self, target: Target, word: int) -> None:
        self.word = word
        self.index = target.index_bits.value
        self.header = target.entry_overhead_bits.value
        self.longest = target.synapses_per_entry.value
        self.stride_bits = target.stride_bits.value
        self.shared = target.shared_kernels.value
        self.most_neurons = target.neurons_per_core.value
        self.per_axon = self.header + word - 1
        self._each = WeakKeyDictionary[Synapses, int]()

    def taken(self, synapses: Synapses, counts: Counts, block: Block, n_axons: int) -> int:
        """Lists of equal length are counted one by one, others as if each filled its last word."""
        each = self.each(synapses)
        if isinstance(synapses, ConvSynapses) and self.shared:
            channels, per_channel, *taps = synapses.weight.values.shape
            group = channels // synapses.geometry.groups
            lengths = _overlaps(*block.channels, group)
            lists = sum(number * int(self.list(length, each)) for length, number in lengths)
            return int(per_channel * math.prod(taps)) * lists
        if isinstance(synapses, DenseSynapses):
            return n_axons * int(self.list(block.size, each))
        listed = counts.synapses(block)
        entries = n_axons + listed // self.longest
        bits = listed * each + entries * self.header + n_axons * (self.word - 1)
        return bits // self.word * self.word

    def reset(self) -> int:
        """A list of one synapse."""
        return int(self.list(1, RESET_WEIGHT_BITS + self.index))

    def estimated(
        self, synapses: Synapses, counts: Counts, cuts: tuple[Int, Int, Int], sources: Sources
    ) -> tuple[Float, Float]:
        """What all blocks of each cut take, and the largest block, as if no weight were zero."""
        each, n_blocks = self.each(synapses), math.prod(cuts)
        if isinstance(synapses, ConvSynapses) and self.shared:
            channels, per_channel, *taps = synapses.weight.values.shape
            group = channels // synapses.geometry.groups
            length = -(-channels // cuts[0])
            groups = -(-length // group)
            lists = per_channel * math.prod(taps) * groups
            most = lists * self.list(np.minimum(length, group), each)
            return np.asarray(most * n_blocks, dtype=np.float64), most.astype(np.float64)
        if isinstance(synapses, DenseSynapses):
            size = -(-math.prod(synapses.shape) // n_blocks)
            words = self.list(size, each)
            return np.asarray(sources.total * words), np.asarray(sources.most * words)
        listed = float(counts.fan_in().sum()) * (each + self.header / self.longest)
        return (
            np.asarray(listed + self.per_axon * sources.total),
            np.asarray(listed / n_blocks + self.per_axon * sources.most),
        )

    def is_shared(self, synapses: Synapses) -> bool:
        """Whether a kernel is stored once."""
        return self.shared and isinstance(synapses, ConvSynapses)

    def is_by_axon(self, synapses: Synapses) -> bool:
        """Whether each axon adds ``per_axon``: lists of a dense group are counted whole."""
        return not self.is_shared(synapses) and not isinstance(synapses, DenseSynapses)

    def least_kernels(self, synapses: ConvSynapses) -> Float:
        """(channels,) a channel's share of its lists where they lose least to whole words."""
        channels, per_channel, *taps = synapses.weight.values.shape
        share = self._share(channels // synapses.geometry.groups, self.each(synapses))
        return np.full(channels, per_channel * math.prod(taps) * share)

    def least_lists(self, synapses: Synapses, fan_in: Float) -> Float:
        """The same of each neuron.

        Every neuron of a block has its share of each list of the block, and the block has at least
        as many lists as the neuron has sources.
        """
        each = self.each(synapses)
        if isinstance(synapses, DenseSynapses):
            return fan_in * self._share(math.prod(synapses.shape), each)
        return fan_in * (each + _floor(self.header / self.longest))

    def each(self, synapses: Synapses) -> int:
        """Bits of a synapse in a list."""
        width = self._each.get(synapses)
        if width is None:
            width = own_width(synapses.weight.values)
            if isinstance(synapses, ConvSynapses) and self.shared:
                width += self.stride_bits * (synapses.geometry.stride[1] - 1).bit_length()
            else:
                width += self.index
            self._each[synapses] = width
        return width

    def list(self, length: int | Int, each: int) -> Int:
        """Bits of a list, a header for each of its entries among them."""
        entries = -(-np.asarray(length) // self.longest)
        bits = length * each + entries * self.header
        return np.asarray(-(-bits // self.word) * self.word, dtype=np.int64)

    def _share(self, most: int, each: int) -> float:
        """The least that a synapse takes in a list of any length up to the most."""
        if self.most_neurons is not None:
            most = max(1, min(most, self.most_neurons))
        lengths = np.arange(1, most + 1)
        return _floor(float((self.list(lengths, each) / lengths).min()))


def _floor(number: float) -> float:
    return math.floor(number * FINE) / FINE


def _overlaps(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Lengths of what a range has of groups of a size, each with its number."""
    first, last = start // size, (stop - 1) // size
    if first == last:
        return [(stop - start, 1)]
    return [((first + 1) * size - start, 1), (size, last - first - 1), (stop - last * size, 1)]
