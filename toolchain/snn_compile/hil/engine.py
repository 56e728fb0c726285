"""The compiled engine against the reference: every build that runs here, every message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.samples.rows import Rows
from snn_compile.sim import native, reference
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.engine import Engine, no_engine
from snn_compile.sim.reference import Run

AGAINST = "engine"


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison of some consecutive stimuli found.

    Attributes:
        builds: that were compared.
        stimuli: number of stimuli.
        found: the first divergence of each build that has one.
        miscounted: builds whose counts are wrong, and what is wrong with the first of them.
    """

    builds: tuple[str, ...]
    stimuli: int
    found: Mapping[str, Divergence]
    miscounted: Mapping[str, str]


def verify(program: QuantizedGraph, frames: Rows, advance: Advance = no_progress) -> Verification:
    """Compare the messages of the reference and of each build for the same stimuli.

    Args:
        program: the network.
        frames: encoded stimuli.
        advance: progress callback, in stimuli compared.

    Returns:
        The outcome; its ``equal`` is None without an engine.

    Raises:
        UsageError: the engine requested is not installed or does not work.
    """
    if why := no_engine(program):
        return Verification(AGAINST, why, 0, 0, 0, None)
    return outcome(program, [compare(program, frames, advance)])


def compare(
    program: QuantizedGraph,
    frames: Rows,
    advance: Advance = no_progress,
    *,
    first: int = 0,
    before: Int | None = None,
) -> Compared:
    """Compare for consecutive stimuli; ``first`` and ``before`` as for ``sim.engine.run``.

    Raises:
        UsageError: the engine requested is not installed or does not work.
    """
    engines = {build: Engine(program, build=build) for build in native.builds()}
    found: dict[str, Divergence] = {}
    miscounted: dict[str, str] = {}
    for start, expected in reference.record_runs(program, frames, first=first, before=before):
        piece = frames[start - first : start - first + expected.n_stimuli]
        shown = reference.shown_before(frames, start - first, before)
        for build in [build for build in engines if build not in found]:
            actual = engines[build].run(piece, first=start, before=shown, record=True)
            for divergence in _divergences(program, expected, actual):
                found[build] = replace(divergence, stimulus=divergence.stimulus + start)
                break
            for layer, counts in expected.activity.items():
                if not np.array_equal(actual.activity[layer], counts):
                    miscounted.setdefault(build, f"messages of '{layer}' are miscounted")
        advance(len(piece))
    return Compared(tuple(engines), len(frames), found, miscounted)


def outcome(program: QuantizedGraph, parts: Sequence[Compared]) -> Verification:
    """The outcome for all stimuli, from what was found in consecutive ones."""
    found: dict[str, Divergence] = {}
    miscounted: dict[str, str] = {}
    for part in parts:
        wrong = set(found)  # of these, nothing more is told
        found |= {build: one for build, one in part.found.items() if build not in wrong}
        for build, fault in part.miscounted.items():
            if build not in wrong:
                miscounted.setdefault(build, fault)
    builds = list(dict.fromkeys(build for part in parts for build in part.builds))
    n_steps, n = program.window.n_steps, sum(part.stimuli for part in parts)
    per_stimulus = n_steps * sum(prod(p.shape) for p in program.populations)
    return Verification(
        AGAINST,
        f"{', '.join(builds)}: all messages",
        n,
        n * n_steps + program.latency,
        per_stimulus * sum(part.stimuli * len(part.builds) for part in parts),
        not (found or miscounted),
        next(iter(found.values()), None),
        tuple(f"{build}: {fault}" for build, fault in (*found.items(), *miscounted.items())),
    )


def _divergences(program: QuantizedGraph, expected: Run, actual: Run) -> Iterator[Divergence]:
    """The first divergence of each layer, then those of the outputs at the last step."""
    for layer, messages in expected.messages.items():
        divergence = divergence_in(layer, messages, actual.messages[layer])
        if divergence is not None:
            yield divergence
    for output, potentials in expected.outputs.items():
        pair = (np.expand_dims(values, 1) for values in (potentials, actual.outputs[output]))
        divergence = divergence_in(output, *pair)
        if divergence is not None:
            yield replace(divergence, step=program.window.n_steps - 1)
