"""A compiled network, verified by workers: the stored traces, and the engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.hil import engine, golden
from snn_compile.hil.engine import Compared
from snn_compile.hil.golden import Recorded
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pipeline.spread.shards import in_order, unpickled
from snn_compile.report.shards import Shard, shards_of
from snn_compile.samples.rows import Rows
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.engine import no_engine
from snn_compile.workers import Workers

STIMULI = 8
"""In a shard, at most: the reference takes long for each."""


def trace_on(
    workers: Workers, program: QuantizedGraph, frames: Rows, advance: Advance = no_progress
) -> Recorded:
    """What the reference gives for all frames, from workers."""
    return golden.join(list(_on(workers, trace_shard, program, frames, advance)))


def verify_engine_on(
    workers: Workers, program: QuantizedGraph, frames: Rows, advance: Advance = no_progress
) -> Verification:
    """What ``hil.engine.verify`` gives, from workers."""
    if no_engine(program):
        return engine.verify(program, frames, advance)
    return engine.outcome(program, list(_on(workers, compare_shard, program, frames, advance)))


def _on(
    workers: Workers, function: Any, program: QuantizedGraph, frames: Rows, advance: Advance
) -> Iterator[Any]:
    name, shards = f"{__name__}:{function.__name__}", shards_of(frames, STIMULI)
    return in_order(workers, name, program, {}, shards, lambda shard: advance(len(shard.x)))


def trace_shard(common: Path, shard: Path) -> Recorded:
    """Called in a worker: golden messages."""
    some = unpickled(shard)
    return golden.by_reference(_loaded(common), some.x, first=some.start, before=_before(some))


def compare_shard(common: Path, shard: Path) -> Compared:
    """Called in a worker: the engine against the reference.

    Raises:
        UsageError: the worker has no engine.
    """
    some, program = unpickled(shard), _loaded(common)
    if why := no_engine(program):
        raise UsageError(
            f"a worker cannot compare the engine: {why}",
            code="engine",
            hint="install snn-compile with a C++ compiler on all machines",
        )
    return engine.compare(program, some.x, first=some.start, before=_before(some))


def _before(shard: Shard) -> Int | None:
    return next(iter(shard.before), None)


@lru_cache(maxsize=1)
def _loaded(common: Path) -> QuantizedGraph:
    program: QuantizedGraph = unpickled(common)
    return program
