"""Which values of a file follow from which others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import onnx

from snn_frontends.onnx.order import reads_of

SHAPES = frozenset({"Shape", "Size"})
"""Operators whose results depend on the shape of a value alone."""


class Flow:
    """The operators that the outputs depend on, as a graph of values.

    Args:
        nodes: in topological order, without those that no output depends on.
        entries: names of the network's inputs.
        outputs: names of the outputs.
    """

    def __init__(
        self, nodes: Sequence[onnx.NodeProto], entries: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self.nodes = nodes
        self.entries = entries
        self.outputs = outputs
        self.producers = {name: n for node in nodes if (n := node) for name in results_of(node)}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in dict.fromkeys(reads_of(node)):
                self.readers.setdefault(name, []).append(node)

    @cached_property
    def dependent(self) -> frozenset[str]:
        """Values that depend on the input's values, and not on its shape alone."""
        found = set(self.entries)
        for node in self.nodes:
            if node.op_type not in SHAPES and any(name in found for name in reads_of(node)):
                found.update(results_of(node))
        return frozenset(found)

    def dependences(self, node: onnx.NodeProto) -> Iterator[str]:
        """The inputs of an operator that depend on the network's input."""
        return (name for name in dict.fromkeys(reads_of(node)) if name in self.dependent)

    def after(self, nodes: Iterable[onnx.NodeProto], *, by_value: bool = False) -> set[int]:
        """The identities of operators, and of all that follow from them.

        Args:
            nodes: the operators.
            by_value: whether operators that only need to know shapes of their results are left out.
        """
        waiting = list(nodes)
        found = {id(node) for node in waiting}
        while waiting:
            for name in results_of(waiting.pop()):
                for reader in self.readers.get(name, []):
                    if by_value and reader.op_type in SHAPES:
                        continue
                    if id(reader) not in found:
                        found.add(id(reader))
                        waiting.append(reader)
        return found

    def before(self, names: Iterable[str]) -> list[onnx.NodeProto]:
        """The operators that values depend on, the last one first."""
        needed = set(names)
        found = []
        for node in reversed(self.nodes):
            if any(name in needed for name in node.output):
                found.append(node)
                needed.update(self.dependences(node))
        return found

    def readers_of(self, names: Iterable[str]) -> list[onnx.NodeProto]:
        """The operators that read the values of some names, and not their shapes alone."""
        return [
            node
            for name in names
            for node in self.readers.get(name, [])
            if node.op_type not in SHAPES
        ]

    def crossing(self, tail: set[int] | frozenset[int]) -> list[str]:
        """The values that a tail reads from before it, without the network's inputs, in order."""
        found: dict[str, None] = {}
        for node in self.nodes:
            if id(node) not in tail:
                continue
            for name in self.dependences(node):
                producer = self.producers.get(name)
                if producer is not None and id(producer) not in tail:
                    found[name] = None
        return list(found)

    def ends(self, tail: set[int] | frozenset[int]) -> list[str]:
        """The outputs of the network before a tail: outputs of the file, or what leads to them."""
        found: dict[str, None] = {}
        for output in self.outputs:
            producer = self.producers.get(output)
            if producer is None or id(producer) not in tail:
                found[output] = None
        ends = dict.fromkeys(self.crossing(tail)) | found
        order = {name: k for k, name in enumerate(self.producers)}
        return sorted(ends, key=lambda name: (name not in found, order.get(name, -1)))


def results_of(node: onnx.NodeProto) -> Iterator[str]:
    """The names that an operator defines."""
    return filter(None, node.output)
