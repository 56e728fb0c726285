"""The inputs of a network, and samples of all of them.

A sample of a network with a single input has the shape of that input. A sample of several inputs is
one row: their values one after another, in the order of the graph, each in row-major order. Samples
of every network are therefore one array, which is batched, encoded, hashed and stored as a whole;
only what computes with the value of an input splits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import Graph, Node, NodeId, Shape

I = TypeVar("I", bound=Node)  # noqa: E741 - the inputs of a stage are of its own class
A = TypeVar("A")
Array = npt.NDArray[Any]


class Inputs(tuple[I, ...]):
    """The inputs of a network, in the order of their values in a sample."""

    __slots__ = ()

    @staticmethod
    def of(graph: Graph[Any], kind: type[I]) -> Inputs[I]:
        """The inputs of a graph."""
        return Inputs(node for node in graph if isinstance(node, kind))

    @property
    def shape(self) -> Shape:
        """Shape of a sample."""
        return self[0].shape if len(self) == 1 else (sum(prod(node.shape) for node in self),)

    def split(self, samples: A, axes: int = 1) -> dict[NodeId, A]:
        """The values of each input.

        Args:
            samples: (..., *sample shape, ...), an array or a tensor.
            axes: number of axes before those of a sample, such as samples and steps.
        """
        if len(self) == 1:
            return {self[0].id: samples}
        whole: Any = samples
        before, after = whole.shape[:axes], whole.shape[axes + 1 :]
        found, start = dict[NodeId, A](), 0
        for node in self:
            stop = start + prod(node.shape)
            part = whole[(*[slice(None)] * axes, slice(start, stop))]
            found[node.id] = part.reshape(*before, *node.shape, *after)
            start = stop
        return found

    def join(self, values: Mapping[NodeId, Array], axes: int = 1) -> Array:
        """Inverse of ``split``, without axes after those of a sample."""
        parts = [values[node.id] for node in self]
        if len(parts) == 1:
            return parts[0]
        rows = [part.reshape(*part.shape[:axes], prod(part.shape[axes:])) for part in parts]
        return np.concatenate(rows, axis=axes)
