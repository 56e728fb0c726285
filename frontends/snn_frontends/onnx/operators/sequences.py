"""Values along a sequence: the steps of an operator's input, and results put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import place_batch_axis, plain, view
from snn_frontends.onnx.values import Tensor, Value


@dataclass(frozen=True)
class Layout:
    """Where the axes of a recurrent layer's values are.

    Attributes:
        batch_first: whether values start with the batch instead of the steps or directions.
        batched: whether that axis is the batch of the network; else it has the length 1.
        n_directions: number of directions.
        size: number of cells of a direction.
    """

    batch_first: bool
    batched: bool
    n_directions: int
    size: int

    def state(self, call: Call, index: int, number: int) -> Tensor | Float:
        """An initial state, of one direction; zeros where it is omitted."""
        if not call.has(index):
            return np.zeros(self.size, np.float32)
        batch = call.batch if self.batched else 1
        at = 0 if self.batch_first else 1
        shape = [self.n_directions, self.size]
        shape.insert(at, batch)
        value = call.inputs[index]
        found = value.shape if isinstance(value, Tensor) else call.parameter(index).shape
        if list(found) != shape:
            raise call.invalid(f"input {index} has shape {list(found)} instead of {shape}")
        if isinstance(value, Tensor):
            x = view(call, index, tuple(k for k in range(3) if k != at)).x
            full = (call.batch, self.n_directions, self.size)
            return entry(call, reshaped(call, x, full, f"initial{index}"), number, f"start{index}.")
        given = call.parameter(index)
        first = np.take(given, 0, axis=at)
        if (given != np.expand_dims(first, at)).any():
            raise call.refusal(
                f"'{call.names[index]}' differs between the samples of a batch",
                "start all samples from one state",
            )
        return np.ascontiguousarray(first[number])

    def last(self, call: Call, parts: Sequence[Tensor], name: str) -> Tensor:
        """A state (batch, cells) of each direction, as (directions, batch, cells)."""
        return self._placed(call, joined(call, parts, name), 1, name)

    def all(self, call: Call, by_step: Sequence[Sequence[Tensor]]) -> Tensor:
        """States (batch, cells), as (steps, directions, batch, cells)."""
        rows = [joined(call, parts, f"all{t}") for t, parts in enumerate(by_step)]
        return self._placed(call, joined(call, rows, "all"), 2, "all")

    def _placed(self, call: Call, y: Tensor, axis: int, name: str) -> Tensor:
        axis = 0 if self.batch_first else axis
        if self.batched:
            return place_batch_axis(y, axis)
        sample = list(y.shape[1:])
        sample.insert(axis, 1)
        y = reshaped(call, y, (call.batch, *sample), f"{name}.one")
        return place_batch_axis(y, None)


@dataclass(frozen=True)
class Steps:
    """The input of a recurrent layer, step by step.

    Attributes:
        values: (batch, features) each.
        whole: whether each is a population of its own, and not a part of one.
        batched: whether its batch is that of the network.
    """

    values: tuple[Tensor, ...]
    whole: bool
    batched: bool

    @staticmethod
    def of(call: Call, *, batch_first: bool) -> Steps:
        """The input of a layer on one sequence of each sample."""
        like = sequence_input(call, batch_first=batch_first)
        along = 1 if batch_first else 0
        n_steps, n_features = like.shape[along], like.shape[2]
        x = reshaped(call, plain(call, like), (call.batch, n_steps, n_features), "steps")
        parts = _parts(call, x)
        values = parts or [entry(call, x, t) for t in range(n_steps)]
        return Steps(tuple(values), parts is not None, like.axis is not None)


def sequence_input(call: Call, *, batch_first: bool) -> Tensor:
    """The input (steps, batch, features), or with the batch first.

    Its batch is that of the network, or an axis of one sample: sequences of the same sample.
    """
    full = call.value().shape
    if len(full) != 3:
        raise call.invalid(f"its input has {len(full)} axes instead of 3")
    like = view(call, 0, (1 if batch_first else 0, 2)).like
    if like.merged > 1:
        raise call.refusal(
            f"its batch holds {like.merged} sequences of each sample",
            "apply the layer to one sequence of each sample",
        )
    return like


def apart(call: Call, x: Tensor, axis: int) -> list[Call]:
    """The operator on each sequence of one sample; ``axis`` is that of the sequences."""
    calls = []
    for n in range(x.shape[axis]):
        shape = tuple(1 if k == axis else size for k, size in enumerate(x.shape))
        places = tuple(
            slice(n, n + 1, 1) if k == axis else slice(0, size, 1) for k, size in enumerate(x.shape)
        )
        one = call.emit(
            ann.Slice,
            plain(call, x),
            shape=(call.batch, *shape),
            suffix=f"sequence{n}.input",
            slices=places,
        )
        inputs: list[Value | None] = [Tensor(one.node, shape, None), *call.inputs[1:]]
        for index, value in enumerate(inputs[4:7], 4):
            at = axis if index > 4 else 0  # of initial states, and of lengths
            if isinstance(value, Tensor):
                raise call.refusal(
                    f"input {index} depends on the network's input, for {x.shape[axis]} sequences",
                    "apply the layer to one sequence of each sample",
                )
            if isinstance(value, np.ndarray) and value.shape[at : at + 1] == (x.shape[axis],):
                inputs[index] = value.take([n], axis=at)
        calls.append(replace(call, name=f"{call.name}.sequence{n}", inputs=tuple(inputs)))
    return calls


def concatenated(call: Call, parts: Sequence[Tensor], axis: int, name: str) -> Tensor:
    """Values of one sample along an axis."""
    shape = list(parts[0].shape)
    shape[axis] = len(parts)
    y = call.emit(
        ann.Concat,
        *(plain(call, part) for part in parts),
        shape=(call.batch, *shape),
        suffix=name,
        axis=axis,
    )
    return place_batch_axis(y, None)


def reshaped(call: Call, x: Tensor, shape: Shape, name: str) -> Tensor:
    """A value in another shape."""
    return x if x.shape == shape else call.emit(ann.Reshape, x, shape=shape, suffix=name)


def joined(call: Call, parts: Sequence[Tensor], name: str) -> Tensor:
    """Values (batch, ...) along a new axis 1."""
    shape = (call.batch, 1, *parts[0].shape[1:])
    rows = [reshaped(call, part, shape, f"{name}.row{k}") for k, part in enumerate(parts)]
    if len(rows) == 1:
        return rows[0]
    shape = (call.batch, len(rows), *parts[0].shape[1:])
    return call.emit(ann.Concat, *rows, shape=shape, suffix=f"{name}.joined", axis=0)


def entry(call: Call, x: Tensor, number: int, name: str = "x") -> Tensor:
    """An entry of axis 1 of (batch, entries, features), as (batch, features)."""
    n_entries, n_features = x.shape[1:]
    if n_entries > 1:
        x = call.emit(
            ann.Slice,
            x,
            shape=(call.batch, 1, n_features),
            suffix=f"{name}{number}.slice",
            slices=(slice(number, number + 1, 1), slice(0, n_features, 1)),
        )
    return reshaped(call, x, (call.batch, n_features), f"{name}{number}")


def _parts(call: Call, x: Tensor) -> list[Tensor] | None:
    """The steps of a value that is joined of one value for each; None for other values.

    A layer on the sequence of another one reads the states of each step, not all of them.
    """
    n_steps, n_features = x.shape[1:]
    wiring: list[AnnNode] = []
    node = call.builder.node(x.node)
    while node.shape[:1] == (n_steps,) and (
        isinstance(node, ann.Reshape)
        or (isinstance(node, ann.Transpose) and node.permutation[0] == 0)
    ):
        wiring.append(node)
        node = call.builder.node(node.inputs[0])
    if not isinstance(node, ann.Concat) or node.axis != 0 or len(node.inputs) != n_steps:
        return None
    parts = [call.builder.node(source) for source in node.inputs]
    if any(part.shape[0] != 1 for part in parts):
        return None
    found = []
    for t, part in enumerate(parts):
        y = Tensor(part.id, (call.batch, *part.shape))
        for k, wired in enumerate(reversed(wiring)):
            fields = {"permutation": wired.permutation} if isinstance(wired, ann.Transpose) else {}
            shape = (call.batch, 1, *wired.shape[1:])
            y = call.emit(type(wired), y, shape=shape, suffix=f"x{t}.wired{k}", **fields)
        found.append(reshaped(call, y, (call.batch, n_features), f"x{t}"))
    return found
