"""Synapse memory: the format of a target, and the least that any placement takes.

A target counts in bits or, where it states a word, in whole words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snn_compile.ir.quantized import ConvSynapses, Synapses
from snn_compile.mapping.bits import Bits
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.stored import Format
from snn_compile.mapping.words import Words
from snn_compile.targets.target import Target


def format_of(target: Target) -> Format:
    """How a target stores synapses."""
    word = target.word_bits.value
    return Bits(target) if word is None else Words(target, word)


class LeastMemory:
    """The least memory of a layer, however its neurons are spread over cores.

    Attributes:
        kernels: (channels,) bits of the shared kernels of each channel, once.
        lists: (channels, neurons of a channel) bits of the lists of each neuron, without what an
            axon adds.
        per_axon: bits that each input axon of a block adds to such lists, but the first.
        is_listed: for each group, whether its axons add them.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        incoming: Sequence[tuple[Synapses, Counts]],
        recurrent: int,
        target: Target,
    ) -> None:
        channels, self.per_channel = shape[0], shape[1] * shape[2]
        form = format_of(target)
        self.per_axon = form.per_axon
        self.kernels = np.zeros(channels)
        self.lists = np.full((channels, self.per_channel), float(recurrent * form.reset()))
        self.is_listed = [form.is_by_axon(synapses) for synapses, _ in incoming]
        for synapses, counts in incoming:
            if isinstance(synapses, ConvSynapses) and form.is_shared(synapses):
                self.kernels += form.least_kernels(synapses)
                continue
            fan_in = counts.fan_in().reshape(channels, -1).astype(np.float64)
            self.lists += form.least_lists(synapses, fan_in)

    def room(self, limit: float) -> float:
        """The most neurons that so much memory can suffice for."""
        kernels = np.sort(self.kernels).cumsum()
        by_kernels = np.searchsorted(kernels, limit, side="right") * self.per_channel
        if not self.lists.any():
            return float(min(int(by_kernels), self.lists.size))
        return float(min(by_kernels, np.searchsorted(self._in_order, limit, side="right")))

    def least_lists(self, n: float) -> float:
        """Bits of the lists of the ``n`` neurons with the shortest ones."""
        return float(self._in_order[int(n) - 1]) if n >= 1 else 0.0

    @cached_property
    def _in_order(self) -> npt.NDArray[np.float64]:
        """Sums of the shortest lists."""
        return np.sort(self.lists, axis=None).cumsum()

    def total(self, copies: int, axons: float) -> float:
        """The least of all cores.

        Args:
            copies: the fewest cores that hold neurons of any one channel.
            axons: the fewest axons into such lists, without the first of each block and group.
        """
        kernels, lists = float(self.kernels.sum()), float(self.lists.sum())
        return copies * kernels + lists + self.per_axon * axons
