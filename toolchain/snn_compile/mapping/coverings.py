"""The fewest input axons that cores of any shape take to hold a whole convolution.

``halo`` bounds the sources of each core as if every core had the best place of the map, a corner.
There are four corners. Here every output position has a price (``map_prices``), and no core holds
neurons of a higher price than the axons that it takes. So all cores together take at least the
price of all neurons.

Where all weights differ from zero, a core reads as many positions of each source channel as the
set of any output channel does. Where some are zero, let ``n_1 >= n_2 >= ...`` be the positions that
the sets of a core in each output channel would read through full kernels. A source channel counts
the largest ``n`` among the output channels that read it so. Any ``q`` output channels read at least
``c_q`` source channels through full kernels, hence the axons are at least
``sum_q n_q (c_q - c_(q-1))``. Dynamic programming finds the most that such a core is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, QuantizedGraph
from snn_compile.mapping.block import LIMITS, as_map
from snn_compile.mapping.halo import EXACT, Axis
from snn_compile.mapping.lower_bound import Least
from snn_compile.mapping.map_prices import ROUNDS, Map, prices_of
from snn_compile.targets.target import Target

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

CLOSE = 1.1
"""Cores over the bound from which it is worth a search."""
MOST_WORK = 30_000_000
"""Steps of dynamic programming for a network: about half a second."""
INPUT_AXONS, OUTPUT_AXONS = LIMITS.index("input axons"), LIMITS.index("output axons")


def _fewest_channels(full: Bool) -> Int:
    """At least so many source channels are read by 0, 1, ... output channels through full kernels.

    Args:
        full: (output channels, source channels) whether a kernel has no weight of zero.
    """
    each = full.sum(axis=1)
    n = len(full)
    found = np.zeros(n + 1, dtype=np.int64)
    found[1:] = each.min()
    if n > 1:
        either = each[:, None] + each[None] - full.astype(np.int64) @ full.T.astype(np.int64)
        np.fill_diagonal(either, full.shape[1])
        found[2:] = either.min()
    without = np.sort(n - full.sum(axis=0))  # q channels leave out only those that q do not read
    surely = np.searchsorted(without, np.arange(n + 1), side="left")
    return np.asarray(np.maximum.accumulate(np.maximum(found, surely)))


def _most_worth(worth: Float, fewest: Int, budget: int) -> Float:
    """The most that the sets of a core are worth, by the units of axons that it takes.

    Args:
        worth: of a set of one channel, by the units that it reads.
        fewest: source channels of 0, 1, ... output channels.
        budget: units of axons of a core.
    """
    added = np.diff(fewest)
    places = np.flatnonzero(added > 0)  # further output channels that add nothing may be as large
    times = np.diff([*places, len(added)])
    best = np.zeros((len(worth), budget + 1))
    for step, many in zip(added[places].tolist(), times.tolist(), strict=True):
        of_smaller = np.full_like(best, -np.inf)
        for n in range(len(worth)):
            taken = n * step
            if taken <= budget:
                of_smaller[n, taken:] = best[n, : budget + 1 - taken] + many * worth[n]
        best = np.maximum.accumulate(of_smaller[::-1], axis=0)[::-1]
    return np.asarray(best.max(axis=0))


@dataclass(frozen=True)
class _Convolution:
    """A convolution whose input axons are bounded.

    Attributes:
        outputs: its map.
        full: (output channels, source channels) of ``_fewest_channels``, those that count.
        budget: units of axons of a core.
    """

    outputs: Map
    full: Bool
    budget: int

    @property
    def of_channel(self) -> int:
        """Units that sets of one channel can read at most."""
        return self.budget // int(self.full.sum(axis=1).min())

    @property
    def work(self) -> int:
        """Steps of all searches."""
        of_prices = self.outputs.work(self.budget // self.full.shape[1])
        cores = 0 if self.full.all() else self.full.shape[0] * self.of_channel * self.budget
        return ROUNDS * of_prices + self.outputs.work(self.of_channel) + cores

    def least_axons(self) -> int:
        """Input axons that all cores take together."""
        n_out, n_in = self.full.shape
        prices = prices_of(self.outputs, self.budget // n_in)
        if prices is None:
            return 0
        worth, _ = self.outputs.search(prices, self.of_channel)
        if self.full.all():
            most, units = n_in * worth, n_in * np.arange(len(worth))
        else:
            fewest = _fewest_channels(self.full)
            most = n_in / n_out * _most_worth(worth, fewest, self.budget)
            units = np.arange(self.budget + 1)
        over = max(1.0, float((most[1:] / units[1:]).max(initial=1.0)))
        axons = n_in * self.outputs.unit * float((prices * self.outputs.sizes).sum()) / over
        return ceil(float(axons) * (1 - EXACT) - EXACT)


def _convolution(synapses: ConvSynapses, source: Shape, limit: int) -> _Convolution | None:
    """The convolution, unless this bound says nothing of it, or its map is too large.

    Channels with few full kernels are left out: what they hold costs no other more.
    """
    geometry = synapses.geometry
    if geometry.groups != 1 or geometry.dilation != (1, 1):
        return None
    taps = synapses.weight.values.shape[2:]
    shape, inputs = as_map(synapses.shape)[1:], as_map(source)[1:]
    rows, columns = (
        Axis(shape[k], inputs[k], geometry.stride[k], taps[k], geometry.padding[k]) for k in (0, 1)
    )
    if ROUNDS * rows.outputs**3 * columns.outputs > MOST_WORK:
        return None
    full = (synapses.weight.values != 0).all(axis=(2, 3))
    each = full.sum(axis=1)
    full = full[each * 2 > each.max(initial=0)]
    full = full[:, full.any(axis=0)]
    if not full.size:
        return None
    outputs = Map(rows, columns)
    return _Convolution(outputs, full, limit // outputs.unit)


def least_axons(synapses: ConvSynapses, source: Shape, limit: int) -> int:
    """Input axons that all cores take together for a convolution; 0 if nothing is known.

    Args:
        synapses: the convolution.
        source: shape of the population that it reads.
        limit: input axons of a core.
    """
    found = _convolution(synapses, source, limit)
    return 0 if found is None else found.least_axons()


def tightened(least: Least, cores: int, program: QuantizedGraph, target: Target) -> Least:
    """The bound, higher where convolutions take more axons than it knows of.

    Only where cores are more than ``CLOSE`` times the bound, and within ``MOST_WORK``.

    Args:
        least: the bound for each core alone.
        cores: that a placement takes.
        program: the network.
        target: the chip.
    """
    limit = target.input_axons_per_core.value
    if limit is None or cores <= CLOSE * least.cores:
        return least
    layers, left = {name: list(bounds) for name, bounds in least.layers.items()}, MOST_WORK
    for population in program.populations:
        groups = program.synapses_into(population)
        if len(groups) != 1 or not isinstance(groups[0], ConvSynapses):
            continue
        source = groups[0].inputs[0]
        found = _convolution(groups[0], program.graph[source].shape, limit)
        if found is None or found.work > left:
            continue
        left -= found.work
        own = target.synapses_per_soft_reset_neuron.value if population.soft_reset else 0
        known = layers[population.id][INPUT_AXONS] - own * prod(population.shape)
        more = max(0, found.least_axons() - known)
        layers[population.id][INPUT_AXONS] += more
        if source in layers:
            layers[source][OUTPUT_AXONS] += more
    higher = replace(least, layers={name: (a, b, c, d) for name, (a, b, c, d) in layers.items()})
    shares = higher.shares(target)
    return replace(higher, cores=max(least.cores, *(ceil(share - EXACT) for share in shares)))
