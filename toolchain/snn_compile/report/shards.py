"""An evaluation set in shards: what each stage answers to some samples, and all of it joined.

The size of a shard follows from that of a sample alone. So a set has the same shards however many
workers evaluate it, and what they answer is joined in the order of the samples: the figures are the
same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.report.ladder import Ladder
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Array, Rows
from snn_compile.samples.stored import Spool

MOST_SAMPLES, MOST_BYTES = 512, 64 << 20
"""Of a shard. Few enough that many workers have some, enough for all threads of one."""
_ITEM_BYTES = 4


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
    """What the stages answer to the samples of a shard.

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


@dataclass(frozen=True, eq=False)
class AllAnswers:
    """``Answers`` to all samples; what is not small is on the disk."""

    stages: Mapping[str, Sequence[Rows]]
    note: str
    activity: Mapping[NodeId, Int]
    readouts: Mapping[NodeId, Rows]


class Gathered:
    """What is compared of each output, appended shard by shard.

    Args:
        expected: of each output.
    """

    def __init__(self, expected: Sequence[Expected]) -> None:
        self._expected = expected
        self._spools = [Spool(f"the answers of '{one.name}'") for one in expected]

    def append(self, answers: Sequence[Array]) -> None:
        """Append the answers to a shard."""
        for expected, spool, values in zip(self._expected, self._spools, answers, strict=True):
            spool.append(_small(expected, values))

    @property
    def answers(self) -> list[Rows]:
        """All of them."""
        return [spool.rows() for spool in self._spools]


def _small(expected: Expected, answers: Array) -> Array:
    """The classes of positions in few bytes; other answers as they are."""
    if expected.kind is not OutputKind.SEGMENTATION:
        return answers
    return answers.astype(np.min_scalar_type(expected.n_classes - 1))


def shards_of(x: Rows, most: int | None = None) -> Iterator[Shard]:
    """The shards of a set, in order, of at most ``most`` samples."""
    size = min(shard_size(x.shape[1:]), most or len(x))
    for start in range(0, len(x), size):
        yield Shard(start, x[start : start + size], x[max(0, start - 1) : start])


def shard_starts(x: Rows) -> range:
    """The index of the first sample of each shard of a set."""
    return range(0, len(x), shard_size(x.shape[1:]))


def shard_size(shape: Sequence[int]) -> int:
    """Samples in a shard: a power of two."""
    most = MOST_BYTES // (_ITEM_BYTES * max(1, int(np.prod(shape))))
    return 1 << (max(1, min(MOST_SAMPLES, most)).bit_length() - 1)


def join(expected: Sequence[Expected], parts: Iterable[Answers]) -> AllAnswers:
    """The answers to all samples, from those of each shard in order.

    Args:
        expected: of each output.
        parts: at least one; each is let go of before the next one is asked for.
    """
    stages, readouts = dict[str, Gathered](), dict[NodeId, Spool]()
    activity, note = dict[NodeId, Int](), ""
    for part in parts:
        for stage, answers in part.stages.items():
            stages.setdefault(stage, Gathered(expected)).append(answers)
        for name, values in part.readouts.items():
            readouts.setdefault(name, Spool(f"the values of '{name}'")).append(values)
        for name, counts in part.activity.items():
            activity[name] = activity.get(name, 0) + counts
        note = note or part.note
    return AllAnswers(
        {stage: gathered.answers for stage, gathered in stages.items()},
        note,
        activity,
        {name: spool.rows() for name, spool in readouts.items()},
    )


def answers_in_shards(
    ladder: Ladder, outputs: Callable[..., Sequence[Array]], x: Rows
) -> Sequence[Rows]:
    """What is compared of the outputs of a network, ``Lowering.outputs``, for all samples."""
    gathered = Gathered(ladder.expected)
    for shard in shards_of(x):
        values = outputs(shard.x, first=shard.start, before=shard.before)
        gathered.append([some[:] for some in ladder.answers_of(values)])
    return gathered.answers
