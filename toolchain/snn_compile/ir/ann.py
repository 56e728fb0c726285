"""Operators of an imported network: one dataclass each.

All parameters are float32 or float64 arrays; shapes omit the batch axis; maps are (C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from snn_compile.ir.expression import Expression, ends
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Node, NodeId, Shape

Float = npt.NDArray[np.floating]

MAX_ENTRIES = 1 << 26
"""Of a matrix along an axis, zeros included."""
MAX_SYNAPSES = 1 << 25
"""Of all matrices along an axis in a network, wired one by one: each takes a microsecond and up to
80 bytes. Zeros are none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """The network's input.

    Attributes:
        step: one step of its grid in a network whose input is quantized, (1,) or (C,); else None.
        ends: its lowest value in steps, at most 0, and its highest, at least 1; or None.
    """

    step: Float | None = None
    ends: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Output(Node):
    """Marks a node's value as an output of the network: ``y = x``."""


def output_name(output: Output) -> str:
    """The name of an output in the user's file, or its id if the file has none."""
    return output.origin.node if output.origin and output.origin.node else str(output.id)


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(Node):
    """``y[o] = sum_i weight[o, i] * x[i] + bias[o]``, cross-correlation over (C, H, W).

    Attributes:
        weight: (O, I / groups, kh, kw).
        bias: (O,).
        step: (O,), where the weights of each row are integers in these steps, as a quantized file
            gives them; else None.
    """

    weight: Float
    bias: Float
    step: Float | None = None
    geometry: Geometry = field(default_factory=Geometry)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Node):
    """``y = weight @ x + bias`` over a vector.

    Attributes:
        weight: (O, I).
        bias: (O,).
        step: as of ``Conv``.
    """

    weight: Float
    bias: Float
    step: Float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchNorm(Node):
    """``y = gamma * (x - mean) / sqrt(var + epsilon) + beta`` per channel (axis 0), as trained.

    Attributes:
        gamma: (C,), as are ``beta``, ``mean`` and ``var``.
        epsilon: added to the variance.
    """

    gamma: Float
    beta: Float
    mean: Float
    var: Float
    epsilon: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Node):
    """``y = scale * x + shift``, element by element.

    Attributes:
        scale: broadcasts to the shape of the node (same number of axes).
        shift: likewise.
    """

    scale: Float
    shift: Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation(Node):
    """A nonlinear function; one population of neurons computes it.

    Everything between two activations is linear and becomes synapses.

    Attributes:
        like: a node whose scale this one must share. Set where neurons only carry another node's
            values (relays, the comparators of a max pool), so that they pass unrounded.
        payload_bits: width of its payload without sign, if larger than the coding's: for values
            that a normalization multiplies or averages. Ignored by codings without payloads.
        own_bits: width of its payload without sign in place of the coding's, larger or smaller;
            None for the coding's. Likewise ignored.
        uniform: whether all its channels have one scale, so that equal weights remain equal, and
            channels can be wired to others.
        exact: whether its input is a difference of values with one scale, or a mean: such weights
            must not be fitted.
        peers: name of a group of activations that share one scale, found from the statistics of
            all: what a recurrent layer computes in each of its steps.
        levels: number of steps from 0 to ``full_scale`` in a network with quantized activations;
            ``y`` is rounded to the nearest of them, or of as many below 0. Else None.
        full_scale: (C,), or None.
    """

    like: NodeId | None = None
    payload_bits: int | None = None
    own_bits: int | None = None
    uniform: bool = False
    exact: bool = False
    peers: str | None = None
    levels: int | None = None
    full_scale: Float | None = None

    @property
    def step(self) -> Float:
        """One step of its own grid, (C,)."""
        if self.full_scale is None or self.levels is None:
            raise TypeError(f"'{self.id}' has no grid of its own")
        return self.full_scale / self.levels

    @property
    def movable(self) -> bool:
        """Whether its values may be in another order: any grid is that of all channels."""
        return self.full_scale is None or bool((self.full_scale == self.full_scale[0]).all())

    def over(self, shape: Shape) -> Self:
        """The same over values in another shape, if it is movable."""
        if self.full_scale is None:
            return replace(self, shape=shape)
        return replace(self, shape=shape, full_scale=np.full(shape[0], self.full_scale[0]))

    def usual(self, levels: int) -> int:
        """The largest payload of its width, if that of the coding is ``levels``."""
        return levels if self.own_bits is None else (1 << self.own_bits) - 1

    def on_own_grid(self, levels: int) -> bool:
        """Whether payloads, by default of up to ``levels``, can be the values of its own grid."""
        if self.full_scale is None or self.levels is None:
            return False
        return self.levels <= self.usual(levels)

    def finest(self, levels: int) -> int:
        """Its largest payload, if that of the coding is ``levels``."""
        if self.levels is not None and self.on_own_grid(levels):
            return self.levels
        return max(self.usual(levels), (1 << self.payload_bits) - 1 if self.payload_bits else 0)

    @property
    def non_negative(self) -> bool:
        """Whether its values are non-negative for any input."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Relu(Activation):
    """``y = min(max(x, 0), cap)``; without a cap, the ordinary rectifier.

    Attributes:
        cap: upper limit (6 for ReLU6), or None.
    """

    cap: float | None = None

    @property
    def non_negative(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, eq=False, kw_only=True)
class Function(Activation):
    """``y = f(x)``, element by element: any other function between two linear layers.

    Attributes:
        expression: f; its constants are uniform, or one per channel (axis 0).
    """

    expression: Expression

    @property
    def non_negative(self) -> bool:
        """From bounds of the expression."""
        return ends(self.expression)[0] >= 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Activation):
    """``y = a * b``, element by element; both inputs have its shape."""

    @property
    def non_negative(self) -> bool:
        """True for squares; for others see ``convert/signs.py``."""
        return len(set(self.inputs)) == 1


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Node):
    """``y[c] = max over the window``; padding never wins.

    Attributes:
        kernel: height and width of the window.
        geometry: groups are not used.
    """

    kernel: tuple[int, int]
    geometry: Geometry


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(Node):
    """``y[c] = mean over the window``.

    Attributes:
        kernel: height and width of the window.
        geometry: groups are not used.
        count_padding: whether padding counts in the denominator. If a window overhangs the
            padded map (ceil mode), the overhang never counts.
        overhang: rows and columns, at the bottom and right, by which ceil mode enlarges the map.
    """

    kernel: tuple[int, int]
    geometry: Geometry
    count_padding: bool = True
    overhang: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Node):
    """``y = sum of the inputs``, all of one shape."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Node):
    """Concatenation of the inputs along an axis (without the batch)."""

    axis: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Node):
    """Zeros around the input.

    Attributes:
        before: zeros before each axis; negative values crop.
        after: zeros after each axis; negative values crop.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Node):
    """The same values in row-major order under another shape (Flatten, Squeeze, Unsqueeze)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Node):
    """Axes in another order: axis ``k`` of the result is axis ``permutation[k]`` of the input."""

    permutation: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Node):
    """``y = x[start:stop:step, ...]``, one slice per axis, already normalized (step may be < 0)."""

    slices: tuple[slice, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Node):
    """``y[k] = x[index[k]]``, or 0 where ``index[k] < 0``; both flat, in row-major order.

    Represents any operator that moves, repeats or omits values (tiles, reflections, nearest
    neighbours, zeros between rows).

    Attributes:
        index: one entry per value of the node.
    """

    index: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class AxisMatrix(Node):
    """``y = matrix @ x`` along one axis, for every position of the others.

    Interpolation, cumulative sums and sums over an axis; one node per axis.

    Attributes:
        axis: axis of the value, without the batch.
        matrix: (length of the axis in y, in x).
    """

    axis: int
    matrix: Float


AnnNode = (
    Input
    | Output
    | Conv
    | Dense
    | BatchNorm
    | Affine
    | Relu
    | Function
    | Product
    | MaxPool
    | AveragePool
    | Add
    | Concat
    | Pad
    | Reshape
    | Transpose
    | Slice
    | Gather
    | AxisMatrix
)

__all__ = [
    "Activation",
    "Add",
    "Affine",
    "AnnNode",
    "AveragePool",
    "AxisMatrix",
    "BatchNorm",
    "Concat",
    "Conv",
    "Dense",
    "Float",
    "Function",
    "Gather",
    "Input",
    "MaxPool",
    "Output",
    "Pad",
    "Product",
    "Relu",
    "Reshape",
    "Shape",
    "Slice",
    "Transpose",
]
