"""The same network in lava-nc: its fixed-point processes (``Loihi2SimCfg``), in its own Python.

What is timed is Lava's own run of all time steps but the first, without building the network or
starting its processes; wall time, because Lava runs one process a layer on all cores. The outputs
must be equal to the reference's. Convolutions have two forms: Lava's stock Conv process, and the
Sparse process with the kernel unrolled into a matrix, which is what ``snn-compile`` emits because
it is faster.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from engine_networks import Workload

from snn_compile.errors import CompileError
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import reference

TIME_LIMIT = 1200.0
FORMS = {"lava": "conv", "lava sparse": "sparse"}


class LavaUnavailableError(Exception):
    """Lava cannot run here, or cannot run this network."""


class LavaNetwork:
    """A workload as an emitted Lava program with its stimulus.

    Args:
        workload: the network.
        n_samples: of its input, streamed through one run.
    """

    def __init__(self, workload: Workload, n_samples: int) -> None:
        try:
            from snn_backends.lava import LavaBackend, emission, environment
            from snn_backends.lava.plan import make_plan

            found = environment.locate()
        except (ImportError, CompileError) as error:
            raise LavaUnavailableError(str(error)) from error
        if found is None:
            raise LavaUnavailableError("no Lava environment: snn-compile lava-env makes one")
        self.environment = found
        program = workload.program
        if complaints := LavaBackend().check(program):
            raise LavaUnavailableError(str(complaints[0]))
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name) / "network"
        self.folder.mkdir()
        plan = make_plan(program)
        emission.write(plan, self.folder, {})
        messages = workload.draw(n_samples)
        self.n_samples, self.n_steps = n_samples, program.window.n_steps
        self.stimulus = self.folder.parent / "stimulus.npz"
        if program.input.coding is InputCoding.POISSON:
            np.savez(self.stimulus, messages=messages)
        else:
            np.savez(self.stimulus, frames=messages[:, 0])
        self.has_conv = any(s.kind == "conv" and not s.conv_obstacle for s in plan.synapses)
        self.names = {p.node.id: p.name for p in plan.populations}
        self.expected = reference.run_messages(program, messages).outputs

    def run(self, form: str) -> float:
        """Wall seconds of one sample, for one of ``FORMS``.

        Raises:
            LavaUnavailableError: it failed.
            ValueError: an output differs from the reference's.
        """
        from snn_backends.lava.runner import run_emitted

        with tempfile.TemporaryDirectory() as folder:
            traces = Path(folder)
            try:
                done = run_emitted(
                    self.environment,
                    self.folder,
                    self.stimulus,
                    traces,
                    time_limit=TIME_LIMIT,
                    synapses=FORMS[form],
                )
            except CompileError as error:
                raise LavaUnavailableError(str(error)) from error
            with np.load(traces / "outputs.npz") as outputs:
                for node, expected in self.expected.items():
                    found = outputs[self.names[node]]
                    if not np.array_equal(found.reshape(expected.shape), expected):
                        raise ValueError(f"Lava's '{node}' differs from the reference")
        stream: dict[str, Any] = done.facts["stream"]
        return float(stream["run_seconds"]) * self.n_steps / (int(stream["rows"]) - 1)
