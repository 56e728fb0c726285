"""The ONNX backend: check, emit, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from snn_backends.options import require_known
from snn_compile.errors import CompileError, DeviceError, raise_all
from snn_compile.extras import missing
from snn_compile.files.folders import require_empty
from snn_compile.hil.duration import Range
from snn_compile.hil.verification import Verification
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim.batches import Advance, no_progress

if TYPE_CHECKING:
    from snn_backends.onnx_integers.file import Borders

SLOWER = 5.0
"""How much longer than the reference onnxruntime may take, the start of its sessions included."""


class OnnxBackend:
    """Writes a network of one pass as ONNX files whose operators compute its integers.

    ``integers.onnx`` takes encoded values and returns potentials. ``model.onnx``, written where the
    units are known, takes and returns real values. So does ``qdq.onnx``, whose operators are those
    that accelerators know and whose messages may differ by a step. Networks of graded neurons are
    of one pass, and those that sync and radix coding spread over time; others are refused.
    """

    name = "onnx"

    def __init__(self, borders: Borders | None = None) -> None:
        self._borders = borders

    def with_borders(
        self, encoding: Encoding, decodings: Mapping[NodeId, OutputDecoding]
    ) -> OnnxBackend:
        """The backend for a network with these units."""
        from snn_backends.onnx_integers.file import Borders

        return OnnxBackend(Borders(encoding, decodings))

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Everything that has no form in ONNX's operators."""
        from snn_backends.onnx_integers.network import build, refusals, too_large
        from snn_compile.ir.schedule import integer_network

        if found := refusals(program):
            return found
        made = build(integer_network(program))
        return [*made.errors, *too_large(made, program.inputs[0])]

    def emit(
        self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write the files into an existing, empty folder.

        Raises:
            UsageError: the folder is not empty, or there are options.
            UnsupportedError: see ``check``.
        """
        require_known("ONNX", options)
        require_empty(folder)
        raise_all(self.check(program))
        from snn_backends.onnx_integers.file import content
        from snn_backends.onnx_integers.files import models

        for name, made in models(program, self._borders_of(program)).items():
            (folder / name).write_bytes(content(made))

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float = 600.0,
        progress: Advance = no_progress,
    ) -> Verification:
        """Compare the files with those written anew, and run these in onnxruntime.

        Args:
            program: the network.
            folder: the output of ``emit``, possibly altered.
            frames: encoded stimuli, as for the reference.
            time_limit: ignored; no process is started.
            progress: progress callback, in stimuli compared.

        Raises:
            DeviceError: onnxruntime is missing, or refuses the files.
            UnsupportedError: see ``check``.
        """
        del time_limit
        for lack in missing("onnxruntime", "onnxruntime", "ONNX files are run by"):
            raise DeviceError(lack.message, code=lack.code, hint=lack.hint)
        raise_all(self.check(program))
        from snn_backends.onnx_integers.verifier import verify

        return verify(
            program, self._borders_of(program), folder, np.asarray(frames, np.int64), progress
        )

    def _borders_of(self, program: QuantizedGraph) -> Borders | None:
        """The units, if they are those of all outputs: vectors have none."""
        known = self._borders is not None and all(
            node.id in self._borders.decodings for node in program.readouts
        )
        return self._borders if known else None

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """About as long as the reference."""
        del program
        return n_stimuli * per_stimulus[0], 5.0 + SLOWER * n_stimuli * per_stimulus[1]
