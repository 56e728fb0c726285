"""What a name in the ONNX graph can stand for while it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape

Constant = npt.NDArray[Any]
"""A value that is the same for every input: an initializer, or computed from such."""


@dataclass(frozen=True)
class Tensor:
    """A value that depends on the network's input.

    The batch is an axis of the file's value and none of the node's. Operators may move it, merge it
    with others (``(N * T, ...)``), and take both back; the node does not notice.

    Attributes:
        node: the node that computes it for one sample.
        shape: its shape as ONNX sees it, with the batch.
        axis: where the batch is; None if all of the value is one sample.
        outer: positions along this axis that go around the batch: it has ``outer * batch * inner``.
        inner: positions within each sample of the batch.
    """

    node: NodeId
    shape: Shape
    axis: int | None = 0
    outer: int = 1
    inner: int = 1

    @property
    def merged(self) -> int:
        """Positions of one sample along the axis of the batch."""
        return self.outer * self.inner

    @property
    def plain(self) -> bool:
        """Whether the batch is axis 0 and nothing but the batch."""
        return self.axis == 0 and self.merged == 1

    @property
    def sample(self) -> Shape:
        """The shape for one sample."""
        if self.axis is None:
            return self.shape
        kept = (self.merged,) if self.merged > 1 else ()
        return (*self.shape[: self.axis], *kept, *self.shape[self.axis + 1 :])


@dataclass(frozen=True)
class Unknown:
    """The result of an operator that was refused, where not even its shape is known.

    Attributes:
        constant: whether it would have been a constant (the shape of an unknown value).
    """

    constant: bool = False


Value = Tensor | Constant | Unknown


@dataclass(frozen=True)
class Batch:
    """The first axis of the input.

    Attributes:
        size: its length as the network is imported.
        symbolic: whether the file leaves it open (and ``size`` is 1 for that reason alone).
    """

    size: int
    symbolic: bool

    @property
    def one(self) -> bool:
        """Whether the file takes a single sample, so that its axis is one as any other."""
        return self.size == 1 and not self.symbolic
