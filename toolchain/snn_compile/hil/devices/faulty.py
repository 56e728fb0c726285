"""Devices with an injected fault, which the tool must detect and diagnose.

``--device faulty:KIND`` or ``faulty:KIND@LAYER``. A fault is injected into the program or into
the messages of the reference; of a few candidate places, the one with the largest effect is used.
For tests and for trying out the tool: everything is kept in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.errors import UsageError
from snn_compile.hil import variants
from snn_compile.hil.device import Capabilities, Measured, refuse_unknown_options
from snn_compile.hil.hypotheses import shifted
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    Population,
    QuantizedGraph,
    Readout,
)
from snn_compile.sim.reference import Simulator

Meddle = Callable[[Population, Int], Int]
"""Transforms the messages (*shape, T, B) of a population."""
ENDINGS = ("hang", "crash", "truncated")
CRASHED = 70
_TRIES = 24


def _untouched(population: Population, messages: Int) -> Int:
    del population
    return messages


def simulate(
    program: QuantizedGraph, frames: Int, meddle: Meddle = _untouched
) -> dict[NodeId, Int]:
    """Messages of every layer, (n, T, *shape), with a transformation applied in transit."""
    simulator, n_steps = Simulator(program), program.window.n_steps
    values: dict[NodeId, Int] = simulator.encode_inputs(frames)
    for population in program.populations:
        answer = population.respond(simulator.current(population, values), n_steps)
        values[population.id] = meddle(population, answer)
    return {p.id: np.moveaxis(values[p.id], (-1, -2), (0, 1)) for p in program.populations}


def _changed(program: QuantizedGraph, part: Any) -> QuantizedGraph:
    nodes = [part if node.id == part.id else node for node in program.graph]
    return QuantizedGraph(Graph(nodes), program.window)


def _weight_bits(program: QuantizedGraph, layer: Population) -> Iterator[QuantizedGraph]:
    random = np.random.default_rng(0)
    for group in program.synapses_into(layer):
        values, bits = group.weight.values, group.weight.format.bits
        for _ in range(_TRIES):
            flat = values.reshape(-1).copy()
            place, bit = random.integers(len(flat)), int(random.integers(bits))
            flat[place] = variants.flipped_bit(flat[place], bit, bits)
            yield _changed(program, variants.with_weight(group, flat.reshape(values.shape)))


def _kernels(program: QuantizedGraph, layer: Population) -> Iterator[QuantizedGraph]:
    for group in program.synapses_into(layer):
        if isinstance(group, ConvSynapses):
            flipped = group.weight.values[:, :, ::-1, ::-1]
            yield _changed(program, variants.with_weight(group, flipped))


def _variants(kind: str) -> Callable[[QuantizedGraph, Population], Iterator[QuantizedGraph]]:
    def changed(program: QuantizedGraph, layer: Population) -> Iterator[QuantizedGraph]:
        for variant in layer.variants():
            if variant.kind == kind:
                yield _changed(program, variant.part)

    return changed


MUTATIONS: Mapping[str, Callable[[QuantizedGraph, Population], Iterator[QuantizedGraph]]] = {
    "weight-bit": _weight_bits,
    "no-bias": _variants("no-bias"),
    "threshold": _variants("threshold"),
    "flipped-kernel": _kernels,
    "wrap": _variants("wrap"),
    "saturate": _variants("saturate"),
}


def _lost(layer: NodeId, messages: Int) -> Int:
    """One message in the middle is lost."""
    del layer
    result = messages.copy()
    sent = np.argwhere(result)
    if len(sent):
        result[tuple(sent[len(sent) // 2])] = 0
    return result


def _late(layer: NodeId, messages: Int) -> Int:
    del layer
    return shifted(messages, 1)


def _held(at_most: bool) -> Callable[[NodeId, Int], Int]:
    def hold(layer: NodeId, messages: Int) -> Int:
        """The neuron whose messages vary most sends a constant."""
        del layer
        result = messages.copy()
        flat = result.reshape(-1, *result.shape[-2:])
        neuron = int(flat.std(axis=(1, 2)).argmax())
        flat[neuron] = flat[neuron].max() if at_most else 0
        return result

    return hold


def _silenced(layer: NodeId, messages: Int) -> Int:
    """The layer sends nothing."""
    del layer
    return np.zeros_like(messages)


def _channel_silenced(layer: NodeId, messages: Int) -> Int:
    """The channel that sends most sends nothing."""
    del layer
    result = messages.copy()
    sent = np.count_nonzero(messages.reshape(len(messages), -1), axis=1)
    result[int(sent.argmax())] = 0
    return result


MEDDLING: Mapping[str, Callable[[NodeId, Int], Int]] = {
    "lost-message": _lost,
    "late": _late,
    "stuck": _held(True),
    "silent": _held(False),
    "silent-channel": _channel_silenced,
    "silent-layer": _silenced,
}
KINDS = (*MUTATIONS, *MEDDLING, *ENDINGS)


class FaultyDevice:
    """``--device faulty:KIND[@LAYER]``; without a layer, the first in which the fault shows."""

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        refuse_unknown_options("faulty", options or {})
        self._kind, _, self._layer = argument.partition("@")
        if self._kind not in KINDS:
            raise UsageError(
                f"there is no fault '{self._kind}'",
                code="bad-device",
                hint=f"one of: {', '.join(KINDS)}",
            )
        self._program: QuantizedGraph | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Prepare the network."""
        del folder
        names = [population.id for population in program.populations]
        if self._layer and self._layer not in names:
            raise UsageError(
                f"there is no layer '{self._layer}'",
                code="bad-device",
                hint=f"one of: {', '.join(names)}",
            )
        self._program = program
        return Capabilities(facts={"fault": self._kind})

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Run with the fault, half of the stimuli first."""
        del time_limit
        if self._program is None:
            raise RuntimeError("load a network first")
        if self._kind in ENDINGS:
            messages = simulate(self._program, frames)
        else:
            messages = faulty_messages(self._program, frames, self._kind, self._layer)
        half = max(1, len(frames) // 2)
        yield Measured(0, {name: values[:half] for name, values in messages.items()})
        if self._kind == "hang":
            while True:
                time.sleep(3600)
        if self._kind == "crash":
            os._exit(CRASHED)
        if self._kind != "truncated" and half < len(frames):
            yield Measured(half, {name: values[half:] for name, values in messages.items()})

    def close(self) -> None:
        """Release the network."""
        self._program = None


def faulty_messages(
    program: QuantizedGraph, frames: Int, kind: str, layer: str = ""
) -> dict[NodeId, Int]:
    """Messages of every layer, (n, T, *shape), with a fault in one of them.

    Raises:
        UsageError: the fault has no effect.
    """
    simulator = Simulator(program)
    healthy = simulator.encode_inputs(frames)
    for name, messages in simulate(program, frames).items():
        healthy[name] = np.moveaxis(messages, (0, 1), (-1, -2))
    for population in program.populations:
        if layer and population.id != layer:
            continue
        if kind in MEDDLING:
            found = _meddled(program, frames, kind, population, healthy)
        else:
            found = _mutated(program, frames, kind, population, healthy)
        if found is not None:
            return found
    raise UsageError(
        f"the fault '{kind}' has no effect" + (f" in '{layer}'" if layer else ""),
        code="bad-device",
        hint="try another layer, or more stimuli",
    )


def _meddled(
    program: QuantizedGraph,
    frames: Int,
    kind: str,
    layer: Population,
    healthy: Mapping[NodeId, Int],
) -> dict[NodeId, Int] | None:
    if isinstance(layer, Readout):
        return None
    change = MEDDLING[kind]
    if np.array_equal(change(layer.id, healthy[layer.id]), healthy[layer.id]):
        return None

    def meddle(population: Population, messages: Int) -> Int:
        return change(population.id, messages) if population.id == layer.id else messages

    return simulate(program, frames, meddle)


def _mutated(
    program: QuantizedGraph,
    frames: Int,
    kind: str,
    layer: Population,
    healthy: Mapping[NodeId, Int],
) -> dict[NodeId, Int] | None:
    """With the mutation of a layer that changes most of its messages for correct inputs."""
    best, most = None, 0
    for changed in MUTATIONS[kind](program, layer):
        node = next(node for node in changed.populations if node.id == layer.id)
        current = Simulator(changed).current(node, healthy)
        answer = node.respond(current, program.window.n_steps)
        wrong = int(np.count_nonzero(answer != healthy[layer.id]))
        if wrong > most:
            best, most = changed, wrong
        if wrong and kind in ("wrap", "saturate"):
            break  # the widest state that is too narrow
    return None if best is None else simulate(best, frames)
