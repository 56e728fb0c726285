"""Execution of the user's file by onnxruntime, if installed.

It is optional: the compiler has its own evaluator. But it is faster for large networks, and its
result is independent of our import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from snn_compile import memory
from snn_compile.errors import ModelError, Origin, UsageError
from snn_compile.files.documents import first_line
from snn_compile.options.shapes import Sizes, name_and_sizes
from snn_frontends.onnx.wired import WIRED

BATCH_SIZE = 64
"""Samples per call."""

TYPES = {
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
"""Types of inputs that may be fed zeros."""

WITHIN_1 = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
"""Operators whose values lie within [0, 1]."""

Array = npt.NDArray[Any]
PROVIDERS = ["CPUExecutionProvider"]


def quiet_options() -> Any:
    """Options of a session that logs nothing and leaves the processor to others while it waits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # our own import has reported problems
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OnnxRuntime:
    """A model file in onnxruntime, for any number of samples at a time.

    Attributes:
        name: name of the library, for display.
    """

    name = "onnxruntime"

    def __init__(
        self, session: Any, shapes: Mapping[str, tuple[int, ...]], fed: Sequence[str] = ()
    ) -> None:
        self._session = session
        self._shapes = shapes
        self._fed = fed or list(shapes)[:1]
        self._outputs = [output.name for output in session.get_outputs()]

    @staticmethod
    def of(
        path: Path, inputs: Sequence[str] = (), shapes: Sequence[str] = ()
    ) -> OnnxRuntime | None:
        """The file, ready to run; None if the library is missing or rejects it.

        Samples hold the values of the named inputs, one after another; by default, those of the
        only one. The others are fed zeros: no output depends on them.

        Files that fix the number of samples are left out: called once for each sample, the library
        is the slower one.

        Args:
            path: the file.
            inputs: names of the inputs that samples have values of.
            shapes: of inputs, in place of the file's, as the option states them.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as errors
        except ImportError:
            return None
        refusals = (
            errors.Fail,
            errors.InvalidArgument,
            errors.InvalidGraph,
            errors.InvalidProtobuf,
            errors.NotImplemented,
            errors.RuntimeException,
        )
        try:
            session = onnxruntime.InferenceSession(str(path), quiet_options(), providers=PROVIDERS)
            entries = {entry.name: entry for entry in session.get_inputs()}
            known = set(inputs) <= set(entries) if inputs else len(entries) == 1
            if not known or not all(map(_takes_batches, entries.values())):
                return None
            sizes = _sample_shapes(session.get_inputs(), dict(map(name_and_sizes, shapes)))
            if sizes is None:
                return None
            runtime = OnnxRuntime(session, sizes, inputs)
            blanks = [np.zeros((n, runtime.size), np.float32) for n in (2, 3)]
            probes = [session.run(None, runtime._by_name(blank)) for blank in blanks]
        except refusals:
            return None
        kept = [set(map(_rows, probe)) for probe in probes] == [{2}, {3}]
        return runtime if kept else None  # samples may have been merged, or moved to another axis

    def __call__(self, x: Array, advance: Callable[[int], None] = lambda n: None) -> Array:
        """The first output for every sample (N, *sample shape)."""
        return next(iter(self._run(self._outputs[:1], x, advance).values()))

    def every_output(
        self, x: Array, advance: Callable[[int], None] = lambda n: None
    ) -> dict[str, Array]:
        """Each output for every sample, by its name in the file."""
        return self._run(self._outputs, x, advance)

    def _run(self, names: list[str], x: Array, advance: Callable[[int], None]) -> dict[str, Array]:
        found = []
        for start in range(0, len(x), BATCH_SIZE):
            piece = np.ascontiguousarray(x[start : start + BATCH_SIZE], np.float32)
            found.append(self._session.run(names, self._by_name(piece)))
            advance(len(piece))
        pairs = zip(names, zip(*found, strict=True), strict=True)
        return {name: np.concatenate(pieces) for name, pieces in pairs}

    @property
    def size(self) -> int:
        """Number of values of a sample."""
        return sum(prod(self._shapes[name]) for name in self._fed)

    def _by_name(self, x: Array) -> dict[str, Array]:
        """The value of every input of the file."""
        rows, start = x.reshape(len(x), -1), 0
        values = {name: np.zeros((len(x), *s), np.float32) for name, s in self._shapes.items()}
        for name in self._fed:
            stop = start + prod(self._shapes[name])
            part = rows[:, start:stop].reshape(len(x), *self._shapes[name])
            values[name], start = np.ascontiguousarray(part), stop
        return values


def _rows(value: Any) -> int:
    """Rows of an output; none of a scalar, or of what is no array."""
    return len(value) if isinstance(value, np.ndarray) and value.ndim else 0


def _takes_batches(entry: Any) -> bool:
    """Whether an input takes any number of samples, as floats."""
    fixed = not entry.shape or isinstance(entry.shape[0], int)
    return not fixed and entry.type == "tensor(float)"


def _sample_shapes(
    entries: Sequence[Any], stated: Mapping[str, Sizes]
) -> dict[str, tuple[int, ...]] | None:
    """The shape of a sample of each input, stated or of the file; None if one is unknown."""
    only = stated.get("") if len(entries) == 1 else None
    found = {}
    for entry in entries:
        shape = tuple((stated.get(entry.name, only) or entry.shape)[1:])
        if not all(isinstance(size, int) for size in shape):
            return None
        found[entry.name] = shape
    return found


class HostModel:
    """A model in onnxruntime, as it stands, for one sample at a time.

    Attributes:
        name: name of the library, for display.
        shapes: of each output, as far as the library infers it; None for other sizes.
        integers: whether each output holds integers, or true and false.
        probabilities: whether each output is of an operator with values within [0, 1]; none of a
            file's, which is not read again.
    """

    name = "onnxruntime"

    def __init__(self, session: Any, model: bytes = b"", *, bounded: bool = False) -> None:
        self._session = session
        self._bounded = bounded
        self.shapes = [_inferred(output.shape) for output in session.get_outputs()]
        outputs = session.get_outputs()
        self.integers = ["int" in one.type or "bool" in one.type for one in outputs]
        within = _probabilities(model)
        self.probabilities = [one.name in within for one in outputs]

    @staticmethod
    def of(model: bytes | str, *, bounded: bool = False) -> HostModel | None:
        """A model or its file, ready to run; None if the library is missing.

        Args:
            model: its content, or a path.
            bounded: whether its tensors may take no more memory than ``memory.budget`` allows.

        Raises:
            ModelError: the library rejects it.
        """
        try:
            import onnxruntime
        except ImportError:
            return None
        options = quiet_options()
        if bounded:
            _bound_arena(memory.budget())
            options.add_session_config_entry("session.use_env_allocators", "1")
            # Threads of its own could not report that memory is short: the process would end.
            options.intra_op_num_threads = 1
            # Constants would be folded on loading, whatever their size.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            with _growth_bounded() if bounded else nullcontext():
                session = onnxruntime.InferenceSession(model, options, providers=PROVIDERS)
        except Exception as error:
            raise _rejected(model, first_line(error)) from error
        for output in session.get_outputs():
            if not output.type.startswith("tensor(") or output.type == "tensor(string)":
                raise _rejected(model, f"the output '{output.name}' is a {output.type}")
        content = model if isinstance(model, bytes) else b""
        return HostModel(session, content, bounded=bounded)

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs, in order.

        Raises:
            UsageError: they cannot be computed, or take too much memory.
        """
        try:
            with _growth_bounded() if self._bounded else nullcontext():
                return list(self._session.run(None, {**self._others(feeds), **feeds}))
        except Exception as error:
            raise UsageError(
                f"the host cannot compute it: {first_line(error)}",
                code="host-runtime",
                hint="--max-memory sets the memory that it may take",
            ) from error

    def _others(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Zeros for inputs of the file that no output depends on."""
        return {
            entry.name: np.zeros(
                [size if isinstance(size, int) else 1 for size in entry.shape], TYPES[entry.type]
            )
            for entry in self._session.get_inputs()
            if entry.name not in feeds and entry.type in TYPES
        }

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [entry.name for entry in self._session.get_inputs()]


def _rejected(model: bytes | str, reason: str) -> ModelError:
    return ModelError(
        f"onnxruntime rejects it: {reason}",
        code="host-runtime",
        origin=Origin(model if isinstance(model, str) else "tail.onnx"),
        hint="upgrade onnxruntime, or export the model with an older operator set",
    )


@contextmanager
def _growth_bounded() -> Iterator[None]:
    """Limit what this process takes in addition: some operators allocate beside the arena.

    Only on Linux, which says how much it has and refuses more.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory.budget()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _probabilities(model: bytes) -> set[str]:
    """Values of a model that lie within [0, 1]: of a Sigmoid, and what only moves them."""
    graph = onnx.load_from_string(model).graph
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in WITHIN_1 or (node.op_type in WIRED and node.input[0] in found):
            found |= {*node.output}
    return found


def _inferred(shape: Sequence[Any] | None) -> tuple[int | None, ...] | None:
    """A shape with None for sizes that are not fixed."""
    if shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in shape)


@cache
def _bound_arena(size: int) -> None:
    """Limit the memory for the tensors of all bounded models of this process together."""
    import onnxruntime

    kinds = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    place = onnxruntime.OrtMemoryInfo("Cpu", kinds[0].ORT_ARENA_ALLOCATOR, 0, kinds[1].DEFAULT)
    limits = onnxruntime.OrtArenaCfg({"max_mem": size, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(place, limits)
