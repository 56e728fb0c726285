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

from snn_compile.options.shapes import name_and_sizes

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
        self, session: Any, fed: Sequence[str] = (), shapes: Mapping[str, Sequence[int]] = NO_SHAPES
    ) -> None:
        self._session = session
        self._shapes = {
            entry.name: shapes.get(entry.name, entry.shape)[1:] for entry in session.get_inputs()
        }
        self._fed = fed or list(self._shapes)[:1]
        self._output = session.get_outputs()[0].name

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
            inputs: the named inputs.
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
            stated = _stated(shapes, list(entries))
            if not known or not all(_takes_batches(e, stated) for e in entries.values()):
                return None
            runtime = OnnxRuntime(session, inputs, stated)
            probes = [runtime(np.zeros((n, runtime.size), np.float32)) for n in (2, 3)]
        except refusals:
            return None
        kept = [len(probe) for probe in probes] == [2, 3]
        return runtime if kept else None  # samples may have been merged, or moved to another axis

    def __call__(self, x: Array, advance: Callable[[int], None] = lambda n: None) -> Array:
        """The first output for every sample (N, *sample shape)."""
        found = []
        for start in range(0, len(x), BATCH_SIZE):
            piece = np.ascontiguousarray(x[start : start + BATCH_SIZE], np.float32)
            found.append(self._session.run([self._output], self._by_name(piece))[0])
            advance(len(piece))
        return np.concatenate(found)

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


def _stated(shapes: Sequence[str], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Shapes by the input's name, from options."""
    found = map(name_and_sizes, shapes)
    return {name or names[0]: sizes for name, sizes in found}


def _takes_batches(entry: Any, stated: Mapping[str, Sequence[int]]) -> bool:
    """Whether an input takes any number of samples, as floats, of a known shape."""
    batch, *shape = entry.shape or [1]
    shape = [*stated.get(entry.name, (batch, *shape))[1:]]
    known = all(isinstance(size, int) for size in shape)
    return not isinstance(batch, int) and known and entry.type == "tensor(float)"
