"""Sweeps: a model compiled with many options, and which of them are worth their cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_compile.options import CompileOptions
    from snn_compile.sweep.schema import Sweep

__all__ = ["sweep_model"]


def sweep_model(
    model: str | Path,
    axes: Mapping[str, Sequence[Any]],
    output: str | Path,
    *,
    points: Sequence[Mapping[str, Any]] = (),
    options: CompileOptions | None = None,
    until: str = "",
    cheapest_by: str = "energy",
    halving: bool = False,
    retry_failed: bool = False,
    workers: int | None = None,
    cluster: str = "",
) -> Sweep:
    """Compile a model at each point of a grid of options.

    Args:
        model: the file.
        axes: several values of options each, by name; every combination is a point.
        output: the folder to write. What it has of the same sweep already is kept.
        points: further points, as options by name.
        options: those that all points share; data are files.
        until: a condition as ``drop<1 and cores<=4``, which ends the sweep.
        cheapest_by: the cost that decides then: energy, cores, steps or latency.
        halving: judge points on few samples first, and drop those that others surpass.
        retry_failed: compile again what failed before.
        workers: number of processes; by default one per processor.
        cluster: address of a Dask scheduler, in place of own processes. With ``local:N``, whose
            processes import the caller's script, call this below ``if __name__ == "__main__":``.

    Returns:
        The content of ``sweep.json``.

    Raises:
        CompileError: the grid, the model, the data or the condition cannot be used.
    """
    from snn_compile.options import CompileOptions
    from snn_compile.sweep.axes import grid_of
    from snn_compile.sweep.plan import Request, plan_of
    from snn_compile.sweep.run import SilentSweepObserver, sweep_on

    base = options or CompileOptions()
    request = Request(until, cheapest_by, halving, retry_failed)
    plan = plan_of(Path(model), lambda: grid_of(axes, points), base.override, request)
    n = workers or os.cpu_count() or 1
    return sweep_on(plan, Path(output), n, cluster or None, SilentSweepObserver())
