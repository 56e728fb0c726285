"""Drives of the float network at sites, recorded while calibration runs it.

The fit of layers compares with them, and would run the network once more. Its samples and sites
follow from the network in integers, which is not there yet: they are foreseen. What was foreseen
wrongly is computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.quantize.sites import Sites, readers_of
from snn_compile.sim.ann import Hook
from snn_compile.sim.kernels import Array

MOST_BYTES = 256 << 20
"""Of all drives that are recorded; of a larger network, none are."""


class SharedDrives:
    """Records the drives of a network.

    Args:
        folded: the float network.
        sites: of the rectifiers and outputs whose drives are recorded.
    """

    def __init__(self, folded: ANNGraph, sites: Mapping[NodeId, Sites]) -> None:
        size = sum(folded.graph[name].shape[0] * len(of) for name, of in sites.items())
        self._folded = folded
        self._sites = sites if 4 * size <= MOST_BYTES else {}
        self._readers = readers_of(folded, self._sites)
        self._lock = threading.Lock()
        self._found: dict[NodeId, dict[int, Array]] = {}

    def from_sample(self, start: int) -> Hook:
        """The hook for a piece of the samples that begins with this one."""

        def observe(node: AnnNode, value: Array) -> Array:
            for reader in self._readers.get(node.id, ()):
                flat = value.reshape(node.shape[0], -1, value.shape[-1])
                drives = self._sites[reader].at_sites(flat, start)
                with self._lock:
                    self._found.setdefault(reader, {})[start] = drives
            return value

        return observe

    def at(self, folded: ANNGraph, sites: Mapping[NodeId, Sites]) -> dict[NodeId, Array] | None:
        """The drives at sites, as of ``float_drives``; None unless all of them were recorded."""
        if folded is not self._folded or not sites.keys() <= self._found.keys():
            return None
        if not all(sites[name].equals(self._sites[name]) for name in sites):
            return None
        pieces = {name: self._found[name] for name in sites}
        found = {
            name: np.concatenate([of[start] for start in sorted(of)], axis=1)
            for name, of in pieces.items()
        }
        return found if all(found[name].shape[1] == len(of) for name, of in sites.items()) else None
