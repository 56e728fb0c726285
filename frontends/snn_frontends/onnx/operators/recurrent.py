"""RNN, GRU and LSTM over a fixed number of steps, unrolled (``docs/decisions/0041``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import place_batch_axis, unbatch, view
from snn_frontends.onnx.operators import cells, functions
from snn_frontends.onnx.operators.cells import State, Step, Value
from snn_frontends.onnx.values import Tensor

MAX_STEPS = 1024
"""Maximal number of steps of a recurrent layer."""
MAX_CELLS = 1 << 17
"""Maximal number of cells of an unrolled layer: steps times hidden size times directions."""


@dataclass(frozen=True)
class Kind:
    """A kind of recurrent layer.

    Attributes:
        gates: names of the gates in the order of their weights.
        functions: ONNX's default functions.
        states: number of states.
    """

    gates: str
    functions: tuple[str, ...]
    states: int = 1


RNN = Kind("h", ("Tanh",))
GRU = Kind("zrn", ("Sigmoid", "Tanh"))
LSTM = Kind("iofc", ("Sigmoid", "Tanh", "Tanh"), 2)
PEEPHOLES = "iof"
"""Order of the gates in the peephole weights of an LSTM."""


def rnn(call: Call) -> Sequence[Tensor]:
    """``RNN``."""
    return _unrolled(call, RNN, cells.rnn)


def gru(call: Call) -> Sequence[Tensor]:
    """``GRU``."""
    reset_after = bool(call.attributes.get("linear_before_reset", 0))
    return _unrolled(call, GRU, partial(cells.gru, reset_after=reset_after))


def lstm(call: Call) -> Sequence[Tensor]:
    """``LSTM``."""
    coupled = bool(call.attributes.get("input_forget", 0))
    return _unrolled(call, LSTM, partial(cells.lstm, coupled=coupled))


def _unrolled(call: Call, kind: Kind, cell: Callable[[Step, State], State]) -> Sequence[Tensor]:
    """Y (steps, directions, batch, H), and the last states (directions, batch, H)."""
    sequence = _Sequence.of(call)
    size = _size(call, kind)
    directions = _directions(call)
    _check_size(call, len(sequence.steps), size, directions)
    _check_lengths(call, len(sequence.steps))
    names = _function_names(call, kind, len(directions))
    arguments = _Arguments(call)
    clip = call.attributes.get("clip")
    limit = None if clip is None else float(np.float32(clip))
    made: list[list[State]] = []
    for number, backward in enumerate(directions):
        prefix = "" if len(directions) == 1 else ("backward." if backward else "forward.")
        count = len(kind.functions)
        used = [
            arguments.function(name) for name in names[number * count : (number + 1) * count]
        ]
        weights = _weights(call, kind, number, len(directions), size, sequence.n_features)
        state = tuple(
            sequence.initial(call, 5 + k, number, len(directions), size)
            for k in range(kind.states)
        )
        found: list[State] = []
        order = range(len(sequence.steps))
        for t in reversed(order) if backward else order:
            step = Step(
                call,
                f"{prefix}step{t}",
                f"{call.name}.{prefix}".rstrip("."),
                weights,
                used,
                limit,
                sequence.steps[t],
                sequence.whole,
            )
            state = cell(step, state)
            found.append(state)
        made.append(found)
    arguments.check_read()
    lasts = [
        sequence.placed(call, [d[-1][k] for d in made], f"last{k}") for k in range(kind.states)
    ]
    by_step = [found[::-1] if back else found for found, back in zip(made, directions, strict=True)]
    every = [[found[t][0] for found in by_step] for t in range(len(sequence.steps))]
    return [sequence.stacked(call, every), *lasts]


@dataclass(frozen=True)
class _Sequence:
    """The input of a recurrent layer, step by step.

    Attributes:
        steps: (batch, features) each.
        n_features: their length.
        whole: whether each is a population of its own, and not a part of one.
        axis: the batch axis of the layer's input, 0 or 1.
        batched: whether that is the batch axis of the network.
    """

    steps: list[Tensor]
    n_features: int
    whole: bool
    axis: int
    batched: bool

    @staticmethod
    def of(call: Call) -> _Sequence:
        """The input X: (steps, batch, features), or with the batch first."""
        axis = 0 if call.attributes.get("layout", 0) else 1
        rank = len(call.value().shape)
        if rank != 3:
            raise call.invalid(f"its input has {rank} axes instead of 3")
        seen = view(call, 0, (1 - axis, 2))
        x = seen.x
        batched = seen.like.axis == axis
        if seen.like.axis is not None and seen.like.merged > 1:
            raise call.refusal(
                "its batch holds several positions of each sample",
                "apply the layer to one sequence for each sample",
            )
        if not batched:
            size = call.value().shape[axis]
            if size != 1:
                raise call.refusal(
                    f"its batch of {size} are no samples: {size} sequences of one sample",
                    "apply the layer to one sequence for each sample",
                )
        n_steps, n_features = (call.value().shape[k] for k in (1 - axis, 2))
        shape = (call.batch, n_steps, n_features)
        if x.shape != shape:
            x = call.emit(ann.Reshape, x, shape=shape, suffix="steps")
        parts = _parts(call, x, n_steps, "x")
        whole = parts is not None
        if parts is None:
            parts = [_sliced(call, x, t) for t in range(n_steps)]
        return _Sequence(parts, n_features, whole, axis, batched)

    def initial(self, call: Call, index: int, number: int, n_directions: int, size: int) -> Value:
        """The initial state of a direction, (directions, batch, H) or with the batch first."""
        if not call.has(index):
            return np.zeros(size, np.float32)
        at = 0 if self.axis == 0 else 1
        value = call.inputs[index]
        batch = call.batch if self.batched else 1
        shape = (batch, n_directions, size) if at == 0 else (n_directions, batch, size)
        if isinstance(value, Tensor):
            return self._computed(call, index, number, at, shape)
        given = call.parameter(index)
        if given.shape != shape:
            raise call.invalid(
                f"input {index} has shape {list(given.shape)} instead of {list(shape)}"
            )
        first = np.take(given, 0, axis=at)
        if (given != np.expand_dims(first, at)).any():
            raise call.refusal(
                f"'{call.names[index]}' differs between the samples of a batch",
                "start all samples from one state",
            )
        return np.ascontiguousarray(first[number])

    def _computed(self, call: Call, index: int, number: int, at: int, shape: Shape) -> Tensor:
        """An initial state that depends on the network's input."""
        if call.value(index).shape != shape:
            found = list(call.value(index).shape)
            raise call.invalid(f"input {index} has shape {found} instead of {list(shape)}")
        seen = view(call, index, tuple(k for k in range(3) if k != at))
        n_directions, size = shape[1 - at], shape[2]
        x = seen.x
        if x.shape != (call.batch, n_directions, size):
            full = (call.batch, n_directions, size)
            x = call.emit(ann.Reshape, x, shape=full, suffix=f"initial{index}.all{number}")
        return _sliced(call, x, number, f"initial{index}.")

    def placed(self, call: Call, parts: Sequence[Value], name: str) -> Tensor:
        """Values (batch, H) of each direction as the file has them."""
        at = 0 if self.axis == 0 else 1
        joined = _joined(call, [self._tensor(part) for part in parts], name)
        return self._in_file(call, joined, at, name)

    def stacked(self, call: Call, by_step: Sequence[Sequence[Value]]) -> Tensor:
        """Values of each step and direction as the file has them."""
        at = 0 if self.axis == 0 else 2
        rows = [
            _joined(call, [self._tensor(part) for part in parts], f"step{t}.all")
            for t, parts in enumerate(by_step)
        ]
        return self._in_file(call, _joined(call, rows, "all"), at, "sequence")

    def _in_file(self, call: Call, y: Tensor, at: int, name: str) -> Tensor:
        if self.batched:
            return place_batch_axis(y, at)
        one = (*y.shape[1 : at + 1], 1, *y.shape[at + 1 :])
        y = call.emit(ann.Reshape, y, shape=(call.batch, *one), suffix=f"{name}.one")
        return place_batch_axis(y, None)

    @staticmethod
    def _tensor(value: Value) -> Tensor:
        if not isinstance(value, Tensor):
            raise TypeError("the state after a step depends on its input")
        return value


def _joined(call: Call, parts: Sequence[Tensor], name: str) -> Tensor:
    """Values (batch, ...) along a new axis 1."""
    shape = (call.batch, 1, *parts[0].shape[1:])
    rows = [
        call.emit(ann.Reshape, part, shape=shape, suffix=f"{name}.row{k}")
        for k, part in enumerate(parts)
    ]
    if len(rows) == 1:
        return rows[0]
    shape = (call.batch, len(rows), *parts[0].shape[1:])
    return call.emit(ann.Concat, *rows, shape=shape, suffix=f"{name}.joined", axis=0)


def _sliced(call: Call, x: Tensor, t: int, name: str = "") -> Tensor:
    """Entry t of axis 1, (batch, features)."""
    n_features = x.shape[2]
    one = call.emit(
        ann.Slice,
        x,
        shape=(call.batch, 1, n_features),
        suffix=f"{name}x{t}.slice",
        slices=(slice(t, t + 1, 1), slice(0, n_features, 1)),
    )
    return call.emit(ann.Reshape, one, shape=(call.batch, n_features), suffix=f"{name}x{t}")


def _parts(call: Call, x: Tensor, n_steps: int, name: str) -> list[Tensor] | None:
    """The parts of a value that is joined of one for each step; None for other values.

    A layer that reads the steps of another one reads each step's states, not all of them.
    """
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
    parts = [call.builder.node(s) for s in node.inputs]
    if any(part.shape[0] != 1 for part in parts):
        return None
    found = []
    for t, part in enumerate(parts):
        y = Tensor(part.id, (call.batch, *part.shape))
        for k, wired in enumerate(reversed(wiring)):
            fields = {"permutation": wired.permutation} if isinstance(wired, ann.Transpose) else {}
            shape = (call.batch, 1, *wired.shape[1:])
            y = call.emit(type(wired), y, shape=shape, suffix=f"{name}{t}.wired{k}", **fields)
        flat = (call.batch, y.shape[-1])
        found.append(call.emit(ann.Reshape, y, shape=flat, suffix=f"{name}{t}"))
    return found


def _size(call: Call, kind: Kind) -> int:
    """The number of cells."""
    rows = call.parameter(2).shape
    if len(rows) != 3 or rows[1] != len(kind.gates) * rows[2]:
        raise call.invalid(f"its recurrent weights have the shape {list(rows)}")
    stated = int(call.attributes.get("hidden_size", rows[2]))
    if stated != rows[2]:
        raise call.invalid(f"hidden_size is {stated}, but its weights are for {rows[2]}")
    return rows[2]


def _directions(call: Call) -> tuple[bool, ...]:
    """For each direction, whether it goes backward."""
    direction = call.attributes.get("direction", "forward")
    known = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    if direction not in known:
        raise call.invalid(f"direction '{direction}' is none of {', '.join(known)}")
    return known[direction]


def _check_size(call: Call, n_steps: int, size: int, directions: tuple[bool, ...]) -> None:
    n_cells = n_steps * size * len(directions)
    if n_steps > MAX_STEPS or n_cells > MAX_CELLS:
        raise call.refusal(
            f"{n_steps:,} steps of {size * len(directions):,} cells are {n_cells:,} cells on the"
            f" chip; a layer may have {MAX_STEPS:,} steps and {MAX_CELLS:,} cells in all",
            "every step has its own neurons: use fewer steps (a longer hop between frames,"
            " a shorter window) or fewer cells",
        )


def _check_lengths(call: Call, n_steps: int) -> None:
    """See that every sequence has all steps."""
    if not call.has(4):
        return
    value = call.inputs[4]
    hint = "export with sequences of one length, without packing"
    if isinstance(value, Tensor):
        raise call.refusal("the length of its sequences depends on the network's input", hint)
    lengths = call.constant(4, "iu")
    if (lengths != n_steps).any():
        found = ", ".join(str(n) for n in np.unique(lengths)[:4])
        raise call.refusal(f"its sequences have lengths ({found}) other than {n_steps} steps", hint)


def _weights(
    call: Call, kind: Kind, number: int, n_directions: int, size: int, n_features: int
) -> dict[str, Float]:
    """The parameters of a direction, by letter and gate."""
    n_gates = len(kind.gates)
    rows = n_gates * size
    shapes = {1: (rows, n_features), 2: (rows, size), 3: (2 * rows,)}
    if kind is LSTM:
        shapes[7] = (len(PEEPHOLES) * size,)
    given: dict[int, Float] = {}
    for index, shape in shapes.items():
        if index > 2 and not call.has(index):
            continue
        value = call.parameter(index)
        if value.shape != (n_directions, *shape):
            wanted = [n_directions, *shape]
            raise call.invalid(
                f"'{call.names[index]}' has shape {list(value.shape)} instead of {wanted}"
            )
        given[index] = value[number]
    bias = given.get(3, np.zeros(2 * rows, np.float32))
    found: dict[str, Float] = {}
    for k, gate in enumerate(kind.gates):
        part = slice(k * size, (k + 1) * size)
        found[f"W.{gate}"] = np.ascontiguousarray(given[1][part])
        found[f"R.{gate}"] = np.ascontiguousarray(given[2][part])
        found[f"b.{gate}"] = bias[:rows][part]
        if kind is GRU and gate == "n":
            found["r.n"] = bias[rows:][part]
        else:
            found[f"b.{gate}"] = bias[:rows][part] + bias[rows:][part]
    for k, gate in enumerate(PEEPHOLES if 7 in given else ""):
        found[f"P.{gate}"] = given[7][k * size : (k + 1) * size]
    return found


def _function_names(call: Call, kind: Kind, n_directions: int) -> list[str]:
    count = len(kind.functions) * n_directions
    names = list(call.attributes.get("activations", ())) or [*kind.functions] * n_directions
    if len(names) != count:
        raise call.invalid(f"has {len(names)} activations instead of {count}")
    return [str(name) for name in names]


class _Arguments:
    """The parameters of functions, consumed in the order of the functions that have them."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._left = {
            name: [float(np.float32(v)) for v in call.attributes.get(f"activation_{name}", ())]
            for name in ("alpha", "beta")
        }

    def function(self, name: str) -> Expression:
        """The next function, by ONNX's name for it."""
        known = {key.lower(): key for key in FUNCTIONS}
        key = known.get(name.lower())
        if key is None:
            raise self._call.refusal(
                f"its activation '{name}' is unknown", f"ONNX defines {', '.join(FUNCTIONS)}"
            )
        make, defaults = FUNCTIONS[key]
        given = []
        for which, default in zip(("alpha", "beta"), defaults, strict=False):
            left = self._left[which]
            given.append(left.pop(0) if left else float(np.float32(default)))
        return make(*given)

    def check_read(self) -> None:
        """See that each parameter belongs to a function."""
        for name, left in self._left.items():
            if left:
                raise self._call.invalid(f"activation_{name} has {len(left)} values too many")


def _line(alpha: float, beta: float) -> Expression:
    return apply("add", apply("mul", alpha, X), beta)


def _leaky(alpha: float) -> Expression:
    return apply("add", apply("max", X, 0.0), apply("mul", alpha, apply("min", X, 0.0)))


def _thresholded(alpha: float) -> Expression:
    return apply("where", apply("greater", X, alpha), X, 0.0)


def _scaled_tanh(alpha: float, beta: float) -> Expression:
    return apply("mul", alpha, apply("tanh", apply("mul", beta, X)))


FUNCTIONS: dict[str, tuple[Callable[..., Expression], tuple[float, ...]]] = {
    "Affine": (_line, (1.0, 0.0)),
    "Elu": (lambda alpha: functions.exponential_below(X, alpha, 1.0), (1.0,)),
    "HardSigmoid": (partial(functions.hard_sigmoid, X), (0.2, 0.5)),
    "LeakyRelu": (_leaky, (0.01,)),
    "Relu": (lambda: cells.RELU, ()),
    "ScaledTanh": (_scaled_tanh, (1.0, 1.0)),
    "Sigmoid": (lambda: apply("sigmoid", X), ()),
    "Softplus": (lambda: apply("softplus", X), ()),
    "Softsign": (lambda: apply("div", X, apply("add", 1.0, apply("abs", X))), ()),
    "Tanh": (lambda: apply("tanh", X), ()),
    "ThresholdedRelu": (_thresholded, (1.0,)),
}
"""Functions of cells by their names in ONNX, and the defaults of alpha and beta."""
