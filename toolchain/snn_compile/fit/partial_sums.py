"""Division of a synapse group into partial sums.

``sum_i w[i] x[i] = sum_k sum_{i in part k} w[i] x[i]``: each part keeps the weights, with exponent
0. The reader adds up the partial sums with weights of 1 and the exponent of the whole group, so
that a negative exponent floors the complete sum once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from snn_compile.fit.relays import one_to_one, ones
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses


@dataclass(frozen=True, eq=False)
class Parts:
    """A synapse group onto partial sums, under the name of the group that it divides.

    Attributes:
        synapses: onto all parts, with exponent 0.
        n_parts: partial sums of each neuron.
        n_groups: groups of channels, each divided separately. The channels of the partial sums are
            ordered by group, then by part, then by channel within the group.
    """

    synapses: Synapses
    n_parts: int
    n_groups: int = 1

    def neurons(self, shape: Shape) -> Int:
        """(parts, neurons), int64: indices of the partial sums of each neuron."""
        n_neurons = prod(shape)
        size = n_neurons // self.n_groups
        group, within = np.divmod(np.arange(n_neurons), size)
        part = np.arange(self.n_parts)[:, None]
        index: Int = (group * self.n_parts + part) * size + within
        return index

    def summing_synapses(self, group: Synapses, sums: NodeId, bits: QFormat) -> Synapses:
        """The synapses that add up the partial sums and replace the group.

        They are a 1x1 convolution where that stores fewer numbers than a list of synapses.
        """
        fields = {**group.common_fields, "inputs": (sums,)}
        if self.n_parts == 1:
            return one_to_one(fields, bits, group.exponent)
        n_out = group.shape[0] // self.n_groups
        maps = isinstance(self.synapses, ConvSynapses) and isinstance(group, ConvSynapses)
        if maps and n_out <= 2 * prod(group.shape[1:]):
            kernel = np.tile(np.eye(n_out, dtype=np.int64), (self.n_groups, self.n_parts))
            return ConvSynapses(
                **fields,
                weight=QTensor(kernel[:, :, None, None], bits),
                exponent=group.exponent,
                geometry=Geometry(groups=self.n_groups),
            )
        index = self.neurons(group.shape)
        return SparseSynapses(
            **fields,
            indptr=np.arange(index.shape[1] + 1) * self.n_parts,
            indices=index.T.ravel(),
            weight=ones(index.size, bits),
            exponent=group.exponent,
        )


def divide(
    group: Synapses, source: Shape, at_least: int, fits: Callable[[Parts], bool]
) -> Parts | None:
    """The group in the fewest parts that fit; None if not even a part of one source fits.

    Ranges of source channels preserve kernels, and are preferred if they take less than twice the
    least number of parts. Any other part zeroes the rest of its kernels or lists its synapses.
    """
    for n_parts in _numbers(at_least, prod(source)):
        whole = _of_channels(group, source, n_parts)
        if whole is not None and fits(whole):
            return whole
        fewest = _of_ranges(group, n_parts)
        if not fits(fewest):
            continue
        for n_more in range(n_parts + 1, 2 * n_parts):
            whole = _of_channels(group, source, n_more)
            if whole is not None and fits(whole):
                return whole
        return fewest
    return None


def _numbers(at_least: int, at_most: int) -> Iterator[int]:
    """Candidate numbers of parts: consecutive at first, then in steps of an eighth."""
    while at_least <= at_most:
        yield at_least
        at_least = max(at_least + 1, at_least * 9 // 8)


def _of_channels(group: Synapses, source: Shape, n_parts: int) -> Parts | None:
    """Parts that are ranges of source channels, as one grouped convolution.

    None if the number does not divide the channels.
    """
    if n_parts == 1:
        return Parts(replace(group, exponent=0), 1)
    if isinstance(group, DenseSynapses) and len(source) == 3 and source[0] % n_parts == 0:
        kernels = group.weight.values.reshape(-1, n_parts, source[0] // n_parts, *source[1:])
        n_out = len(kernels)
        return Parts(
            ConvSynapses(
                **{**group.common_fields, "shape": (n_parts * n_out, 1, 1)},
                weight=_flatten(kernels.swapaxes(0, 1), group.weight.format),
                exponent=0,
                geometry=Geometry(groups=n_parts),
            ),
            n_parts,
        )
    if not isinstance(group, ConvSynapses) or group.weight.shape[1] % n_parts:
        return None
    n_groups = group.geometry.groups
    n_out, n_in, *kernel = group.weight.shape
    parts = group.weight.values.reshape(
        n_groups, n_out // n_groups, n_parts, n_in // n_parts, *kernel
    )
    return Parts(
        replace(
            group,
            shape=(n_parts * n_out, *group.shape[1:]),
            weight=_flatten(parts.swapaxes(1, 2), group.weight.format, 3),
            exponent=0,
            geometry=replace(group.geometry, groups=n_groups * n_parts),
        ),
        n_parts,
        n_groups,
    )


def _flatten(weight: Int, bits: QFormat, n_axes: int = 2) -> QTensor:
    """The weights with their first axes merged into one."""
    return QTensor(weight.reshape(-1, *weight.shape[n_axes:]), bits)


def _of_ranges(group: Synapses, n_parts: int) -> Parts:
    """Parts that are equal ranges of the positions that any neuron reads."""
    match group:
        case ConvSynapses():
            return _of_positions(group, n_parts)
        case DenseSynapses():
            return _of_columns(group, n_parts)
        case SparseSynapses():
            return _of_lists(group, n_parts)


def _of_positions(group: ConvSynapses, n_parts: int) -> Parts:
    """Kernels that are zero outside a range of their taps."""
    n_groups = group.geometry.groups
    n_out, *kernel = group.weight.shape
    flat = group.weight.values.reshape(n_groups, 1, n_out // n_groups, -1)
    part = np.full(flat.shape[-1], -1)
    for k, used in enumerate(np.array_split(np.flatnonzero(flat.any(axis=(0, 1, 2))), n_parts)):
        part[used] = k
    inside = part == np.arange(n_parts)[:, None]
    weight = np.where(inside[:, None], flat, 0).reshape(-1, *kernel)
    return Parts(
        replace(
            group,
            shape=(n_parts * n_out, *group.shape[1:]),
            weight=QTensor(weight, group.weight.format),
            exponent=0,
        ),
        n_parts,
        n_groups,
    )


def _of_columns(group: DenseSynapses, n_parts: int) -> Parts:
    """Lists of synapses, from one range of sources for each part."""
    weight = group.weight.values
    used = np.flatnonzero(weight.any(axis=0))
    lists = [
        (row, columns[row_used], weight[row, columns[row_used]])
        for columns in np.array_split(used, n_parts)
        for row, row_used in enumerate(weight[:, columns] != 0)
    ]
    return _as_lists(
        group,
        n_parts,
        np.array([len(indices) for _, indices, _ in lists]),
        np.concatenate([indices for _, indices, _ in lists]),
        np.concatenate([values for _, _, values in lists]),
    )


def _of_lists(group: SparseSynapses, n_parts: int) -> Parts:
    """The synapse list of each neuron, sorted by source and cut into equal parts."""
    used = group.weight.values != 0
    row = np.repeat(np.arange(len(group.indptr) - 1), np.diff(group.indptr))[used]
    order = np.lexsort((group.indices[used], row))
    row, source, weight = (x[order] for x in (row, group.indices[used], group.weight.values[used]))
    lengths = np.bincount(row, minlength=len(group.indptr) - 1)
    rank = np.arange(len(row)) - (np.cumsum(lengths) - lengths)[row]
    part = rank * n_parts // np.maximum(lengths, 1)[row]
    by_part = np.lexsort((source, row, part))
    counted = np.bincount(part * len(lengths) + row, minlength=n_parts * len(lengths))
    return _as_lists(group, n_parts, counted, source[by_part], weight[by_part])


def _as_lists(group: Synapses, n_parts: int, lengths: Int, indices: Int, weight: Int) -> Parts:
    """Parts with one list of synapses for each partial sum."""
    return Parts(
        SparseSynapses(
            **{**group.common_fields, "shape": (n_parts * group.shape[0], *group.shape[1:])},
            indptr=np.append(0, np.cumsum(lengths)),
            indices=indices,
            weight=QTensor(weight, group.weight.format),
            exponent=0,
        ),
        n_parts,
    )
