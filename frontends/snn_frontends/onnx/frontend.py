"""Reading an ONNX file, with all checks that precede the import of its operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from snn_compile import memory
from snn_compile.errors import CompileError, ModelError, Origin, UsageError, raise_all
from snn_compile.files.documents import (
    DamagedError,
    TooLargeError,
    describe_error,
    first_line,
    read_bytes,
    too_large,
)
from snn_compile.files.presence import no_such_file
from snn_compile.ir.host_tail import HostTail
from snn_compile.memory import format_size
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins import Imported, ImportedIntegers
from snn_frontends.onnx.printable_names import make_printable

if TYPE_CHECKING:
    import onnx

    from snn_frontends.onnx.model_input import ModelInput
    from snn_frontends.onnx.runtime import HostModel, OnnxRuntime

OLDEST_OPSET = 7
MAX_NODES = 5_000
"""Limit of the operators of a graph; each costs about 10 ms."""
MAX_INT32 = (1 << 31) - 1
"""Limit of a protobuf message, and therefore of a file, in bytes."""


class OnnxFrontend:
    """Reads ``.onnx`` files. The library is imported on the first read."""

    suffixes: tuple[str, ...] = (".onnx",)

    def read(self, path: Path) -> Imported:
        """Read a file as it states itself; raises as ``read_with``."""
        return self.read_with(path, CompileOptions())

    def read_with(self, path: Path, options: CompileOptions) -> Imported:
        """Read a file with the shapes of the options, up to where they say.

        Raises:
            UsageError: the file does not exist, or has no such inputs or tensors.
            ModelError: the file is not a valid model.
            UnsupportedError: operators without a spiking form (``CompileErrors`` if several).
        """
        if not path.is_file():
            raise no_such_file(path)
        try:
            return _read(path, options)
        except CompileError:
            raise
        except Exception as error:
            raise ModelError(
                f"the file contradicts itself: {first_line(error)}",
                origin=Origin(str(path)),
            ) from error

    def read_integers(self, path: Path) -> ImportedIntegers | None:
        """The network of a file that this tool wrote; None for any other.

        Raises:
            ModelError: it is damaged, or was changed.
            UsageError: it exceeds the memory budget.
        """
        from snn_frontends.onnx import integers

        if not _is_ours(path):
            return None
        try:
            return integers.read(_parsed(path, str(path)), str(path))
        except CompileError:
            raise
        except Exception as error:
            raise ModelError(
                f"the file contradicts itself: {first_line(error)}", origin=Origin(str(path))
            ) from error

    def written(self, model: object, example_input: object, folder: Path) -> Path | None:
        """The file of an ``onnx.ModelProto``, or of a ``torch.nn.Module``; None of others."""
        from snn_frontends.onnx import in_memory

        return in_memory.written(model, example_input, folder)

    def files_beside(self, path: Path) -> list[Path]:
        """Those of external data."""
        from snn_frontends.onnx import external

        return external.files(_parsed(path, str(path)), path)

    def source_runtime(self, path: Path) -> OnnxRuntime | None:
        """The file in onnxruntime; None if that is not installed."""
        return self.source_runtime_with(path, CompileOptions(), ())

    def source_runtime_with(
        self, path: Path, options: CompileOptions, inputs: Sequence[str]
    ) -> OnnxRuntime | None:
        """The file in onnxruntime; None if the network does not end at the file's outputs."""
        from snn_frontends.onnx.runtime import OnnxRuntime

        if options.outputs or options.cut_at:
            return None
        return OnnxRuntime.of(path, inputs, options.input_shape)

    def tail_runtime(self, tail: HostTail) -> HostModel | None:
        """An untrusted tail in onnxruntime; None if that is not installed."""
        from snn_frontends.onnx.runtime import HostModel
        from snn_frontends.onnx.tail import checked

        return HostModel.of(checked(tail), bounded=True)

    def whole_runtime(self, path: Path, options: CompileOptions) -> HostModel | None:
        """The file in onnxruntime, for all its outputs; None if that is not installed."""
        from snn_frontends.onnx.cut import with_outputs
        from snn_frontends.onnx.runtime import HostModel

        if not options.outputs:
            return HostModel.of(str(path))
        model, _ = load(path, str(path))
        return HostModel.of(with_outputs(model, options.outputs).SerializeToString())


def _is_ours(path: Path) -> bool:
    from snn_frontends.onnx import integers

    return integers.says_so(path)


def _read(path: Path, options: CompileOptions) -> Imported:
    from snn_frontends.onnx.attempts import import_graph
    from snn_frontends.onnx.cut import Request
    from snn_frontends.onnx.expansion import expand
    from snn_frontends.onnx.integers import is_written_by_us
    from snn_frontends.onnx.shapes import set_shapes

    file = str(path)
    if _is_ours(path) and is_written_by_us(_parsed(path, file)):
        raise UsageError(
            "the file states a network in integers, which cannot be converted again",
            code="integer-network",
            origin=Origin(file),
            hint="compile it, or take the model that it was made of",
        )
    model, modules = load(path, file, in_place=True)
    opset, stated, findings = _opset(model, file)
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
    findings += set_shapes(model.graph, options.input_shape, file)
    entries, unused = _inputs(model.graph, file)
    modules, expanded = expand(model, file, opset, modules)
    findings = [*findings, *expanded, *unused]
    request = Request(options.outputs, options.cut_at)
    return import_graph(model, file, opset, entries, stated, findings, modules, request)


def load(path: Path, file: str, *, in_place: bool = False) -> tuple[onnx.ModelProto, list[str]]:
    """The file's contents, with external weights, and the module of each operator.

    Args:
        path: path of the file.
        file: the user's name of it.
        in_place: whether large weights stay where they are, as external data.

    Raises:
        ModelError: it is not ONNX, too large, or has weights in a forbidden place.
    """
    from snn_frontends.onnx import external
    from snn_frontends.onnx.inlining import inline
    from snn_frontends.onnx.older import modernize
    from snn_frontends.onnx.survey import module_of

    model = _parsed(path, file, in_place=in_place)
    external.load(model, path, path.stat().st_size, in_place=in_place)
    modules = [module_of(node) for node in model.graph.node]  # before metadata are removed
    make_printable(model)
    modules = modernize(model, modules, file)
    return model, inline(model, modules, file, MAX_NODES)


def _parsed(path: Path, file: str, *, in_place: bool = False) -> onnx.ModelProto:
    """The file's contents, with the places of external weights; in place, of all large ones.

    Raises:
        ModelError: it is not ONNX, or too large.
    """
    import onnx

    from snn_frontends.onnx import in_place as places
    from snn_frontends.onnx import wire

    origin = Origin(file)
    stays = in_place and places.MIN_SIZE <= path.stat().st_size <= MAX_INT32
    content = b"" if stays else _content(path)
    try:
        if stays:
            model = places.parsed(path)
        else:
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
    return model


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
            f"there is no operator set {stated}",
            code="opset",
            origin=Origin(file),
            hint="export it again",
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


def _inputs(graph: onnx.GraphProto, file: str) -> tuple[list[ModelInput], list[Finding]]:
    """The inputs that are no initializers, in order, and findings about unused ones.

    Raises:
        ModelError: there is none, or types or shapes are unsupported; all complaints at once.
    """
    from snn_frontends.onnx.model_input import unused_input, whole_input
    from snn_frontends.onnx.order import read_by
    from snn_frontends.onnx.values import Batch

    initialized = {tensor.name for tensor in graph.initializer}
    initialized |= {sparse.values.name for sparse in graph.sparse_initializer}
    inputs = [entry for entry in graph.input if entry.name not in initialized]
    if not inputs:
        raise ModelError(
            "the model has no input",
            code="no-input",
            origin=Origin(file),
            hint="export it with its input as an argument",
        )
    needed = read_by(list(graph.node), [output.name for output in graph.output])
    used = [entry for entry in inputs if entry.name in needed] or inputs
    found: list[ModelInput] = []
    errors: list[CompileError] = []
    for entry in used:
        try:
            found.append(_checked(entry, Origin(file, entry.name)))
        except CompileError as error:
            errors.append(error)
    raise_all(errors)
    findings = [unused_input(file, entry.name) for entry in inputs if entry not in used]
    sizes = {entry.batch.size for entry in found}
    if len(sizes) == 1:
        batch = Batch(sizes.pop(), symbolic=all(entry.batch.symbolic for entry in found))
        return [replace(entry, batch=batch) for entry in found], findings
    # Without a batch in common, what looks like one is an axis of the only sample.
    findings += [whole_input(file, entry) for entry in found if entry.batch.size > 1]
    one = Batch(1, symbolic=False)
    return [
        replace(entry, batch=one, whole=entry.whole or entry.batch.size > 1) for entry in found
    ], findings


def _checked(entry: onnx.ValueInfoProto, origin: Origin) -> ModelInput:
    """An input of a supported type and shape.

    Raises:
        ModelError: it has another one.
    """
    from onnx import TensorProto

    from snn_frontends.onnx.shapes import INTEGERS, model_input
    from snn_frontends.onnx.values import FLOATS

    tensor = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or tensor.elem_type not in (*FLOATS, *INTEGERS):
        known = tensor.elem_type in TensorProto.DataType.values()
        kind = TensorProto.DataType.Name(tensor.elem_type) if known else "of an unknown type"
        raise ModelError(
            f"the input is {kind}; it must be a tensor of floating-point numbers or integers",
            code="input-type",
            origin=origin,
            hint="export the network with a float input",
        )
    return model_input(entry.name, tensor, origin)
