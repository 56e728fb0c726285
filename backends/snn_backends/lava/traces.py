"""Reading the emitted network's traces, and comparing them with the reference piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from snn_backends.lava.neurons import Array
from snn_backends.lava.plan import Plan, PopulationPlan
from snn_compile.errors import DeviceError
from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.ir.fixedpoint import Int
from snn_compile.sim import reference
from snn_compile.sim.batches import Advance

DTYPES = {"bits": "u1", "i8": "i1", "u8": "u1", "i16": "<i2", "u16": "<u2", "i32": "<i4"}
"""Element type of each form, as of FileSink."""


def read_trace(
    path: Path, form: str, shape: Sequence[int], n_steps: int, first: int, n_stimuli: int
) -> Array:
    """Messages of some stimuli from a raw file, as (n_stimuli, n_steps, *shape).

    Raises:
        DeviceError: the file is missing or too short.
    """
    size = prod(shape)
    dtype = np.dtype(DTYPES[form])
    per_row = -(-size // 8) if form == "bits" else size
    n_rows = n_stimuli * n_steps
    try:
        with path.open("rb") as file:
            file.seek(first * n_steps * per_row * dtype.itemsize)
            rows = np.fromfile(file, dtype, n_rows * per_row)
    except OSError as error:
        raise DeviceError(f"Lava wrote no trace: {error}", code="lava-failed") from error
    if rows.size != n_rows * per_row:
        raise DeviceError(f"the trace '{path.name}' is too short", code="lava-failed")
    rows = rows.reshape(n_rows, per_row)
    messages: Array = np.unpackbits(rows, axis=1, count=size) if form == "bits" else rows
    return messages.reshape(n_stimuli, n_steps, *shape)


@dataclass
class Comparison:
    """Result of the comparison so far.

    Attributes:
        compared: number of messages.
        divergence: earliest divergence in order of layer, then stimulus, step and neuron.
    """

    compared: int = 0
    divergence: Divergence | None = None
    _layer: int = 1 << 30

    def add(self, layer: int, compared: int, found: Divergence | None) -> None:
        """Record one layer of one piece."""
        self.compared += compared
        if found is not None and layer < self._layer:
            self.divergence, self._layer = found, layer


def compare_run(plan: Plan, traces: Path, frames: Int, advance: Advance) -> Comparison:
    """Compare every message of every population with the reference."""
    program = plan.program
    n_steps = program.window.n_steps
    result = Comparison()
    for first, run in reference.record_runs(program, frames):
        expected = run.messages
        for index, population in enumerate(plan.populations):
            sent = expected.pop(population.node.id)
            actual = _messages(population, traces, n_steps, first, run.n_stimuli)
            found = divergence_in(population.node.id, sent, actual)
            if found is not None:
                found = replace(found, stimulus=found.stimulus + first)
            result.add(index, actual.size, found)
        advance(run.n_stimuli)
    return result


def _messages(
    population: PopulationPlan, traces: Path, n_steps: int, first: int, n_stimuli: int
) -> Array:
    path = traces / population.trace
    return read_trace(path, population.form, population.node.shape, n_steps, first, n_stimuli)
