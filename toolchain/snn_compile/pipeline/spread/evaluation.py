"""An evaluation set, evaluated by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from snn_compile.errors import UsageError
from snn_compile.options import CompileOptions
from snn_compile.pipeline.inputs import files_of, source_runtime
from snn_compile.pipeline.spread.shards import in_order, unpickled
from snn_compile.report.evaluation import Evaluate, Stages, answers_to
from snn_compile.report.shards import Answers, Shard
from snn_compile.samples.outputs import Expected
from snn_compile.sim.batches import Advance
from snn_compile.workers import Workers

EVALUATE = f"{__name__}:evaluate_shard"


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """What all shards of an evaluation have in common."""

    stages: Stages
    expected: tuple[Expected, ...]
    options: CompileOptions
    runtime: str


def evaluate_on(
    workers: Workers,
    stages: Stages,
    expected: Sequence[Expected],
    model: Path,
    options: CompileOptions,
) -> Evaluate:
    """Evaluates shards on workers, as ``answers_to`` does here.

    Args:
        workers: that evaluate.
        stages: of the compilation.
        expected: of each output; labels stay here.
        model: the user's file, which its runtime reads.
        options: of the compilation.
    """
    runtime = stages.source_runtime
    sent = _Evaluation(
        replace(stages, source_runtime=None, host=None, of_file=()),
        tuple(replace(one, y=None) for one in expected),
        options,
        runtime.name if runtime is not None else "",
    )
    once = {"model": files_of(model)} if runtime is not None else {}

    def evaluate(shards: Iterator[Shard], advance: Advance) -> Iterator[Answers]:
        def done(shard: Shard) -> None:
            advance(stages.runs(shard.start, len(shard.x)))

        yield from in_order(workers, EVALUATE, sent, once, shards, done)

    return evaluate


def evaluate_shard(common: Path, shard: Path, model: Path | None = None) -> Answers:
    """Called in a worker: the answers to a shard."""
    evaluation = _loaded(common, model)
    return answers_to(unpickled(shard), evaluation.stages, evaluation.expected)


@lru_cache(maxsize=1)
def _loaded(common: Path, model: Path | None) -> _Evaluation:
    """The evaluation, with the runtime of the user's file."""
    evaluation: _Evaluation = unpickled(common)
    if model is None:
        return evaluation
    stages = evaluation.stages
    runtime = source_runtime(model, evaluation.options, stages.network)
    if runtime is None or runtime.name != evaluation.runtime:
        raise UsageError(
            f"a worker cannot run the model file by {evaluation.runtime}",
            code="missing-package",
            hint="install the same packages on all machines",
        )
    return replace(evaluation, stages=replace(stages, source_runtime=runtime))
