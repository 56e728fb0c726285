"""Sampling sites of calibration: some neurons of each sample, equal in float and in spikes.

A convolutional layer has far more neurons than the estimate of its few weights needs. A site is one
position of its maps in one sample; every sample has the same number of sites.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.products import Float
from snn_compile.sim import ann, kernels
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

SEED = 0
"""Seed of the positions; fixed, so that equal samples give equal programs."""


Values = TypeVar("Values", npt.NDArray[np.number], Int)
Reduction = Callable[[Int], npt.NDArray[np.number]]
"""From the steps of some sites, (C, T, s), to a value of each, (C, s)."""


@dataclass(frozen=True, eq=False)
class Sites:
    """The sampled positions of one population's maps.

    Attributes:
        positions: (N, M) flat index into the (H, W) of a map, for each of N samples.
        width: W.
    """

    positions: Int
    width: int

    @staticmethod
    def spread(shape: Shape, n_samples: int, most: int) -> Sites:
        """At most ``most`` sites (at least one per sample), at different positions in each sample.

        Args:
            shape: (C, H, W) of the population.
            n_samples: number of samples.
            most: maximal total number of sites.
        """
        n_positions = prod(shape[1:])
        wanted = max(1, min(n_positions, most // n_samples))
        draw = np.random.default_rng(SEED).random((n_samples, n_positions))
        chosen = np.argsort(draw, axis=1)[:, :wanted]
        return Sites(np.sort(chosen, axis=1), shape[-1])

    def equals(self, other: Sites) -> bool:
        """Whether both are the same sites."""
        return self.width == other.width and np.array_equal(self.positions, other.positions)

    def __len__(self) -> int:
        """Total number of sites."""
        return self.positions.size

    @property
    def samples(self) -> Int:
        """The sample of each site, (S,)."""
        return np.repeat(np.arange(len(self.positions)), self.positions.shape[1])

    def of(self, pieces: Sequence[npt.NDArray[np.number]]) -> Array:
        """Values at the sites from consecutive batches (C, H, W, B), (C, S) float32."""
        found = []
        for start, piece in self._batches(pieces):
            flat = piece.reshape(piece.shape[0], -1, piece.shape[-1])
            found.append(self.at_sites(flat, start))
        return np.concatenate(found, axis=1)

    def of_trains(
        self, pieces: Sequence[Int], reduced: Callable[[Int], npt.NDArray[np.number]]
    ) -> Array:
        """Values at the sites from consecutive batches (C, H, W, T, B), (C, S) float32."""
        found = []
        for start, piece in self._batches(pieces):
            flat = piece.reshape(piece.shape[0], -1, *piece.shape[-2:])
            at = self.positions[start : start + piece.shape[-1]].ravel()
            sample = np.repeat(np.arange(piece.shape[-1]), self.positions.shape[1])
            there = np.moveaxis(flat[:, at, :, sample], 0, -1)  # (C, T, s)
            found.append(reduced(there).astype(np.float32))
        return np.concatenate(found, axis=1)

    def along(self, maps: npt.NDArray[np.number]) -> Array:
        """Values (C, H, W) that all samples share, at the sites, (C, S) float32."""
        return maps.reshape(len(maps), -1)[:, self.positions.ravel()].astype(np.float32)

    def at_sites(self, flat: npt.NDArray[np.number], start: int) -> Array:
        """Values (C, H * W, B) of samples from ``start`` on, at their sites, (C, s) float32."""
        at = self.positions[start : start + flat.shape[-1]]
        there = flat[:, at, np.arange(len(at))[:, None]].reshape(len(flat), -1)
        return there.astype(np.float32)

    @property
    def n_first(self) -> int:
        """Sites of the first half of the samples, those of even number."""
        return self.positions[::2].size

    @property
    def by_halves(self) -> Int:
        """The sites (S,), those of the first half of the samples first."""
        numbers = np.arange(self.positions.size).reshape(self.positions.shape)
        return np.concatenate([numbers[::2].ravel(), numbers[1::2].ravel()])

    def fields(
        self, group: ConvSynapses | DenseSynapses, pieces: Sequence[Int]
    ) -> list[tuple[slice, Float]]:
        """Receptive fields of a group's neurons at the sites, for each slice with a common one.

        Args:
            group: the synapses.
            pieces: messages of its source, integers (C, H, W, B) in consecutive batches.

        Returns:
            Slices of the group's rows with their receptive fields, (K, S) in float64, by halves.
        """
        if isinstance(group, DenseSynapses):
            flat = np.concatenate([p.reshape(-1, p.shape[-1]) for p in pieces], axis=1)
            return [(slice(None), flat[:, self.by_halves].astype(np.float64))]
        n_out, per_group, kh, kw = group.weight.shape
        n_groups = group.geometry.groups
        taken = np.empty((n_groups * per_group, kh * kw, len(self)))
        for start, piece in self._batches(pieces):
            padded = kernels.pad(piece, group.geometry.padding)
            for own, place in self._halves_of(start, piece.shape[-1]):
                y, x = np.divmod(self.positions[start : start + piece.shape[-1]][own], self.width)
                b = np.arange(piece.shape[-1])[own, None]
                taps = kernels.tap_views(padded, (kh, kw), group.geometry)
                for k, (_, _, view) in enumerate(taps):
                    taken[:, k, place] = view[:, y, x, b].reshape(len(view), -1)
        size = n_out // n_groups
        return [
            (
                slice(g * size, (g + 1) * size),
                taken[g * per_group : (g + 1) * per_group].reshape(per_group * kh * kw, -1),
            )
            for g in range(n_groups)
        ]

    def _halves_of(self, start: int, n: int) -> Iterator[tuple[slice, slice]]:
        """Of n samples from one on: those of each half, and the places of their sites by halves."""
        per_sample = self.positions.shape[1]
        for half, begin in enumerate((0, self.n_first)):
            first = start + (start + half) % 2
            place = begin + first // 2 * per_sample
            size = len(range(first, start + n, 2)) * per_sample
            yield slice(first - start, None, 2), slice(place, place + size)

    def _batches(self, pieces: Sequence[Values]) -> list[tuple[int, Values]]:
        sizes: list[int] = [piece.shape[-1] for piece in pieces]
        if sum(sizes) != len(self.positions):
            raise ValueError(f"sites of {len(self.positions)} samples in {sum(sizes)}")
        return list(zip(np.cumsum([0, *sizes[:-1]]).tolist(), pieces, strict=True))


def float_drives(
    folded: ANNGraph, x: npt.NDArray[np.generic], sites: Mapping[NodeId, Sites]
) -> dict[NodeId, Array]:
    """Drives of rectifiers and outputs in the float network at their sites, (C, S) float32 each.

    Args:
        folded: the network.
        x: (N, *input shape) samples.
        sites: sites of the requested rectifiers and outputs.
    """
    readers, operators = readers_of(folded, sites), Reproducible(folded, x)

    def measure_batch(piece: npt.NDArray[np.generic], start: int) -> dict[NodeId, Array]:
        found: dict[NodeId, Array] = {}

        def observe(node: AnnNode, value: Array) -> Array:
            for reader in readers.get(node.id, ()):
                flat = value.reshape(node.shape[0], -1, value.shape[-1])
                found[reader] = sites[reader].at_sites(flat, start)
            return value

        ann.forward(folded, ann.batch_last(piece), observe, operators)
        return found

    pieces = list(map_batches(measure_batch, x, ann.piece_size(folded)))
    return {key: np.concatenate([p[key] for p in pieces], axis=1) for key in sites}


def readers_of(folded: ANNGraph, known: Container[NodeId]) -> dict[NodeId, list[NodeId]]:
    """Of each node, those of the known nodes that have it as their drive."""
    readers: dict[NodeId, list[NodeId]] = {}
    for node in folded.graph:
        if node.id in known:
            readers.setdefault(node.inputs[0], []).append(node.id)
    return readers


def has_drive(node: AnnNode) -> bool:
    """Whether a population has the drive of a node of the float network, unshared.

    Relays and comparators have the scale of another node, a product reads payloads, and a
    difference must remain one.
    """
    if isinstance(node, ops.Product) or not isinstance(node, ops.Activation):
        return False
    return node.like is None and not node.exact


def rectifiers_and_outputs(folded: ANNGraph) -> list[NodeId]:
    """The nodes with a drive in the float network, without relays and comparators."""
    return [node.id for node in folded.graph if isinstance(node, ops.Output) or has_drive(node)]
