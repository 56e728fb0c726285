"""The netx backend: check, emit, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_backends.emitted import superfluous
from snn_backends.netx.layers import Layer, layers_of
from snn_backends.options import require_known
from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.files.folders import require_empty
from snn_compile.hil.duration import Range
from snn_compile.hil.verification import Verification
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim.batches import Advance, no_progress


class NetxBackend:
    """Writes a chain of layers as the HDF5 file that lava-dl's ``netx.hdf5.Network`` reads.

    netx builds Lava's stock LIF neurons from it, so this is for networks whose neurons these are:
    reset to zero, no payloads between layers, one path from input to output. Everything else is
    refused with the reason; the Lava backend supports it with its own processes.
    """

    name = "netx"

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Everything that netx does not support, and a missing library."""
        _, errors = layers_of(program)
        return [*_missing(), *errors]

    def emit(
        self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write ``network.net``, and ``network.json`` with its reading instructions, into a folder.

        Raises:
            UsageError: the folder is not empty, an option is unknown, or the library is missing.
            UnsupportedError: see ``check``.
        """
        require_known("netx", options)
        require_empty(folder)
        layers = self._layers(program)
        from snn_backends.netx import file

        file.write(program, layers, folder)

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """Numbers are compared, and nothing is simulated."""
        del program, n_stimuli, per_stimulus
        return 0.0, 10.0

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float = 600.0,
        progress: Advance = no_progress,
    ) -> Verification:
        """Compare every number in the file with the program.

        lava-dl is not run: it needs a separate environment. ``docs/reference/netx.md`` shows how
        to run the file there; a test does so and compares all spikes.

        Raises:
            UsageError: the library is missing.
        """
        del frames, time_limit, progress
        layers = self._layers(program)
        from snn_backends.netx import file

        compared, faults = file.compare(program, layers, folder)
        faults += superfluous(folder, (file.FILE, file.HOW))
        mode = "file read back, not run: every number in it is the program's"
        return Verification("netx", mode, 0, 0, compared, not faults, details=tuple(faults))

    def _layers(self, program: QuantizedGraph) -> list[Layer]:
        layers, errors = layers_of(program)
        raise_all([*_missing(), *errors])
        return layers


def _missing() -> list[UsageError]:
    return missing("h5py", "netx", "netx files are written by")
