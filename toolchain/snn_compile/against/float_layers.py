"""The float network against the user's file, one layer at a time.

Each layer is given what the file's own runtime has at its inputs, so that nothing an earlier layer
did wrong counts. It may be off by as much as a change of its inputs in the last five bits makes,
and by the last five bits of its largest value: both sides round their sums, each in its own order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import Origin
from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.sim import ann

LAST_BITS = 32
"""Units in the last place of the file's type that a layer may be off by."""
TRIALS = 4
"""Changes of a layer's inputs that are tried: pairs of opposite ones, for jumps on either side."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FloatLayer:
    """A layer of the float network, at the value that is worst relative to its bound.

    Attributes:
        name: the node.
        op: its operator.
        origin: its operator in the user's file.
        shape: of its value.
        error: difference of the two values.
        bound: the difference allowed there.
        ours: the value of the float network.
        theirs: the file's.
        place: position in the value, and the sample in front.
    """

    name: NodeId
    op: str
    origin: Origin
    shape: Shape
    error: float
    bound: float
    ours: float
    theirs: float
    place: tuple[int, ...]

    @property
    def within(self) -> bool:
        """Whether the layer keeps to its bound; a value that is not a number does not."""
        return self.error <= self.bound


def compare_float(
    network: ANNGraph,
    x: Array,
    theirs: Mapping[NodeId, Array],
    approximated: Collection[NodeId] = (),
) -> list[FloatLayer]:
    """Every layer that has a counterpart in the file, in the order of the network.

    Args:
        network: as imported.
        x: samples, (N, *sample shape).
        theirs: values in the file, (N, *shape of the node).
        approximated: nodes that are read otherwise on purpose, and are not judged.
    """
    entering = network.inputs.split(x)
    given = {**theirs, **{node.id: _entered(node, entering[node.id]) for node in network.inputs}}
    generator = np.random.default_rng(0)
    readers = Counter(source for node in network.graph for source in set(node.inputs))
    values: dict[NodeId, Array] = {}
    found = []
    for node in network.graph:
        if not isinstance(node, ops.Input):
            value = ann.apply(node, [values[source] for source in node.inputs])
            if node.id in theirs and node.id not in approximated:
                found.append(_layer(node, value, theirs[node.id]))
        values[node.id] = _tried(given[node.id], generator) if node.id in given else value
        for source in set(node.inputs):
            readers[source] -= 1
            if not readers[source]:
                del values[source]
    return found


def _entered(node: ops.Input, x: Array) -> Array:
    return np.moveaxis(ann.entered(node, np.moveaxis(x, 0, -1)), -1, 0)


def _tried(x: Array, generator: np.random.Generator) -> Array:
    """Samples, and after them their changed copies, (*shape, B)."""
    size = LAST_BITS * _resolution(x)
    exact = x.astype(np.float64)
    signs = generator.choice([-1.0, 1.0], (TRIALS // 2, *x.shape))
    changed = [exact * (1 + size * sign) for one in signs for sign in (one, -one)]
    return np.moveaxis(np.concatenate([exact, *changed]), 0, -1)


def _layer(node: AnnNode, value: Array, theirs: Array) -> FloatLayer:
    ours, *changed = np.split(np.moveaxis(value, -1, 0), 1 + TRIALS)
    wanted = theirs.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        largest = float(np.abs(ours).max(initial=0.0))
        moved = np.max([np.abs(one - ours) for one in changed], axis=0)
        bound = moved + LAST_BITS * _resolution(theirs) * max(largest, 1e-30)
        error = np.abs(ours - wanted)
        share = np.where(np.isnan(error), np.inf, error / bound)
    place = np.unravel_index(int(share.argmax()), share.shape)
    return FloatLayer(
        node.id,
        type(node).__name__,
        node.origin,
        node.shape,
        float(error[place]),
        float(bound[place]),
        float(ours[place]),
        float(wanted[place]),
        tuple(int(k) for k in place),
    )


def _resolution(x: Array) -> float:
    """One unit in the last place of 1; of values that are no floats, none."""
    return float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else 0.0


def first_beyond(layers: Sequence[FloatLayer]) -> FloatLayer | None:
    """The first layer that exceeds its bound."""
    return next((layer for layer in layers if not layer.within), None)
