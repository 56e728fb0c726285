"""Execution of the user's file by onnxruntime, if installed.

It is optional: the compiler has its own evaluator. But it is faster for large networks, and its
result is independent of our import.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BATCH_SIZE = 64
"""Samples per call."""

Array = npt.NDArray[Any]


class OnnxRuntime:
    """A model file in onnxruntime, for any number of samples at a time.

    Attributes:
        name: name of the library, for display.
    """

    name = "onnxruntime"

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]

    @staticmethod
    def of(path: Path) -> OnnxRuntime | None:
        """The file, ready to run; None if the library is missing or rejects it.

        Files that fix the number of samples are left out: called once for each sample, the library
        is the slower one.
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
            entries = session.get_inputs()
            batch, *shape = entries[0].shape
            if len(entries) > 1 or isinstance(batch, int) or entries[0].type != "tensor(float)":
                return None
            runtime = OnnxRuntime(session)
            probes = [runtime.every_output(np.zeros((n, *shape), np.float32)) for n in (2, 3)]
        except refusals:
            return None
        kept = [{len(values) for values in probe.values()} for probe in probes] == [{2}, {3}]
        return runtime if kept else None  # samples may have been merged, or moved to another axis

    def __call__(self, x: Array, advance: Callable[[int], None] = lambda n: None) -> Array:
        """The first output for every sample (N, *input shape)."""
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
            found.append(self._session.run(names, {self._input: piece}))
            advance(len(piece))
        pairs = zip(names, zip(*found, strict=True), strict=True)
        return {name: np.concatenate(pieces) for name, pieces in pairs}
