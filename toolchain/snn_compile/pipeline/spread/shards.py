"""Shards of samples, given to workers and their results put in order.

What all shards have in common travels to each worker once. A shard travels to the worker that does
it, and its copy is removed there when it is done: what a worker holds does not grow with the set.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_compile.report.shards import Shard
from snn_compile.workers import File, Job, Workers


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

        following = 0
        with closing(workers.run(jobs())) as results:
            for result in results:
                found[int(result.key)] = result.result()
                done(open_shards.pop(result.key))
                (folder / f"shard-{result.key}").unlink()
                while following in found:
                    yield found.pop(following)
                    following += 1


def unpickled(path: Path) -> Any:
    """What ``in_order`` has sent."""
    return pickle.loads(path.read_bytes())
