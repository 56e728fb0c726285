"""Warnings about the calibration set, alone and compared with the evaluation set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from math import log, prod, sqrt
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from snn_compile.convert.balance_thresholds import TAIL_COUNTS
from snn_compile.convert.linear import Float
from snn_compile.ir.graph import Shape
from snn_compile.ir.inputs import Inputs
from snn_compile.passes import Finding
from snn_compile.samples.arrays import Samples
from snn_compile.samples.rows import Array, Rows, split

MIN_SAMPLES = 4 * TAIL_COUNTS[0]
"""Smallest adequate calibration set: a neuron of a dense layer has one activation per sample, and
the tail that sets its threshold would be more than a quarter of a smaller set."""
USELESS_SHARE = 0.05
"""Share of constant and repeated samples above which to warn."""
MIN_SHIFT = 0.25
"""Share of samples of another kind, beyond chance, above which to warn. Adequate sets differ too:
runs of 500 images of MNIST's test set by up to 0.2 from its training set, because of other
writers."""
MIN_OUTSIDE = 0.01
"""Share of clipped evaluation samples above which to warn."""
FALSE_ALARM = 1e-3
"""Probability of a warning for two sets from one distribution."""
MAX_COMPARED = 2048
"""Samples of a set whose distribution is compared, evenly spaced; more add no information."""
MAX_FEATURES = 64
"""Features of a vector up to which each is compared separately."""
PIECE_BYTES = 1 << 21
"""Size of the samples processed together: they stay in the cache."""


def trains_findings(
    calibrate: Samples | None, evaluate: Samples | None, *, trains: bool
) -> tuple[Finding, ...]:
    """Warnings about the data of a network trained with spikes, which needs only their range.

    Args:
        calibrate: x (N, T, *shape) trains, or (N, *shape) constant currents; or None.
        evaluate: likewise.
        trains: which of them.

    Returns:
        As of ``data_findings``, without ``few-samples`` and ``not-calibrated``.
    """
    given = [samples for samples in (calibrate, evaluate) if samples is not None]
    if not given:
        return ()
    sets = [samples.x for samples in given]
    of_a_map = "step" if trains else "channel"
    looks = [_Look.at(x, names, of_a_map) for x, names in zip(sets, _identities(sets), strict=True)]
    found = [
        _constant(look, "calibration" if one is calibrate else "evaluation")
        for look, one in zip(looks, given, strict=True)
    ]
    if len(looks) == 2:
        found += [_shifted(*looks), _shared(*looks)]
    return tuple(finding for finding in found if finding is not None)


def data_findings(
    calibrate: Samples | None, evaluate: Samples | None, inputs: Inputs[Any] | None = None
) -> tuple[Finding, ...]:
    """Warnings about the data of a network that is converted.

    Args:
        calibrate: x (N, *sample shape) of any real type.
        evaluate: x (M, *sample shape), or None where nothing is evaluated.
        inputs: of the network; None for a single one.

    Returns:
        At most one finding with each of the codes ``few-samples``, ``distribution-shift`` and
        ``evaluation-in-calibration``, and of ``constant-samples`` one for each set; without
        calibration samples ``not-calibrated`` in their place.
    """
    given = [samples for samples in (calibrate, evaluate) if samples is not None]
    if not given:
        return (_NOT_CALIBRATED,)
    sets = [samples.x for samples in given]
    looks = [_Look.at(x, names) for x, names in zip(sets, _identities(sets), strict=True)]
    found = [_NOT_CALIBRATED if calibrate is None else _few(looks[0])]
    for look, one in zip(looks, given, strict=True):
        found.append(_constant(look, "calibration" if one is calibrate else "evaluation"))
    if calibrate is not None and evaluate is not None:
        several = inputs if inputs is not None and len(inputs) > 1 else None
        found += [_shifted(*looks)] if several is None else _shifted_inputs(several, sets)
        found.append(_shared(*looks))
    return tuple(finding for finding in found if finding is not None)


_NOT_CALIBRATED = Finding(
    "no calibration data: thresholds are worst-case bounds from the weights, for inputs from 0"
    " to 1; expect a large loss of accuracy",
    code="not-calibrated",
    hint="set --calibrate to a few hundred unlabelled samples",
    warning=True,
)

Identity = int | bytes


def _identities(sets: list[Rows]) -> list[list[Identity]]:
    """An identity for each sample of each set (N, *shape), equal for equal samples only.

    A cheap checksum distinguishes most samples; collisions get a longer one.
    """
    dtype = np.result_type(*(x.dtype for x in sets))
    sums = [[crc32(sample) for piece in _pieces(x, dtype) for sample in piece] for x in sets]
    counts = Counter(value for values in sums for value in values)
    if len(counts) == sum(map(len, sums)):
        return [[*values] for values in sums]

    def identity(sample: Array, value: int) -> Identity:
        return value if counts[value] == 1 else sha256(sample.tobytes()).digest()

    def samples(x: Rows) -> Iterator[Array]:
        return (sample for piece in _pieces(x, dtype) for sample in piece)

    return [
        [identity(sample, value) for sample, value in zip(samples(x), values, strict=True)]
        for x, values in zip(sets, sums, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Look:
    """Statistics of a set of N samples, in K views: channels, or a vector and its features.

    Attributes:
        identities: N values, equal for equal samples only.
        low, high: smallest and largest value of each channel (vectors have one), (N, C).
        statistics: the compared statistics, by name; (up to MAX_COMPARED,) each.
        constant: whether all values of each channel are the same, (N,); never for single values.
    """

    identities: list[Identity]
    low: Float
    high: Float
    statistics: dict[str, Float]
    constant: npt.NDArray[np.bool_]

    @staticmethod
    def at(x: Rows, identities: list[Identity], of_a_map: str = "channel") -> _Look:
        """The statistics of samples (N, *shape); their first axis has channels, or steps."""
        channels = _channels(x.shape[1:])
        low, high = (
            np.concatenate([end(maps, axis=2) for maps in _maps(x, channels)], dtype=np.float64)
            for end in (np.min, np.max)
        )
        every = -(-len(x) // MAX_COMPARED)
        mean, spread = (
            np.concatenate(
                [of(maps, axis=2) for maps in _maps(x, channels, every)], dtype=np.float64
            )
            for of in (np.mean, np.std)
        )
        names = [f"{of_a_map} {c}" for c in range(channels)] if channels > 1 else ["a sample"]
        statistics = {}
        for c, name in enumerate(names):
            statistics[f"mean of {name}"] = mean[:, c]
            statistics[f"spread within {name}"] = spread[:, c]
        if 1 < x.shape[1] <= MAX_FEATURES and prod(x.shape[2:]) == 1:
            some = x[::every]
            features = some.reshape(len(some), -1).astype(np.float64)
            statistics |= {f"feature {i}": values for i, values in enumerate(features.T)}
        constant = (low == high).all(axis=1) & (prod(x.shape[1:]) > channels)
        return _Look(identities, low, high, statistics, constant)


def _channels(shape: Shape) -> int:
    """Number of separate input ranges: one per channel of a map; features of a vector share one.

    As in ``InputEncoding.spanning``.
    """
    return shape[0] if prod(shape[1:]) > 1 else 1


def _pieces(x: Rows, dtype: np.dtype[np.generic], every: int = 1) -> Iterator[Array]:
    """Every so many samples, a few at a time."""
    size = every * max(1, PIECE_BYTES // max(1, x[:1].nbytes))
    for start in range(0, len(x), size):
        yield np.ascontiguousarray(x[start : start + size : every], dtype)


def _maps(x: Rows, channels: int, every: int = 1) -> Iterator[Array]:
    """Pieces of the samples as (N, C, values)."""
    for piece in _pieces(x, x.dtype, every):
        yield piece.reshape(len(piece), channels, -1)


def _few(ours: _Look) -> Finding | None:
    n = len(set(ours.identities))
    if n >= MIN_SAMPLES:
        return None
    # Exchangeable samples: the next one has the largest value of n + 1 once in n + 1 times.
    return Finding(
        f"{n} different calibration sample{'s'[: n > 1]}: one input in {n + 1} will drive a neuron"
        " of a dense layer beyond its calibrated range",
        code="few-samples",
        hint=f"use a few hundred unlabelled samples, at least {MIN_SAMPLES}",
        warning=True,
    )


def _constant(ours: _Look, use: str) -> Finding | None:
    n = len(ours.identities)
    constant = int(ours.constant.sum())
    repeated = n - len(set(ours.identities))
    useful = len({i for i, c in zip(ours.identities, ours.constant, strict=True) if not c})
    if n - useful <= USELESS_SHARE * n:
        return None
    counts = {"constant": constant, "repeated": repeated}
    parts = " and ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return Finding(
        f"of {n:,} {use} samples, {parts}: {useful:,} are informative",
        code="constant-samples",
        hint="check the origin of the file; use samples representative of deployment",
        warning=True,
    )


def _shared(ours: _Look, theirs: _Look) -> Finding | None:
    known = set(ours.identities)
    both = sum(identity in known for identity in theirs.identities)
    if not both:
        return None
    return Finding(
        f"{both:,} of {len(theirs.identities):,} evaluation samples are calibration samples too:"
        " the accuracies are not those on unseen data",
        code="evaluation-in-calibration",
        hint="calibrate on other samples, for example from the training set",
        warning=True,
    )


def _shifted(ours: _Look, theirs: _Look) -> Finding | None:
    """Relevant differences, improbable for two sets from one distribution."""
    doubts = [text for text in (_unlike(ours, theirs), _outside(ours, theirs)) if text]
    if not doubts:
        return None
    return Finding(
        f"calibration and evaluation samples differ: {'; '.join(doubts)}",
        code="distribution-shift",
        hint="preprocess both alike, and sample both from the inputs of deployment",
        warning=True,
    )


def _shifted_inputs(inputs: Inputs[Any], sets: list[Rows]) -> Iterator[Finding | None]:
    """The same for each of several inputs, by its name."""
    ours, theirs = (split(inputs, x) for x in sets)
    for node in inputs:
        found = _shifted(_Look.at(ours[node.id], []), _Look.at(theirs[node.id], []))
        if found is not None:
            yield replace(found, message=f"input '{node.id}': {found.message}")


def _unlike(ours: _Look, theirs: _Look) -> str:
    """The statistic whose distributions differ most, if they differ much."""
    distances = {
        name: kolmogorov_smirnov(values, theirs.statistics[name])
        for name, values in ours.statistics.items()
    }
    name = max(distances, key=lambda key: distances[key])
    a, b = ours.statistics[name], theirs.statistics[name]
    by_chance = sqrt(log(2 * len(distances) / FALSE_ALARM) / 2 * (1 / len(a) + 1 / len(b)))
    share = distances[name] - by_chance
    if share < MIN_SHIFT:
        return ""
    return (
        f"the {name} is {_typical(a)} and {_typical(b)};"
        f" at least {share:.0%} of the samples are of another kind"
    )


def kolmogorov_smirnov(a: Float, b: Float) -> float:
    """Largest difference between two empirical distribution functions.

    At least this share of one set would have to be replaced to make the distributions equal. For
    sets of n and m from one distribution, it exceeds d with a probability of about
    ``2 exp(-2 d**2 n m / (n + m))`` at most (Smirnov's limit). Written out because importing
    ``scipy.stats`` takes longer than everything else here.

    Args:
        a: (n,) values.
        b: (m,) values.
    """
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    of_a = np.searchsorted(a, at, side="right") / len(a)
    of_b = np.searchsorted(b, at, side="right") / len(b)
    return float(np.abs(of_a - of_b).max())


def _typical(values: Float) -> str:
    return f"{values.mean():.3g} ± {values.std():.2g}"


def _outside(ours: _Look, theirs: _Look) -> str:
    """Evaluation samples beyond the range of the calibration samples, if there are too many.

    If n + m samples are exchangeable, the k largest of them are all among the m with the
    probability ``prod_{j < k} (m - j) / (n + m - j)``.
    """
    n, m = len(ours.low), len(theirs.low)
    low, high = np.minimum(ours.low.min(axis=0), 0), np.maximum(ours.high.max(axis=0), 0)
    ends = np.concatenate([theirs.low < low, theirs.high > high], axis=1)
    k = int(ends.sum(axis=0).max())
    chance = sum(log(m - j) - log(n + m - j) for j in range(k)) + log(ends.shape[1])
    if k <= MIN_OUTSIDE * m or chance > log(FALSE_ALARM):
        return ""
    share = float(ends.any(axis=1).mean())
    return f"{share:.1%} of the evaluation samples leave the encoded range of the input"


__all__ = ["data_findings", "kolmogorov_smirnov"]
