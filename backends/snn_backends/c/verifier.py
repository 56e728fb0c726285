"""Verification of an emitted program: compiled here, run, and compared with the reference."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snn_backends.c import emission, golden, machines, sizes, traces
from snn_backends.c.machines import SANITIZERS, Machine
from snn_backends.c.plan import Plan
from snn_backends.findings import Findings
from snn_compile.errors import DeviceError
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.pluralize import pluralize
from snn_compile.sim.batches import Advance, no_progress

AGAINST = "c"
WATCHED, EMULATED = 100_000_000, 100_000_000
"""Synapses of all stimuli of a program that watches itself, and of one in an emulator."""


@dataclass
class Verifier:
    """One verification of a network's program.

    Attributes:
        plan: of the program.
        time_limit: seconds for everything together.
        advance: progress callback, in stimuli compared.
        host: this machine.
        others: machines in emulators.
    """

    plan: Plan
    time_limit: float
    advance: Advance
    host: Machine
    others: Sequence[Machine]
    _begin: float = field(default_factory=time.monotonic)
    _findings: Findings = field(default_factory=Findings)

    def verify(self, frames: Int) -> Verification:
        """Compare every message on this machine and in each emulator, and the stated sizes.

        The files that are compiled are made here from the network, never taken from a folder. What
        a program with sanitizers or an emulator would take too long for runs with fewer stimuli;
        one that the compiler optimizes runs with all.
        """
        each = golden.operations(self.plan.program)
        few = min(len(frames), max(1, WATCHED // each))
        watched = machines.has_sanitizers(self.host)
        with tempfile.TemporaryDirectory(prefix="snn-compile-c-") as name:
            folder = Path(name)
            emission.write(self.plan, folder)
            (folder / "trace.c").write_text(emission.trace_program(), encoding="utf-8")
            if watched:
                flags = ("-O1", *SANITIZERS)
                self._run(folder, self.host, flags, frames[:few], "sanitizers", few == len(frames))
            if not watched or few < len(frames):
                self._run(folder, self.host, ("-O2",), frames, "optimized", True)
            fewer = min(len(frames), max(1, EMULATED // each))
            for machine in self.others:
                self._run(folder, machine, ("-O1",), frames[:fewer], "", False)
            takes = self._sizes(folder)
            self._selftest(folder)
        where = ", ".join(machine.name for machine in (self.host, *self.others))
        without = "" if watched else " (without sanitizers: the compiler has none)"
        return self._findings.verification(
            AGAINST, f"compiled by {where}{without}: every message; {takes}", len(frames)
        )

    def _run(
        self,
        folder: Path,
        machine: Machine,
        flags: tuple[str, ...],
        frames: Int,
        how: str,
        shown: bool,
    ) -> None:
        name = f"{machine.name}, {how}" if how else machine.name
        given = 1 if self.plan.sends_once else self.plan.rows
        hook = ("-DSNN_TRACE=snn_trace", f"-DROWS_GIVEN={given}")
        machine.compile(folder, *flags, *hook, "network.c", "trace.c", "-o", "trace")
        traces.write_stimuli(self.plan, frames, folder / "stimuli")
        advance = self.advance if shown else no_progress
        outcome = self._compare(folder, machine, frames, name, advance)
        self._findings.steps += len(frames) * self.plan.rows
        note = f"{pluralize(len(frames), 'stimulus')}, {outcome.compared} values"
        self._findings.add(name, outcome.compared, outcome.divergence, note)

    def _compare(
        self, folder: Path, machine: Machine, frames: Int, name: str, advance: Advance
    ) -> traces.Comparison:
        left = self.time_limit - (time.monotonic() - self._begin)
        command = [*machine.run, str(folder / "trace"), "stimuli", str(len(frames))]
        with (folder / "said").open("w+b") as said:
            try:
                child = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=machines.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
            except OSError as error:
                raise machines.not_started(command, error) from error
            late = threading.Timer(max(left, 1.0), child.kill)
            late.start()
            try:
                if child.stdout is None:
                    raise TypeError("a child without its pipe")
                outcome = traces.compare(self.plan, frames, child.stdout, advance)
                child.wait()
            except EOFError:
                child.wait()
                outcome = None
            finally:
                late.cancel()
                child.kill()
                child.wait()
                if child.stdout is not None:
                    child.stdout.close()
            said.seek(0)
            words = said.read(4096).decode(errors="replace").strip()
        if time.monotonic() - self._begin > self.time_limit:
            raise machines.too_late(name, self.time_limit)
        if outcome is None or child.returncode:
            status = f"exit status {child.returncode}" + (f": {words}" if words else "")
            raise DeviceError(
                f"{name}: the program failed, {status}",
                code="c-failed",
                hint="report it, with the folder: the program is wrong, or the compiler",
            )
        return outcome

    def _sizes(self, folder: Path) -> str:
        """What the program takes here, compared with what was stated."""
        found = sizes.measure(folder, self.host)
        if found is None:
            return "sizes not measured: there is no program 'size'"
        self._findings.faults += sizes.exceeded(self.plan, found)
        stated = sizes.sizes_of(self.plan)
        self._findings.notes.append(
            f"stated: {stated.flash:,} bytes of flash at most, {stated.ram:,} of RAM,"
            f" {stated.stack:,} of stack at most; {self.host.name} -Os: {found}"
        )
        return str(found)

    def _selftest(self, folder: Path) -> None:
        """The golden vectors of the folder, on the object whose sizes were measured."""
        self.host.compile(folder, "selftest.c", "network.o", "-o", "selftest")
        status, said = machines.call([str(folder / "selftest")], max(self.time_limit, 1.0))
        if status:
            self._findings.faults.append(f"its self-test: {said or f'exit status {status}'}")
        else:
            self._findings.notes.append(f"its self-test: {said}")
