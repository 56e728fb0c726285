"""The NIR backend: check, emit, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_backends.nir.refusals import refusals
from snn_backends.options import require_known
from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.files.folders import require_empty
from snn_compile.hil.duration import Range
from snn_compile.hil.verification import Verification
from snn_compile.ir.encoding import Encoding
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim.batches import Advance, no_progress

FILE = "network.nir"
UNIT = "input_unit"
SLOWER = 10.0
"""How much longer than the reference NIR's equations may take."""


class NirBackend:
    """Writes a rate-coded network as one NIR file (Pedersen et al. 2024), and runs the file.

    The file holds the integers of the network as float32, in which they are exact, so that any
    runtime with integrate-and-fire neurons computes the same spikes. What NIR has no words for is
    in the file's metadata: see ``docs/reference/nir.md``.
    """

    name = "nir"

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Everything that NIR cannot express, and a missing library."""
        found = [*_missing(), *refusals(program)]
        if found:
            return found
        from snn_backends.nir.export import nir_graph

        try:  # the need for a matrix, and its size, follow from the export
            nir_graph(program)
        except CompileError as error:
            found.append(error)
        return found

    def emit(
        self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write ``network.nir`` into an existing, empty folder.

        Raises:
            UsageError: the folder is not empty, an option is unknown, or the library is missing.
            UnsupportedError: see ``check``.
        """
        require_known("NIR", options, {UNIT})
        unit = (options or {}).get(UNIT)
        require_empty(folder)
        raise_all(self.check(program))
        from snn_backends.nir.export import nir_graph, write

        write(nir_graph(program, unit), folder / FILE)

    def options_for(self, encoding: Encoding) -> Mapping[str, Any]:
        """The real value of one step of the input."""
        return {UNIT: encoding.unit}

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float = 600.0,
        progress: Advance = no_progress,
    ) -> Verification:
        """Read the file back, run NIR's equations in float32, and compare every spike.

        Args:
            program: the network.
            folder: the output of ``emit``, possibly altered.
            frames: encoded stimuli, as for the reference.
            time_limit: ignored; no process is started.
            progress: progress callback, in stimuli compared.

        Raises:
            UsageError: the library is missing.
        """
        del time_limit
        raise_all(_missing())
        from snn_backends.nir.verifier import verify

        return verify(program, folder / FILE, np.asarray(frames, np.int64), progress)

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """How long NIR's equations take, which are computed step by step in numpy."""
        del program
        return n_stimuli * per_stimulus[0], SLOWER * n_stimuli * per_stimulus[1]


def _missing() -> list[UsageError]:
    return missing("nir", "nir", "NIR files are written by")
