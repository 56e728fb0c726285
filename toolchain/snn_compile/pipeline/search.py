"""Search for the fewest steps or bits within the allowed loss of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import Calibration
from snn_compile.errors import UsageError
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, lower
from snn_compile.options import AUTO, CompileOptions
from snn_compile.passes import Finding
from snn_compile.pluralize import pluralize
from snn_compile.report import metrics
from snn_compile.report.host import HostStage
from snn_compile.report.ladder import Ladder, Values
from snn_compile.report.shards import answers_in_shards, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.samples.rows import Array, Rows, head
from snn_compile.samples.stored import Spool
from snn_compile.sim import ann
from snn_compile.sim.reproducible import Reproducible

SEARCH_SAMPLES = 2_000
"""Number of first samples of a search; its result is confirmed on all samples."""


def smallest(candidates: Sequence[int], keeps: Callable[[int], bool]) -> int | None:
    """The smallest candidate that satisfies a bound, with few trials.

    Trials increase in steps that double, and then bisect between the last that violated the bound
    and the first that satisfied it. If losses are not monotone (they are measured on samples and
    slightly noisy), a smaller candidate may be missed; the result always satisfies the bound.

    Args:
        candidates: in ascending order.
        keeps: whether a candidate satisfies the bound; called at most once for each.

    Returns:
        None if no candidate tried, including the largest, satisfies it.
    """
    broken, kept = -1, None
    index, step = 0, 1
    while kept is None:
        index = min(index, len(candidates) - 1)
        if keeps(candidates[index]):
            kept = index
        elif index == len(candidates) - 1:
            return None
        else:
            broken = index
            index, step = index + step, 2 * step
    while kept - broken > 1:
        middle = (kept + broken) // 2
        if keeps(candidates[middle]):
            kept = middle
        else:
            broken = middle
    return candidates[kept]


@dataclass(frozen=True, eq=False)
class Promise:
    """Bound of the loss of accuracy, and the data to measure it.

    Attributes:
        folded: the float network.
        statistics: statistics of its activations.
        calibrate: samples for calibration.
        evaluate: samples to measure the loss on.
        points: points of the main figure of each output (``report.metrics``): top-1 accuracy,
            pixel accuracy or 100 R², against the float network without labels.
        default_coding: default coding of the target.
        host: what is left to the host, if anything; the outputs of the file are judged then.
        of_file: what is expected of them.
    """

    folded: ANNGraph
    statistics: Calibration
    calibrate: Samples | None
    evaluate: Samples
    points: float
    default_coding: str
    host: HostStage | None = None
    of_file: Sequence[Expected] = ()

    def lost(self, options: CompileOptions, n: int) -> float:
        """Points lost on the first n evaluation samples, from the network in fixed point.

        Raises:
            UsageError: no output can be judged.
        """
        coding = coding_of(options, self.default_coding)
        lowered = lower(self.folded, self.statistics, self.calibrate, options, coding)
        if not self._ladder.rungs:
            self._ladder.add_answers("folded", self._exact())
        x = head(self.evaluate.x, n)
        if (hosted := self._hosted(lowered, x)) is not None:
            before, after = hosted["before"], hosted
        else:
            exact = [head(some, n) for some in self._ladder.answers]
            found = answers_in_shards(self._ladder, lowered.outputs, x)
            before, after = (self._ladder.judged(some) for some in (exact, found))
        lost = metrics.most_points_lost(*map(metrics.of_rung, (before, after)))
        if lost is None:
            raise UsageError(
                "auto has nothing to judge by: no output varies over the samples",
                code="unmeasurable",
                hint="give more samples with --evaluate, or numbers in place of auto",
            )
        return lost

    def _exact(self) -> Values:
        """What is compared of the float network."""
        operators = Reproducible(self.folded, self.evaluate.x)

        def outputs(x: Array, **place: object) -> Sequence[Array]:
            del place
            return ann.evaluate_outputs(self.folded, x, operators=operators)

        return answers_in_shards(self._ladder, outputs, self.evaluate.x)

    def _hosted(self, lowered: Lowering, x: Rows) -> dict[str, Any] | None:
        """The rung ``host`` on samples; None if no output of the file can be judged."""
        if self.host is None:
            return None
        spools = {name: Spool(f"the values of '{name}'") for name in lowered.decodings}
        for shard in shards_of(x):
            values = lowered.outputs(shard.x, first=shard.start, before=shard.before)
            for spool, some in zip(spools.values(), values, strict=True):
                spool.append(some)
        decoded = {name: spool.rows() for name, spool in spools.items()}
        return self.host.rung(self.of_file, decoded, x)

    @cached_property
    def _ladder(self) -> Ladder:
        return Ladder(self.evaluate.expected)


def resolve_auto(
    options: CompileOptions, promise: Promise, weight_bits: Sequence[int]
) -> tuple[CompileOptions, list[Finding]]:
    """Replace every ``auto`` by the smallest sufficient number, one option after the other.

    ``--timesteps auto`` means payload bits in codings with payloads instead of steps. Steps
    and payload bits come first, with 8-bit weights if these are searched as well.

    Args:
        options: options, some of them ``auto``.
        promise: the bound.
        weight_bits: widths of the target, in ascending order.
    """
    findings: list[Finding] = []
    for name, candidates in _open(options, promise, weight_bits).items():
        options, finding = _resolve(options, name, candidates, promise)
        findings.append(finding)
    return options, findings


def _open(
    options: CompileOptions, promise: Promise, weight_bits: Sequence[int]
) -> Mapping[str, Sequence[int]]:
    """The options to search, and their candidates."""
    coding = coding_of(options, promise.default_coding)
    name = coding.resolution()
    found: dict[str, Sequence[int]] = {}
    if name in coding.relevant_options and AUTO in (options.timesteps, getattr(options, name)):
        found[name] = range(1, coding.max_size + 1)
    if options.weight_bits == AUTO:
        found["weight_bits"] = weight_bits
    return found


def _resolve(
    options: CompileOptions, name: str, candidates: Sequence[int], promise: Promise
) -> tuple[CompileOptions, Finding]:
    """Search one number on the first samples, then confirm (or raise) it on all."""
    losses: dict[tuple[int, int], float] = {}

    def lost(candidate: int, n: int) -> float:
        if (candidate, n) not in losses:
            trial = options.with_value(name, candidate, "tried")
            losses[candidate, n] = promise.lost(trial, n)
        return losses[candidate, n]

    n = len(promise.evaluate)
    few = min(n, SEARCH_SAMPLES)
    found = smallest(candidates, lambda c: lost(c, few) <= promise.points)
    if found is not None and few < n:
        above = candidates[candidates.index(found) :]
        found = smallest(above, lambda c: lost(c, n) <= promise.points)
    chosen = candidates[-1] if found is None else found
    shown = name.replace("_", " ")
    tried = ", ".join(f"{c}: {loss:.2f}" for (c, _), loss in losses.items())
    says = f"{shown} auto: {chosen} lose {lost(chosen, n):.2f} points on {pluralize(n, 'sample')}"
    options = options.with_value(name, chosen, f"auto, at most {promise.points:g} points lost")
    if found is None:
        hint = "allow a larger --max-accuracy-drop, or another --coding"
        text = f"{says}; no number up to there keeps the promise of {promise.points:g}"
        return options, Finding(text, code="promise-not-kept", hint=hint, warning=True)
    return options, Finding(f"{says} (tried {tried})", code="settled")
