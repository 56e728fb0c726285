"""Small convolutional networks in every coding, for tests of devices and diagnoses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from networks import INPUT, Builder
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    GradedNeurons,
    IFNeurons,
    QuantizedGraph,
    Readout,
    SignedIFNeurons,
    along_channels,
)
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.sim import reference

CODINGS = ("rate", "zero", "signed", "sync", "graded", "sigma-delta")
SAME = Geometry(padding=(1, 1, 1, 1))


def network(coding: str, seed: int = 3, n_stimuli: int = 24) -> tuple[QuantizedGraph, np.ndarray]:
    """Two convolutions, a dense layer and a readout; the network and its stimuli.

    Signed neurons are ready to fire at once in every second channel, so that some spikes have to be
    taken back.
    """
    at_once = coding in ("sync", "graded", "sigma-delta")
    n_steps = 1 if at_once else 6
    kind = {"graded": "graded", "rate": "subtract", "zero": "zero", "signed": "subtract"}.get(
        coding, "graded"
    )
    net = Builder(
        seed,
        (2, 5, 6),
        n_steps=n_steps,
        coding=InputCoding.GRADED if at_once else InputCoding.CURRENT,
        low=0,
        high=15,
    )
    hidden = net.neurons(kind, net.conv(INPUT, 4, geometry=SAME))
    hidden = net.neurons(kind, net.conv(hidden, 3, geometry=Geometry(stride=(2, 1))))
    hidden = net.neurons(kind, net.dense(hidden, 8))
    net.neurons("readout", net.dense(hidden, 5))
    frames = net.frames(n_stimuli)
    program = net.build()
    if coding == "signed":
        program = _replaced(program, Window("signed", n_steps), _signed)
    if coding == "sync":
        window = Window("sync", 5)
        return schedule(_replaced(program, program.window, _counting), window), frames
    if coding == "sigma-delta":
        return schedule(program, Window("sigma-delta", 1)), frames
    return program, frames


def with_quiet_neurons(program: QuantizedGraph, frames: np.ndarray) -> QuantizedGraph:
    """The network with every fifth neuron of each layer so inhibited that it never fires.

    As in trained networks; nothing tells them apart in what a silenced layer sends. Their bias is
    as low as their largest current is high.
    """
    simulator = reference.Simulator(program)
    values = simulator.encode_inputs(frames)
    changes = program.input.coding is InputCoding.CHANGES
    parts = {}
    for population in program.populations:
        current = simulator.current(population, values)
        part = population
        if not isinstance(population, Readout):
            bias = along_channels(population.bias.values, population.shape).copy()
            sums = current.cumsum(axis=-1) if changes else current
            largest = sums.reshape(bias.size, -1).max(axis=1)
            bias.reshape(-1)[::5] = np.minimum(bias.reshape(-1), -largest - 1)[::5]
            part = replace(population, bias=QTensor.of(bias))
        parts[population.id] = part
        values[population.id] = part.respond(current, program.window.n_steps)
    return QuantizedGraph(Graph([parts.get(n.id, n) for n in program.graph]), program.window)


def _replaced(program: QuantizedGraph, window: Window, change) -> QuantizedGraph:
    return QuantizedGraph(Graph([change(node) for node in program.graph]), window)


def _signed(node):
    if not isinstance(node, IFNeurons):
        return node
    initial = along_channels(node.initial_potential.values, node.shape).copy()
    initial[::2] = along_channels(node.threshold.values, node.shape)[::2] - 1
    return SignedIFNeurons(
        **node.common_fields,
        threshold=node.threshold,
        bias=QTensor.of(-np.abs(node.bias.values)),
        initial_potential=QTensor.of(initial),
    )


def _counting(node):
    if not isinstance(node, GradedNeurons):
        return node
    # One step of a graded payload is 2**shift / multiplier.
    step = (1 << node.shift.values) // node.multiplier.values
    largest = (1 << node.payload.bits) * step
    smaller = 16 if node.id == "layer2" else 16 * 51  # its sources count to 5, not to 255
    threshold = QTensor.of(np.maximum(1, largest // smaller))
    return ClipFloorNeurons(**node.common_fields, threshold=threshold, bias=node.bias, levels=5)
