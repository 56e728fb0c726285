"""Survey of a refused model: its supported and unsupported parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import onnx

from snn_compile.errors import Survey
from snn_compile.ir.graph import Shape
from snn_compile.printable import printable
from snn_frontends.onnx.values import Tensor, Value

SCOPES, NAMESPACE = "pkg.torch.onnx.name_scopes", "namespace"
"""Metadata keys of torch's newer exporter for the modules of an operator."""
LONGEST = 1 << 12
"""Maximal length of such metadata."""
LAYERS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
GATES = {"Sigmoid": "SiLU", "HardSigmoid": "HardSwish"}
"""Activations by which another value is multiplied, and what it is called if that is their own
input."""
SCORES = frozenset({"Add", "Div", "Mul", "Where"})
"""Operators between the product of queries and keys and its softmax."""


def module_of(node: onnx.NodeProto) -> str:
    """The module in an operator's metadata or name, or an empty text."""
    stated = {entry.key: entry.value for entry in node.metadata_props if len(entry.value) < LONGEST}
    if SCOPES in stated:
        scopes = re.findall(r"'([^']*)'", stated[SCOPES])
        return printable(scopes[-2]) if len(scopes) > 1 else ""
    if NAMESPACE in stated:
        scopes = [part.partition(":")[0] for part in stated[NAMESPACE].split("/")]
        return printable(scopes[-2]) if len(scopes) > 1 else ""
    if not node.name.startswith("/"):
        return ""
    path: list[str] = []
    for part in node.name.split("/")[1:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()  # /layer1/layer1.0/conv1: a part of a list has its name once more
        path.append(part)
    return printable(".".join(path))


@dataclass
class Surveyor:
    """Counts operators and operations while a model is imported.

    Attributes:
        modules: module of each operator, by the identity of its node.
        readers: readers of each value.
        work: operations of each operator, by the identity of its node.
    """

    modules: dict[int, str]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    producers: dict[str, onnx.NodeProto]
    n_operators: int = 0
    n_refused: int = 0
    operations: int = 0
    refused: int = 0
    work: dict[int, int] = field(default_factory=dict)

    def count(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[Value | None],
        shapes: Sequence[Shape | None],
        *,
        fine: bool = True,
    ) -> None:
        """Count an operator on activations, with the shapes of its results as far as known."""
        if fine and not any(isinstance(value, Tensor) for value in inputs):
            return
        work = self.work[id(node)] = operations(node, inputs, shapes)
        self.n_operators += 1
        self.operations += work
        if not fine:
            self.n_refused += 1
            self.refused += work

    @property
    def survey(self) -> Survey:
        """The counts."""
        return Survey(
            self.n_operators,
            self.n_operators - self.n_refused,
            self.operations,
            self.operations - self.refused,
        )

    def part_of(self, node: onnx.NodeProto) -> str:
        """The function that an exporter split into this and other operators, or an empty text."""
        if node.op_type in GATES:
            for reader in self._reading(node):
                if reader.op_type == "Mul":
                    return GATES[node.op_type] if node.input[0] in reader.input else "gate"
        if node.op_type == "Mul":
            sources = [self.producers[name] for name in node.input if name in self.producers]
            for source in sources:
                if source.op_type in GATES:
                    return self.part_of(source)
        if node.op_type == "Erf" and any(r.op_type == "Add" for r in self._reading(node)):
            return "GELU"
        if node.op_type == "Softmax" and any(r.op_type == "MatMul" for r in self._reading(node)):
            return "attention"
        if node.op_type == "MatMul":
            sources = [self.producers[name] for name in node.input if name in self.producers]
            if any(source.op_type == "Softmax" for source in sources) or self._is_scores(node):
                return "attention"
        return ""

    def _is_scores(self, node: onnx.NodeProto) -> bool:
        """Whether a product becomes the input of a softmax, scaled or masked at most."""
        for _ in range(len(SCORES) + 1):
            readers = self._reading(node)
            if any(reader.op_type == "Softmax" for reader in readers):
                return True
            if len(readers) != 1 or readers[0].op_type not in SCORES:
                return False
            node = readers[0]
        return False

    def _reading(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        return self.readers.get(node.output[0], ()) if node.output else ()


def operations(
    node: onnx.NodeProto, inputs: Sequence[Value | None], shapes: Sequence[Shape | None]
) -> int:
    """Multiplications of a layer per sample, and one per value of any other operator."""
    sizes = [None if value is None else getattr(value, "shape", None) for value in inputs]
    result = next((prod(shape[1:]) for shape in shapes if shape), 0)
    if node.op_type in LAYERS and len(sizes) > 1 and sizes[0] and sizes[1]:
        places = result if node.op_type == "Conv" else prod(sizes[0][1:])
        return int(places * prod(sizes[1][1:]))
    if node.op_type in PRODUCTS and sizes and sizes[0]:
        return int(result * sizes[0][-1])
    return int(result)
