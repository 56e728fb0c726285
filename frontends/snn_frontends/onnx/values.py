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

    Attributes:
        node: the node that computes it.
        shape: its shape with the batch axis, as ONNX sees it.
    """

    node: NodeId
    shape: Shape


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
