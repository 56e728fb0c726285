"""Lava as a device: its simulation of the chip, or a chip."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from snn_backends.lava import emission, environment, older
from snn_backends.lava.environment import LavaEnvironment, clean_environment
from snn_backends.lava.neurons import Array
from snn_backends.lava.plan import Plan, make_plan
from snn_backends.lava.runner import NO_CHIP_HINT, run_emitted
from snn_backends.lava.traces import read_trace
from snn_compile.errors import DeviceError, Origin, UsageError, VerificationError
from snn_compile.hil.device import Capabilities, Measured, refuse_arguments
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim.reference import input_messages, recording_batch_size

HARDWARE = {"loihi2": "N3B3", "loihi1": "N2A2"}
"""Chips, with the generation of their usual boards, as LOIHI_GEN names it."""
ASK = "from lava.utils import loihi; print(int(loihi.is_installed()))"


class LavaDevice:
    """``--device lava``, with ``--hardware`` on a chip.

    Options:
        ``synapses``: ``sparse`` or ``conv``; ``sparse`` if not given.
        ``hardware``: ``loihi2`` or ``loihi1``.
        ``partition``, ``board``: of a SLURM cluster (PARTITION, BOARD).
        ``host``, ``host_binary``: of a board on the network (NXSDKHOST, HOST_BINARY).
        ``generation``: of the board (LOIHI_GEN).

    The variables are those that ``lava.utils.loihi.use_slurm_host`` and ``use_ethernet_host`` set.
    """

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        given = dict(options or {})
        refuse_arguments(
            "lava",
            argument,
            given,
            *("synapses", "hardware", "partition", "board", "host", "host_binary", "generation"),
        )
        self._synapses = given.get("synapses", emission.FORMS[0])
        self._hardware = given.get("hardware", "")
        if self._synapses not in emission.FORMS or self._hardware not in ("", *HARDWARE):
            raise UsageError(
                "the device 'lava' does not support this option",
                code="bad-device",
                hint=f"synapses: {' or '.join(emission.FORMS)}; hardware: {' or '.join(HARDWARE)}",
            )
        self._variables = board_variables(self._hardware, given)
        self._plan: Plan | None = None
        self._environment: LavaEnvironment | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Check the emitted files, Lava's environment and, for a chip, its extension.

        Raises:
            UsageError: nothing was emitted for Lava.
            VerificationError: the emitted files have changed.
            DeviceError: the environment or the extension is missing.
        """
        plan, emitted = make_plan(program), folder / "lava"
        if not emitted.is_dir():
            raise UsageError(
                "nothing was emitted for Lava",
                code="not-emitted",
                origin=Origin(str(folder)),
                hint="compile again with --emit lava",
            )
        old = older.is_older(emitted)
        if changed := (older if old else emission).differences(plan, emitted):
            raise VerificationError(
                f"not what this version emits from the sealed network: {'; '.join(changed[:3])}",
                code="emitted-changed",
                origin=Origin(str(emitted)),
                hint="compile again",
            )
        self._plan, self._environment = plan, environment.ensure()
        if self._hardware:
            _require_extension(self._environment)
        facts = {"lava": str(self._environment), "synapses": self._synapses}
        facts |= {"emitted": "anew, since the folder's files are of an older form"} if old else {}
        return Capabilities(facts=facts | ({"chip": self._hardware} if self._hardware else {}))

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Stream all stimuli through one Lava run of a fresh copy, then read its traces."""
        if self._plan is None or self._environment is None:
            raise RuntimeError("load a network first")
        program = self._plan.program
        with tempfile.TemporaryDirectory(prefix="snn-compile-lava-") as scratch:
            emitted = Path(scratch) / "lava"
            emitted.mkdir()
            emission.write(self._plan, emitted, {})
            run = run_emitted(
                self._environment,
                emitted,
                _stimulus(program, frames, Path(scratch) / "stimulus.npz"),
                Path(scratch) / "traces",
                time_limit=time_limit,
                synapses=self._synapses,
                hardware=self._hardware,
                variables=self._variables,
            )
            at_once = recording_batch_size(program)
            for first in range(0, len(frames), at_once):
                count = min(at_once, len(frames) - first)
                yield Measured(first, _messages(self._plan, run.folder, first, count))

    def close(self) -> None:
        """Nothing to do: every run ends its own processes."""


def board_variables(hardware: str, given: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that locate the chip for Lava.

    Raises:
        UsageError: a board is named, but no chip.
    """
    named = sorted({"partition", "board", "host", "host_binary", "generation"} & set(given))
    if not hardware:
        if named:
            raise UsageError(
                f"'{named[0]}' locates a chip, but Lava's simulation is selected",
                code="bad-device",
                hint="--hardware",
            )
        return {}
    variables = {"LOIHI_GEN": given.get("generation", HARDWARE[hardware])}
    if "host" in given:
        binary = given.get("host_binary", "nxcore/bin/nx_driver_server")
        return variables | {"NOSLURM": "1", "NXSDKHOST": given["host"], "HOST_BINARY": binary}
    variables["SLURM"] = "1"
    for name in ("partition", "board"):
        if name in given:
            variables[name.upper()] = given[name]
    return variables


def _require_extension(found: LavaEnvironment) -> None:
    """Check that Lava's extension for chips is installed; without it Lava raises a NameError.

    Raises:
        DeviceError: it is missing.
    """
    try:
        done = subprocess.run(
            [str(found.python), environment.ISOLATED, "-c", ASK],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=clean_environment(),
        )
        installed = done.stdout.strip().endswith("1")
    except (OSError, subprocess.TimeoutExpired):
        installed = False
    if not installed:
        raise DeviceError(
            "the Lava environment lacks the lava-loihi extension: no chip can be reached",
            code="no-hardware",
            hint=NO_CHIP_HINT,
        )


def _stimulus(program: QuantizedGraph, frames: Int, path: Path) -> Path:
    if program.input_coding in (InputCoding.POISSON, InputCoding.EVENTS):
        np.savez(path, messages=input_messages(program, frames).astype(np.int32))
    else:
        np.savez(path, frames=frames.astype(np.int32))
    return path


def _messages(plan: Plan, folder: Path, first: int, count: int) -> dict[str, Array]:
    n_steps = plan.program.window.n_steps
    return {
        str(p.node.id): read_trace(folder / p.trace, p.form, p.node.shape, n_steps, first, count)
        for p in plan.populations
    }
