"""The Lava backend: check, emit, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_backends.lava import duration, emission, environment, older
from snn_backends.lava.environment import LavaEnvironment
from snn_backends.lava.neurons import probed_obstacle
from snn_backends.lava.plan import make_plan
from snn_backends.lava.verifier import Verifier
from snn_backends.options import require_known
from snn_compile.errors import (
    CapacityError,
    CompileError,
    UnsupportedError,
    UsageError,
    raise_all,
)
from snn_compile.files.folders import require_empty
from snn_compile.hil.duration import Range
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Overflow
from snn_compile.ir.quantized import (
    Population,
    ProbedReadout,
    QuantizedGraph,
    Synapses,
)
from snn_compile.sim import bounds
from snn_compile.sim.batches import Advance, no_progress

INT32 = 1 << 31
N_CONV_STIMULI = 2
"""Stimuli run a second time with stock Conv processes: those take half a second a step."""


class LavaBackend:
    """Writes a network as a self-contained folder for lava-nc 0.10.0, and verifies it there."""

    name = "lava"

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Neurons without a process, and what Lava's 32 bits could compute differently."""
        errors: list[CompileError] = []
        for node in program.graph:
            if isinstance(node, Synapses):
                errors += _check_synapses(program, node)
            elif isinstance(node, Population):
                errors += _check_population(program, node)
        return errors

    def emit(
        self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write the network into an existing, empty folder.

        Args:
            program: the network.
            folder: destination.
            options: ``synapses``: the emitted runner's default for convolutions, ``sparse``
                (unrolled; the default) or ``conv`` (stock Conv processes).

        Raises:
            UsageError: the folder is not empty, or an option is unknown.
            CapacityError: see ``check``.
        """
        require_known("Lava", options, {"synapses"})
        given = dict(options or {})
        if (form := given.get("synapses", "sparse")) not in emission.FORMS:
            hint = f"use {' or '.join(emission.FORMS)}"
            raise UsageError(f"synapses cannot be {form!r}", hint=hint)
        require_empty(folder)
        raise_all(self.check(program))
        emission.write(make_plan(program), folder, given)

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        stimuli: int | None = None,
        time_limit: float = 600.0,
        progress: Advance = no_progress,
        conv_stimuli: int = N_CONV_STIMULI,
    ) -> Verification:
        """Compare an emitted folder, and its run in Lava, with the program and its reference.

        Files are compared first; if one differs, nothing is run. Then, of a fresh copy of them,
        every message of every population with all stimuli streamed through one Lava run, and the
        sums of each synapse group driven by itself. Nothing in the folder itself is ever run. Of
        what an older version emitted only the arrays are compared: the outcome is not "equal".

        Args:
            program: the network.
            folder: the output of ``emit``, possibly altered.
            frames: encoded stimuli, (N, *input shape).
            stimuli: number of them to use; all by default. Layers are never left out.
            time_limit: seconds for all Lava runs together.
            progress: progress callback, in stimuli compared.
            conv_stimuli: number of stimuli to run again with stock Conv processes.

        Raises:
            DeviceError: the Lava environment is missing, or Lava failed or exceeded the time limit.
        """
        chosen = np.asarray(frames[:stimuli], np.int64)
        if not len(chosen):
            raise UsageError("a verification needs at least one stimulus")
        plan = make_plan(program)
        old = older.is_older(folder)
        faults = tuple((older if old else emission).differences(plan, folder))
        if faults:
            return Verification(
                self.name,
                "the emitted files; nothing was run",
                0,
                0,
                0,
                equal=False,
                details=faults,
            )
        verifier = Verifier(plan, environment.ensure(), time_limit, progress)
        outcome = verifier.verify(chosen, conv_stimuli)
        return older.not_compared(outcome) if old and outcome.equal else outcome

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """How long ``verify`` takes; the reference's part is not in it."""
        del per_stimulus
        return duration.expected_seconds(program, n_stimuli, N_CONV_STIMULI)

    def environment_status(self) -> LavaEnvironment | None:
        """The existing environment, or None."""
        return environment.locate()

    def create_environment(self, folder: Path | None = None) -> LavaEnvironment:
        """Return the environment, created if necessary."""
        return environment.create(folder)


def _check_synapses(program: QuantizedGraph, node: Synapses) -> list[CompileError]:
    interval, _ = bounds.synapse_sums(node, bounds.message_range(program.graph, node))
    largest = interval.magnitude << max(node.exponent, 1)
    if largest < INT32:
        return []
    return [
        CapacityError(
            f"'{node.id}' can sum up to {largest}, Lava's accumulators hold 32 bits",
            code="lava-accumulator",
            origin=node.origin,
            hint="use fewer weight bits or smaller payloads",
        )
    ]


def _check_population(program: QuantizedGraph, node: Population) -> list[CompileError]:
    lack = ""
    if isinstance(node.in_lava, str):
        lack = node.in_lava
    elif node.overflow is Overflow.WRAP:
        lack = "the emitted neurons cut their states off, they do not wrap"
    if lack:
        hint = "use another --coding, or omit --emit lava"
        message = f"'{node.id}': {lack}"
        return [UnsupportedError(message, code="lava-neuron", origin=node.origin, hint=hint)]
    if isinstance(node, ProbedReadout) and (reason := probed_obstacle(program, node)):
        return [CapacityError(f"'{node.id}': {reason}", code="not-stock", origin=node.origin)]
    limit = INT32 >> node.bits_below_weights
    largest = max(
        bounds.current(program.graph, node).magnitude,
        int(np.abs(node.bias.values).max(initial=0)) >> 5,
    )
    if largest < limit:
        return []
    return [
        CapacityError(
            f"the input of '{node.id}' can reach {largest}, Lava computes it in 32 bits",
            code="lava-accumulator",
            origin=node.origin,
            hint="use fewer weight bits or smaller payloads",
        )
    ]
