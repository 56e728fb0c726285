"""Dropping points on few samples, with a proof for each that is dropped.

All points are judged on the first samples of a random order, those that remain on more. For two
points, take the samples that exactly one of them classifies correctly. If the two were equally
accurate on the whole set, each of these would be right on half of the discordant samples there,
and the discordant samples seen so far are a random part of them. That one point wins ``k`` of
``m`` then has at most the probability ``exp(-m KL(k/m || 1/2))`` (Chernoff's bound, which holds
for draws without replacement too: Hoeffding 1963, theorem 4). A point is dropped if another one,
which is no dearer in any cost, wins so many that this is below 5 % divided by the number of all
ordered pairs in all rounds.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.errors import Origin, UsageError
from snn_compile.options import CompileOptions
from snn_compile.pipeline.compiled_data import samples_for
from snn_compile.pipeline.driver import compile_model
from snn_compile.report import metrics
from snn_compile.report.evaluation import decoded
from snn_compile.samples.npz import read_arrays
from snn_compile.samples.outputs import OutputKind
from snn_compile.sweep.compiled_point import figures_of

SCREEN = "snn_compile.sweep.halving:screen_point"
"""The name of ``screen_point`` for a worker."""
RISK = 0.05
"""Largest probability that any point is dropped wrongly."""
SHARES = (16, 4)
"""The rounds use one in so many samples."""
MIN_SAMPLES = 16
COSTS = ("energy", "cores", "steps")
GUARANTEE = (
    "with a probability of at least 95 % over the order of the samples, every dropped point is less"
    " accurate on the whole evaluation set than a point that takes no more cores, steps and, on"
    " the samples seen so far, energy"
)


@dataclass(frozen=True)
class Screened:
    """A point on the first samples of the order.

    Attributes:
        name: of the point.
        right: which samples it classifies correctly.
        costs: of an inference, on these samples.
    """

    name: str
    right: np.ndarray[Any, np.dtype[np.bool_]]
    costs: Mapping[str, float]

    def is_no_dearer(self, other: Screened) -> bool:
        """Whether it costs no more than another in any respect; unknown costs are dearer."""
        return all(self.costs[cost] <= other.costs[cost] for cost in COSTS)

    def wins_against(self, other: Screened) -> tuple[int, int]:
        """Samples that it alone has right, and those on which the two differ."""
        return int((self.right & ~other.right).sum()), int((self.right ^ other.right).sum())


def rounds(n_samples: int) -> list[int]:
    """Samples of each round; none if there are too few to tell points apart."""
    return [n for share in SHARES if (n := n_samples // share) >= MIN_SAMPLES]


def count_samples(path: Path) -> int:
    """Samples of an evaluation file, by its labels.

    Raises:
        UsageError: it has no labels, or cannot be read.
    """
    labels = read_arrays(path, lambda arrays: {k: arrays[k] for k in arrays if k == "y"})
    if "y" not in labels:
        raise _no_labels(path)
    return len(labels["y"])


def probability(wins: int, discordant: int) -> float:
    """Bound of the probability of so many wins, if the loser were at least as accurate."""
    if 2 * wins <= discordant:
        return 1.0
    share = wins / discordant
    divergence = share * math.log(2 * share)
    if share < 1:
        divergence += (1 - share) * math.log(2 * (1 - share))
    return math.exp(-discordant * divergence)


def dropped(points: Sequence[Screened], risk: float) -> dict[str, dict[str, Any]]:
    """The points that another one surpasses, with the proof.

    Args:
        points: on the same samples.
        risk: largest probability of an error for each ordered pair.
    """
    found: dict[str, dict[str, Any]] = {}
    for point in points:
        rivals = [o for o in points if o.name != point.name and o.is_no_dearer(point)]
        for rival in rivals:
            wins, discordant = rival.wins_against(point)
            if probability(wins, discordant) <= risk:
                found[point.name] = {
                    "n": len(point.right),
                    "accuracy": round(100 * float(point.right.mean()), 4),
                    "worse_than": rival.name,
                    "wins": wins,
                    "discordant": discordant,
                }
                break
    return found


def risk_of_a_pair(n_points: int, n_rounds: int) -> float:
    """The share of the risk that each comparison may take."""
    return RISK / max(1, n_points * (n_points - 1) * n_rounds)


def screen_point(
    model: Path, values: Mapping[str, Any], origins: Mapping[str, str], n: int
) -> dict[str, Any]:
    """Compile a point, and judge it on the first samples of the order.

    Args:
        model: the file, as everything in ``values`` that is a file, may be a copy.
        values: options by name.
        origins: where they come from.
        n: number of samples.

    Raises:
        CompileError: the point cannot be compiled, or its samples have no classes as labels.
    """
    given = Path(values["evaluate"])
    everything = read_arrays(given, lambda arrays: {key: arrays[key] for key in arrays})
    chosen = np.random.default_rng(0).permutation(len(everything["y"]))[:n]
    with tempfile.TemporaryDirectory(prefix="snn-compile-sweep-") as scratch:
        some = Path(scratch) / "evaluate.npz"
        np.savez(some, allow_pickle=False, **{k: array[chosen] for k, array in everything.items()})
        del everything
        target = {"target": str(values["target"])} if "target" in values else {}
        stated = {**values, **target, "evaluate": some}
        options = CompileOptions(**stated, origins=origins)
        compiled = compile_model(model, options=options)
        samples = samples_for(compiled, some, need_labels=True)
    first = samples.expected[0]
    if first.kind is not OutputKind.CLASSES or first.y is None:
        raise _no_labels(given)
    right = [
        metrics.answers(first, decoded(compiled.decodings, run)[0])
        for run in compiled.simulate_in_pieces(samples.x)
    ]
    figures = figures_of(compiled.report)
    return {
        "right": np.concatenate(right) == first.y,
        "costs": {c: math.nan if figures[c] is None else float(figures[c]) for c in COSTS},
    }


def _no_labels(path: Path) -> UsageError:
    return UsageError(
        "--halving compares classes, and there are no labels of them",
        code="missing-data",
        origin=Origin(str(path)),
        hint="give y, or leave out --halving",
    )
