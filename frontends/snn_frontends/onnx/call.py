"""One ONNX node, in the form for the importer of its operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.graph import Shape
from snn_compile.numerics.functions import all_finite
from snn_frontends.onnx.attributes import Attributes
from snn_frontends.onnx.builder import Builder, MixesSamplesError
from snn_frontends.onnx.values import Constant, Tensor, Unknown, Value

FLOATS, INTEGERS, NUMBERS = "fV", "iu", "biufV"
"""Kinds of arrays; V stands for bfloat16 and the like."""


@dataclass(frozen=True)
class Call:
    """An operator with the values of its inputs.

    Attributes:
        builder: the network under construction.
        op: the operator's type.
        name: id of the operator's main node.
        origin: the operator in the user's file.
        inputs: values of the inputs; None for an omitted optional one.
        names: the inputs' names in the file.
        attributes: the attributes in the file; unread ones are refused afterwards.
        n_outputs: number of results in the file.
        only_feeds_outputs: whether the result reaches only outputs of the network, through
            operators of the given types alone.
        readers: types of the operators that read the result; an empty text for the caller of the
            network.
        of_pair: constant inputs that depend on the size of the batch, by index, for a batch of two.
    """

    builder: Builder
    op: str
    name: str
    origin: Origin
    inputs: tuple[Value | None, ...]
    names: tuple[str, ...]
    attributes: Attributes
    n_outputs: int
    only_feeds_outputs: Callable[[frozenset[str]], bool]
    readers: frozenset[str]
    of_pair: Mapping[int, Constant]

    @property
    def opset(self) -> int:
        """The version of the operator set."""
        return self.builder.opset

    @property
    def batch(self) -> int:
        """The length of axis 0."""
        return self.builder.batch.size

    # Complaints, returned for the caller to raise.

    def refusal(self, message: str, hint: str = "") -> UnsupportedError:
        """The error for an unsupported use of the operator."""
        return UnsupportedError(message, origin=self.origin, hint=hint)

    def mixing(self, x: Tensor) -> MixesSamplesError:
        """The error for an operator that works along the batch axis."""
        return MixesSamplesError(
            f"works along axis {x.axis}, which is the batch",
            origin=self.origin,
            hint=f"samples must be independent; keep axis {x.axis} unchanged",
        )

    def differing(self) -> MixesSamplesError:
        """The error for a constant with another value for each sample."""
        return MixesSamplesError(
            "the constant differs between the samples of a batch", origin=self.origin
        )

    def invalid(self, message: str, code: str = "", hint: str = "") -> ModelError:
        """The error for a use of the operator that ONNX does not allow."""
        return ModelError(message, code=code, origin=self.origin, hint=hint)

    # Inputs and attributes.

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    @property
    def has_constants(self) -> bool:
        """Whether any input is a constant."""
        return any(isinstance(value, np.ndarray) for value in self.inputs)

    def tensor(self, index: int = 0) -> Tensor:
        """An input that depends on the network's input, with the batch as axis 0."""
        value = self.value(index)
        if not value.plain:
            raise self.mixing(value)
        return value

    def value(self, index: int = 0) -> Tensor:
        """An input that depends on the network's input, wherever the batch is."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, Tensor):
            raise self.refusal(
                f"input {index} is a constant where a value computed from the network's input "
                "is needed"
            )
        return value

    def constant(self, index: int, kinds: str = NUMBERS) -> Constant:
        """An input that must be a constant of some kinds of numbers."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.invalid(f"input {index} is missing")
        if isinstance(value, Tensor | Unknown):
            raise self.refusal(
                f"input {index} ('{self.names[index]}') depends on the network's input; "
                "it must be a constant",
                "parameters, shapes and axes must be fixed when the model is exported",
            )
        if value.dtype.kind not in kinds:
            raise self.invalid(f"input {index} ('{self.names[index]}') is of type {value.dtype}")
        return value

    def parameter(self, index: int) -> Float:
        """A constant input as finite floating-point numbers (float64 if stored so, else float32).

        Raises:
            ModelError: some of its values are NaN or infinite, or it has others.
        """
        value = self.constant(index, FLOATS)
        if not all_finite(real := as_float(value)):
            count = int(np.count_nonzero(~np.isfinite(real)))
            raise self.invalid(
                f"'{self.names[index]}' has {count} values that are NaN or infinite",
                "not-finite",
                "the training diverged or the export failed; check the weights",
            )
        return real

    def ignore(self, *attributes: str) -> None:
        """Mark attributes as irrelevant, whatever their values."""
        for name in attributes:
            self.attributes.get(name)

    def integers(self, attribute: str, index: int) -> tuple[int, ...] | None:
        """Integers that are an attribute in older operator sets and an input in newer ones."""
        if attribute in self.attributes:
            return tuple(int(i) for i in np.atleast_1d(self.attributes[attribute]))
        if self.has(index):
            return tuple(int(i) for i in np.atleast_1d(self.constant(index, INTEGERS)))
        return None

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
            ModelError: the axis does not exist.
        """
        if not -rank <= axis < rank:
            raise self.invalid(f"axis {axis} does not exist in a value of {rank} axes")
        return axis % rank

    def per_sample(self, value: Float, shape: Shape) -> Float:
        """A constant operand without the batch axis, with as many axes as the other operand.

        Raises:
            UnsupportedError: it differs between samples, or it would enlarge the other operand.
        """
        try:
            enlarges = np.broadcast_shapes(value.shape, shape) != shape
        except ValueError:
            raise self.invalid(f"shapes {list(value.shape)} and {list(shape)} do not fit") from None
        if enlarges:
            raise self.refusal(
                f"the constant of shape {list(value.shape)} enlarges the value of shape "
                f"{list(shape)}",
                "repeat the value explicitly, or use a constant of its shape",
            )
        value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
        if (value != value[:1]).any():
            raise self.differing()
        sample: Float = value[0, ...]
        return np.atleast_1d(sample)  # a number is a vector of one

    # Results.

    def emit(
        self,
        kind: type[AnnNode],
        *inputs: Tensor,
        shape: Sequence[int] | None = None,
        suffix: str = "",
        **fields: Any,
    ) -> Tensor:
        """Add a node to the network.

        Args:
            kind: the node's class.
            inputs: its inputs.
            shape: shape of its value, with the batch axis; by default that of the first input.
            suffix: suffix of its name, if one operator becomes several nodes; empty for the main
                one.
            fields: the parameters of its class.
        """
        name = f"{self.name}.{suffix}" if suffix else self.name
        full = inputs[0].shape if shape is None else tuple(int(n) for n in shape)
        return self.builder.add(kind, name, inputs, full, self.origin, **fields)


def as_float(value: Constant) -> Float:
    """Numbers as float64 if stored so, else as float32."""
    return value.astype(np.float64 if value.dtype == np.float64 else np.float32, copy=False)
