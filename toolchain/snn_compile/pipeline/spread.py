"""Evaluation and verification spread over workers, shard by shard.

The network travels to each worker once. A shard travels to the worker that evaluates it, and its
copy is removed there when it is done: what a worker holds does not grow with the set.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.options import CompileOptions
from snn_compile.pipeline.inputs import files_of, source_runtime
from snn_compile.report.evaluation import SPIKING_SAMPLES, Evaluate, Stages, answers_to
from snn_compile.report.shards import Answers, Shard
from snn_compile.samples.outputs import Expected
from snn_compile.sim.batches import Advance
from snn_compile.workers import File, Job, Workers

EVALUATE = f"{__name__}:evaluate_shard"


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """What all shards of an evaluation have in common."""

    stages: Stages
    expected: tuple[Expected, ...]
    options: CompileOptions
    runtime: str


def over_workers(
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
            few = len(shard.x[: max(0, SPIKING_SAMPLES - shard.start)])
            advance(4 * len(shard.x) + few * stages.with_spikes)

        yield from in_order(workers, EVALUATE, sent, once, shards, done)

    return evaluate


def in_order(
    workers: Workers,
    function: str,
    common: object,
    files: dict[str, File],
    shards: Iterable[Shard],
    done: Callable[[Shard], None],
) -> Iterator[Any]:
    """What a function returns for each shard, in the order of the shards.

    Args:
        workers: that call it.
        function: as a job names it; takes ``common``, ``shard`` and the files as paths.
        common: the same for all shards; pickled.
        files: further arguments.
        shards: the shards.
        done: called when a shard is done.

    Raises:
        CompileError: a worker raised it, or too many died; the other shards are then given up.
    """
    with tempfile.TemporaryDirectory(prefix="snn-compile-shards-") as scratch:
        folder = Path(scratch)
        (folder / "common").write_bytes(pickle.dumps(common, pickle.HIGHEST_PROTOCOL))
        whole = {**files, "common": File.of(folder / "common")}
        open_shards: dict[str, Shard] = {}
        found: dict[int, Any] = {}

        def jobs() -> Iterator[Job]:
            for number, shard in enumerate(shards):
                path = folder / f"shard-{number}"
                path.write_bytes(pickle.dumps(shard, pickle.HIGHEST_PROTOCOL))
                open_shards[str(number)] = shard
                arguments = {**whole, "shard": replace(File.of(path), kept=False)}
                yield Job(str(number), function, arguments)

        results = workers.run(jobs())
        try:
            following = 0
            for result in results:
                found[int(result.key)] = result.result()
                done(open_shards.pop(result.key))
                (folder / f"shard-{result.key}").unlink()
                while following in found:
                    yield found.pop(following)
                    following += 1
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()


def evaluate_shard(common: Path, shard: Path, model: Path | None = None) -> Answers:
    """Called in a worker: the answers to a shard."""
    evaluation = _loaded(common, model)
    return answers_to(_unpickled(shard), evaluation.stages, evaluation.expected)


@lru_cache(maxsize=1)
def _loaded(common: Path, model: Path | None) -> _Evaluation:
    """The evaluation, with the runtime of the user's file."""
    evaluation: _Evaluation = _unpickled(common)
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


def _unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
