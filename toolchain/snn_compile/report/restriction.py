"""The cost of a restriction to some neurons: the network without it, on the same samples."""

from __future__ import annotations

from typing import Any

from snn_compile.codings import Coding
from snn_compile.lowering import Lowering
from snn_compile.report import metrics
from snn_compile.report.ladder import Ladder
from snn_compile.report.shards import answers_in_shards
from snn_compile.samples.arrays import Samples
from snn_compile.samples.rows import head

MAX_SAMPLES = 2_000
"""Most samples for the comparison of both networks, the first ones. The difference of two
accuracies on the same samples has converged by then, and the other network costs as much time as
the compiled one.
"""


def compared(ladder: Ladder, free: Lowering, samples: Samples, coding: Coding) -> dict[str, Any]:
    """The entry ``neurons`` of ``report.json``.

    Args:
        ladder: of the compiled network.
        free: the network of the same options without the restriction.
        samples: the evaluation set.
        coding: of the network without the restriction.
    """
    n = min(len(samples), MAX_SAMPLES)
    one = ladder.judged([head(some, n) for some in ladder.answers])
    other = ladder.judged(answers_in_shards(ladder, free.outputs, head(samples.x, n)))
    lost = metrics.most_points_lost(metrics.of_rung(other), metrics.of_rung(one))
    return {
        "allowed": "stock",
        "n": n,
        **one,
        "against": {"neurons": "any", "network": coding.describe(), **other},
        "points": round(-(lost or 0.0), 4),
    }
