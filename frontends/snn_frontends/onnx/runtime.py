"""Execution of the user's file by onnxruntime, if installed.

It is optional: the compiler has its own evaluator. But it is faster for large networks, and its
result is independent of our import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.options.shapes import Sizes, name_and_sizes

BATCH_SIZE = 64
"""Samples per call."""

Array = npt.NDArray[Any]
NO_SHAPES: Mapping[str, Sequence[int]] = MappingProxyType({})


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
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # our own import has reported problems
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            entries = {entry.name: entry for entry in session.get_inputs()}
            known = set(inputs) <= set(entries) if inputs else len(entries) == 1
            if not known or not all(map(_takes_batches, entries.values())):
                return None
            sizes = _sample_shapes(session.get_inputs(), dict(map(name_and_sizes, shapes)))
            if sizes is None:
                return None
            runtime = OnnxRuntime(session, sizes, inputs)
            probes = [runtime.every_output(np.zeros((n, runtime.size), np.float32)) for n in (2, 3)]
        except refusals:
            return None
        kept = [{len(values) for values in probe.values()} for probe in probes] == [{2}, {3}]
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
