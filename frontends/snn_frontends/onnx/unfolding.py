"""The import of control flow, one copied graph at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.passes import Finding
from snn_frontends.onnx.control import MAX_NODES, Copy, copied, graph_of, known, stacked
from snn_frontends.onnx.expansion import expanded
from snn_frontends.onnx.values import Value

AXES_ARE_INPUTS = 13
"""Operator set since which the axes of Unsqueeze are an input."""
MAX_NAME = 200
"""Characters of an operator's name in the names of what its graphs become."""


@dataclass
class Unfolding:
    """Imports the graphs that control flow runs through.

    Attributes:
        values: all values by name.
        enter: imports a copied graph; says whether nothing of it was refused.
        opset: version of the operator set.
        findings: receives what is lost.
        count: operators copied so far, and iterations.
        n_runs: operators of control flow so far.
    """

    values: dict[str, Value]
    enter: Callable[[Copy], bool]
    opset: int
    findings: list[Finding] = field(default_factory=list)
    count: int = field(default=0)
    n_runs: int = field(default=0)

    def run(self, node: onnx.NodeProto, origin: Origin) -> None:
        """Import an operator of control flow; its outputs get their values.

        Raises:
            UnsupportedError: what decides depends on the network's input.
            ModelError: it contradicts itself, or takes more operators than a network may have.
        """
        self.n_runs += 1
        if node.op_type == "If":
            self._if(node, self._name(node), origin)
        else:
            self._loop(node, self._name(node), origin)

    def _enter(self, copy: Copy, origin: Origin) -> bool:
        made, lost = expanded(
            copy.nodes, copy.results, origin.file, self.opset, {*copy.initializers}
        )
        self.findings += lost
        copy = replace(copy, nodes=[node for nodes in made for node in nodes])
        self.count += len(copy.nodes) + 1
        if self.count > MAX_NODES:
            raise ModelError(
                f"control flow becomes more than {MAX_NODES:,} operators",
                code="too-large",
                origin=origin,
                hint="use fewer iterations",
            )
        return self.enter(copy)

    def _if(self, node: onnx.NodeProto, key: str, origin: Origin) -> None:
        condition = known(self._value(node, 0), "condition", origin)
        name = "then_branch" if bool(condition) else "else_branch"
        prefix = f"{key}/{name}/"
        self._enter(copied(graph_of(node, name, origin), {}, node.output, prefix, origin), origin)

    def _loop(self, node: onnx.NodeProto, key: str, origin: Origin) -> None:
        body = graph_of(node, "body", origin)
        carried = list(node.input[2:])
        if len(body.input) != len(carried) + 2 or len(body.output) < len(carried) + 1:
            raise ModelError("its graph has other inputs or outputs than itself", origin=origin)
        limit = self._given(node, 0, "number of iterations", origin)
        goes_on = self._given(node, 1, "condition", origin)
        pieces: list[list[str]] = [[] for _ in body.output[len(carried) + 1 :]]
        at = 0
        while (goes_on is None or goes_on) and (limit is None or at < limit):
            prefix = f"{key}/{at}/"
            outputs = [f"{prefix}{k}:out" for k in range(len(body.output))]
            given = [f"{prefix}iteration", f"{prefix}condition", *carried]
            self.values[given[0]], self.values[given[1]] = np.array(at), np.array(True)
            names = dict(zip((entry.name for entry in body.input), given, strict=True))
            if not self._enter(copied(body, names, outputs, prefix, origin), origin):
                return  # what follows is unknown
            goes_on = bool(known(self.values.get(outputs[0]), "condition", origin))
            carried = outputs[1 : len(carried) + 1]
            for piece, name in zip(pieces, outputs[len(carried) + 1 :], strict=True):
                piece.append(name)
            at += 1
        self._finish(node, f"{key}/", carried, pieces, origin)

    def _finish(
        self,
        node: onnx.NodeProto,
        prefix: str,
        carried: list[str],
        pieces: list[list[str]],
        origin: Origin,
    ) -> None:
        """The outputs: the last carried values, and those of all iterations."""
        axes = None
        if self.opset >= AXES_ARE_INPUTS:
            axes = f"{prefix}axes"
            self.values[axes] = np.array([0])
        nodes = []
        for name, result in zip(carried, node.output, strict=False):
            if result:
                nodes.append(onnx.helper.make_node("Identity", [name], [result]))
        for k, (names, result) in enumerate(zip(pieces, node.output[len(carried) :], strict=False)):
            if not result:
                continue
            if not names:
                raise UnsupportedError("collects the values of no iteration", origin=origin)
            nodes += stacked(names, result, axes, f"{prefix}{k}:stack:")
        self._enter(Copy(nodes), origin)

    def _value(self, node: onnx.NodeProto, index: int) -> Value | None:
        return self.values.get(node.input[index]) if index < len(node.input) else None

    def _given(self, node: onnx.NodeProto, index: int, what: str, origin: Origin) -> int | None:
        """An optional number; None if it is left out."""
        if index >= len(node.input) or not node.input[index]:
            return None
        return int(known(self._value(node, index), what, origin))

    def _name(self, node: onnx.NodeProto) -> str:
        """What no other operator of control flow is called: values have one producer.

        A long name, which nested control flow would repeat, ends in a number.
        """
        name = next(filter(None, node.output), node.name)
        return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}~{self.n_runs}"
