"""The structure of ``tune`` in ``report.json``: the course of a training."""

from __future__ import annotations

from typing import Any, NotRequired, Required, TypedDict


class Point(TypedDict):
    """An epoch of the learning curve; 0 is the network before training.

    ``merit``: what selects the epoch to keep, the larger the better.
    """

    epoch: int
    train_loss: float | None
    held_out_loss: float
    held_out_top1: float
    merit: NotRequired[float]


class SeedRow(TypedDict):
    """One of several trainings; figures as of ``Point`` and ``Tune``."""

    seed: int
    best_epoch: int
    held_out_top1: float
    merit: float
    after: float | None


class Tune(TypedDict, total=False):
    """Tuning of the network.

    ``before`` and ``after``: top-1 accuracy in fixed point on the evaluation set, in percent.
    ``kept``: the network of the folder: ``tuned``, or ``untuned`` if that is the better one there.
    ``measure``: the meaning of ``held_out_top1`` if it is not an accuracy: spike trains have no
    hold-out split, and the curve is of the training data. ``judged_by``: the source of the figures.
    ``held_out_of``: where those samples come from, in words. ``seeds``: of several trainings.
    ``widths``: of the surrogate gradient, in thresholds.
    """

    method: Required[str]
    source: str
    options: dict[str, Any]
    train: Required[int]
    held_out: Required[int]
    held_out_of: str
    curve: Required[list[Point]]
    best_epoch: Required[int]
    judged_by: str
    measure: str
    before: Required[float | None]
    after: Required[float | None]
    kept: str
    seeds: list[SeedRow]
    widths: dict[str, float]
