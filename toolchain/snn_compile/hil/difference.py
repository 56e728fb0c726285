"""Comparison of two recordings, or of a recording with the reference."""

from __future__ import annotations

import numpy as np

from snn_compile.errors import Origin, UsageError
from snn_compile.hil.comparison import Comparison
from snn_compile.hil.divergence import divergence_in
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import POTENTIAL
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pluralize import pluralize
from snn_compile.sim import reference
from snn_compile.sim.batches import Advance, no_progress


def between(
    expected: Recording, actual: Recording, advance: Advance = no_progress
) -> tuple[Comparison, list[str]]:
    """Compare two recordings where they overlap, a few stimuli at a time.

    Args:
        expected: the recording taken as correct.
        actual: the recording under test.
        advance: progress callback, in stimuli compared.

    Returns:
        The comparison of messages, and notes of one line each: potentials that differ, layers
        and stimuli of only one recording.

    Raises:
        UsageError: they are of different networks or stimuli, or have no layer in common.
    """
    _comparable(expected, actual)
    layers = [name for name in expected.layers if name in actual.layers]
    stop = min(expected.header.recorded, actual.header.recorded)
    comparison = Comparison(layers)
    notes = _only_in_one(expected, actual)
    states = [
        series.name
        for series in expected.header.series
        if series.quantity == POTENTIAL and series in actual.header.series
    ]
    for first, end in expected.ranges(stop):
        pair = [{n: r.messages(n, first, end) for n in layers} for r in (expected, actual)]
        comparison.add(first, pair[0], pair[1])
        for name in list(states):
            sides = [r.messages(name, first, end, quantity=POTENTIAL) for r in (expected, actual)]
            found = divergence_in(name, sides[0], sides[1])
            if found is not None:
                states.remove(name)
                notes.append(f"potentials: {found}")
        advance(end - first)
    return comparison, notes


def from_reference(
    program: QuantizedGraph, frames: Int, recording: Recording, advance: Advance = no_progress
) -> Comparison:
    """Compare a recording with the reference simulator's messages for the same stimuli.

    Args:
        program: the network that it was recorded from.
        frames: encoded stimuli, at least as many as were recorded.
        recording: the messages of a device.
        advance: progress callback, in stimuli compared.
    """
    comparison = Comparison(recording.layers)
    for first, run in reference.record_runs(program, frames[: recording.header.recorded]):
        stop = first + run.n_stimuli
        sent = {name: recording.messages(name, first, stop) for name in recording.layers}
        comparison.add(first, {str(k): np.asarray(v) for k, v in run.messages.items()}, sent)
        advance(run.n_stimuli)
    return comparison


def _comparable(expected: Recording, actual: Recording) -> None:
    one, other = expected.header, actual.header
    origin = Origin(str(actual.path))
    shapes = {series.name: series.shape for series in one.series}
    common = [series for series in other.series if series.name in shapes]
    same = all(series.shape == shapes[series.name] for series in common)
    network = (one.about.network, one.about.n_steps) == (other.about.network, other.about.n_steps)
    if not network or not same:
        raise UsageError(
            f"it was recorded from a different network than {expected.path}",
            code="other-network",
            origin=origin,
            hint="record both from the same compiled folder",
        )
    if not expected.same_stimuli(actual):
        raise UsageError(
            f"it was recorded with different stimuli than {expected.path}",
            code="other-stimulus",
            origin=origin,
            hint="record both with the same data",
        )
    if not set(expected.layers) & set(actual.layers):
        raise UsageError("the two have no layer in common", code="nothing-to-verify", origin=origin)


def _only_in_one(expected: Recording, actual: Recording) -> list[str]:
    notes = []
    for one, other in ((expected, actual), (actual, expected)):
        only = [name for name in one.layers if name not in other.layers]
        if only:
            notes.append(f"only {one.path} has {', '.join(only)}")
        if one.header.recorded > other.header.recorded:
            notes.append(
                f"{one.path} has {pluralize(one.header.recorded, 'stimulus')}, {other.path} only"
                f" {other.header.recorded}"
            )
    return notes
