"""The tail that is left to the host without being asked for, and where a refused file could be cut.

What has no spiking form, with all that follows from it, is a tail if no layer with trained weights
is among it (decision 0039). The functions before it that follow the last layer go with it as far as
no more values travel to the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import TensorProto

from snn_frontends.onnx.cut import Cut, element_type
from snn_frontends.onnx.flow import Flow
from snn_frontends.onnx.folding import RANDOM
from snn_frontends.onnx.values import FLOATS, Constant, Tensor, Value

LAYERS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})
"""Operators with weights, which may also be fixed: of a decoding."""
ALWAYS_LAYERS = frozenset(
    "Attention ConvInteger DeformConv GRU If LSTM Loop MatMulInteger QLinearConv QLinearMatMul RNN"
    " Scan SequenceMap".split()
)
"""Operators that hold trained weights, or a network."""
FUNCTIONS = frozenset(
    "Abs ArgMax ArgMin Ceil Celu Cos Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual"
    " HardSigmoid HardSwish Less LessOrEqual Log LogSoftmax LpNormalization Max Min Mish Mod Pow"
    " Reciprocal ReduceL2 Round Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Swish Tanh"
    " Where".split()
)
"""Functions that spikes only approximate, by lines."""
PRODUCTS = frozenset({"Div", "Mul"})
NATIVE = frozenset(
    "AveragePool BatchNormalization GlobalAveragePool GlobalMaxPool GroupNormalization"
    " InstanceNormalization LRN LayerNormalization LeakyRelu MaxPool PRelu ReduceMax ReduceMean"
    " ReduceMin ReduceSum Relu Resize ThresholdedRelu Upsample".split()
)
"""Operators of a layer's own neurons and synapses, which stay with it."""
PATTERN_VALUES = 3
"""Weights with as many values at most are a pattern: they select, add or take corners."""
EVEN = 1e-3
"""Tolerance of steps between the values of an evenly spaced pattern, relative to them."""


@dataclass(frozen=True)
class Known:
    """What an import has found out.

    Attributes:
        refused: identities of the operators without a spiking form.
        values: values by name.
        work: operations of each operator, by identity.
    """

    refused: frozenset[int]
    values: Mapping[str, Value]
    work: Mapping[int, int]


def smallest_tail(flow: Flow, known: Known) -> set[int] | None:
    """What is refused, with all that follows; None if nothing with weights stands before it."""
    seeds = [node for node in flow.nodes if id(node) in known.refused]
    tail = flow.after(seeds)
    while odd := [n for n in flow.crossing(tail) if element_type(flow, n) not in FLOATS]:
        tail = flow.after([n for n in flow.nodes if id(n) in tail] + [flow.producers[odd[0]]])
    before = flow.before(flow.crossing(tail))
    if not any(is_layer(node, known.values) for node in before):
        return None
    return tail


def automatic_cut(flow: Flow, known: Known) -> Cut | None:
    """The cut before the tail; None if it is none, so that the file is refused."""
    tail = smallest_tail(flow, known)
    if tail is None or not all(_may_run(node, known) for node in flow.nodes if id(node) in tail):
        return None
    tail = _with_functions(flow, tail, known)
    return Cut(frozenset(tail), tuple(flow.ends(tail)))


def before_truths(flow: Flow, known: Known) -> Cut | None:
    """The cut before outputs that are true or false; None if there are none, or no such cut.

    They come from comparisons. The host compares the real numbers themselves, which a spiking
    network would have to round to 0 or 1.
    """
    truths = {
        id(flow.producers[name])
        for name in flow.outputs
        if name in flow.dependent and name in flow.producers
        if element_type(flow, name) == TensorProto.BOOL
    }
    return automatic_cut(flow, replace(known, refused=frozenset(truths))) if truths else None


def _may_run(node: onnx.NodeProto, known: Known) -> bool:
    """Whether an operator may be in a tail."""
    standard = not node.domain and node.op_type not in RANDOM
    return standard and not is_layer(node, known.values)


def is_layer(node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
    """Whether an operator has trained weights: constants that are no regular pattern."""
    if node.op_type in ALWAYS_LAYERS:
        return True
    if node.op_type not in LAYERS:
        return False
    weights = [values.get(name) for name in node.input[:2]]
    return any(isinstance(w, np.ndarray) and w.ndim and not is_pattern(w) for w in weights)


def is_pattern(weights: Constant) -> bool:
    """Whether weights have few values, or evenly spaced ones as coordinates and bins have."""
    if weights.dtype.kind not in "fiu":
        return True
    found = np.unique(weights)
    if len(found) <= PATTERN_VALUES:
        return True
    steps = np.diff(found.astype(np.float64))
    return bool(np.ptp(steps) <= EVEN * steps.mean())


def _with_functions(flow: Flow, tail: set[int], known: Known) -> set[int]:
    """The tail with the functions before it, as far as no more values travel to the host."""

    def traffic(nodes: set[int]) -> int:
        return sum(_size(known.values.get(name)) for name in flow.ends(nodes))

    before = flow.before(flow.crossing(tail))
    free = _after_layers(flow, before, known)
    size = traffic(tail)
    for name in _sources(flow, free):
        if flow.producers.get(name) is not None and id(flow.producers[name]) in tail:
            continue
        wider = tail | flow.after(flow.readers_of([name]))
        added = [node for node in flow.nodes if id(node) in wider - tail]
        if not added or not _is_decoding(flow, added, free, known):
            continue
        if name not in flow.entries and traffic(wider) <= size:
            tail, size = wider, traffic(wider)
    return tail


def _after_layers(flow: Flow, nodes: Sequence[onnx.NodeProto], known: Known) -> set[int]:
    """Those operators from which no layer follows, and which are none."""
    free: set[int] = set()
    blocked: set[str] = set()
    for node in nodes:  # in reverse order
        if is_layer(node, known.values) or any(name in blocked for name in node.output):
            blocked.update(node.input)
        else:
            free.add(id(node))
    return free


def _sources(flow: Flow, free: set[int]) -> list[str]:
    """The values that free operators read, in order."""
    names = (n for node in flow.nodes if id(node) in free for n in flow.dependences(node))
    return list(dict.fromkeys(names))


def _is_decoding(flow: Flow, added: Sequence[onnx.NodeProto], free: set[int], known: Known) -> bool:
    """Whether operators are functions and what follows them, and none is a layer's own."""
    computed: set[str] = set()
    worth = False
    for node in added:
        if is_layer(node, known.values) or node.domain or node.op_type in RANDOM:
            return False
        follows = any(name in computed for name in node.input)
        if node.op_type in NATIVE and not follows:
            return False
        if follows or node.op_type in FUNCTIONS or _is_product(flow, node, known):
            computed.update(node.output)
            worth = worth or id(node) in free
    return worth


def _is_product(flow: Flow, node: onnx.NodeProto, known: Known) -> bool:
    """Whether values are multiplied by each other, or by constants for each position."""
    if node.op_type not in PRODUCTS:
        return False
    others = [v for v in map(known.values.get, node.input) if isinstance(v, np.ndarray)]
    places = [v for v in others if sum(n > 1 for n in v.shape) > 1]
    return bool(places) or len(list(flow.dependences(node))) > 1


def _size(value: Value | None) -> int:
    return prod(value.shape) if isinstance(value, Tensor) else 0


def largest_part(flow: Flow, known: Known) -> tuple[tuple[str, ...], int]:
    """The tensors at which a refused file could be cut, and the operations before them."""
    tail = smallest_tail(flow, known)
    if tail is None:
        return (), 0
    names = [name for name in flow.crossing(tail) if isinstance(known.values.get(name), Tensor)]
    work = sum(known.work.get(id(node), 0) for node in flow.before(names))
    return tuple(names), work
