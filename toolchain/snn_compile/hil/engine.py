"""The compiled engine against the reference: every build that runs here, every message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import native, reference
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.engine import Engine, no_engine
from snn_compile.sim.reference import Run

AGAINST = "engine"


def verify(program: QuantizedGraph, frames: Int, advance: Advance = no_progress) -> Verification:
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
    engines = {build: Engine(program, build=build) for build in native.builds()}
    found: dict[str, Divergence] = {}
    miscounted: dict[str, str] = {}
    for first, expected in reference.record_runs(program, frames):
        piece = frames[first : first + expected.n_stimuli]
        before = reference.shown_before(frames, first)
        for build in [build for build in engines if build not in found]:
            actual = engines[build].run(piece, first=first, before=before, record=True)
            for divergence in _divergences(program, expected, actual):
                found[build] = replace(divergence, stimulus=divergence.stimulus + first)
                break
            for layer, counts in expected.activity.items():
                if not np.array_equal(actual.activity[layer], counts):
                    miscounted.setdefault(build, f"messages of '{layer}' are miscounted")
        advance(len(piece))
    n_steps = program.window.n_steps
    per_stimulus = n_steps * sum(prod(p.shape) for p in program.populations)
    return Verification(
        AGAINST,
        f"{', '.join(engines)}: all messages",
        len(frames),
        len(frames) * n_steps + program.latency,
        per_stimulus * len(frames) * len(engines),
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
