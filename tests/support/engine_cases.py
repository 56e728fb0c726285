"""Random networks for the engine's tests, and a file of them that needs no Python to be replayed.

``toolchain/engine/replay.cpp`` reads the file: for each case a network as ``engine.h`` has it,
stimuli, and every number that the reference computes for them. All numbers are little-endian;
a list is its length (int64) and its entries.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import networks
import product_networks
import scheduled_networks
import wide_networks
from snn_compile.ir.quantized import Input, QuantizedGraph, Readout
from snn_compile.ir.schedule import integer_network, schedule
from snn_compile.ir.spiking import Window
from snn_compile.sim import abi, reference
from snn_compile.sim.engine import _message_dtype

Named = tuple[str, QuantizedGraph, np.ndarray]
"""What it is, a network, and encoded stimuli."""


def random_networks(n_wide: int = 12) -> Iterator[Named]:
    """Small, and together with every structure, kind of neuron and coding; some wide ones."""
    for seed, kind in enumerate(networks.ALL_NEURONS):
        n_steps = 1 if kind in networks.SINGLE_STEP else 5
        yield f"mlp {kind}", *networks.mlp(seed, kind, n_steps)
        yield f"structures {kind}", *networks.structures(seed, kind, n_steps)
    for kind in ("subtract", "signed"):
        yield f"structures poisson {kind}", *networks.structures(0, kind, 5, poisson=True)
    for seed in range(8):
        n_steps, poisson, kinds = 1 + seed % 7, bool(seed % 3), networks.ALL_NEURONS
        made = networks.branches(seed, n_steps, poisson=poisson, kinds=kinds)
        yield f"branches {seed}", *made
    for coding in scheduled_networks.SCHEDULED:
        for seed, name in enumerate(scheduled_networks.NAMES):
            spread = scheduled_networks.scheduled(coding, name, seed, 7)
            yield f"{coding} {name}", spread.program, spread.frames
    for seed, (channels, width, high) in enumerate(((3, 3, 255), (17, 1, 2047), (5, 4, 7))):
        yield f"products {seed}", *product_networks.gated(seed, channels, high, width)
        program, frames = product_networks.gated(seed, channels, high, width, whole=True)
        yield f"products of changes {seed}", schedule(program, Window("sigma-delta", 1)), frames
    for seed in range(n_wide):
        yield f"wide {seed}", *wide_networks.wide(seed, (1, 5, 33)[seed % 3])


def write(path: Path, given: Iterable[Named]) -> int:
    """Write networks with their stimuli, given at each step and once for all; the number of cases.

    Of a network that is spread over time it is the integer network, which is what the engine runs.
    """
    n_cases = 0
    with path.open("wb") as file:
        _put(file, n_cases)
        for name, program, frames in given:
            at_once = integer_network(program)
            n_steps = at_once.window.n_steps
            sent = reference.encode_inputs(at_once.inputs, frames.astype(np.int64), n_steps, 0)
            once = sent[:, :1]
            ways = {"once": once}
            if n_steps > 1:
                ways["often"] = np.repeat(once, n_steps, axis=1)
            if sent.shape[1] > 1:
                ways["each"] = sent
            for way, messages in ways.items():
                _put_case(file, f"{name}, messages {way}", at_once, messages)
                n_cases += 1
        file.seek(0)
        _put(file, n_cases)
    return n_cases


def write_plain(path: Path, given: Sequence[Named]) -> None:
    """Write networks that are not spread over time with stimuli, as the engine is given them."""
    with path.open("wb") as file:
        _put(file, len(given))
        for name, program, frames in given:
            n_steps, encoded = program.window.n_steps, frames.astype(np.int64)
            sent = reference.encode_inputs(program.inputs, encoded, n_steps, 0)
            _put_case(file, name, program, sent)


def _put_case(file: BinaryIO, name: str, program: QuantizedGraph, messages: np.ndarray) -> None:
    description = abi.Description(program, held=messages.shape[1] == 1)
    _put_list(file, name.encode())
    _put(file, description.n_steps)
    _put_list(file, description.populations)
    for p in description.populations:
        neurons = p.channels * p.height * p.width
        _put_array(file, p.bias, neurons if p.bias_per_neuron else p.channels)
        _put_array(file, p.threshold, p.channels)
        _put_array(file, p.initial, neurons if p.initial_per_neuron else p.channels)
        _put_array(file, p.multiplier, p.channels)
        _put_array(file, p.shift, p.channels)
        _put_array(file, p.table, p.channels * p.numbers[0] * 4)
    _put_list(file, description.synapses)
    for s in description.synapses:
        source, target = (description.populations[i] for i in (s.source, s.target))
        rows = target.channels * target.height * target.width
        n_weights = target.channels * source.channels // s.groups * s.kernel[0] * s.kernel[1]
        if s.indptr:
            n_weights = s.indptr[rows]
        _put_array(file, s.weight, n_weights)
        _put_array(file, s.indptr, rows + 1)
        _put_array(file, s.indices, n_weights)
    low, high = program.input.messages
    sent = messages.astype(np.int8 if -128 <= low and high < 128 else np.int32)
    for number in (*sent.shape[:2], sent.itemsize):
        _put(file, number)
    _put_list(file, sent.tobytes())
    expected = reference.run_messages(program, messages, record=True)
    nodes: list[Any] = [program.input, *program.populations]
    for node in nodes:
        silent = isinstance(node, Readout)
        outputs = expected.outputs[node.id].astype(np.int64) if silent else np.empty(0)
        activity = np.empty(0) if silent else expected.activity[node.id].astype(np.int64)
        trace = np.empty(0)
        if not isinstance(node, Input):
            shape = len(messages), description.n_steps, *node.shape
            trace = np.broadcast_to(expected.messages[node.id], shape).astype(_message_dtype(node))
        for values in (outputs, activity, trace):
            _put_list(file, values.tobytes())


def _put(file: BinaryIO, number: int) -> None:
    file.write(number.to_bytes(8, "little", signed=True))


def _put_list(file: BinaryIO, values: Any) -> None:
    """A list of bytes or of structures. Addresses in them are nobody's any more."""
    _put(file, len(values))
    file.write(bytes(values))


def _put_array(file: BinaryIO, pointer: Any, n: int) -> None:
    """What a pointer points to; nothing if it is NULL."""
    _put(file, n if pointer else 0)
    if pointer and n:
        file.write(ctypes.string_at(pointer, n * ctypes.sizeof(pointer._type_)))
