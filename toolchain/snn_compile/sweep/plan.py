"""What a sweep will do: everything that can be wrong with it is found here, before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.files.presence import no_such_file
from snn_compile.options import CompileOptions
from snn_compile.options.declared import all_of
from snn_compile.pipeline.inputs import is_converted, read_model
from snn_compile.sealed.provenance import FILES
from snn_compile.sweep.axes import Grid
from snn_compile.sweep.goal import COSTS, Goal, parse_goal
from snn_compile.sweep.halving import count_samples
from snn_compile.sweep.points import Make, Point, Skipped, expand


@dataclass(frozen=True)
class Request:
    """What is asked of a sweep beside its grid.

    Attributes:
        until: a condition that ends it; empty for none.
        cheapest_by: the cost by which the answer is the cheapest.
        halving: whether points are judged on few samples first.
        retry_failed: whether points that failed before are compiled again.
    """

    until: str = ""
    cheapest_by: str = "energy"
    halving: bool = False
    retry_failed: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be swept.

    Attributes:
        model: the file.
        grid: of options.
        points: that are compiled, in the order of the grid.
        skipped: combinations that are not.
        goal: ends the sweep; None to compile every point.
        cheapest_by: the cost by which the answer is the cheapest, and by which points are ordered.
        halving: whether points are judged on few samples first.
        retry_failed: whether points that failed before are compiled again.
        n_samples: of the evaluation data, if points are judged on few of them.
    """

    model: Path
    grid: Grid
    points: Sequence[Point]
    skipped: Sequence[Skipped] = ()
    goal: Goal | None = None
    cheapest_by: str = "energy"
    halving: bool = False
    retry_failed: bool = False
    n_samples: int = 0


def plan_of(model: Path, read: Callable[[], Grid], make: Make, request: Request) -> Plan:
    """The plan of a sweep.

    Args:
        model: the file.
        read: returns the grid.
        make: options from values of the grid.
        request: what else is asked for.

    Raises:
        CompileError: the model, the data, the grid or the condition cannot be used; all complaints
            at once, those of the model by themselves.
    """
    complaints: list[CompileError] = []
    goal, grid, points, skipped = None, Grid(), list[Point](), list[Skipped]()
    try:
        goal = parse_goal(request.until) if request.until else None
    except CompileError as error:
        complaints += all_of(error)
    if request.cheapest_by not in COSTS:
        raise UsageError(
            f"'{request.cheapest_by}' is no cost", code="bad-option", hint=f"one of {COSTS}"
        )
    is_spiking = not is_converted(model)
    try:
        grid = read()
        points, skipped = expand(grid, make, is_spiking=is_spiking)
    except CompileError as error:
        complaints += all_of(error)
    complaints += _of_data([point.options for point in points], goal, request)
    raise_all(complaints)
    if not is_spiking:
        read_model(model, points[0].options)  # what it refuses, every point would
    evaluate = points[0].options.evaluate
    return Plan(
        model,
        grid,
        points,
        skipped,
        goal,
        request.cheapest_by,
        request.halving,
        request.retry_failed,
        count_samples(evaluate) if request.halving and evaluate is not None else 0,
    )


def _of_data(
    options: Sequence[CompileOptions], goal: Goal | None, request: Request
) -> list[CompileError]:
    """Complaints about files of data, and about questions that only data can answer."""
    paths = {getattr(one, name) for one in options for name in FILES} - {None}
    found: list[CompileError] = [no_such_file(path) for path in sorted(paths) if not path.exists()]
    is_evaluated = all(one.evaluate is not None for one in options)
    if goal is not None and goal.measured and not is_evaluated:
        names = ", ".join(goal.measured)
        found.append(_needs_data(f"--until compares {names}"))
    elif goal is not None and request.cheapest_by in ("energy", "latency") and not is_evaluated:
        message = f"the {request.cheapest_by} of an inference is measured"
        found.append(_needs_data(message))
    if request.halving and not is_evaluated:
        found.append(_needs_data("--halving judges points by their accuracy"))
    if request.halving and any(one.automatic for one in options):
        message = "--halving cannot judge points whose options are found on all samples"
        hint = "give numbers in place of auto"
        found.append(UsageError(message, code="bad-option", hint=hint))
    return found


def _needs_data(what: str) -> UsageError:
    return UsageError(
        f"{what}, which needs evaluation data", code="missing-data", hint="add --evaluate"
    )
