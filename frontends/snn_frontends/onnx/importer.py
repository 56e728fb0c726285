"""Import of an ONNX graph: constants are folded, the rest becomes the network.

Nothing is skipped silently. A node that cannot be imported is recorded and replaced by a value of
the shape that ONNX infers for it, so that one run finds all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import checker, defs

from snn_compile.errors import (
    CompileError,
    CompileErrors,
    ModelError,
    Origin,
    Survey,
    UnsupportedError,
    raise_all,
)
from snn_compile.files.documents import TooLargeError, first_line, too_large
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.host_tail import Feed as HostFeed
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding
from snn_compile.plugins import Imported
from snn_frontends.onnx import control, decision, layout, refusals, tail
from snn_frontends.onnx.attributes import Attributes
from snn_frontends.onnx.builder import Builder, MixesSamplesError
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.control import Copy
from snn_frontends.onnx.cut import Cut, Request, chosen_outputs, requested_cut
from snn_frontends.onnx.flow import Flow
from snn_frontends.onnx.folding import FOREIGN_ERRORS, RANDOM, Folding, infer_shapes
from snn_frontends.onnx.grids import settle
from snn_frontends.onnx.layer_values import Feed, LayerValues, of_settled, tensors_of
from snn_frontends.onnx.operators import CONTRIBUTED, OPERATORS, Handler, quantization
from snn_frontends.onnx.order import in_order, live, reads_of
from snn_frontends.onnx.survey import Surveyor
from snn_frontends.onnx.unfolding import Unfolding
from snn_frontends.onnx.values import Batch, Constant, Grid, Tensor, Unknown, Value

CONTRIBUTOR = "com.microsoft"
ONNX_DOMAINS = frozenset({"", "ai.onnx"})
STEPS_FOLLOW = frozenset(
    "Cast Expand Flatten Gather Identity Reshape Slice Squeeze Transpose Unsqueeze".split()
)
"""Operators on constants that move quantized weights, and their steps with them."""
DROPPED = frozenset({"argmax-dropped", "softmax-dropped"})
"""Findings about operators at the end that are left off."""
SUBGRAPHS = frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})


@dataclass(frozen=True)
class ModelInput:
    """An input of a model that is no initializer.

    Attributes:
        name: its name.
        shape: its shape in the file.
        batch: the axis of the samples.
        whole: whether it is a single sample, without such an axis.
        axis: position of that axis.
        elem_type: ONNX's number of its type.
        ends: smallest and largest value, if it takes whole numbers.
    """

    name: str
    shape: Shape
    batch: Batch
    whole: bool = False
    axis: int = 0
    elem_type: int = onnx.TensorProto.FLOAT
    ends: tuple[int, int] | None = None

    def feed(self) -> Feed:
        """What onnxruntime is given for a sample."""
        axis = None if self.whole else self.axis
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.elem_type)
        return Feed(self.name, self.shape, axis, self.batch.size, dtype)

    def host_feed(self) -> HostFeed:
        """The same for the host's part of the file."""
        feed = self.feed()
        return HostFeed(self.name, None, self.shape, feed.dtype.name, feed.axis)

    def value(self, builder: Builder, origin: Origin) -> Tensor:
        """The network's node for it."""
        sample = self.shape
        if not self.whole:
            sample = (*self.shape[: self.axis], *self.shape[self.axis + 1 :])
        shape, axis = (self.batch.size, *sample), None if self.whole else self.axis
        if self.ends is None:
            x = builder.add(ann.Input, self.name, (), shape, origin)
            return Tensor(x.node, self.shape, axis)
        step = np.ones(1, np.float32)
        x = builder.add(ann.Input, self.name, (), shape, origin, step=step, ends=self.ends)
        return Tensor(x.node, self.shape, axis, grid=Grid((1.0,), (0,), *self.ends))


def import_graph(
    model: onnx.ModelProto,
    file: str,
    opset: int,
    entries: Sequence[ModelInput],
    stated_opset: int,
    findings: Sequence[Finding],
    modules: Sequence[str],
    request: Request,
) -> Imported:
    """Import a model after the checks of its header and input.

    Args:
        model: the file's contents.
        file: the user's name of the file.
        opset: the operator set version to use.
        entries: the network's inputs, in order; all of one batch.
        stated_opset: the version in the file, which may be newer.
        findings: findings about the file so far.
        modules: source modules of its operators, by name; empty if unknown.
        request: where the network ends.

    Raises:
        CompileError: it is invalid, or no tail of it can be left to the host so that the rest is
            supported; all complaints at once.
    """
    nodes = list(model.graph.node)
    source = _Source(model, nodes, file, opset, stated_opset, modules, request)
    importer = source.importer(entries, findings)
    try:
        return importer.run()
    except CompileError:
        batch = entries[0].batch
        fixed = batch.size > 1 and not batch.symbolic
        if not fixed or not any(isinstance(e, MixesSamplesError) for e in importer.errors):
            return source.before_tail(importer, findings)
    one = Batch(1, symbolic=False)
    findings = [*findings, *(whole_input(file, entry) for entry in entries)]
    entries = [replace(entry, batch=one, whole=True) for entry in entries]
    importer = source.importer(entries, findings)
    try:
        return importer.run()
    except CompileError:
        return source.before_tail(importer, findings)


@dataclass(frozen=True)
class _Source:
    """A file to import."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    file: str
    opset: int
    stated_opset: int
    modules: Sequence[str]
    request: Request

    def importer(
        self, entries: Sequence[ModelInput], findings: Sequence[Finding], cut: Cut | None = None
    ) -> _Importer:
        """A new import."""
        builder = Builder(self.file, self.opset, entries[0].batch, findings=list(findings))
        return _Importer(self, builder, entries, cut)

    def before_tail(self, refused: _Importer, findings: Sequence[Finding]) -> Imported:
        """Import what stands before the tail of a refused network.

        Raises:
            CompileError: the errors of the refused import, if it has no such tail.
        """
        cut = refused.tail()
        if cut is None:
            raise_all(refused.errors)
        return self.importer(refused.entries, findings, cut).run()


def whole_input(file: str, entry: ModelInput) -> Finding:
    """The finding that the first axis of an input is none of samples."""
    size = entry.batch.size
    message = f"axis 0 (of size {size}) is not a batch: the whole input is one sample"
    return Finding(message, Origin(file, entry.name), code="whole-input")


def unused_input(file: str, name: str) -> Finding:
    """The finding that an input has been removed."""
    message = "removed: no output of the network depends on this input; data need not have it"
    return Finding(message, Origin(file, name), "unused-input")


class _Importer:
    """State of one import."""

    def __init__(
        self, source: _Source, builder: Builder, entries: Sequence[ModelInput], cut: Cut | None
    ) -> None:
        model = source.model
        self.source = source
        self.builder = builder
        self.entries = entries
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.sparse = {one.values.name: one for one in model.graph.sparse_initializer}
        self.functions = {(_domain(f.domain), f.name) for f in model.functions}
        given = {*(entry.name for entry in entries), *self.initializers, *self.sparse}
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
        self.times_named = Counter(node.name for node in self.nodes)
        self.values: dict[str, Value] = {}
        self.steps: dict[str, Constant] = {}
        self.output_ids: dict[str, NodeId] = {}
        self.of_pairs: dict[str, Constant] = {}
        self.errors: list[CompileError] = []
        self.unfolded: list[onnx.NodeProto] = []
        self.unfolding = Unfolding(self.values, self._enter, builder.opset)
        self.n_folded = 0
        self.folding = Folding(builder.opset)
        self.rules = checker.C.CheckerContext()
        self.rules.ir_version = onnx.IR_VERSION
        self.rules.opset_imports = {"": builder.opset}

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
            n_folded=self.n_folded,
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
        return decision.automatic_cut(self.flow, self._known())

    def _known(self) -> decision.Known:
        return decision.Known(frozenset(self.refused), self.values, self.surveyor.work)

    def _survey(self) -> Survey:
        """How much of a refused model is fine."""
        survey = self.surveyor.survey
        if self.cut is not None or not self.refused:
            return survey
        names, work = decision.largest_part(self.flow, self._known())
        return replace(survey, cut_at=names, operations_before=work)

    def _host_tail(self, network: ANNGraph) -> HostTail | None:
        """The operators that are not in the network, for the host."""
        left = set(self.cut.tail) if self.cut else set()
        left |= self.flow.after(self.dropped, by_value=True)
        if not left:
            return None
        self._check_all(left)
        border = tail.Border(
            lambda name: self._value(name, Origin(self.builder.file)),
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
                    self._check(node, self._origin(node))
                except ModelError as error:
                    errors.append(error)
        raise_all(errors)

    def _visit(self, node: onnx.NodeProto) -> None:
        """Import a node, or record the reason why not and replace it by a value of its shape."""
        origin = self._origin(node)
        inputs: list[Value | None] = []
        try:
            inputs = [self._value(name, origin) if name else None for name in node.input]
            if node.op_type in control.OPERATORS and not node.domain:
                self._unfold(node, origin)
                return
            n_findings = len(self.builder.findings)
            results = self._import(node, inputs, origin)
            if any(f.code in DROPPED for f in self.builder.findings[n_findings:]):
                self.dropped.append(node)
            self._check_unread(node, len(results), origin)
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

    def _enter(self, copy: Copy) -> None:
        """Import a graph of control flow.

        Raises:
            ModelError: one of its names is that of another value.
        """
        for node in copy.nodes:
            for name in filter(None, node.output):
                owner = self.surveyor.producers.get(name)
                if name in self.values or (owner and owner.op_type not in control.OPERATORS):
                    message = f"the value '{name}' is defined twice"
                    raise ModelError(message, origin=self._origin(node))
        self.initializers.update(copy.initializers)
        self.sparse.update(copy.sparse)
        self.unfolded.extend(copy.nodes)
        self.times_named.update(node.name for node in copy.nodes)
        for node in copy.nodes:
            self.surveyor.modules[id(node)] = ""
            for name in reads_of(node):
                self.readers.setdefault(name, []).append(node)
            self.surveyor.producers.update(dict.fromkeys(node.output, node))
        for node in copy.nodes:
            self._visit(node)

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

    def _import(
        self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin
    ) -> Sequence[Value]:
        """The values of a node's outputs."""
        function = (node.domain, node.op_type) in self.functions
        if node.op_type in quantization.OPERATORS and not function:
            if node.domain in ("", CONTRIBUTOR):
                return self._quantize(node, inputs, origin)
        if node.domain == CONTRIBUTOR and node.op_type in CONTRIBUTED and not function:
            return self._contributed(node, inputs, origin)
        if node.domain or function:  # a function may have the name of an operator
            raise refusals.custom(node.domain, origin, function=function)
        if any(attribute.type in SUBGRAPHS for attribute in node.attribute):
            raise refusals.unsupported(origin)
        if node.op_type in {"Shape", "Size"} and inputs and isinstance(inputs[0], Tensor):
            self._check(node, origin)
            self.n_folded += 1
            same_shape = np.broadcast_to(np.float32(0), inputs[0].shape)
            self._fold_pair(node, [_of_pair(inputs[0])], origin)
            return self.folding.evaluate(node, [same_shape], origin)
        constants = [value for value in inputs if value is None or isinstance(value, np.ndarray)]
        if len(constants) == len(inputs) and node.op_type not in RANDOM:
            self._check(node, origin)
            self.n_folded += 1
            if node.op_type in STEPS_FOLLOW and node.input and node.input[0] in self.steps:
                moved = [self.steps[node.input[0]], *constants[1:]]
                self.steps[node.output[0]] = self.folding.evaluate(node, moved, origin)[0]
            if any(name in self.of_pairs for name in node.input):
                pair = [self.of_pairs.get(n, v) for n, v in zip(node.input, constants, strict=True)]
                self._fold_pair(node, pair, origin)
            return self.folding.evaluate(node, constants, origin)
        unknown = [value for value in inputs if isinstance(value, Unknown)]
        if unknown and not any(isinstance(value, Tensor) for value in inputs):
            shape_only = node.op_type in {"Shape", "Size"}
            if shape_only or all(value.constant for value in unknown):
                return [Unknown(constant=True)] * len(node.output)
        operator = OPERATORS.get(node.op_type)
        if operator is None:
            raise refusals.unsupported(origin)
        self._check(node, origin)
        schema = defs.get_schema(node.op_type, self.builder.opset, "")
        if schema.since_version > operator.since:
            raise refusals.newer(schema.since_version, operator.since, origin)
        if unknown:
            return [Unknown()] * len(node.output)
        call = self._call(node, inputs, origin)
        n_before = len(self.builder.nodes)
        result = self._on_integers(operator.handler, call)
        raise_all(call.attributes.unread(schema, origin))
        given = [step for name in node.input if (step := self.steps.get(name)) is not None]
        if given:
            self.builder.state_steps(n_before, given)
        return [result] if isinstance(result, Tensor) else result

    def _on_integers(self, handler: Handler, call: Call) -> Tensor | Sequence[Tensor]:
        """The result of an operator, some of whose inputs may be integers of the file."""
        grids = {value.grid for value in call.inputs if isinstance(value, Tensor)}
        if grids <= {None}:
            return layout.run(handler, call)
        x = call.inputs[0]
        if call.op == "Clip" and isinstance(x, Tensor):
            return quantization.limited(call, x)
        inputs: list[Value | None] = list(call.inputs)
        moves = call.op in quantization.MOVES or call.op == "Concat"
        if moves and len(grids) == 1 and not (call.op == "Concat" and call.has_constants):
            if isinstance(x, Tensor):
                quantization.check_padding(call, x)
            inputs = [replace(v, grid=None) if isinstance(v, Tensor) else v for v in inputs]
            if call.op == "Pad":
                inputs[2:3] = [None] * len(inputs[2:3])
            result = layout.run(handler, replace(call, inputs=tuple(inputs)))
            (grid,) = grids
            if isinstance(result, Tensor):
                return replace(result, grid=grid)
            return [replace(one, grid=grid) for one in result]
        whole = any(grid is not None and grid.is_whole for grid in grids)
        if call.op not in (quantization.EXACT if whole else quantization.COMPUTE):
            raise refusals.on_integers(call.origin)
        inputs = [
            quantization.integers(call, v, f"integers{k or ''}") if isinstance(v, Tensor) else v
            for k, v in enumerate(inputs)
        ]
        return layout.run(handler, replace(call, inputs=tuple(inputs)))

    def _quantize(
        self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin
    ) -> Sequence[Value]:
        """A value on a grid, or the value that integers stand for."""
        if any(isinstance(value, Unknown) for value in inputs):
            return [Unknown()] * len(node.output)
        call = self._call(node, inputs, origin)
        if call.has(0) and not isinstance(inputs[0], Tensor):
            self.n_folded += 1
            value, steps = quantization.of_constants(call)
            if steps is not None:
                self.steps[node.output[0]] = steps
            return [value]
        if call.op == "DequantizeLinear":
            return [quantization.dequantize(call)]
        return [quantization.quantize(call)]

    def _fold_pair(
        self, node: onnx.NodeProto, inputs: Sequence[Constant | None], origin: Origin
    ) -> None:
        """Evaluate a constant that may depend on the batch's size for a batch of two."""
        if not self.builder.batch.symbolic:
            return
        try:
            results = self.folding.evaluate(node, inputs, origin)
        except CompileError:  # two samples do not fit; one sample is what counts
            return
        self.of_pairs.update(zip(node.output, results, strict=False))

    def _contributed(
        self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin
    ) -> Sequence[Value]:
        """The results of an operator without a definition in ONNX."""
        if any(isinstance(value, Unknown) for value in inputs):
            return [Unknown()] * len(node.output)
        call = self._call(node, inputs, origin)
        result = CONTRIBUTED[node.op_type](call)
        return [result] if isinstance(result, Tensor) else result

    def _call(self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin) -> Call:
        return Call(
            builder=self.builder,
            op=node.op_type,
            name=origin.node,
            origin=origin,
            inputs=tuple(inputs),
            names=tuple(node.input),
            attributes=Attributes(node, origin),
            n_outputs=len(node.output),
            only_feeds_outputs=lambda ops: (
                id(node) in self.live and self._only_feeds_outputs(node.output[0], ops)
            ),
            readers=self._reading(node.output[0]),
            of_pair={k: self.of_pairs[n] for k, n in enumerate(node.input) if n in self.of_pairs},
        )

    def _check(self, node: onnx.NodeProto, origin: Origin) -> None:
        """Check a node against ONNX's definition of its operator."""
        try:
            checker.check_node(node, self.rules)
        except checker.ValidationError as error:
            raise ModelError(first_line(error), origin=origin) from error

    def _check_unread(self, node: onnx.NodeProto, n_results: int, origin: Origin) -> None:
        """Refuse a node with more results in use than imported."""
        for name in node.output[n_results:]:
            if name and (name in self.readers or name in self.ends):
                raise UnsupportedError(
                    f"its further output '{name}' is used, which has no spiking form",
                    origin=origin,
                    hint="use its first output only",
                )

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

    def _value(self, name: str, origin: Origin) -> Value:
        """The value of a name; initializers are decoded on first use."""
        if name not in self.values:
            tensor, sparse = self.initializers.get(name), self.sparse.get(name)
            if tensor is None and sparse is None:
                raise ModelError(f"reads '{name}', which the file does not define", origin=origin)
            what = f"the tensor '{name}'"
            try:
                if tensor is not None:
                    self.values[name] = self.folding.decode(what, tensor)
                elif sparse is not None:
                    self.values[name] = self.folding.densify(what, sparse)
            except TooLargeError as error:
                raise too_large(origin, error, ModelError) from error
            except FOREIGN_ERRORS as error:
                raise ModelError(
                    f"the tensor '{name}' is damaged: {first_line(error)}", origin=origin
                ) from error
        return self.values[name]

    def _mark_output(self, name: str) -> None:
        """Add an output of the network; refused nodes have been recorded before."""
        origin = Origin(self.builder.file, name)
        try:
            value = self._value(name, origin)
        except CompileError as error:
            self.errors.append(error)
            return
        if isinstance(value, Tensor):
            if value.grid is not None:
                message = f"the output '{name}' has the real values of its integers"
                self.builder.findings.append(Finding(message, origin, code="real-output"))
            try:
                self.output_ids[name] = self.builder.add_output(name, value, origin)
            except MixesSamplesError as error:
                self.errors.append(error)
        elif not isinstance(value, Unknown):
            message = f"the output '{name}' does not depend on the input"
            hint = "remove it from the outputs of the model"
            self.errors.append(
                ModelError(message, code="constant-output", origin=origin, hint=hint)
            )

    def _origin(self, node: onnx.NodeProto) -> Origin:
        """Location of a node in the file, by its name or that of its first output."""
        unique = node.name and self.times_named[node.name] == 1
        name = node.name if unique else next(filter(None, node.output), node.op_type)
        return Origin(self.builder.file, name, node.doc_string or node.op_type)

    def _reading(self, name: str) -> frozenset[str]:
        """Types of the operators that read a value; an empty text for an output of the network."""
        types = {node.op_type for node in self.readers.get(name, [])}
        return frozenset(types | {""} if name in self.ends else types)

    def _only_feeds_outputs(self, name: str, ops: frozenset[str]) -> bool:
        """Whether a value reaches only outputs, through operators of the given types."""
        return all(
            node.op_type == "Shape"
            or (node.op_type in ops and self._only_feeds_outputs(node.output[0], ops))
            for node in self.readers.get(name, [])
        )


def _of_pair(x: Tensor) -> Constant:
    """A value of the shape that a tensor has for a batch of two."""
    shape = [n * 2 if k == x.axis else n for k, n in enumerate(x.shape)]
    return np.broadcast_to(np.float32(0), shape)


def _domain(stated: str) -> str:
    """A domain by one of its names."""
    return "" if stated in ONNX_DOMAINS else stated
