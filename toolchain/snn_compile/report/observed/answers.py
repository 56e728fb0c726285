"""Answers of the outputs: in time, by class, and where compilation changed them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.report.ladder import Ladder
from snn_compile.report.observed.messages import classes_in_time, has_potentials_in_time
from snn_compile.report.observed_schema import MOST_CLASSES
from snn_compile.report.pictures import picture
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Array, Rows
from snn_compile.sim import engine, reference
from snn_compile.sim.frames import encoded

FEWEST_OVER_TIME, MOST_OVER_TIME, OVER_TIME_SHARE = 64, 256, 4
"""Samples whose outputs are read after each step: one of four, within these numbers. Each is
simulated once more for that, and with all of its messages.
"""
CHANGED, SCORES, MISTAKES = 8, 4, 20
"""Changed samples that are shown, classes of each, and mistakes among many classes."""

Scores = Callable[[int], tuple[Sequence[Array], Sequence[Array]]]
"""Values of all outputs for a sample, (1, *shape) each: of the first stage, and in fixed point."""


def over_time(
    program: QuantizedGraph,
    encoding: Encoding,
    decodings: Mapping[NodeId, OutputDecoding],
    ladder: Ladder,
    x: Rows,
) -> dict[str, Any]:
    """The entry ``over_time`` of ``report.json``: percentages after each step of the window.

    Empty for networks whose outputs cannot be read before its end.
    """
    readouts = {node.id: node for node in program.readouts}
    read = {
        output: (index, decoding)
        for index, (output, decoding) in enumerate(decodings.items())
        if ladder.expected[index].kind is OutputKind.CLASSES
        and prod(decoding.shape) > 1
        and has_potentials_in_time(program, readouts[output])
    }
    if not read:
        return {}
    n = max(FEWEST_OVER_TIME, min(len(x) // OVER_TIME_SHARE, MOST_OVER_TIME))
    n, at_once = min(n, len(x)), reference.recording_batch_size(program)
    answers: dict[NodeId, list[Array]] = {output: [] for output in read}
    for start in range(0, n, at_once):
        frames = encoded(encoding, x[start : min(start + at_once, n)])
        run = engine.run(program, frames, first=start, record=True)
        for output, (_, decoding) in read.items():
            answers[output].append(classes_in_time(decoding, run.messages[output]))
    return {
        "over_time": [
            _percentages(ladder, index, np.concatenate(answers[output]))
            for output, (index, _) in read.items()
        ]
    }


def _percentages(ladder: Ladder, index: int, answers: Array) -> dict[str, Any]:
    """The entry of one output from (n, T) classes."""
    n, expected = len(answers), ladder.expected[index]

    def percent(right: Array) -> list[float]:
        return [round(100 * count / n, 4) for count in (answers == right[:, None]).sum(axis=0)]

    return {
        "output": expected.name,
        "n": n,
        "top1": None if expected.y is None else percent(expected.y[:n]),
        "agreement": percent(ladder.first[index][:n]),
    }


def by_class(expected: Expected, answers: Rows) -> dict[str, Any]:
    """The entry ``confusion`` of an output; empty without labels."""
    if expected.kind is not OutputKind.CLASSES or expected.y is None:
        return {}
    n = expected.n_classes
    pairs = n * np.asarray(expected.y[: len(answers)], np.int64) + answers[:]
    if n <= MOST_CLASSES:
        counts = np.bincount(pairs, minlength=n * n).reshape(n, n)
        return {"confusion": {"counts": counts.tolist()}}
    found, counts = np.unique(pairs[pairs % (n + 1) != 0], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MISTAKES]
    mistakes = [
        [*divmod(int(pair), n), int(count)]
        for pair, count in zip(found[most], counts[most], strict=True)
    ]
    return {"confusion": {"mistakes": mistakes}}


def changed(
    expected: Expected, index: int, first: Rows, fixed: Rows, x: Rows, scores: Scores
) -> dict[str, Any]:
    """The entry ``changed`` of an output with classes; empty for others.

    Args:
        expected: of the output.
        index: of the output among all.
        first: (N,) classes of the first stage.
        fixed: those of the network in fixed point.
        x: (N, *input shape) samples.
        scores: values of all outputs for a sample.
    """
    if expected.kind is not OutputKind.CLASSES:
        return {}
    before, after = first[:], fixed[:]
    differing = np.flatnonzero(before != after)
    y = None if expected.y is None else np.asarray(expected.y[: len(before)])
    found: dict[str, Any] = {
        "n": len(differing),
        "gained": None if y is None else int((after == y)[differing].sum()),
        "lost": None if y is None else int((before == y)[differing].sum()),
        "samples": [],
    }
    for sample in differing[:CHANGED].tolist():
        pair = [one[index].reshape(-1) for one in scores(sample)]
        shown = [int(before[sample]), int(after[sample])]
        label = None if y is None else int(y[sample])
        found["samples"].append(
            {
                "sample": sample,
                "label": label,
                "before": shown[0],
                "fixed": shown[1],
                "scores": _scores(pair, [*shown, *([] if label is None else [label])]),
                **({"image": image} if (image := picture(x[sample : sample + 1][0])) else {}),
            }
        )
    return {"changed": found}


def _scores(pair: Sequence[Array], wanted: Sequence[int]) -> list[list[float]]:
    """Class and both scores of the classes wanted, then of those with the highest ones."""
    if len(pair[0]) != len(pair[1]) or len(pair[0]) < 2:
        return []
    highest = np.argsort(-pair[1], kind="stable")[:SCORES].tolist()
    classes = [*dict.fromkeys([*wanted, *highest])][:SCORES]
    return [[one, *(float(f"{float(some[one]):.4g}") for some in pair)] for one in classes]
