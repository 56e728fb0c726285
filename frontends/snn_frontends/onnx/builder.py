"""The network under construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.files.documents import TooLargeError, check_size, too_large
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import Ends
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.ranges import bounds, read_for_bounds
from snn_compile.numerics.functions import all_finite
from snn_compile.passes import Finding
from snn_frontends.onnx.grids import row_steps
from snn_frontends.onnx.values import Batch, Constant, Tensor

FLOAT_BYTES = 4


class MixesSamplesError(UnsupportedError):
    """An operator works along the batch axis."""


@dataclass
class Builder:
    """Collects nodes and findings, and checks the invariants of every node.

    Attributes:
        file: the user's name of the model file.
        opset: the version of the default operator set of its nodes.
        batch: the first axis of the input.
    """

    file: str
    opset: int
    batch: Batch
    nodes: list[AnnNode] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _by_id: dict[NodeId, AnnNode] = field(default_factory=dict)
    _bounds: dict[NodeId, Ends] = field(default_factory=dict)

    def node(self, node_id: NodeId) -> AnnNode:
        """A node of the network; the stand-in for a refused one is an input."""
        if node_id in self._by_id:
            return self._by_id[node_id]
        return ann.Input(id=node_id, inputs=(), shape=(), origin=Origin(self.file))

    def bounds(self, x: Tensor) -> Ends | None:
        """Smallest and largest real value for any input, infinite where nothing is proven.

        None if an operator before it has been refused.
        """
        wanted = [x.node]
        while wanted:
            node = self._by_id.get(wanted[-1])
            if node is None:
                return None
            missing = [source for source in read_for_bounds(node) if source not in self._bounds]
            wanted += missing
            if not missing:
                given = [self._bounds[source] for source in read_for_bounds(node)]
                self._bounds[wanted.pop()] = bounds(node, given)
        return self._bounds[x.node]

    def mark(self) -> tuple[int, int]:
        """The present state, for ``undo``."""
        return len(self.nodes), len(self.findings)

    def undo(self, mark: tuple[int, int]) -> None:
        """Remove the nodes and findings added since a mark."""
        n_nodes, n_findings = mark
        for node in self.nodes[n_nodes:]:
            self._taken.discard(node.id)
            self._by_id.pop(node.id, None)
            self._bounds.pop(node.id, None)
        del self.nodes[n_nodes:], self.findings[n_findings:]

    def unique(self, requested: str, otherwise: str = "") -> NodeId:
        """An unused id: the requested one, the other, or the requested one with a number."""
        for candidate in (requested, otherwise):
            if candidate and candidate not in self._taken:
                break
        else:
            number = 2
            while (candidate := f"{requested}.{number}") in self._taken:
                number += 1
        self._taken.add(candidate)
        return NodeId(candidate)

    def add(
        self,
        kind: type[AnnNode],
        requested: str,
        inputs: tuple[Tensor, ...],
        shape: Shape,
        origin: Origin,
        **fields: Any,
    ) -> Tensor:
        """Add a node; ``shape`` is that of its value, with the batch axis.

        Raises:
            UnsupportedError: the value does not keep the batch axis first.
            ModelError: the value would be empty or too large, or a parameter is not finite.
        """
        if not shape or shape[0] != self.batch.size:
            raise MixesSamplesError(
                f"gives shape {list(shape)}, which does not keep the batch axis "
                f"(of size {self.batch.size}) first",
                origin=origin,
                hint="samples must be independent; keep axis 0 unchanged",
            )
        if any(size < 1 for size in shape):
            raise ModelError(f"gives the empty shape {list(shape)}", origin=origin)
        self.check_size(shape, origin)
        for name, value in fields.items():
            if isinstance(value, np.ndarray | float) and not all_finite(value):
                raise ModelError(f"its {name} is NaN or infinite", code="not-finite", origin=origin)
            if isinstance(value, np.ndarray | np.generic) and not value.ndim:
                fields[name] = value.reshape(1)  # as its node
        node_id = self.unique(requested)
        node = kind(
            id=node_id,
            inputs=tuple(tensor.node for tensor in inputs),
            shape=shape[1:] or (1,),  # a number is a vector of one
            origin=origin,
            **fields,
        )
        self.nodes.append(node)
        self._by_id[node_id] = node
        return Tensor(node_id, shape)

    def state_steps(self, first: int, given: Sequence[Constant]) -> None:
        """Say in which steps the weights of new layers are integers.

        Args:
            first: number of the first new node.
            given: the step of each weight in the file, in whatever order of axes.
        """
        for k, node in enumerate(self.nodes[first:], start=first):
            if isinstance(node, ann.Conv | ann.Dense) and node.step is None:
                found = (row_steps(node.weight, steps) for steps in given)
                step = next((steps for steps in found if steps is not None), None)
                if step is not None:
                    self.nodes[k] = self._by_id[node.id] = replace(node, step=step)

    def check_size(self, shape: Shape, origin: Origin) -> None:
        """Check the memory for a value of a shape.

        Raises:
            ModelError: it would take too much memory.
        """
        try:
            check_size(f"its value of shape {list(shape)}", prod(shape) * FLOAT_BYTES)
        except TooLargeError as error:
            raise too_large(origin, error, ModelError) from error

    def check_matrix(self, n_out: int, n_in: int, origin: Origin) -> None:
        """See that a matrix along one axis may be made.

        Raises:
            ModelError: it would have too many entries, or take too much memory.
        """
        self.check_size((n_out, n_in, 2), origin)  # in float64
        if n_out * n_in > ann.MAX_ENTRIES:
            raise ModelError(
                f"needs a matrix of {n_out:,} x {n_in:,} along one axis; it may have"
                f" {ann.MAX_ENTRIES:,} entries",
                code="too-large",
                origin=origin,
                hint="use a shorter axis",
            )

    def add_output(self, name: str, value: Tensor, origin: Origin) -> NodeId:
        """Mark a value as an output of the network, and return the id of the readout.

        Raises:
            UnsupportedError: the file fixes several samples, and they do not lie along axis 0.
        """
        if self.batch.size > 1 and (value.axis != 0 or value.outer > 1):
            raise MixesSamplesError(
                f"has the batch (of size {self.batch.size}) along axis {value.axis}",
                origin=origin,
                hint="bring the batch to axis 0 before the output",
            )
        output = ann.Output(
            id=self.unique(name, f"{name}.output"),
            inputs=(value.node,),
            shape=value.sample or (1,),
            origin=origin,
        )
        self.nodes.append(output)
        return output.id
