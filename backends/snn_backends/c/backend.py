"""The C backend: check, emit, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_backends.c import emission, golden, machines, sizes
from snn_backends.c.planner import make_plan
from snn_backends.c.refusals import refusals
from snn_backends.c.verifier import AGAINST, Verifier
from snn_backends.options import require_known
from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.files.folders import require_empty
from snn_compile.hil.duration import Range
from snn_compile.hil.verification import Verification
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim.batches import Advance, no_progress

OPTIONS = {"flash", "ram"}


class CBackend:
    """Writes a network as one C99 source and one header that need nothing else, and runs them.

    No allocation, no floating point, no recursion: for microcontrollers. How much flash, RAM and
    stack the program takes is part of its header.
    """

    name = AGAINST

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Everything that has no form in C."""
        return refusals(program)

    def emit(
        self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write the program, its self-test and its build files into an existing, empty folder.

        Args:
            program: the network.
            folder: destination.
            options: ``flash`` and ``ram``: bytes that a microcontroller has; a network that needs
                more is refused.

        Raises:
            UsageError: the folder is not empty, or an option is unknown.
            UnsupportedError, CapacityError: see ``check``, and the options.
        """
        require_known("C", options, OPTIONS)
        given = dict(options or {})
        for name, value in given.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(
                    f"{name} is a number of bytes, not {value!r}",
                    code="bad-option",
                    hint=f"for example {name}=65536",
                )
        require_empty(folder)
        raise_all(self.check(program))
        plan = make_plan(program)
        raise_all(sizes.beyond(plan, given.get("flash"), given.get("ram")))
        emission.write(plan, folder)

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float = 600.0,
        progress: Advance = no_progress,
        emulators: bool = True,
    ) -> Verification:
        """Compare an emitted folder with the network, compile and run it, and compare all messages.

        Files are compared first; if one differs, nothing is run. What is compiled is emitted again.
        It runs on this machine, watched by sanitizers, and in each emulator that is installed.

        Args:
            program: the network.
            folder: the output of ``emit``, possibly altered.
            frames: encoded stimuli, (N, *input shape).
            time_limit: seconds.
            progress: progress callback, in stimuli compared.
            emulators: whether to run the program in emulators of other machines, too.

        Raises:
            DeviceError: there is no compiler, or the program failed or exceeded the time limit.
        """
        chosen = np.asarray(frames, np.int64)
        if not len(chosen):
            raise UsageError("a verification needs at least one stimulus")
        plan = make_plan(program)
        if faults := tuple(emission.differences(plan, folder)):
            mode = "the emitted files; nothing was run"
            return Verification(self.name, mode, 0, 0, 0, equal=False, details=faults)
        others = machines.others() if emulators else []
        return Verifier(plan, time_limit, progress, machines.host(), others).verify(chosen)

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """How long compilation and the programs take, besides the reference."""
        del per_stimulus
        work = golden.operations(program) * n_stimuli
        return 2.0 + work / 1e9, 20.0 + work / 5e7
