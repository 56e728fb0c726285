"""Reading an ONNX file, with all checks that precede the import of its operators."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile import memory
from snn_compile.errors import CompileError, ModelError, Origin, UsageError
from snn_compile.files.documents import (
    DamagedError,
    TooLargeError,
    describe_error,
    first_line,
    read_bytes,
    too_large,
)
from snn_compile.memory import format_size
from snn_compile.passes import Finding
from snn_compile.plugins import Imported
from snn_compile.printable import printable

if TYPE_CHECKING:
    import onnx

    from snn_frontends.onnx.importer import ModelInput
    from snn_frontends.onnx.runtime import OnnxRuntime

OLDEST_OPSET = 7
MAX_NAME_LENGTH = 4096
"""Limit in characters: the results of a layer repeat its name a few dozen times."""
MAX_NODES = 5_000
"""Limit of the operators of a graph; each costs about 10 ms."""
DESCRIPTIONS = frozenset({"doc_string", "metadata_props", "quantization_annotation"})
MAX_INT32 = (1 << 31) - 1
"""Limit of a protobuf message, and therefore of a file, in bytes."""


class OnnxFrontend:
    """Reads ``.onnx`` files. The library is imported on the first read."""

    suffixes: tuple[str, ...] = (".onnx",)

    def read(self, path: Path) -> Imported:
        """Read a file.

        Raises:
            UsageError: the file does not exist.
            ModelError: the file is not a valid model.
            UnsupportedError: operators without a spiking form (``CompileErrors`` if several).
        """
        if not path.is_file():
            raise UsageError(
                f"there is no file '{path}'", code="no-such-file", hint="check the path"
            )
        try:
            return _read(path)
        except CompileError:
            raise
        except Exception as error:
            raise ModelError(
                f"the file contradicts itself: {first_line(error)}",
                origin=Origin(str(path)),
            ) from error

    def source_runtime(self, path: Path) -> OnnxRuntime | None:
        """The file in onnxruntime; None if that is not installed."""
        from snn_frontends.onnx.runtime import OnnxRuntime

        return OnnxRuntime.of(path)


def _read(path: Path) -> Imported:
    from snn_frontends.onnx.expansion import expand, integers_as_numbers
    from snn_frontends.onnx.importer import import_graph

    file = str(path)
    model, modules = _load(path, file)
    opset, stated, findings = _opset(model, file)
    modules = integers_as_numbers(model, modules)
    if not model.graph.node or not model.graph.output:
        lack = "outputs" if model.graph.node else "operators"
        raise ModelError(f"the model has no {lack}", code="empty-graph", origin=Origin(file))
    if (n := len(model.graph.node)) > MAX_NODES:
        raise ModelError(
            f"the model has {n:,} operators; the limit is {MAX_NODES:,}",
            code="too-large",
            origin=Origin(file),
            hint="simplify it (onnx-simplifier), or split it",
        )
    entry = _input(model.graph, file)
    modules, expanded = expand(model, file, opset, modules)
    return import_graph(model, file, opset, entry, stated, [*findings, *expanded], modules)


def _load(path: Path, file: str) -> tuple[onnx.ModelProto, list[str]]:
    """The file's contents, with external weights, and the module of each operator.

    Raises:
        ModelError: it is not ONNX, too large, or has weights in a forbidden place.
    """
    import onnx

    from snn_frontends.onnx import external, wire
    from snn_frontends.onnx.survey import module_of

    origin = Origin(file)
    content = _content(path)
    try:
        wire.check(content, onnx.ModelProto.DESCRIPTOR)
        model = onnx.ModelProto()
        model.ParseFromString(content)
    except TooLargeError as error:
        raise too_large(file, error, ModelError) from error
    except Exception as error:
        raise ModelError(
            "this is not an ONNX file, or it is damaged or truncated",
            code="unreadable-model",
            origin=origin,
            hint="export or download it again",
        ) from error
    if not model.HasField("graph"):
        raise ModelError(
            "this is not an ONNX file: it holds no graph", code="unreadable-model", origin=origin
        )
    external.load(model, path, len(content))
    modules = [module_of(node) for node in model.graph.node]  # before metadata are removed
    _make_printable(model)
    return model, modules


def _content(path: Path) -> bytes:
    """The bytes of the file.

    Raises:
        ModelError: they are unreadable, or too many.
    """
    try:
        if path.stat().st_size > MAX_INT32:
            raise ModelError(
                f"the file has {format_size(path.stat().st_size)}; the limit of ONNX is 2 GiB",
                code="too-large",
                origin=Origin(str(path)),
                hint="save its weights as external data",
            )
        return read_bytes(path, min(memory.budget(), MAX_INT32))
    except TooLargeError as error:
        raise too_large(path, error, ModelError) from error
    except (OSError, DamagedError) as error:
        raise ModelError(
            f"the file cannot be read: {describe_error(error)}",
            code="unreadable-model",
            origin=Origin(str(path)),
            hint="check the path and its permissions",
        ) from error


def _make_printable(message: Any) -> None:
    """Make every name in a model printable; remove descriptions.

    Two names that become equal are one value defined twice, which is refused.

    Raises:
        DamagedError: a name is too long.
    """
    for field, value in message.ListFields():
        if field.name in DESCRIPTIONS:
            message.ClearField(field.name)
        elif isinstance(value, str):
            setattr(message, field.name, _name(value))
        elif field.type == field.TYPE_STRING:
            value[:] = [_name(text) for text in value]
        elif field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                _make_printable(part)


def _name(text: str) -> str:
    if len(text) > MAX_NAME_LENGTH:
        raise DamagedError(f"a name of {len(text):,} characters, '{text[:40]}...'")
    return printable(text)


def _opset(model: onnx.ModelProto, file: str) -> tuple[int, int, list[Finding]]:
    """The operator set to use, that of the file, and findings about it.

    Raises:
        ModelError: it is too old, or not unique.
    """
    from onnx import defs

    from snn_frontends.onnx.operators import NEWEST_OPSET

    newest = defs.onnx_opset_version()
    versions = {e.version for e in model.opset_import if e.domain in ("", "ai.onnx")} or {1}
    if len(versions) > 1:
        raise ModelError(
            f"has {len(versions)} versions of the operator set: {sorted(versions)}",
            code="opset",
            origin=Origin(file),
            hint="export or convert it with one",
        )
    (stated,) = versions
    if stated < OLDEST_OPSET:
        raise ModelError(
            f"operator set {stated} is too old; {OLDEST_OPSET} is the oldest supported",
            code="opset",
            origin=Origin(file),
            hint="convert it: onnx.version_converter.convert_version(model, 13)",
        )
    opset = min(stated, newest)
    if stated > newest:
        message = f"operator set {stated} is newer than the installed onnx; read as {newest}"
        hint = "upgrade onnx"
    elif stated > NEWEST_OPSET:
        message = (
            f"operator set {stated} is newer than the newest tested one, {NEWEST_OPSET};"
            " operators that have changed since then are refused"
        )
        hint = f"export with operator set {NEWEST_OPSET} or an older one"
    else:
        return opset, stated, []
    finding = Finding(message, Origin(file), code="newer-opset", hint=hint, warning=True)
    return opset, stated, [finding]


def _input(graph: onnx.GraphProto, file: str) -> ModelInput:
    """The one input that is not an initializer.

    Raises:
        ModelError: it is missing or not unique, or its type or shape is unsupported.
    """
    from onnx import TensorProto

    initialized = {tensor.name for tensor in graph.initializer}
    initialized |= {sparse.values.name for sparse in graph.sparse_initializer}
    inputs = [entry for entry in graph.input if entry.name not in initialized]
    if len(inputs) != 1:
        names = ", ".join(f"'{entry.name}'" for entry in inputs)
        raise ModelError(
            f"the model has {len(inputs)} inputs: {names}" if inputs else "the model has no input",
            code="several-inputs" if inputs else "no-input",
            origin=Origin(file),
            hint="a network is compiled with exactly one input",
        )
    (entry,) = inputs
    origin, tensor = Origin(file, entry.name), entry.type.tensor_type
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
    if not entry.type.HasField("tensor_type") or tensor.elem_type not in floats:
        known = tensor.elem_type in TensorProto.DataType.values()
        kind = TensorProto.DataType.Name(tensor.elem_type) if known else "of an unknown type"
        raise ModelError(
            f"the input is {kind}; it must be a floating-point tensor",
            code="input-type",
            origin=origin,
            hint="export the network with a float input; raw integer data is supported all the "
            "same, with --mean-values and --scale-values",
        )
    return _shaped(entry.name, tensor, origin)


def _shaped(name: str, tensor: onnx.TypeProto.Tensor, origin: Origin) -> ModelInput:
    """The input with its shape in the file.

    Raises:
        ModelError: it has no shape, or an unsupported one.
    """
    from snn_frontends.onnx.importer import ModelInput
    from snn_frontends.onnx.values import Batch

    if not tensor.HasField("shape"):
        raise ModelError(
            "the input has no shape",
            code="dynamic-shape",
            origin=origin,
            hint="export the model with a fixed input shape",
        )
    vector = len(tensor.shape.dim) == 1 and tensor.shape.dim[0].dim_value > 0
    if len(tensor.shape.dim) < 2 and not vector:
        raise ModelError(
            f"the input has {len(tensor.shape.dim)} axes; it needs a batch axis and at least one "
            "more",
            code="no-batch-axis",
            origin=origin,
            hint="export the model with inputs of shape (batch, ...)",
        )
    sizes = [int(dim.dim_value) if dim.dim_value > 0 else 0 for dim in tensor.shape.dim]
    for axis, size in enumerate(sizes[1:], start=1):
        if not size:
            symbol = tensor.shape.dim[axis].dim_param
            raise ModelError(
                f"axis {axis} of the input"
                + (f" ('{symbol}')" if symbol else "")
                + " has no fixed "
                "size; only the batch (axis 0) may be symbolic",
                code="dynamic-shape",
                origin=origin,
                hint="export with a fixed size, or set it: python -m "
                "onnxruntime.tools.make_dynamic_shape_fixed "
                + (
                    f"--dim_param {shlex.quote(symbol)} --dim_value SIZE IN OUT"
                    if symbol
                    else "--help"
                ),
            )
    if vector:
        return ModelInput(name, (sizes[0],), Batch(1, symbolic=False), whole=True)
    batch = Batch(sizes[0] or 1, symbolic=not sizes[0])
    return ModelInput(name, (batch.size, *sizes[1:]), batch)
