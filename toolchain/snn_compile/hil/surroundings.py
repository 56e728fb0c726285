"""What a network sent around the first message that differs, in the reference and on the device."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from snn_compile.hil.divergence import Divergence
from snn_compile.hil.recording import Recording
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference

STEPS = 8
"""Steps shown before and after the one that differs."""
NEURONS = 4
"""Neurons shown before and after the one that differs, in row-major order."""
EXTENT = 16
"""Rows and columns of the channel shown before and after."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Messages around a divergence, of the same stimulus.

    Attributes:
        divergence: the message in the middle.
        shape: of the layer.
        n_steps: of a window.
        first_step: the step of the first column of ``expected`` and ``actual``.
        neurons: index in the layer of each of their rows.
        expected: (neurons, steps) in the reference.
        actual: (neurons, steps) on the device.
        corner: row and column of the channel that ``expected_map`` begins with.
        expected_map: (rows, columns) part of the neuron's channel, at its step; a layer without
            rows and columns is one row.
        actual_map: the same on the device.
    """

    divergence: Divergence
    shape: tuple[int, ...]
    n_steps: int
    first_step: int
    neurons: tuple[tuple[int, ...], ...]
    expected: Int
    actual: Int
    corner: tuple[int, int]
    expected_map: Int
    actual_map: Int

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for scripts."""
        return {
            **self.divergence.as_dict(),
            "shape": list(self.shape),
            "n_steps": self.n_steps,
            "steps": [self.first_step, self.first_step + self.expected.shape[1]],
            "neurons": [list(neuron) for neuron in self.neurons],
            "expected_messages": self.expected.tolist(),
            "actual_messages": self.actual.tolist(),
            "map": {
                "corner": list(self.corner),
                "expected": self.expected_map.tolist(),
                "actual": self.actual_map.tolist(),
            },
        }


def surroundings(
    program: QuantizedGraph, frames: Int, recording: Recording, divergence: Divergence
) -> Surroundings:
    """The messages around a divergence; one stimulus is simulated.

    Args:
        program: the network.
        frames: the encoded stimuli of the recording, up to the one that differs at least.
        recording: what the device sent.
        divergence: between the reference and this recording.
    """
    place = divergence.stimulus
    run = reference.run(
        program,
        frames[place : place + 1],
        first=place,
        before=reference.shown_before(frames, place),
        record=True,
    )
    expected = np.asarray(run.messages[NodeId(divergence.layer)][0], np.int64)
    actual = recording.messages(divergence.layer, place, place + 1)[0].astype(np.int64)
    n_steps, *shape = expected.shape
    middle = int(np.ravel_multi_index(divergence.neuron, shape))
    neurons = _around(middle, NEURONS, prod(shape))
    steps = _around(divergence.step, STEPS, n_steps)
    rows_of = [one.reshape(n_steps, -1)[steps, neurons].T for one in (expected, actual)]
    # A layer without rows and columns is one row.
    laid_out = shape if len(shape) > 1 else (1, *shape)
    *channel, row, column = divergence.neuron if len(shape) > 1 else (0, *divergence.neuron)
    rows, columns = _around(row, EXTENT, laid_out[-2]), _around(column, EXTENT, laid_out[-1])
    plane: tuple[Any, ...] = (divergence.step, *channel, rows, columns)
    maps = [one.reshape(n_steps, *laid_out)[plane] for one in (expected, actual)]
    return Surroundings(
        divergence,
        tuple(shape),
        n_steps,
        steps.start,
        tuple(
            tuple(int(i) for i in np.unravel_index(k, shape))
            for k in range(neurons.start, neurons.stop)
        ),
        rows_of[0],
        rows_of[1],
        (rows.start, columns.start),
        maps[0],
        maps[1],
    )


def _around(middle: int, extent: int, size: int) -> slice:
    return slice(max(0, middle - extent), min(size, middle + extent + 1))
