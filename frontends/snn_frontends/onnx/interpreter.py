"""What each operator makes of its inputs: constants are folded, the rest becomes the network."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, defs

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_compile.files.documents import TooLargeError, first_line, too_large
from snn_frontends.onnx import layout, refusals
from snn_frontends.onnx.attributes import Attributes
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.expansion.call import CONTRIBUTOR
from snn_frontends.onnx.folding import FOREIGN_ERRORS, RANDOM, Folding
from snn_frontends.onnx.operators import CONTRIBUTED, OPERATORS, Handler, quantization, whole
from snn_frontends.onnx.values import SUBGRAPHS, Constant, Tensor, Unknown, Value

STEPS_FOLLOW = frozenset(
    "Cast Expand Flatten Gather Identity Reshape Slice Squeeze Transpose Unsqueeze".split()
)
"""Operators on constants that move quantized weights, and their steps with them."""


class Interpreter:
    """The values of a file's names, and the operators that compute them.

    Args:
        graph: the file's graph.
        builder: receives the nodes of the network.
        live: identities of the operators that outputs depend on.
        readers: the operators that read each name.
        ends: names of the outputs of the network.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        builder: Builder,
        live: Set[int],
        readers: dict[str, list[onnx.NodeProto]],
        ends: Sequence[str],
    ) -> None:
        self.builder = builder
        self.live = live
        self.readers = readers
        self.ends = ends
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.sparse = {one.values.name: one for one in graph.sparse_initializer}
        self.values: dict[str, Value] = {}
        self.n_folded = 0
        self._steps: dict[str, Constant] = {}
        self._of_pairs: dict[str, Constant] = {}
        self._folding = Folding(builder.opset, Path(builder.file))
        self._rules = checker.C.CheckerContext()
        self._rules.ir_version = onnx.IR_VERSION
        self._rules.opset_imports = {"": builder.opset}

    def results(
        self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin
    ) -> Sequence[Value]:
        """The values of a node's outputs."""
        if node.op_type in quantization.OPERATORS and node.domain in ("", CONTRIBUTOR):
            return self._quantize(node, inputs, origin)
        if node.domain == CONTRIBUTOR and node.op_type in {*CONTRIBUTED, whole.WITHIN}:
            return self._contributed(node, inputs, origin)
        if node.domain:
            raise refusals.custom(node.domain, origin)
        if any(attribute.type in SUBGRAPHS for attribute in node.attribute):
            raise refusals.unsupported(origin)
        if node.op_type in {"Shape", "Size"} and inputs and isinstance(inputs[0], Tensor):
            self.check(node, origin)
            self.n_folded += 1
            same_shape = np.broadcast_to(np.float32(0), inputs[0].shape)
            self._fold_pair(node, [_of_pair(inputs[0])], origin)
            return self._folding.evaluate(node, [same_shape], origin)
        constants = [value for value in inputs if value is None or isinstance(value, np.ndarray)]
        if len(constants) == len(inputs) and node.op_type not in RANDOM:
            self.check(node, origin)
            self.n_folded += 1
            if node.op_type in STEPS_FOLLOW and node.input and node.input[0] in self._steps:
                moved = [self._steps[node.input[0]], *constants[1:]]
                self._steps[node.output[0]] = self._folding.evaluate(node, moved, origin)[0]
            if any(name in self._of_pairs for name in node.input):
                pair = [
                    self._of_pairs.get(n, v) for n, v in zip(node.input, constants, strict=True)
                ]
                self._fold_pair(node, pair, origin)
            return self._folding.evaluate(node, constants, origin)
        unknown = [value for value in inputs if isinstance(value, Unknown)]
        if unknown and not any(isinstance(value, Tensor) for value in inputs):
            shape_only = node.op_type in {"Shape", "Size"}
            if shape_only or all(value.constant for value in unknown):
                return [Unknown(constant=True)] * len(node.output)
        operator = OPERATORS.get(node.op_type)
        if operator is None:
            raise refusals.unsupported(origin)
        self.check(node, origin)
        schema = defs.get_schema(node.op_type, self.builder.opset, "")
        if schema.since_version > operator.since:
            raise refusals.newer(schema.since_version, operator.since, origin)
        if unknown:
            return [Unknown()] * len(node.output)
        call = self._call(node, inputs, origin)
        n_before = len(self.builder.nodes)
        result = self._on_integers(operator.handler, call)
        raise_all(call.attributes.unread(schema, origin))
        given = [step for name in node.input if (step := self._steps.get(name)) is not None]
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
        if call.op == "Cast" and isinstance(x, Tensor) and quantization.stays_integer(call, x):
            return x
        inputs: list[Value | None] = list(call.inputs)
        moves = call.op in quantization.MOVES or call.op == "Concat"
        if moves and len(grids) == 1 and not (call.op == "Concat" and call.has_constants):
            quantization.check_channels(call, grids)
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
        if call.op not in quantization.COMPUTE:
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
            found, steps = quantization.of_constants(call)
            value = np.asarray(found)  # numpy makes a number of a tensor without axes
            if steps is not None:
                self._steps[node.output[0]] = steps
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
            results = self._folding.evaluate(node, inputs, origin)
        except CompileError:  # two samples do not fit; one sample is what counts
            return
        self._of_pairs.update(zip(node.output, results, strict=False))

    def _contributed(
        self, node: onnx.NodeProto, inputs: list[Value | None], origin: Origin
    ) -> Sequence[Value]:
        """The results of an operator without a definition in ONNX."""
        if any(isinstance(value, Unknown) for value in inputs):
            return [Unknown()] * len(node.output)
        call = self._call(node, inputs, origin)
        if node.op_type == whole.WITHIN:
            return [whole.within(call)]
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
            of_pair={k: self._of_pairs[n] for k, n in enumerate(node.input) if n in self._of_pairs},
        )

    def check(self, node: onnx.NodeProto, origin: Origin) -> None:
        """Check a node against ONNX's definition of its operator."""
        try:
            checker.check_node(node, self._rules)
        except checker.ValidationError as error:
            raise ModelError(first_line(error), origin=origin) from error

    def check_unread(self, node: onnx.NodeProto, n_results: int, origin: Origin) -> None:
        """Refuse a node with more results in use than imported."""
        for name in node.output[n_results:]:
            if name and (name in self.readers or name in self.ends):
                raise UnsupportedError(
                    f"its further output '{name}' is used, which has no spiking form",
                    origin=origin,
                    hint="use its first output only",
                )

    def value(self, name: str, origin: Origin) -> Value:
        """The value of a name; initializers are decoded on first use."""
        if name not in self.values:
            tensor, sparse = self.initializers.get(name), self.sparse.get(name)
            if tensor is None and sparse is None:
                raise ModelError(f"reads '{name}', which the file does not define", origin=origin)
            what = f"the tensor '{name}'"
            try:
                if tensor is not None:
                    self.values[name] = self._folding.decode(what, tensor)
                elif sparse is not None:
                    self.values[name] = self._folding.densify(what, sparse)
            except TooLargeError as error:
                raise too_large(origin, error, ModelError) from error
            except FOREIGN_ERRORS as error:
                raise ModelError(
                    f"the tensor '{name}' is damaged: {first_line(error)}", origin=origin
                ) from error
        return self.values[name]

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
