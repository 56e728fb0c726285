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

PIXELS = (0, 255)
"""Ends of the values of a pixel."""


@dataclass(frozen=True)
class FoldPreprocessing:
    """``y = (x - mean) / scale`` per channel, in front of everything else.

    The constant part is folded into the first biases, exactly, at padded borders too.

    Attributes:
        mean_values: one per channel, or one for all; none for 0.
        scale_values: likewise; none for 1.
        input: name of the input; empty for the only one.
        pixels: whether the raw values are pixels, whole numbers from 0 to 255: they are encoded as
            they are, whatever the calibration samples reach.
    """

    name: ClassVar[str] = "fold-preprocessing"
    mean_values: tuple[float, ...] = ()
    scale_values: tuple[float, ...] = ()
    input: str = ""
    pixels: bool = False

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Insert the scaling after the input.

        Raises:
            UsageError: as of ``complaints``; all of them at once.
        """
        if not self.mean_values and not self.scale_values:
            return PassResult(network)
        raise_all(list(self.complaints(network)))
        found = network.graph[NodeId(self.input or network.inputs[0].id)]
        # Raw values have another grid.
        step, ends = (np.ones(1), PIXELS) if self.pixels else (None, None)
        source = found.changed(step=step, ends=ends)
        mean = _per_channel(self.mean_values or (0.0,), source)
        scale = _per_channel(self.scale_values or (1.0,), source)
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
            if not isinstance(n, ann.Input)
        ]
        inputs = [source if node.id == source.id else node for node in network.inputs]
        return PassResult(network.with_graph(Graph([*inputs, scaled, *rest])))

    def complaints(self, network: ANNGraph) -> Iterator[UsageError]:
        """Reasons why the values do not fit the network's inputs."""
        names = [str(source.id) for source in network.inputs]
        given = {"mean-values": self.mean_values, "scale-values": self.scale_values}
        for option, values in given.items():
            if not values:
                continue
            if not self.input and len(names) > 1:
                yield UsageError(
                    f"{option} do not say of which input: {', '.join(names)}",
                    code="bad-option",
                    hint=f"name it: {names[0]}={','.join(f'{one:g}' for one in values)}",
                )
            elif self.input and self.input not in names:
                yield UsageError(
                    f"{option} name '{self.input}', which is no input",
                    code="unknown-input",
                    hint=f"the inputs are {', '.join(names)}",
                )
            elif len(values) not in (
                1,
                n := network.graph[NodeId(self.input or names[0])].shape[0],
            ):
                which = f" of '{self.input}'" if self.input else ""
                yield UsageError(
                    f"{option} has {len(values)} values for {n} channels{which}",
                    code="bad-option",
                    hint=f"give one value or {n}",
                )


def _per_channel(values: tuple[float, ...], source: ann.AnnNode) -> ann.Float:
    column = np.array(values, np.float64).reshape(-1, *[1] * (len(source.shape) - 1))
    return np.broadcast_to(column, (source.shape[0], *column.shape[1:])).copy()
