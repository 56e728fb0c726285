"""RNN, GRU and LSTM over a fixed number of steps, unrolled (``docs/decisions/0041``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from snn_compile.ir.ann import Float
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.passes import Finding
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import cells
from snn_frontends.onnx.operators.cells import State, Step
from snn_frontends.onnx.operators.functions import exponential_below, hard_sigmoid
from snn_frontends.onnx.operators.sequences import (
    Layout,
    Steps,
    apart,
    concatenated,
    sequence_input,
)
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
        n_states: number of states.
    """

    gates: str
    functions: tuple[str, ...]
    n_states: int = 1


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


def quantized_lstm(call: Call) -> Sequence[Tensor]:
    """``com.microsoft.DynamicQuantizeLSTM``, refused."""
    raise call.refusal(
        "an LSTM whose weights are already quantized is not supported",
        "export the float model; this tool quantizes it for the target itself",
    )


def _unrolled(call: Call, kind: Kind, cell: Callable[[Step, State], State]) -> Sequence[Tensor]:
    """The states of every step, and the last ones, of each sequence of a sample."""
    batch_first = bool(call.attributes.get("layout", 0))
    x = sequence_input(call, batch_first=batch_first)
    batch, along = (0, 1) if batch_first else (1, 0)
    n_sequences = x.shape[batch] if x.axis is None else 1
    n_steps, size = x.shape[along], _size(call, kind) * len(_directions(call))
    _check_size(call, n_steps, size * n_sequences)
    _check_lengths(call, n_steps)
    message = (
        f"unrolled: {n_steps} steps of {size * n_sequences} cells, each with neurons and synapses"
        " of its own"
    )
    call.builder.findings.append(Finding(message, call.origin, "unrolled"))
    if n_sequences == 1:
        return _one_sequence(call, kind, cell)
    found = [_one_sequence(one, kind, cell) for one in apart(call, x, batch)]
    axes = (0,) * len(found[0]) if batch_first else (2, *(1,) * kind.n_states)
    return [
        concatenated(call, parts, axis, f"output{k}")
        for k, (axis, *parts) in enumerate(zip(axes, *found, strict=True))
    ]


def _one_sequence(call: Call, kind: Kind, cell: Callable[[Step, State], State]) -> Sequence[Tensor]:
    """The same for one sequence of each sample."""
    batch_first = bool(call.attributes.get("layout", 0))
    steps = Steps.of(call, batch_first=batch_first)
    directions, size = _directions(call), _size(call, kind)
    n_steps = len(steps.values)
    functions = _functions(call, kind, len(directions))
    layout = Layout(batch_first, steps.batched, len(directions), size)
    clip = call.attributes.get("clip")
    limit = None if clip is None else float(np.float32(clip))
    lasts: list[State] = []
    hidden: list[list[Tensor]] = [[] for _ in steps.values]
    for number, backward in enumerate(directions):
        prefix = "" if len(directions) == 1 else ("backward." if backward else "forward.")
        weights = _weights(call, kind, number, len(directions), size)
        state: State = tuple(layout.state(call, 5 + k, number) for k in range(kind.n_states))
        order = range(n_steps)
        for t in reversed(order) if backward else order:
            group = f"{call.origin.node}.{prefix}"
            x = steps.values[t]
            step = Step(
                call, f"{prefix}step{t}", group, weights, functions[number], limit, x, steps.whole
            )
            state = cell(step, state)
            hidden[t].append(cells.computed(state[0]))
        lasts.append(state)
    last = [
        layout.last(call, [cells.computed(state[k]) for state in lasts], f"last{k}")
        for k in range(kind.n_states)
    ]
    return [layout.all(call, hidden), *last]


def _size(call: Call, kind: Kind) -> int:
    """The number of cells."""
    shape = call.parameter(2).shape
    if len(shape) != 3 or shape[1] != len(kind.gates) * shape[2]:
        raise call.invalid(f"its recurrent weights have the shape {list(shape)}")
    size = int(shape[2])
    stated = int(call.attributes.get("hidden_size", size))
    if stated != size:
        raise call.invalid(f"hidden_size is {stated}, but its weights are for {size} cells")
    return size


def _directions(call: Call) -> tuple[bool, ...]:
    """For each direction, whether it goes backward."""
    direction = call.attributes.get("direction", "forward")
    known = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    if direction not in known:
        raise call.invalid(f"direction '{direction}' is none of {', '.join(known)}")
    return known[direction]


def _check_size(call: Call, n_steps: int, size: int) -> None:
    n_cells = n_steps * size
    if n_steps > MAX_STEPS or n_cells > MAX_CELLS:
        raise call.refusal(
            f"{n_steps:,} steps of {size:,} cells are {n_cells:,} cells on the chip;"
            f" a layer may have {MAX_STEPS:,} steps and {MAX_CELLS:,} cells in all",
            "every step has neurons of its own: use fewer steps (a longer hop between frames,"
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


def _weights(call: Call, kind: Kind, number: int, n_directions: int, size: int) -> dict[str, Float]:
    """The parameters of a direction, by letter and gate."""
    rows, n_features = len(kind.gates) * size, call.value().shape[2]
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


def _functions(call: Call, kind: Kind, n_directions: int) -> list[list[Expression]]:
    """The functions of each direction; alpha and beta belong to those that have them, in order."""
    count = len(kind.functions)
    names = list(call.attributes.get("activations", ())) or [*kind.functions] * n_directions
    if len(names) != count * n_directions:
        raise call.invalid(f"has {len(names)} activations instead of {count * n_directions}")
    given = [
        [float(np.float32(v)) for v in call.attributes.get(f"activation_{name}", ())]
        for name in ("alpha", "beta")
    ]
    known = {key.lower(): function for key, function in FUNCTIONS.items()}
    found: list[Expression] = []
    for name in map(str, names):
        if name.lower() not in known:
            raise call.refusal(
                f"its activation '{name}' is unknown", f"ONNX defines {', '.join(FUNCTIONS)}"
            )
        make, defaults = known[name.lower()]
        values = [
            left.pop(0) if left else default for left, default in zip(given, defaults, strict=False)
        ]
        if None in values:
            raise call.refusal(
                f"its activation '{name}' has no parameters, and runtimes have different defaults",
                "state activation_alpha and activation_beta",
            )
        found.append(make(*(float(np.float32(value)) for value in values)))
    if any(given):
        raise call.invalid("has more values of activation_alpha or activation_beta than functions")
    return [found[k * count : (k + 1) * count] for k in range(n_directions)]


def _line(alpha: float, beta: float) -> Expression:
    return apply("add", apply("mul", alpha, X), beta)


def _leaky(alpha: float) -> Expression:
    return apply("add", apply("max", X, 0.0), apply("mul", alpha, apply("min", X, 0.0)))


def _thresholded(alpha: float) -> Expression:
    return apply("where", apply("greater", X, alpha), X, 0.0)


def _scaled_tanh(alpha: float, beta: float) -> Expression:
    return apply("mul", alpha, apply("tanh", apply("mul", beta, X)))


FUNCTIONS: dict[str, tuple[Callable[..., Expression], tuple[float | None, ...]]] = {
    "Affine": (_line, (None, None)),
    "Elu": (lambda alpha: exponential_below(X, alpha, 1.0), (1.0,)),
    "HardSigmoid": (partial(hard_sigmoid, X), (0.2, 0.5)),
    "LeakyRelu": (_leaky, (0.01,)),
    "Relu": (lambda: cells.RELU, ()),
    "ScaledTanh": (_scaled_tanh, (None, None)),
    "Sigmoid": (lambda: apply("sigmoid", X), ()),
    "Softplus": (lambda: apply("softplus", X), ()),
    "Softsign": (lambda: apply("div", X, apply("add", 1.0, apply("abs", X))), ()),
    "Tanh": (lambda: apply("tanh", X), ()),
    "ThresholdedRelu": (_thresholded, (None,)),
}
"""Functions of cells by their names in ONNX, and the defaults of alpha and beta: None where
onnxruntime takes 0, which ONNX does not say."""
