"""Messages of scheduled networks, from the values of the integer network.

They need not be simulated step by step: their counts and payloads are those of one step of
``integer_network``, and from these every message follows as the coding's schedule says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.inputs import Inputs
from snn_compile.ir.quantized import Input, Population, Readout
from snn_compile.ir.spiking import Schedule
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.reference import Run

Integers = npt.NDArray[np.integer]


def in_windows(
    schedule: Schedule,
    populations: Sequence[Input | Population],
    values: Run,
    n_steps: int,
    record: bool,
) -> Run:
    """The run of a network whose layers wait for a window and send a value as several messages.

    Args:
        schedule: schedule of the coding.
        populations: the inputs and the populations of the network.
        values: a run of its integer network: recorded, if messages are kept or their number is not
            known to its activity.
        n_steps: length of the window.
        record: whether to keep the messages.
    """
    messages: dict[NodeId, Int] = {}
    activity = dict(values.activity)
    for node in populations:
        if node.id not in values.messages:
            continue
        at_once = values.messages[node.id]
        if isinstance(node, Readout):
            sent = np.repeat(at_once, n_steps, axis=1) if record else at_once
        elif isinstance(node, Population) and not node.counts:
            # A payload, whole, at the first step.
            later = [(0, 0), (0, n_steps - 1), *[(0, 0)] * (at_once.ndim - 2)]
            sent = np.pad(at_once, later) if record else at_once
        else:
            if schedule.spikes is not None:
                activity[node.id] = schedule.spikes(at_once).sum(axis=(0, 1), dtype=np.int64)
            sent = schedule.sent(at_once, n_steps) if record and schedule.sent else at_once
        messages[node.id] = sent
    return Run(values.outputs, messages if record else {}, activity)


def stream(
    populations: Sequence[Input | Population],
    frames: Integers,
    before: Integers | None,
    values_of: Callable[[Integers, Advance], Run],
    at_once: int,
    *,
    record: bool,
    advance: Advance,
) -> Iterator[Run]:
    """The run of a stream, piece by piece: neurons send changes of their value.

    Args:
        populations: the inputs and the populations of the network.
        frames: (N, *sample shape), its input.
        before: (*sample shape), the frame before, or None at the start of a stream.
        values_of: runs the integer network and records everything; reports progress.
        at_once: frames in a piece.
        record: whether to keep messages, which dominate memory use.
        advance: progress callback, in frames.
    """
    last: dict[NodeId, Int] = {}
    if before is not None:
        last = _values(populations, before[None], values_of(before[None], no_progress))
    for start in range(0, max(len(frames), 1), at_once):
        piece = frames[start : start + at_once]
        run = values_of(piece, advance)
        values = _values(populations, piece, run)
        sent = {key: _differences(now, last.get(key)) for key, now in values.items()}
        activity = {key: np.count_nonzero(messages, axis=(0, 1)) for key, messages in sent.items()}
        last = {key: now[-1:] for key, now in values.items()}
        for node in _inputs(populations):
            sent.pop(node.id)
        yield Run(run.outputs, {**run.messages, **sent} if record else {}, activity)


def _values(
    populations: Sequence[Input | Population], frames: Integers, run: Run
) -> dict[NodeId, Int]:
    """Values (N, 1, *shape) of the inputs and of every population that sends."""
    sending = [p for p in populations if not isinstance(p, Input | Readout)]
    inputs = _inputs(populations)
    shown = frames.astype(np.int64).reshape(len(frames), 1, *inputs.shape)
    return {**inputs.split(shown, 2), **{p.id: run.messages[p.id] for p in sending}}


def _inputs(populations: Sequence[Input | Population]) -> Inputs[Input]:
    return Inputs(node for node in populations if isinstance(node, Input))


def _differences(values: Int, before: Int | None) -> Int:
    """Each sample less its predecessor, which is ``before`` or 0 for the first."""
    return np.diff(values, axis=0, prepend=np.zeros_like(values[:1]) if before is None else before)
