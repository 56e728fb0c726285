"""Several trainings that differ in their seed alone: the best is kept, and all are reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from snn_compile.report.journal import Journal
from snn_compile.tune.options import TuneOptions


@dataclass(frozen=True)
class OneSeed:
    """One of the trainings.

    Attributes:
        options: with its seed. The split is that of the first seed.
        checkpoint: of its own, or None.
        is_only: whether there is no other.
    """

    options: TuneOptions
    checkpoint: Path | None
    is_only: bool

    def show(self, journal: Journal, known: Mapping[str, Any], after: float | None) -> None:
        """Report its result, unless it is the only one."""
        if not self.is_only:
            best = known["curve"][known["best_epoch"]]
            on_test = "" if after is None else f" · evaluation {after:.2f} %"
            text = f"best epoch {known['best_epoch']} · held out {best['held_out_top1']:.2f} %"
            journal.observer.stage(f"seed {self.options.seed}", text + on_test)


def each_seed(options: TuneOptions, checkpoint: Path | None) -> Iterator[OneSeed]:
    """The trainings in order."""
    for index in range(options.seeds):
        of_seed = replace(options, seed=options.seed + index, seeds=1)
        own = None if checkpoint is None else checkpoint_of(checkpoint, index)
        yield OneSeed(of_seed, own, options.seeds == 1)


def checkpoint_of(checkpoint: Path, index: int) -> Path:
    """The checkpoint of one of several trainings; that of the first has the given name."""
    if not index:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.name}.{index}")


def merit(known: Mapping[str, Any]) -> float:
    """What selects a training among several: the merit of its best epoch."""
    return float(known["curve"][known["best_epoch"]]["merit"])


def of_all(found: Sequence[tuple[Mapping[str, Any], float | None]]) -> dict[str, Any]:
    """What the report says of several trainings, from their facts and accuracies afterwards."""
    if len(found) < 2:
        return {}
    rows = []
    for known, after in found:
        best = known["curve"][known["best_epoch"]]
        row = {"seed": known["options"]["seed"], "best_epoch": known["best_epoch"], "after": after}
        rows.append({**row, "held_out_top1": best["held_out_top1"], "merit": best["merit"]})
    return {"seeds": rows}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {stdev(values):.2f}"
