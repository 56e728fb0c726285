"""An evaluation set in shards: what each stage answers to some samples, and all of it joined.

The size of a shard follows from that of a sample alone. So a set has the same shards however many
workers evaluate it, and what they answer is joined in the order of the samples: the figures are the
same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId

MOST_SAMPLES, MOST_BYTES = 512, 64 << 20
"""Of a shard. Few enough that many workers have some, enough for all threads of one."""
_ITEM_BYTES = 4

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Shard:
    """Consecutive samples.

    Attributes:
        start: index of the first one among all.
        x: (n, *sample shape).
        before: the sample before, (1, *sample shape): some codings send what has changed since.
            Empty at the start.
    """

    start: int
    x: Array
    before: Array


@dataclass(eq=False)
class Answers:
    """What the stages answer to the samples of a shard, or to all of them.

    Attributes:
        stages: for each stage the answers of each output (``metrics.answers``).
        note: what to say of the first stage.
        activity: messages of each neuron of the network in fixed point.
        readouts: real values of its outputs, where the host goes on with them.
    """

    stages: dict[str, Sequence[Array]] = field(default_factory=dict)
    note: str = ""
    activity: Mapping[NodeId, Int] = field(default_factory=dict)
    readouts: Mapping[NodeId, Array] = field(default_factory=dict)


def shards_of(x: Array, most: int | None = None) -> Iterator[Shard]:
    """The shards of a set, in order, of at most ``most`` samples."""
    size = min(shard_size(x.shape[1:]), most or len(x))
    for start in range(0, len(x), size):
        yield Shard(start, x[start : start + size], x[max(0, start - 1) : start])


def shard_size(shape: Sequence[int]) -> int:
    """Samples in a shard: a power of two."""
    most = MOST_BYTES // (_ITEM_BYTES * max(1, int(np.prod(shape))))
    return 1 << (max(1, min(MOST_SAMPLES, most)).bit_length() - 1)


def join(parts: Sequence[Answers]) -> Answers:
    """The answers to all samples, from those of each shard in order."""
    first = parts[0]
    stages: dict[str, Sequence[Array]] = {
        stage: [
            np.concatenate(values)
            for values in zip(*(p.stages[stage] for p in parts if stage in p.stages), strict=True)
        ]
        for stage in first.stages
    }
    activity = {key: np.sum([p.activity[key] for p in parts], axis=0) for key in first.activity}
    readouts = {
        key: np.concatenate([part.readouts[key] for part in parts]) for key in first.readouts
    }
    return Answers(stages, first.note, activity, readouts)
