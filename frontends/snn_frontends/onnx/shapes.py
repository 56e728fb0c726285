"""The shape of a model's input: as the file or the user states it, and which axis is the batch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from snn_compile.errors import CompileError, ModelError, Origin, UsageError, raise_all
from snn_compile.options.shapes import Sizes, name_and_sizes
from snn_compile.passes import Finding
from snn_compile.printable import printable
from snn_frontends.onnx.model_input import ModelInput
from snn_frontends.onnx.values import Batch

WIDE = (-(1 << 31), (1 << 31) - 1)
INTEGERS: dict[int, tuple[int, int]] = {
    TensorProto.BOOL: (0, 1),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, (1 << 16) - 1),
    TensorProto.INT16: (-(1 << 15), (1 << 15) - 1),
    TensorProto.UINT32: WIDE,
    TensorProto.INT32: WIDE,
    TensorProto.UINT64: WIDE,
    TensorProto.INT64: WIDE,
}
"""Types of inputs of whole numbers, with the range that the network takes."""
BATCHES = frozenset({"b", "batch", "batchsize", "batches", "bs", "n", "nbatch"})
"""Names of a batch axis that is not the first, without their underscores."""


def set_shapes(graph: onnx.GraphProto, given: Sequence[str], file: str) -> list[Finding]:
    """Give inputs the shapes that the user states, and find what contradicts the file.

    Raises:
        UsageError: there is no such input, or its rank is another one (``CompileErrors`` if
            several).
    """
    initialized = {tensor.name for tensor in graph.initializer}
    initialized |= {sparse.values.name for sparse in graph.sparse_initializer}
    entries = {entry.name: entry for entry in graph.input if entry.name not in initialized}
    errors: list[CompileError] = []
    findings: list[Finding] = []
    for name, sizes in map(name_and_sizes, given):
        try:
            entry = _entry(entries, name, file)
            findings += _set_shape(entry, sizes, Origin(file, entry.name))
        except UsageError as error:
            errors.append(error)
    raise_all(errors)
    return findings


def _entry(entries: dict[str, onnx.ValueInfoProto], name: str, file: str) -> onnx.ValueInfoProto:
    """The input of a name, or the only one."""
    if not name and len(entries) == 1:
        return next(iter(entries.values()))
    if name := printable(name):
        if name in entries:
            return entries[name]
        message = f"input-shape names '{name}', which is no input of the model"
    else:
        message = "input-shape names no input, and the model does not have exactly one"
    raise UsageError(message, code="unknown-input", origin=Origin(file), hint=_known(name, entries))


def _known(name: str, entries: Sequence[str] | dict[str, onnx.ValueInfoProto]) -> str:
    from difflib import get_close_matches

    if close := get_close_matches(name, list(entries), n=1):
        return f"did you mean '{close[0]}'?"
    return "its inputs: " + ", ".join(f"'{one}'" for one in list(entries)[:16])


def _set_shape(entry: onnx.ValueInfoProto, sizes: Sizes, origin: Origin) -> list[Finding]:
    tensor = entry.type.tensor_type
    stated = [dim.dim_value for dim in tensor.shape.dim]
    if tensor.HasField("shape") and len(stated) != len(sizes):
        raise UsageError(
            f"input-shape has {len(sizes)} axes, and the input has {len(stated)}",
            code="bad-option",
            origin=origin,
            hint=f"give a size for each axis: {_typed(entry.name, tensor)}",
        )
    words = [dim.dim_param for dim in tensor.shape.dim] or [""] * len(sizes)
    tensor.shape.ClearField("dim")
    tensor.shape.SetInParent()
    for size, word in zip(sizes, words, strict=True):
        dim = tensor.shape.dim.add()
        if size is None:
            dim.dim_param = word or "N"
        else:
            dim.dim_value = size
    other = [k for k, n in enumerate(stated) if k and n > 0 and n != sizes[k]]
    if not other:
        return []
    listed = ", ".join(str(n) if n > 0 else "?" for n in stated)
    message = f"read with another input shape than the file's, which is [{listed}]"
    return [Finding(message, origin, code="input-shape", warning=True)]


def model_input(name: str, tensor: onnx.TypeProto.Tensor, origin: Origin) -> ModelInput:
    """The input with its shape in the file.

    The first axis is the batch. Of an input whose first axis has a fixed size, another one is it
    if it alone has none, and the name of a batch. A vector of fixed size is one sample, and so is a
    single number.

    Raises:
        ModelError: it has no shape, or axes of unknown size besides the batch.
    """
    if not tensor.HasField("shape"):
        raise ModelError(
            "the input has no shape",
            code="dynamic-shape",
            origin=origin,
            hint=f"state it, with a size for each axis: --input-shape {shlex.quote(name)}=1,...",
        )
    sizes = [max(int(dim.dim_value), 0) for dim in tensor.shape.dim]
    words = [str(dim.dim_param) for dim in tensor.shape.dim]
    if len(sizes) < 2 and all(sizes):
        one = Batch(1, symbolic=False)
        kind = tensor.elem_type
        ends = INTEGERS.get(kind)
        return ModelInput(name, tuple(sizes), one, whole=True, elem_type=kind, ends=ends)
    axis = _batch_axis(sizes, words)
    unknown = [k for k, size in enumerate(sizes) if not size and k != axis]
    if unknown or len(sizes) < 2:
        unknown = unknown or [0]
        named = ", ".join(f"{k} ('{words[k]}')" if words[k] else str(k) for k in unknown)
        plural = len(unknown) > 1
        raise ModelError(
            f"{'axes' if plural else 'axis'} {named} of the input"
            f" {'have' if plural else 'has'} no fixed size; only the batch may be open",
            code="dynamic-shape",
            origin=origin,
            hint=f"state the shape, with numbers for words: {_typed(name, tensor)}",
        )
    batch = Batch(sizes[axis] or 1, symbolic=not sizes[axis])
    sizes[axis] = batch.size
    kind = tensor.elem_type
    ends = INTEGERS.get(kind)
    return ModelInput(name, tuple(sizes), batch, axis=axis, elem_type=kind, ends=ends)


def _batch_axis(sizes: Sequence[int], words: Sequence[str]) -> int:
    unknown = [k for k, size in enumerate(sizes) if not size]
    if len(unknown) == 1 and words[unknown[0]].lower().replace("_", "") in BATCHES:
        return unknown[0]
    return 0


def _typed(name: str, tensor: onnx.TypeProto.Tensor) -> str:
    """The option for an input, to be typed; words stand for sizes that the file leaves open."""
    sizes = [int(dim.dim_value) for dim in tensor.shape.dim]
    words = ["".join(c for c in dim.dim_param if c.isalnum()).upper() for dim in tensor.shape.dim]
    parts = [
        str(n) if n > 0 else "1" if k == 0 and len(sizes) > 1 else word or f"SIZE{k}"
        for k, (n, word) in enumerate(zip(sizes, words, strict=True))
    ]
    return f"--input-shape {shlex.quote(name)}={','.join(parts)}"
