"""Layout of populations: the axes of the layers around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from snn_compile.convert.linear import Index
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.expression import is_uniform
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult

MOVES = ann.Transpose | ann.Reshape
LAYERS = ann.Conv | ann.Dense


@dataclass(frozen=True)
class LayOut:
    """Moves transpositions behind element-wise operators until they cancel.

    Exporters write layers over the last axis as a transposition, a convolution over channels and
    the transposition back. A convolution keeps its kernel only if the populations before and after
    have its maps. Functions, sums and products are therefore computed in its order, and a
    population that layers read in only one other order is computed in that. Slices and
    concatenations of whole maps are made before they are transposed. Networks without functions and
    products are unchanged.
    """

    name: ClassVar[str] = "lay-out"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Move; the function of the network is unchanged."""
        kinds = (ann.Function, ann.Product)
        moves = any(isinstance(node, ann.Transpose) for node in network.graph)
        if not moves or not any(isinstance(node, kinds) for node in network.graph):
            return PassResult(network)
        return PassResult(network.with_graph(Graph(_Layout(network).nodes)))


@dataclass(frozen=True, eq=False)
class _Value:
    """``core.ravel()[index]`` in some shape; without an index the values in order."""

    core: AnnNode
    index: Index | None = None

    def permute(self, order: Index) -> _Value:
        """Its values in another order."""
        index = order if self.index is None else self.index[order]
        return _Value(self.core, None if np.array_equal(index, np.arange(len(index))) else index)

    def same(self, other: _Value) -> bool:
        """Whether both have their values in the same order."""
        if self.index is None or other.index is None:
            alike = self.index is other.index
        else:
            alike = np.array_equal(self.index, other.index)
        return alike and self.core.shape == other.core.shape


class _Layout:
    """The new graph under construction."""

    def __init__(self, network: ANNGraph) -> None:
        self.network = network
        self.nodes: list[AnnNode] = []
        self.values: dict[NodeId, _Value] = {}
        activations = [node for node in network.graph if isinstance(node, ann.Activation)]
        sharing = [node for node in activations if node.like is not None]
        # Populations that share their scales have the same channels: they are not moved.
        self.fixed = {name for node in sharing for name in (node.id, node.like)}
        for node in network.graph:
            self.values[node.id] = self._value(node)

    def _value(self, node: AnnNode) -> _Value:
        inputs = [self.values[s] for s in node.inputs]
        if isinstance(node, MOVES):
            return inputs[0].permute(_order(node, self.network.source(node).shape))
        if node.id in self.fixed:
            return self._as_it_is(node, inputs)
        if isinstance(node, ann.Slice | ann.Concat) and any(v.index is not None for v in inputs):
            found = self._of_whole_maps(node, inputs)
            if found is not None:
                return found
        if isinstance(node, ann.Relu | ann.Function | ann.Product):
            wanted = self._wanted(node)
            if wanted is not None and not any(_of_layer(v) and v.index is None for v in inputs):
                return self._reordered(node, inputs, *wanted)
        if isinstance(node, ann.Affine | ann.Relu | ann.Function | ann.Product | ann.Add):
            found = self._in_place(node, inputs)
            if found is not None:
                return found
        return self._as_it_is(node, inputs)

    def _as_it_is(self, node: AnnNode, inputs: Sequence[_Value]) -> _Value:
        """A node in its own order."""
        placed = tuple(
            self._placed(value, self.network.graph[s].shape, f"{node.id}.in{k}")
            for k, (value, s) in enumerate(zip(inputs, node.inputs, strict=True))
        )
        return self._added(replace(node, inputs=placed))

    def _added(self, node: AnnNode, index: Index | None = None) -> _Value:
        self.nodes.append(node)
        return _Value(node, index)

    def _of_whole_maps(
        self, node: ann.Slice | ann.Concat, inputs: Sequence[_Value]
    ) -> _Value | None:
        """A slice or a concatenation of whole maps of its inputs, in their order; else None."""
        if any(len(v.core.shape) != 3 or v.core.shape[1:] != _maps(inputs) for v in inputs):
            return None
        channels, each = [v.core.shape[0] for v in inputs], prod(_maps(inputs))
        starts = np.cumsum([0, *channels[:-1]]) * each
        numbers = [
            (np.arange(prod(v.core.shape)) if v.index is None else v.index) + start
            for v, start in zip(inputs, starts.tolist(), strict=True)
        ]
        shaped = [
            number.reshape(self.network.graph[s].shape)
            for number, s in zip(numbers, node.inputs, strict=True)
        ]
        sources = tuple(v.core.id for v in inputs)
        if isinstance(node, ann.Concat):
            shape = (sum(channels), *_maps(inputs))
            whole: AnnNode = replace(node, inputs=sources, shape=shape, axis=0)
            return self._added(whole, np.concatenate(shaped, axis=node.axis).ravel())
        index = shaped[0][node.slices].ravel()
        first, last = int(index.min()) // each, int(index.max()) // each + 1
        if not np.array_equal(np.sort(index), np.arange(first * each, last * each)):
            return None
        shape = (last - first, *_maps(inputs))
        parts = (slice(first, last, 1), *(slice(0, n, 1) for n in shape[1:]))
        return self._added(
            replace(node, inputs=sources, shape=shape, slices=parts), index - first * each
        )

    def _in_place(self, node: AnnNode, inputs: Sequence[_Value]) -> _Value | None:
        """A node in the order of its input; of a sum of layers and others, that of a layer."""
        first = next((v for v in inputs if _of_layer(v)), inputs[0])
        if first.index is None and first.core.shape == node.shape:
            return None
        if not all(v.same(first) for v in inputs) and not _of_layer(first):
            return None
        back = np.arange(prod(node.shape)) if first.index is None else np.argsort(first.index)
        shape = first.core.shape
        fields = _parameters(node, back, shape)
        if fields is None:
            return None
        placed = tuple(
            self._placed(v.permute(back), shape, f"{node.id}.in{k}") for k, v in enumerate(inputs)
        )
        over = node.over(shape) if isinstance(node, ann.Activation) else replace(node, shape=shape)
        node = replace(over, inputs=placed)
        return self._added(replace(node, **fields) if fields else node, first.index)

    def _reordered(
        self,
        node: ann.Relu | ann.Function | ann.Product,
        inputs: Sequence[_Value],
        order: Index,
        shape: Shape,
    ) -> _Value:
        """A population in the order of the layers that read it."""
        placed = tuple(
            self._placed(v.permute(order), shape, f"{node.id}.in{k}") for k, v in enumerate(inputs)
        )
        return self._added(replace(node.over(shape), inputs=placed), np.argsort(order))

    def _placed(self, value: _Value, shape: Shape, name: str) -> NodeId:
        """A node with a value in its shape."""
        core = value.core
        if value.index is None and core.shape == shape:
            return core.id
        place = {**core.common_fields, "id": NodeId(name), "inputs": (core.id,), "shape": shape}
        wired: AnnNode = ann.Reshape(**place)
        if value.index is not None:
            wired = ann.Gather(**place, index=value.index)
        self.nodes.append(wired)
        return wired.id

    def _wanted(self, node: ann.Relu | ann.Function | ann.Product) -> tuple[Index, Shape] | None:
        """The order in which all layers read a population, if it is a single other one."""
        if isinstance(node, ann.Function) and not is_uniform(node.expression):
            return None
        if not node.movable:
            return None
        found: list[tuple[Index, Shape]] = []
        if not self._readers(node, np.arange(prod(node.shape)), found) or not found:
            return None
        order, shape = found[0]
        alike = all(np.array_equal(order, o) and shape == s for o, s in found)
        plain = np.array_equal(order, np.arange(len(order)))
        return (order, shape) if alike and not plain else None

    def _readers(self, node: AnnNode, order: Index, found: list[tuple[Index, Shape]]) -> bool:
        """Collect the orders in which layers read a value; False if another node reads it."""
        for reader in self.network.graph.consumers(node.id):
            if isinstance(reader, LAYERS):
                found.append((order, node.shape))
            elif isinstance(reader, MOVES):
                if not self._readers(reader, order[_order(reader, node.shape)], found):
                    return False
            elif not isinstance(reader, ann.Affine) or not self._readers(reader, order, found):
                return False
        return True


def _maps(values: Sequence[_Value]) -> Shape:
    """Height and width of the first of some values."""
    return values[0].core.shape[1:]


def _of_layer(value: _Value) -> bool:
    """Whether it is evidently the value of a layer."""
    return isinstance(value.core, LAYERS | ann.Affine | ann.Add)


def _order(node: AnnNode, shape: Shape) -> Index:
    """Input index of each value of a transposition or reshape."""
    number = np.arange(prod(shape)).reshape(shape)
    if isinstance(node, ann.Transpose):
        number = number.transpose(node.permutation)
    return number.ravel()


def _parameters(node: AnnNode, order: Index, shape: Shape) -> dict[str, Any] | None:
    """Parameters of a node for values in another order and shape; None if impossible."""
    if isinstance(node, ann.Function) and not is_uniform(node.expression):
        return None
    if isinstance(node, ann.Activation) and not node.movable:
        return None
    if not isinstance(node, ann.Affine):
        return {}
    return {
        name: _compact(np.broadcast_to(value, node.shape).ravel()[order].reshape(shape))
        for name, value in (("scale", node.scale), ("shift", node.shift))
    }


def _compact(value: Float) -> Float:
    """One number per channel if uniform within each."""
    flat = value.reshape(len(value), -1)
    alike = (flat == flat[:, :1]).all()
    return flat[:, 0].reshape(-1, *[1] * (value.ndim - 1)) if alike else value
