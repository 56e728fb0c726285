"""Preprocessing folded into the network, so that the compiled one reads raw values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.ir import ann
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class FoldPreprocessing:
    """``y = (x - mean) / scale`` per channel, in front of everything else.

    The constant part is folded into the first biases, exactly, at padded borders too.

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
        source = network.input
        mean = self._per_channel("mean-values", self.mean_values or (0.0,), source)
        scale = self._per_channel("scale-values", self.scale_values or (1.0,), source)
        scaled = ann.Affine(
            id=NodeId(f"{source.id}.preprocessed"),
            inputs=(source.id,),
            shape=source.shape,
            origin=source.origin,
            scale=1 / scale,
            shift=-mean / scale,
        )
        rest = [
            replace(n, inputs=tuple(scaled.id if s == source.id else s for s in n.inputs))
            for n in network.graph
            if n.id != source.id
        ]
        return PassResult(network.with_graph(Graph([source, scaled, *rest])))

    def of_samples(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Raw samples (N, C, ...) as the model file takes them."""
        if not self.mean_values and not self.scale_values:
            return x
        places = (-1, *(1 for _ in x.shape[2:]))
        mean, scale = self.mean_values or (0.0,), self.scale_values or (1.0,)
        y: npt.NDArray[Any] = (x - np.reshape(mean, places)) / np.reshape(scale, places)
        return y

    @staticmethod
    def _per_channel(option: str, values: tuple[float, ...], source: ann.Input) -> ann.Float:
        if len(values) not in (1, source.shape[0]):
            raise UsageError(
                f"{option} has {len(values)} values for {source.shape[0]} channels",
                code="bad-option",
                hint=f"give one value or {source.shape[0]}",
            )
        column = np.array(values, np.float64).reshape(-1, *[1] * (len(source.shape) - 1))
        return np.broadcast_to(column, (source.shape[0], *column.shape[1:])).copy()
