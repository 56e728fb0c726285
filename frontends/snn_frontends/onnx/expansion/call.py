"""One node to be expanded, and the nodes that replace it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_frontends.onnx.attributes import Attributes

CONTRIBUTOR = "com.microsoft"
"""The domain of onnxruntime's own operators."""


class Expansion:
    """Collects the nodes that replace one.

    Args:
        node: the node.
        name: its name, or that of its first output.
        origin: the operator in the user's file.
        opset: version of the operator set of new nodes.
        taken: names of values in use; new ones are added.
    """

    def __init__(
        self, node: onnx.NodeProto, name: str, origin: Origin, opset: int, taken: set[str]
    ) -> None:
        self.name, self.origin, self.opset = name, origin, opset
        self.inputs, self.outputs = tuple(node.input), tuple(node.output)
        self.attributes = Attributes(node, origin)
        self.nodes: list[onnx.NodeProto] = []
        self._taken = taken

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def input(self, index: int) -> str:
        """The name of an input.

        Raises:
            ModelError: it is missing.
        """
        if not self.has(index):
            raise ModelError(f"input {index} is missing", origin=self.origin)
        return str(self.inputs[index])

    def optional(self, index: int) -> str:
        """The name of an input; empty if it is missing."""
        return self.inputs[index] if self.has(index) else ""

    def refusal(self, message: str, hint: str) -> UnsupportedError:
        """The error for an unsupported use of the operator."""
        return UnsupportedError(message, origin=self.origin, hint=hint)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        return self.attributes.get(name, default)

    def others(self, *read: str) -> dict[str, Any]:
        """All attributes except those that the rule has read itself."""
        return {name: self.attributes[name] for name in self.attributes if name not in read}

    def constant(
        self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32, to: str = ""
    ) -> str:
        """A constant."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
        return self.add("Constant", to=to, value=tensor)

    def add(
        self, op: str, *inputs: str, to: str = "", domain: str = "", main: bool = False, **more: Any
    ) -> str:
        """Add a node; the name of its value.

        Args:
            op: its type.
            inputs: its inputs; empty for an omitted one.
            to: the name of its value; a new one by default.
            domain: its domain.
            main: whether it carries the name of the node that is replaced.
            more: its attributes; those that are None are omitted.
        """
        to = to or self._fresh(op)
        node = helper.make_node(
            op,
            [*inputs],
            [to],
            name=self.name if main else to,
            domain=domain,
            doc_string=self.origin.op,
            **{key: value for key, value in more.items() if value is not None},
        )
        self.nodes.append(node)
        return to

    def follow(self, op: str, domain: str, **more: Any) -> None:
        """Put another node, of the same name, between the last one and the output that it makes."""
        last = self.nodes[-1]
        last.output[0] = self._fresh(op)
        self.add(op, last.output[0], to=self.outputs[0], domain=domain, main=True, **more)

    def dequantized(self, x: int, scale: int, zero: int | None, axis: int | None = None) -> str:
        """The real value of an input, given the numbers of its scale and zero point."""
        offset = "" if zero is None else self.optional(zero)
        return self.dequantize(self.input(x), self.input(scale), offset, axis)

    def dequantize(self, x: str, scale: str, zero: str = "", axis: int | None = None) -> str:
        """The real value that integers stand for, with a scale for each row along an axis."""
        given = [x, scale, zero] if zero else [x, scale]
        return self.add("DequantizeLinear", *given, domain=CONTRIBUTOR, axis=axis)

    def quantized(self, x: str, scale: int, zero: int, to: str = "") -> str:
        """A real value on the grid of two inputs."""
        given = [self.input(scale), *([self.inputs[zero]] if self.has(zero) else [])]
        return self.add("QuantizeLinear", x, *given, to=to, domain=CONTRIBUTOR)

    def quantize(self, x: str, scale: int, zero: int) -> None:
        """The only output: a real value on the grid of two inputs."""
        self.quantized(x, scale, zero, self.outputs[0])

    def _fresh(self, op: str) -> str:
        number, wanted = 1, f"{self.name}.{op}"
        while wanted in self._taken:
            number += 1
            wanted = f"{self.name}.{op}{number}"
        self._taken.add(wanted)
        return wanted


Rule = Callable[[Expansion], None]
"""Adds the nodes that replace one."""
