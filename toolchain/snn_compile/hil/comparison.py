"""Incremental comparison of a run with the reference, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.hil.distances import van_rossum, victor_purpura
from snn_compile.hil.divergence import Divergence, divergence_in

_TRAINS = 1 << 16
"""Spike trains per batch of distances."""


@dataclass
class LayerComparison:
    """Comparison of one layer.

    Attributes:
        layer: name of the population.
        compared: number of messages.
        differing: how many of them differ.
        divergence: the first difference: earliest stimulus, then step, then neuron.
        trains: number of spike trains measured, one for each neuron and stimulus.
        victor_purpura: sum of their distances.
        van_rossum: sum of their distances.
    """

    layer: str
    compared: int = 0
    differing: int = 0
    divergence: Divergence | None = None
    trains: int = 0
    victor_purpura: float = 0.0
    van_rossum: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For scripts; distances are means over all trains, null if none was measured."""
        n = self.trains
        return {
            "layer": self.layer,
            "compared": self.compared,
            "differing": self.differing,
            "victor_purpura": self.victor_purpura / n if n else None,
            "van_rossum": self.van_rossum / n if n else None,
        }


class Comparison:
    """Compares pieces of a run with the expected messages.

    Args:
        layers: in topological order.
        measured: layers whose spike-train distances are also computed.
    """

    def __init__(self, layers: Iterable[str], measured: Iterable[str] = ()) -> None:
        self.layers = {layer: LayerComparison(layer) for layer in layers}
        self._measured = set(measured)

    def add(
        self,
        first: int,
        expected: Mapping[Any, npt.NDArray[np.generic]],
        actual: Mapping[Any, npt.NDArray[np.generic]],
    ) -> None:
        """Compare the next stimuli.

        Args:
            first: index of the first one.
            expected: of each layer, (n, T, *shape).
            actual: the same from the device.

        Raises:
            VerificationError: the shapes differ.
        """
        for name, layer in self.layers.items():
            right, sent = expected[name], actual[name]
            found = divergence_in(name, right, sent)
            layer.compared += right.size
            if found is not None:
                layer.differing += int(np.count_nonzero(right != sent))
                found = replace(found, stimulus=found.stimulus + first)
                layer.divergence = layer.divergence or found
            if name in self._measured:
                self._measure(layer, right, sent)

    @property
    def compared(self) -> int:
        """Number of messages compared."""
        return sum(layer.compared for layer in self.layers.values())

    @property
    def divergence(self) -> Divergence | None:
        """The first divergence in the first layer that differs."""
        return next((layer.divergence for layer in self.layers.values() if layer.divergence), None)

    def _measure(
        self,
        layer: LayerComparison,
        right: npt.NDArray[np.generic],
        sent: npt.NDArray[np.generic],
    ) -> None:
        trains = [_trains(messages) for messages in (right, sent)]
        layer.trains += len(trains[0])
        differing = np.flatnonzero((trains[0] != trains[1]).any(axis=1))
        for start in range(0, len(differing), _TRAINS):
            chosen = differing[start : start + _TRAINS]
            a, b = (t[chosen] for t in trains)
            layer.victor_purpura += float(victor_purpura(a, b).sum())
            layer.van_rossum += float(van_rossum(a, b).sum())


def _trains(messages: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """(n, T, *shape) as (trains, T)."""
    flat = messages.astype(np.int64).reshape(*messages.shape[:2], -1)
    return np.moveaxis(flat, 1, 2).reshape(-1, flat.shape[1])
