"""One import of an ONNX graph: constants are folded, the rest becomes the network.

Nothing is skipped silently. A node that cannot be imported is recorded and replaced by a value of
the shape that ONNX infers for it, so that one run finds all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from snn_compile.errors import (
    CompileError,
    CompileErrors,
    ModelError,
    Origin,
    Survey,
    UnsupportedError,
    raise_all,
)
from snn_compile.files.documents import first_line
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding
from snn_compile.plugins import Imported
from snn_frontends.onnx import control, decision, tail
from snn_frontends.onnx.builder import Builder, MixesSamplesError
from snn_frontends.onnx.control import Copy
from snn_frontends.onnx.cut import Cut, Request, chosen_outputs, requested_cut
from snn_frontends.onnx.flow import Flow
from snn_frontends.onnx.folding import FOREIGN_ERRORS, infer_shapes
from snn_frontends.onnx.grids import settle
from snn_frontends.onnx.interpreter import Interpreter
from snn_frontends.onnx.layer_values import LayerValues, of_settled, tensors_of
from snn_frontends.onnx.model_input import ModelInput, unused_input
from snn_frontends.onnx.operators import quantization, whole
from snn_frontends.onnx.order import in_order, live, reads_of
from snn_frontends.onnx.survey import Surveyor
from snn_frontends.onnx.unfolding import Unfolding
from snn_frontends.onnx.values import SUBGRAPHS, Tensor, Unknown, Value

ONNX_DOMAINS = frozenset({"", "ai.onnx"})
DROPPED = frozenset({"argmax-dropped", "softmax-dropped"})
"""Findings about operators at the end that are left off."""


@dataclass(frozen=True)
class Source:
    """A file to import."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    file: str
    opset: int
    stated_opset: int
    modules: Sequence[str]
    request: Request


class Importer:
    """State of one import."""

    def __init__(
        self,
        source: Source,
        entries: Sequence[ModelInput],
        findings: Sequence[Finding],
        cut: Cut | None = None,
    ) -> None:
        model = source.model
        builder = Builder(source.file, source.opset, entries[0].batch, findings=list(findings))
        self.source = source
        self.builder = builder
        self.entries = entries
        given = {entry.name for entry in entries}
        given |= {tensor.name for tensor in model.graph.initializer}
        given |= {one.values.name for one in model.graph.sparse_initializer}
        nodes = source.nodes
        self.nodes = in_order(nodes, given, builder.file)
        for node in self.nodes:
            node.domain = _domain(node.domain)
        self.outputs = chosen_outputs(model.graph, source.request, builder.file)
        self.live = live(self.nodes, self.outputs)
        used = [node for node in self.nodes if id(node) in self.live]
        self.flow = Flow(used, [entry.name for entry in entries], self.outputs)
        self.cut = cut or requested_cut(self.flow, model.graph, source.request, builder.file)
        self.ends = list(self.cut.ends) if self.cut else self.outputs
        in_tail = self.cut.tail if self.cut else frozenset[int]()
        self.visited = self.live - in_tail
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            if id(node) in self.visited:
                for name in reads_of(node):
                    self.readers.setdefault(name, []).append(node)
        self.dropped: list[onnx.NodeProto] = []
        self.refused: set[int] = set()
        self.surveyor = Surveyor(
            {id(node): module for node, module in zip(nodes, source.modules, strict=True)},
            self.readers,
            {name: node for node in self.nodes for name in node.output},
        )
        self.times_named = Counter(_names(self.nodes))
        self.interpreter = Interpreter(model.graph, builder, self.live, self.readers, self.ends)
        self.values = self.interpreter.values
        self.output_ids: dict[str, NodeId] = {}
        self.constant_outputs: list[str] = []
        self.errors: list[CompileError] = []
        self.unfolded: list[onnx.NodeProto] = []
        self.unfolding = Unfolding(self.values, self._enter, builder.opset, builder.findings)

    def run(self) -> Imported:
        """Import all nodes before the tail, or raise all complaints."""
        builder = self.builder
        for entry in self.entries:
            self.values[entry.name] = entry.value(builder, Origin(builder.file, entry.name))
        for node in self.nodes:
            if id(node) in self.visited:
                with np.errstate(all="ignore"):  # the builder refuses overflows
                    self._visit(node)
            elif id(node) not in self.live:
                message = "removed: no output of the network depends on it"
                builder.findings.append(Finding(message, self._origin(node), "dead-node"))
        for name in self.ends:
            self._mark_output(name)
        if self.ends and len(self.constant_outputs) == len(self.ends):
            self.errors.append(
                ModelError(
                    "no output depends on the input",
                    code="constant-output",
                    origin=Origin(builder.file, self.ends[0]),
                    hint="export the model with an output that does",
                )
            )
        if self.errors:
            survey = self._survey()
            for error in self.errors:
                error.survey = survey
        raise_all(self.errors)
        graph: Graph[AnnNode] = Graph(builder.nodes)
        graph = graph.prune(node.id for node in graph if isinstance(node, ann.Output))
        builder.findings.extend(
            unused_input(builder.file, entry.name)
            for entry in self.entries
            if entry.name not in graph
        )
        network = settle(ANNGraph(graph, builder.file, self.source.stated_opset))
        host_tail = self._host_tail(network)
        if host_tail is not None and host_tail.cut:
            origin = Origin(builder.file, host_tail.tensors[0])
            builder.findings.append(Finding(host_tail.sentence, origin, "host-tail"))
            if self.cut is not None and self.cut.also:
                also = ", ".join(repr(name) for name in self.cut.also)
                message = f"it also reads {also}: the network ends there, too"
                builder.findings.append(Finding(message, origin, "host-tail"))
        return Imported(
            ann=network,
            findings=tuple(builder.findings),
            n_nodes=len(self.nodes),
            n_folded=self.interpreter.n_folded,
            layer_values=self._layer_values(graph, network.graph),
            tail=host_tail,
        )

    def _layer_values(self, graph: Graph[AnnNode], settled: Graph[AnnNode]) -> LayerValues:
        """The file in onnxruntime, for the nodes that have a tensor in it."""
        found = tensors_of([*self.nodes, *self.unfolded], self.values, self._origin, graph)
        tensors = of_settled(found, graph, settled)
        feeds = [entry.feed() for entry in self.entries if entry.name in settled]
        shapes = {name: settled[name].shape for name in tensors}
        return LayerValues(self.builder.file, tuple(feeds), tensors, shapes)

    def tail(self) -> Cut | None:
        """The tail that can be left to the host so that the rest is supported; None if none can."""
        refused = all(isinstance(error, UnsupportedError) for error in self.errors)
        if self.cut is not None or not refused or not self.refused:
            return None
        return decision.automatic_cut(self.flow, self.known())

    def known(self) -> decision.Known:
        """What the import has found out."""
        return decision.Known(frozenset(self.refused), self.values, self.surveyor.work)

    def _survey(self) -> Survey:
        """How much of a refused model is fine."""
        survey = self.surveyor.survey
        if self.cut is not None or not self.refused:
            return survey
        names, work = decision.largest_part(self.flow, self.known())
        return replace(survey, cut_at=names, operations_before=work)

    def _host_tail(self, network: ANNGraph) -> HostTail | None:
        """The operators that are not in the network, for the host."""
        left = set(self.cut.tail) if self.cut else set()
        left |= self.flow.after(self.dropped, by_value=True)
        if not left and not self.constant_outputs:
            return None
        self._check_all(left)
        border = tail.Border(
            lambda name: self.interpreter.value(name, Origin(self.builder.file)),
            self.output_ids,
            tuple(entry.host_feed() for entry in self.entries if entry.name in network.graph),
            self.builder.batch.size,
        )
        cut = self.cut is not None
        return tail.host_tail(
            self.source.model, self.flow, left, border, self.builder.file, cut=cut
        )

    def _check_all(self, identities: set[int]) -> None:
        """Check operators that are not imported against ONNX's definitions, all at once."""
        errors = []
        for node in self.nodes:
            nested = any(attribute.type in SUBGRAPHS for attribute in node.attribute)
            if id(node) in identities and not node.domain and not nested:
                try:
                    self.interpreter.check(node, self._origin(node))
                except ModelError as error:
                    errors.append(error)
        raise_all(errors)

    def _visit(self, node: onnx.NodeProto) -> None:
        """Import a node, or record the reason why not and replace it by a value of its shape."""
        origin = self._origin(node)
        inputs: list[Value | None] = []
        try:
            inputs = [self.interpreter.value(name, origin) if name else None for name in node.input]
            if node.op_type in control.OPERATORS and not node.domain:
                self._unfold(node, origin)
                return
            n_findings = len(self.builder.findings)
            results = self.interpreter.results(node, inputs, origin)
            if any(f.code in DROPPED for f in self.builder.findings[n_findings:]):
                self.dropped.append(node)
            self.interpreter.check_unread(node, len(results), origin)
            self.surveyor.count(node, inputs, [v.shape for v in results if isinstance(v, Tensor)])
        except CompileError as error:
            errors = error.errors if isinstance(error, CompileErrors) else (error,)
            self.refused.add(id(node))
            self._refuse(node, inputs, errors)
            unsupported = all(isinstance(one, UnsupportedError) for one in errors)
            results = self._stand_ins(node, inputs if unsupported else [])
        except FOREIGN_ERRORS as error:
            message = f"cannot be interpreted: {first_line(error)}"
            self.errors.append(ModelError(message, origin=origin))
            results = [Unknown()] * len(node.output)
        self.values.update(zip(node.output, results, strict=False))

    def _unfold(self, node: onnx.NodeProto, origin: Origin) -> None:
        """Import control flow; it is refused if anything inside it is."""
        n_errors = len(self.errors)
        self.unfolding.run(node, origin)
        if len(self.errors) > n_errors:
            self.refused.add(id(node))
            for name in filter(None, node.output):
                self.values.setdefault(name, Unknown())

    def _enter(self, copy: Copy) -> bool:
        """Import a graph of control flow, and say whether nothing of it was refused.

        Raises:
            ModelError: one of its names is that of another value.
        """
        for node in copy.nodes:
            for name in filter(None, node.output):
                owner = self.surveyor.producers.get(name)
                if name in self.values or (owner and owner.op_type not in control.OPERATORS):
                    message = f"the value '{name}' is defined twice"
                    raise ModelError(message, origin=self._origin(node))
        self.interpreter.initializers.update(copy.initializers)
        self.interpreter.sparse.update(copy.sparse)
        self.unfolded.extend(copy.nodes)
        self.times_named.update(_names(copy.nodes))
        for node in copy.nodes:
            self.surveyor.modules[id(node)] = ""
            for name in reads_of(node):
                self.readers.setdefault(name, []).append(node)
            self.surveyor.producers.update(dict.fromkeys(node.output, node))
        n_errors = len(self.errors)
        for node in copy.nodes:
            self._visit(node)
        return len(self.errors) == n_errors

    def _refuse(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[Value | None],
        errors: Sequence[CompileError],
    ) -> None:
        """Record complaints about a node, with its position in the model's source."""
        known = len(inputs) == len(node.input) and not node.domain
        shapes = infer_shapes(node, inputs, self.builder.opset) if known else []
        self.surveyor.count(node, inputs, shapes, fine=False)
        for error in errors:
            error.module = self.surveyor.modules[id(node)]
            error.part_of = self.surveyor.part_of(node)
        self.errors.extend(errors)

    def _stand_ins(self, node: onnx.NodeProto, inputs: list[Value | None]) -> Sequence[Value]:
        """Replacement values for a refused node, so that later nodes are still checked."""
        known = len(inputs) == len(node.input) and not any(isinstance(v, Unknown) for v in inputs)
        if node.domain or not known:
            return [Unknown()] * len(node.output)
        shapes = infer_shapes(node, inputs, self.builder.opset)
        return [
            Tensor(NodeId(name), shape)
            if shape and shape[0] == self.builder.batch.size and not self.entries[0].whole
            else Unknown()
            for name, shape in zip(node.output, shapes, strict=True)
        ]

    def _mark_output(self, name: str) -> None:
        """Add an output of the network; refused nodes have been recorded before."""
        origin = Origin(self.builder.file, name)
        try:
            value = self.interpreter.value(name, origin)
        except CompileError as error:
            self.errors.append(error)
            return
        if isinstance(value, Tensor):
            if value.grid is not None:
                value = quantization.of_output(self.builder, name, value, origin)
            try:
                self.output_ids[name] = self.builder.add_output(name, value, origin)
            except MixesSamplesError as error:
                self.errors.append(error)
        elif not isinstance(value, Unknown):
            self.constant_outputs.append(name)
            message = f"the output '{name}' does not depend on the input: left to the host"
            self.builder.findings.append(Finding(message, origin, code="constant-output"))

    def _origin(self, node: onnx.NodeProto) -> Origin:
        """Location of a node in the file, by its name or that of its first output."""
        unique = node.name and self.times_named[node.name] == 1
        name = node.name if unique else next(filter(None, node.output), node.op_type)
        return Origin(self.builder.file, name, node.doc_string or node.op_type)


def _names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names of operators; what only checks the one before it has that one's."""
    return (node.name for node in nodes if node.op_type != whole.WITHIN)


def _domain(stated: str) -> str:
    """A domain by one of its names."""
    return "" if stated in ONNX_DOMAINS else stated
