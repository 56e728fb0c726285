"""What onnxruntime makes of each node of an imported network, from the user's own file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from snn_compile import extras
from snn_compile.errors import CompileError, ModelError, Origin, raise_all
from snn_compile.files.documents import TooLargeError, check_size, first_line, too_large
from snn_compile.ir.ann import Activation, AnnNode, Input
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_frontends.onnx.grids import MOVES
from snn_frontends.onnx.runtime import PROVIDERS, quiet_options
from snn_frontends.onnx.values import Tensor, Value

Array = npt.NDArray[Any]
DEQUANTIZE = "DequantizeLinear"
ROUNDING = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
WIDEST = 8
"""Maximal size of an element in bytes."""


@dataclass(frozen=True)
class LayerValues:
    """The file in onnxruntime, with the value of every node as an output.

    Attributes:
        file: the file.
        feeds: the inputs that a sample has values of, one after another.
        tensors: the tensor of the file for each node; nodes without one are missing.
        shapes: shapes of these nodes.
    """

    file: str
    feeds: tuple[Feed, ...]
    tensors: Mapping[NodeId, tuple[str, Tensor]] = field(default_factory=dict)
    shapes: Mapping[NodeId, Shape] = field(default_factory=dict)

    name = "onnxruntime"

    def __call__(self, x: Array) -> dict[NodeId, Array]:
        """Each node's value for samples (N, *input shape), (N, *shape of the node).

        Tensors of integers are left out. A tensor of another size than its node's is not a number.

        Raises:
            UsageError: onnxruntime is missing.
            ModelError: it refuses the file, or the values take too much memory.
        """
        origin = Origin(self.file)
        raise_all(extras.missing("onnxruntime", "onnxruntime", "layers are compared by"))
        try:
            size = len(x) * sum(prod(shape) for shape in self.shapes.values()) * WIDEST
            check_size("the values of all layers", size)
        except TooLargeError as error:
            raise too_large(origin, error, ModelError) from error
        try:
            model = self._model()
            run = _session(model, [output.name for output in model.graph.output])
            others = _zeros(model.graph, {feed.name for feed in self.feeds})
            found = [run(self._fed(sample, others)) for sample in x]
        except CompileError:
            raise
        except Exception as error:  # onnxruntime has one class for each of its reasons
            message = f"onnxruntime refuses the file: {first_line(error)}"
            raise ModelError(message, code="source-runtime", origin=origin) from error
        values = {}
        for node, (name, tensor) in self.tensors.items():
            pieces = [one[name] for one in found if name in one]
            if pieces and pieces[0].dtype.kind in "fb":
                kind = pieces[0].dtype if pieces[0].dtype.kind == "f" else np.dtype(np.float32)
                samples = [self._sample(p.astype(kind), tensor, self.shapes[node]) for p in pieces]
                values[node] = np.stack(samples)
        return values

    @property
    def approximated(self) -> set[NodeId]:
        """Layers whose inputs the file rounds to a grid of each sample's own."""
        from snn_frontends.onnx.frontend import load

        nodes = {name: node for node, (name, _) in self.tensors.items()}
        rounded, found = set[str](), set[NodeId]()
        for node in load(Path(self.file), self.file)[0].graph.node:
            if node.op_type in ROUNDING or rounded.intersection(node.input):
                known = {nodes[name] for name in node.output if name in nodes}
                found |= known
                rounded.update(() if known else node.output)
        return found

    def _model(self) -> onnx.ModelProto:
        """The file as it was imported, with more outputs."""
        from snn_frontends.onnx.frontend import load

        model, _ = load(Path(self.file), self.file)
        given = {one.name: one for one in self.feeds}
        for entry in model.graph.input:
            if entry.name in given:
                given[entry.name].set_shape(entry.type.tensor_type)
        known = {name for node in model.graph.node for name in node.output}
        wanted = dict.fromkeys(name for name, _ in self.tensors.values() if name in known)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return model

    def _fed(self, sample: Array, others: Mapping[str, Array]) -> dict[str, Array]:
        """The value of every input of the file, from those of a sample, one after another."""
        row, start, fed = sample.reshape(-1), 0, dict(others)
        for feed in self.feeds:
            fed[feed.name] = feed.of(row[start : start + feed.size])
            start += feed.size
        return fed

    def _sample(self, value: Array, tensor: Tensor, shape: Shape) -> Array:
        """One sample of a value of the file, in the shape of its node."""
        for axis, (before, after) in enumerate(tensor.border):
            value = np.take(value, range(before, value.shape[axis] - after), axis)
        batch = self.feeds[0].batch
        if tensor.axis is not None and batch > 1:
            at, rest = value.shape[: tensor.axis], value.shape[tensor.axis + 1 :]
            value = value.reshape(*at, tensor.outer, batch, tensor.inner, *rest)
            value = np.take(value, 0, tensor.axis + 1)
        if value.size != prod(shape):
            return np.full(shape, np.nan, value.dtype)
        return value.reshape(shape)


@dataclass(frozen=True)
class Feed:
    """An input of the file.

    Attributes:
        name: its name.
        shape: its shape, with the batch.
        axis: the batch axis; None if it has none.
        batch: size of the batch, which the same sample fills.
        dtype: its type.
    """

    name: str
    shape: Shape
    axis: int | None
    batch: int
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of values in a sample."""
        return prod(self._kept)

    @property
    def _kept(self) -> Shape:
        """Its shape without the batch."""
        if self.axis is None:
            return self.shape
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    def of(self, sample: Array) -> Array:
        """The input for its part of a sample."""
        whole = np.rint(sample) if self.dtype.kind in "iub" else sample
        value = whole.astype(self.dtype).reshape(self._kept)
        if self.axis is None:
            return value
        return np.repeat(np.expand_dims(value, self.axis), self.batch, self.axis)

    def set_shape(self, kind: onnx.TypeProto.Tensor) -> None:
        """State the shape in a file."""
        kind.shape.ClearField("dim")
        kind.shape.SetInParent()
        for size in self.shape:
            kind.shape.dim.add().dim_value = size


def tensors_of(
    nodes: Iterable[onnx.NodeProto],
    values: Mapping[str, Value],
    origin_of: Callable[[onnx.NodeProto], Origin],
    graph: Graph[AnnNode],
) -> dict[NodeId, tuple[str, Tensor]]:
    """The tensor of the file that each node computes.

    An operator's results are the values of its own nodes; what passes on another operator's value,
    or is left off at the end, has none. Of a quantized value it is the dequantized one.
    """
    found: dict[NodeId, tuple[str, Tensor]] = {}
    for node in nodes:
        origin = origin_of(node)
        for name in node.output:
            value = values.get(name)
            if not isinstance(value, Tensor) or value.grid is not None or value.node in found:
                continue
            if value.node not in graph or isinstance(made := graph[value.node], Input):
                continue
            if made.origin == origin or node.op_type == DEQUANTIZE:
                found[value.node] = name, value
    return found


def of_settled(
    found: Mapping[NodeId, tuple[str, Tensor]], graph: Graph[AnnNode], settled: Graph[AnnNode]
) -> dict[NodeId, tuple[str, Tensor]]:
    """The same after populations have taken over the grids behind them.

    Such a population, and what moves its values to that grid, computes the tensor of the node that
    rounded to the grid; where that is not the next one, it has none.
    """
    kept = {}
    rounded = set[NodeId]()
    for node in settled:
        before = graph[node.id]
        moved = isinstance(before, MOVES) and before.inputs[0] in rounded
        if not moved and _levels(node) == _levels(before):
            tensor = found.get(node.id)
        else:
            rounded.add(node.id)
            gone = [n for n in graph.consumers(node.id) if n.id not in settled]
            tensor = found.get(gone[0].id) if len(gone) == 1 else None
        if tensor is not None and not isinstance(node, Input):
            kept[node.id] = tensor
    return kept


def _levels(node: AnnNode) -> int | None:
    """Levels of the grid of a population; None without one."""
    return node.levels if isinstance(node, Activation) else None


def _zeros(graph: onnx.GraphProto, fed: set[str]) -> dict[str, Array]:
    """Values of the inputs that no output depends on."""
    initialized = {tensor.name for tensor in graph.initializer}
    initialized |= {sparse.values.name for sparse in graph.sparse_initializer}
    found = {}
    for entry in graph.input:
        if entry.name not in initialized | fed:
            kind = entry.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            found[entry.name] = np.zeros([max(d.dim_value, 1) for d in kind.shape.dim], dtype)
    return found


def _session(
    model: onnx.ModelProto, names: Sequence[str]
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    import onnxruntime

    options = quiet_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS)
    return lambda feeds: dict(zip(names, session.run(list(names), dict(feeds)), strict=True))
