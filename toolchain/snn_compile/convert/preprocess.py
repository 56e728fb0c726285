"""Preprocessing folded into the network, so that the compiled one reads raw values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snn_compile.errors import UsageError, raise_all
from snn_compile.ir import ann
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class FoldPreprocessing:
    """``y = (x - mean) / scale`` per channel, in front of everything else.

    The constant part is folded into the first biases, exactly, at padded borders too. Of several
    inputs, each has the same preprocessing.

    Attributes:
        mean_values: one per channel, or one for all; none for 0.
        scale_values: likewise; none for 1.
    """

    name: ClassVar[str] = "fold-preprocessing"
    mean_values: tuple[float, ...] = ()
    scale_values: tuple[float, ...] = ()

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Insert the scaling after the input.

        Raises:
            UsageError: the number of values is neither 1 nor that of the channels.
        """
        if not self.mean_values and not self.scale_values:
            return PassResult(network)
        raise_all(list(self._complaints(network)))
        # Raw values have another grid.
        inputs = [replace(node, step=None, low=0, high=0) for node in network.inputs]
        scaled = {source.id: self._scaled(source) for source in inputs}
        new = {source: node.id for source, node in scaled.items()}
        rest = [
            replace(n, inputs=tuple(new.get(s, s) for s in n.inputs))
            for n in network.graph
            if n.id not in scaled
        ]
        return PassResult(network.with_graph(Graph([*inputs, *scaled.values(), *rest])))

    def _scaled(self, source: ann.Input) -> ann.Affine:
        mean = self._per_channel(self.mean_values or (0.0,), source)
        scale = self._per_channel(self.scale_values or (1.0,), source)
        return ann.Affine(
            id=NodeId(f"{source.id}.preprocessed"),
            inputs=(source.id,),
            shape=source.shape,
            origin=source.origin,
            scale=1 / scale,
            shift=-mean / scale,
        )

    def _complaints(self, network: ANNGraph) -> Iterator[UsageError]:
        """Numbers of values that do not fit an input; every input has the same preprocessing."""
        given = {"mean-values": self.mean_values, "scale-values": self.scale_values}
        for source in network.inputs:
            which = f" of the input '{source.id}'" if len(network.inputs) > 1 else ""
            for option, values in given.items():
                if values and len(values) not in (1, source.shape[0]):
                    yield UsageError(
                        f"{option} has {len(values)} values for {source.shape[0]} channels{which}",
                        code="bad-option",
                        hint=f"give one value or {source.shape[0]}",
                    )

    @staticmethod
    def _per_channel(values: tuple[float, ...], source: ann.Input) -> ann.Float:
        column = np.array(values, np.float64).reshape(-1, *[1] * (len(source.shape) - 1))
        return np.broadcast_to(column, (source.shape[0], *column.shape[1:])).copy()
