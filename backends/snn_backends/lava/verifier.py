"""Verification of an emitted network in Lava against the reference."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snn_backends.findings import Findings
from snn_backends.lava import emission, probes, traces
from snn_backends.lava.environment import LavaEnvironment
from snn_backends.lava.plan import Plan
from snn_backends.lava.runner import run_emitted
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import InputCoding
from snn_compile.pluralize import pluralize
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.reference import input_messages

AGAINST = "lava"


@dataclass
class Verifier:
    """One verification of a network's emitted files.

    Attributes:
        plan: plan of the emission.
        environment: Lava's environment.
        time_limit: seconds for all Lava runs together.
        advance: progress callback, in stimuli compared.
    """

    plan: Plan
    environment: LavaEnvironment
    time_limit: float
    advance: Advance
    _begin: float = field(default_factory=time.monotonic)
    _findings: Findings = field(default_factory=Findings)

    def verify(self, frames: Int, n_conv: int) -> Verification:
        """Compare streamed messages in each synapse form, and probes.

        The files that run are emitted here from the network, never taken from a folder.

        Args:
            frames: encoded stimuli.
            n_conv: number of them to run again with stock Conv processes.
        """
        has_conv = any(s.kind == "conv" and not s.conv_obstacle for s in self.plan.synapses)
        forms = {"sparse": frames}
        if has_conv and n_conv:
            forms["conv"] = frames[:n_conv]
        with tempfile.TemporaryDirectory(prefix="snn-compile-lava-") as emitted:
            emission.write(self.plan, Path(emitted), {})
            for form, part in forms.items():
                with tempfile.TemporaryDirectory(prefix="snn-compile-lava-") as scratch:
                    self._run(part, form, Path(emitted), Path(scratch))
        return self._findings.verification(
            AGAINST, f"{self.environment}, synapses {' and '.join(forms)}", len(frames)
        )

    def _run(self, frames: Int, form: str, emitted: Path, scratch: Path) -> None:
        program = self.plan.program
        if program.input_coding in (InputCoding.POISSON, InputCoding.EVENTS):
            stimulus = {"messages": input_messages(program, frames)}
        else:
            stimulus = {"frames": frames}
        payloads = probes.payloads(self.plan)
        left = self.time_limit - (time.monotonic() - self._begin)
        run = run_emitted(
            self.environment,
            emitted,
            _save(scratch / "stimulus.npz", stimulus),
            scratch / "traces",
            time_limit=max(left, 1.0),
            synapses=form,
            probes=_save(scratch / "probes.npz", payloads),
        )
        advance = self.advance if form == "sparse" else no_progress
        streamed = traces.compare_run(self.plan, run.folder, frames, advance)
        probed = probes.compare_probes(self.plan, run.folder / "probes", payloads)
        self._findings.steps += int(run.facts["stream"]["rows"])
        self._note(f"{pluralize(len(frames), 'stimulus')}, {form}", streamed, run.facts["stream"])
        self._note(f"synapses probed, {form}", probed, run.facts["probes"])

    def _note(self, what: str, outcome: traces.Comparison, facts: Mapping[str, float]) -> None:
        seconds = facts["start_seconds"] + facts["run_seconds"]
        note = f"{outcome.compared} values, {seconds:.1f} s of Lava"
        self._findings.add(what, outcome.compared, outcome.divergence, note)


def _save(path: Path, arrays: Mapping[str, Int]) -> Path:
    small = {key: value.astype(np.int32) for key, value in arrays.items()}
    np.savez(path, **small)  # type: ignore[arg-type]
    return path
