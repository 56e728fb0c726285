"""Lava on many networks at once, each form of synapses in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from snn_backends.lava import LavaBackend
from snn_backends.lava.device import _messages, _stimulus
from snn_backends.lava.environment import LavaEnvironment
from snn_backends.lava.plan import Plan, make_plan
from snn_backends.lava.runner import run_emitted
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph

HERE = Path(__file__).parent


class Network(Protocol):
    """A vector of the set, or anything else that can be run."""

    @property
    def name(self) -> str: ...
    @property
    def program(self) -> QuantizedGraph: ...
    @property
    def frames(self) -> Int: ...


def emitted(cases: Sequence[Network], folder: Path) -> dict[str, Plan]:
    """Every network that Lava can express, emitted into ``folder/NAME``."""
    plans = {}
    for case in cases:
        if LavaBackend().check(case.program):
            continue
        (folder / case.name).mkdir(parents=True)
        LavaBackend().emit(case.program, folder / case.name, options={})
        plans[case.name] = make_plan(case.program)
    return plans


def run(
    environment: LavaEnvironment,
    cases: Sequence[Network],
    plans: dict[str, Plan],
    form: str,
    folder: Path,
    *,
    time_limit: float = 600,
) -> dict[str, dict[str, object]]:
    """What every layer of every network sent, from what ``emitted`` wrote into the folder."""
    scratch = folder / f"run-{form}"
    scratch.mkdir()
    shutil.copy(HERE / "lava_many.py", scratch / "run.py")
    jobs = [
        {
            "folder": str(folder / case.name),
            "stimulus": str(_stimulus(case.program, case.frames, scratch / f"{case.name}.npz")),
            "traces": str(scratch / "traces" / case.name),
        }
        for case in cases
        if case.name in plans
    ]
    (scratch / "jobs.json").write_text(json.dumps(jobs))
    run_emitted(
        environment,
        scratch,
        scratch / "jobs.json",
        scratch / "out",
        time_limit=time_limit,
        synapses=form,
    )
    return {
        case.name: _messages(plans[case.name], scratch / "traces" / case.name, 0, len(case.frames))
        for case in cases
        if case.name in plans
    }
