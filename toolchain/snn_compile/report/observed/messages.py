"""Messages of a few samples: activations on their levels, and spikes in time."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.encoding import OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.models.population import Neurons
from snn_compile.ir.quantized import Population, QuantizedGraph, Readout
from snn_compile.ir.schedule import integer_network, is_scheduled
from snn_compile.report.observed.numbers import on_levels
from snn_compile.report.observed_schema import NEGATIVE, NOTHING, POSITIVE
from snn_compile.sim import engine, reference

SAMPLES = 16
"""Most samples whose activations are counted."""
RASTER_SAMPLES, MOST_STEPS = 2, 1024
"""Samples in the raster, and most of its steps."""
MOST_LAYERS, MOST_ROWS = 40, 240
"""Layers and neurons in the raster."""
_MOST_NEURONS, _MOST_CELLS = 12, 100_000
"""Neurons of a layer; steps of all neurons and samples."""
_MOST_LEVELS = 1 << 16
"""Levels of an activation whose occurrences are counted one by one."""


def observed_messages(
    program: QuantizedGraph,
    decodings: Mapping[NodeId, OutputDecoding],
    frames: npt.NDArray[np.integer],
) -> dict[str, Any]:
    """The entries ``activations`` and ``raster`` of ``report.json``.

    Args:
        program: the network.
        decodings: of its outputs.
        frames: (N, *sample shape) encoded samples, the first of a stream; the first ones count.
    """
    n = min(len(frames), SAMPLES, reference.recording_batch_size(program))
    few = min(n, RASTER_SAMPLES)
    at_once = integer_network(program)
    values = engine.run(at_once, frames[:n], record=True).messages
    sent = values
    if is_scheduled(program):
        sent = engine.run(program, frames[:few], record=True).messages
    sent = {name: messages[:few] for name, messages in sent.items()}
    sent |= program.inputs.split(reference.input_messages(program, frames[:few]), 2)
    return {
        "activations": [
            {"layer": node.id, "samples": n, "histogram": _levels(node, values[node.id])}
            for node in at_once.populations
            if isinstance(node, Neurons) and not node.relay
        ],
        "raster": raster(program, decodings, sent, few),
    }


def _levels(node: Neurons, messages: Int) -> dict[str, Any]:
    """Sums of messages over a window, (N, T, *shape), on the levels that they can have."""
    sums = messages.sum(axis=1, dtype=np.int64).reshape(-1)
    n_steps = messages.shape[1]
    low, high = (n_steps * end for end in node.messages)
    low, high = min(low, 0), max(high, 0)
    if high - low >= _MOST_LEVELS:
        low, high = min(int(sums.min()), 0), max(int(sums.max()), 0)
    if high - low >= _MOST_LEVELS:
        width = -(-(high - low + 1) // _MOST_LEVELS)
        found = on_levels(np.bincount((sums[sums != 0] - low) // width), 0)
        found = {**found, "low": float(low), "width": found["width"] * width}
    else:
        found = on_levels(np.bincount(sums[sums != 0] - low, minlength=high - low + 1), low)
    return {**found, "zeros": int(np.count_nonzero(sums == 0))}


def raster(
    program: QuantizedGraph,
    decodings: Mapping[NodeId, OutputDecoding],
    sent: Mapping[NodeId, Int],
    n: int,
) -> dict[str, Any]:
    """Messages of some neurons of each layer, evenly chosen among those that sent any.

    Args:
        program: the network.
        decodings: of its outputs.
        sent: messages of inputs and populations, (n, T, *shape); of readouts, the potentials.
        n: number of samples.
    """
    steps = min(program.window.n_steps, MOST_STEPS)
    layers = [*program.inputs, *(p for p in program.populations if not isinstance(p, Readout))]
    if len(layers) > MOST_LAYERS:
        chosen = np.linspace(0, len(layers) - 1, MOST_LAYERS).astype(np.int64)
        layers = [layers[index] for index in np.unique(chosen)]
    rows = min(MOST_ROWS, _MOST_CELLS // (steps * n)) // len(layers)
    each = max(1, min(_MOST_NEURONS, rows))
    found = []
    for node in layers:
        messages = sent[node.id][:, :steps].reshape(n, steps, prod(node.shape))
        shown = _chosen(messages, each)
        found.append(
            {
                "layer": node.id,
                "start": _start(program, node.id),
                "neurons": messages.shape[2],
                "shown": shown.tolist(),
                "rows": _texts(messages[:, :, shown], int(np.abs(messages).max())),
            }
        )
    answers = _answers(program, decodings, sent, steps)
    return {"samples": n, "steps": steps, "layers": found, **answers}


def _start(program: QuantizedGraph, node: NodeId) -> int:
    is_population = isinstance(program.graph[node], Population)
    return reference.row_of(program, node, 0, 0) if is_population else 0


def _chosen(messages: Int, most: int) -> Int:
    """Indices of some neurons of (n, T, neurons) messages, in order."""
    active = np.flatnonzero(messages.any(axis=(0, 1)))
    among = active if len(active) else np.arange(messages.shape[2])
    chosen = np.linspace(0, len(among) - 1, min(most, len(among))).astype(np.int64)
    return np.asarray(among[np.unique(chosen)], np.int64)


_CHARACTERS = np.array([*NEGATIVE[::-1], NOTHING, *POSITIVE])


def _texts(messages: Int, largest: int) -> list[list[str]]:
    """(n, T, neurons) messages as a text for each sample and neuron."""
    sizes = -(-9 * np.abs(messages.astype(np.int64)) // max(largest, 1))
    characters = _CHARACTERS[9 + np.sign(messages) * sizes]
    return [["".join(row) for row in sample.T] for sample in characters]


def _answers(
    program: QuantizedGraph,
    decodings: Mapping[NodeId, OutputDecoding],
    sent: Mapping[NodeId, Int],
    steps: int,
) -> dict[str, Any]:
    """The class with the largest potential after each step, of the first output."""
    name, decoding = next(iter(decodings.items()))
    readout = next(node for node in program.readouts if node.id == name)
    if not has_potentials_in_time(program, readout) or prod(decoding.shape) < 2:
        return {}
    answers = classes_in_time(decoding, sent[name][:, :steps])
    return {"answers": {"start": _start(program, name), "classes": answers.tolist()}}


def has_potentials_in_time(program: QuantizedGraph, readout: Readout) -> bool:
    """Whether an output can be read before the end of its window."""
    in_steps = program.window.n_steps > 1 and not is_scheduled(program)
    return in_steps and not readout.single_step


def classes_in_time(decoding: OutputDecoding, potentials: Int) -> Int:
    """The class with the largest value after each step, (N, T), of (N, T, *shape) potentials."""
    n, steps = potentials.shape[:2]
    values = decoding(potentials.reshape(n * steps, *potentials.shape[2:]))
    return np.asarray(values.reshape(n, steps, -1).argmax(axis=2), np.int64)
