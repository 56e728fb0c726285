"""Operator sets 1 to 6, brought to the form of set 7.

Until then, operators had attributes for what arrays now say by their shape: which axis the second
operand begins at, what shape is wanted, whether one trains or tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all

OLDEST = 7
"""The oldest operator set that the importer reads."""
BINARY = frozenset("Add And Div Equal Greater Less Mul Or Pow Sub Xor".split())
DROPPED = frozenset({"consumed_inputs", "output_sequence"})
"""Attributes without a meaning for the result."""
EVALUATION = "export in evaluation mode (model.eval())"
SELU = {"alpha": 1.6732, "gamma": 1.0507}
"""Defaults of the first definition."""


def modernize(model: onnx.ModelProto, modules: Sequence[str], file: str) -> list[str]:
    """Rewrite the operators of an old file.

    Args:
        model: the file's contents.
        modules: module of the model's source of each node.
        file: the user's name of the file.

    Returns:
        The modules of the new nodes.

    Raises:
        CompileError: what has no newer form; all complaints at once.
    """
    stated = [e for e in model.opset_import if e.domain in ("", "ai.onnx")]
    version = max((e.version for e in stated), default=1)
    if len(stated) > 1 or not 1 <= version < OLDEST:
        return list(modules)
    past = _Past(model.graph, file)
    nodes, sources, errors = list[onnx.NodeProto](), list[str](), list[CompileError]()
    for node, module in zip(model.graph.node, modules, strict=True):
        try:
            made = past.rewritten(node) if node.domain in ("", "ai.onnx") else [node]
        except CompileError as error:
            errors.append(error)
            continue
        nodes += made
        sources += [module] * len(made)
    raise_all(errors)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for entry in stated:
        model.opset_import.remove(entry)
    model.opset_import.append(helper.make_opsetid("", OLDEST))
    return sources


class _Past:
    """The operators of an old graph."""

    def __init__(self, graph: onnx.GraphProto, file: str) -> None:
        self.graph = graph
        self.file = file
        self.ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                sizes = [len(a.t.dims) for a in node.attribute if a.name == "value"]
                self.ranks.update((node.output[0], n) for n in sizes)
        self.rules: dict[str, Callable[[onnx.NodeProto], list[onnx.NodeProto]]] = {
            **dict.fromkeys(BINARY, self._binary),
            "BatchNormalization": self._tested,
            "Cast": self._cast,
            "Concat": self._concat,
            "Dropout": self._tested,
            "Gemm": self._gemm,
            "ImageScaler": self._image_scaler,
            "PRelu": self._prelu,
            "Pad": self._pad,
            "Reshape": self._reshape,
            "Selu": self._selu,
            "Upsample": self._upsample,
        }

    def rewritten(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """A node in the form of set 7, behind those that it needs."""
        for name in DROPPED:
            _take(node, name)
        rule = self.rules.get(node.op_type)
        return [node] if rule is None else rule(node)

    def _origin(self, node: onnx.NodeProto) -> Origin:
        name = node.name or next(filter(None, node.output), node.op_type)
        return Origin(self.file, name, node.op_type)

    def _constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _binary(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The second operand begins at an axis of the first."""
        _take(node, "broadcast")
        axis = _take(node, "axis")
        return [node] if axis is None else self._aligned(node, int(axis))

    def _aligned(self, node: onnx.NodeProto, axis: int) -> list[onnx.NodeProto]:
        """The second operand with as many axes behind it as it lacks."""
        rank = self.ranks.get(node.input[1]) if len(node.input) == 2 else None
        if rank is not None and axis == -rank:
            return [node]
        if rank is None or axis < 0:
            raise UnsupportedError(
                f"has a second operand of unknown rank that begins at axis {axis}",
                origin=self._origin(node),
                hint="convert it: onnx.version_converter.convert_version(model, 13)",
            )
        first, second = node.input
        at, made = f"{node.output[0]}:", list[onnx.NodeProto]()

        def step(op: str, inputs: Sequence[str], name: str, **attributes: list[int]) -> str:
            one = helper.make_node(op, list(inputs), [at + name])
            one.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
            made.append(one)
            return at + name

        shape = step("Shape", [first], "shape")
        rest = step("Slice", [shape], "rest", axes=[0], starts=[axis + rank], ends=[1 << 31])
        ones = step("Div", [rest, rest], "ones")
        own = step("Shape", [second], "own")
        joined = helper.make_node("Concat", [own, ones], [at + "target"], axis=0)
        made.append(joined)
        node.input[1] = step("Reshape", [second, at + "target"], "aligned")
        return [*made, node]

    def _prelu(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """A slope for each channel, which is axis 1."""
        if len(node.input) == 2 and self.ranks.get(node.input[1]) == 1:
            return self._aligned(node, 1)
        return [node]

    def _tested(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Evaluation, which one result alone says of a normalization, too."""
        used = [name for name in node.output if name]
        alone = node.op_type == "BatchNormalization" and len(used) == 1
        if not (_take(node, "is_test") or alone):
            message = "is in training mode (is_test=0)"
            raise UnsupportedError(message, origin=self._origin(node), hint=EVALUATION)
        return [node]

    def _gemm(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        _take(node, "broadcast")
        return [node]

    def _reshape(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if (shape := _take(node, "shape")) is not None:
            sizes = np.array(list(shape), np.int64)
            node.input.append(self._constant(f"{node.output[0]}:to", sizes))
        return [node]

    def _concat(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if not any(attribute.name == "axis" for attribute in node.attribute):
            node.attribute.append(helper.make_attribute("axis", 1))
        return [node]

    def _cast(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Types had names."""
        kind = _take(node, "to")
        if isinstance(kind, bytes):
            name = kind.decode("utf-8", "replace").upper()
            if name not in onnx.TensorProto.DataType.keys():
                message = f"converts to '{name}', which is no type"
                raise ModelError(message, origin=self._origin(node))
            kind = onnx.TensorProto.DataType.Value(name)
        if kind is not None:
            node.attribute.append(helper.make_attribute("to", int(kind)))
        return [node]

    def _pad(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if (pads := _take(node, "paddings")) is not None:
            node.attribute.append(helper.make_attribute("pads", list(pads)))
        return [node]

    def _selu(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        stated = {attribute.name for attribute in node.attribute}
        for name, value in SELU.items():
            if name not in stated:
                node.attribute.append(helper.make_attribute(name, value))
        return [node]

    def _upsample(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        height, width = _take(node, "height_scale"), _take(node, "width_scale")
        if height is not None and width is not None:
            scales = [1.0, 1.0, float(height), float(width)]
            node.attribute.append(helper.make_attribute("scales", scales))
        return [node]

    def _image_scaler(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """``scale * x + bias`` for each channel."""
        scale, bias = _take(node, "scale"), _take(node, "bias")
        factor = np.array([1.0 if scale is None else scale], np.float32)
        shift = np.array(list(bias if bias is not None else [0.0]), np.float32)[:, None, None]
        between, result = f"{node.output[0]}:scaled", node.output[0]
        inputs = [node.input[0], self._constant(f"{result}:scale", factor)]
        more = [between, self._constant(f"{result}:bias", shift)]
        return [
            helper.make_node("Mul", inputs, [between], node.name),
            helper.make_node("Add", more, [result]),
        ]


def _take(node: onnx.NodeProto, name: str) -> Any:
    """The value of an attribute, which is removed; None without it."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            node.attribute.remove(attribute)
            return value
    return None
