"""Values of names in the ONNX graph during import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, TensorProto

from snn_compile.ir.graph import NodeId, Shape

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)
"""Types of real numbers."""
SUBGRAPHS = frozenset({AttributeProto.GRAPH, AttributeProto.GRAPHS})
"""Types of attributes that hold graphs."""

Constant = npt.NDArray[Any]
"""A value independent of the input: an initializer, or computed from initializers."""


@dataclass(frozen=True)
class Grid:
    """How a quantized value of the file stands for a real one: ``real = (q - zero) * step``.

    Attributes:
        step: one number, or one per channel (axis 1 of the file's value).
        zero: the integer that stands for 0, likewise.
        low: smallest integer.
        high: largest integer.
    """

    step: tuple[float, ...]
    zero: tuple[int, ...]
    low: int
    high: int

    @property
    def of_channels(self) -> bool:
        """Whether the integers of the channels stand for different values."""
        return len(set(self.step)) > 1 or len(set(self.zero)) > 1

    @property
    def steps(self) -> npt.NDArray[np.float32]:
        """The steps, as in the file."""
        return np.array(self.step, np.float32)

    @property
    def ends(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Smallest and largest real value in steps, of each channel."""
        zero = np.array(self.zero, np.int64)
        return self.low - zero, self.high - zero


@dataclass(frozen=True)
class Tensor:
    """A value that depends on the network's input.

    The batch is an axis of the file's value and none of the node's. Operators may move it, merge it
    with others (``(N * T, ...)``), and take both back; the node does not notice.

    Attributes:
        node: the node that computes it for one sample.
        shape: its shape in ONNX, with the batch.
        axis: the batch axis; None if the value is one sample.
        outer: positions along this axis that go around the batch: it has ``outer * batch * inner``.
        inner: positions within each sample of the batch.
        border: numbers of values before and after each axis by which the shape exceeds the node's;
            they are below any other. Only maxima read such a value.
        grid: where the file has integers, how these stand for the node's real values.
    """

    node: NodeId
    shape: Shape
    axis: int | None = 0
    outer: int = 1
    inner: int = 1
    border: tuple[tuple[int, int], ...] = ()
    grid: Grid | None = None

    @property
    def merged(self) -> int:
        """Positions of one sample along the batch axis."""
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
    """The result of a refused operator with unknown shape.

    Attributes:
        constant: whether it would have been a constant (the shape of an unknown value).
    """

    constant: bool = False


Value = Tensor | Constant | Unknown


@dataclass(frozen=True)
class Batch:
    """The first axis of the input.

    Attributes:
        size: its length during import.
        symbolic: whether it is symbolic in the file (then ``size`` is 1).
    """

    size: int
    symbolic: bool

    @property
    def one(self) -> bool:
        """Whether the file fixes a single sample, so that its axis is an ordinary one."""
        return self.size == 1 and not self.symbolic
