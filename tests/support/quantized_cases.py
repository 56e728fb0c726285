"""Small networks with all that the passes on quantized programs need: samples, scales, programs."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

import anns
from anns import INPUT, Net
from snn_compile.codings.graded import Graded
from snn_compile.codings.rate import Rate
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.quantized import GradedNeurons, Readout
from snn_compile.ir.spiking import Reset
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize import correct_biases
from snn_compile.quantize.correct_biases import CorrectBiases
from snn_compile.quantize.quantize import quantize
from snn_compile.sim.reference import Simulator

SAME = Geometry(padding=(1, 1, 1, 1))
CODINGS = {
    "graded": Graded(8),
    "graded4": Graded(4),
    "rate": Rate(24, Reset.SUBTRACT, 0.5),
    "zero": Rate(24, Reset.ZERO, 0.0),
}


def mlp():
    net = Net((16,))
    hidden = net.relu(net.dense(net.relu(net.dense(INPUT, 20)), 14))
    net.dense(hidden, 5)
    return net.build()


def residual():
    """With a projection three layers long beside a direct way: it needs relays."""
    net = Net((2, 6, 6))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.conv(net.relu(net.conv(a, 4, geometry=SAME)), 4, geometry=SAME))
    c = net.relu(net.sum(net.conv(b, 4, geometry=SAME), a))
    net.dense(net.flatten(net.average_pool(c, (3, 3))), 4)
    return net.build()


def pooled():
    net = Net((2, 8, 8))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.conv(net.max_pool(a), 6, (2, 2)))
    net.dense(net.flatten(b), 4)
    return net.build()


NETWORKS = {build.__name__: build for build in (mlp, residual, pooled)}


class Quantized:
    """A quantized network with the samples, the scales and the stages that it was made from."""

    def __init__(self, network, coding, bits, *, encoding=None, x=None, scale=None):
        self.folded = FOLDING(network).graph
        shape = self.folded.input.shape
        self.x = np.random.default_rng(1).normal(size=(200, *shape)) if x is None else x
        found = calibrate(self.folded, self.x)
        maps = maps_shape(shape)
        self.encoding = encoding or InputEncoding.spanning(
            *found.inputs[self.folded.input.id], 8, shape, maps
        )
        self.scales = balance_thresholds(self.folded, found, lambda _: "mmse", levels=coding.levels)
        if scale is not None:
            self.scales = {key: np.full_like(value, scale) for key, value in self.scales.items()}
        to_spiking = ToSpiking(coding, self.scales, self.encoding)
        self.spiking = AlignPaths()(to_spiking(self.folded).graph).graph
        self.quantization = quantize(self.spiking, lambda _: bits)


class Case(Quantized):
    """A quantized network whose biases are to be corrected."""

    def corrected(self):
        frames = self.encoding(self.x)
        return CorrectBiases(self.folded, self.x, frames)(self.quantization).graph

    def wanted(self, n):
        """Mean of what each rectifier and output sees in the float network, per channel."""
        values = anns.values(self.folded, self.x[:n])
        return {
            node.id: values[node.inputs[0]].reshape(node.shape[0], -1).mean(axis=1)
            for node in self.folded.graph
            if isinstance(node, ann.Output) or (isinstance(node, ann.Relu) and node.like is None)
        }

    def errors(self, quantization, n):
        """Mean drive of each layer less the wanted one, in steps of the potential, per channel."""
        program, wanted = quantization.program, self.wanted(n)
        simulator = Simulator(program)
        values = simulator.encode_inputs(self.encoding(self.x[:n]))
        found = {}
        for population in program.populations:
            a = simulator.current(population, values)
            if not isinstance(population, Readout):
                values[population.id] = population.respond(a, program.window.n_steps)
            if population.id not in wanted:
                continue
            unit = quantization.numbers[population.id].unit
            drive = a + np.broadcast_to(
                population.bias.values.reshape(*population.bias.values.shape, 1, 1),
                (*population.shape, 1, 1),
            )
            seen = drive.reshape(len(unit), -1).mean(axis=1)
            if isinstance(population, GradedNeurons):  # half a payload step, for rounding
                seen -= self.spiking.graph[population.id].threshold / unit / 2
            found[population.id] = seen - wanted[population.id] / unit
        return found

    def n_looked_at(self):
        steps = self.quantization.program.window.n_steps
        most = max(8, correct_biases.MESSAGES // steps)
        return min(len(self.x), correct_biases.MAX_SAMPLES, most)


def same(one, other):
    """Whether two nodes are equal in all fields, arrays included."""

    def plain(value):
        return value.values.tolist() if isinstance(value, QTensor) else value

    return type(one) is type(other) and all(
        plain(getattr(one, item.name)) == plain(getattr(other, item.name)) for item in fields(one)
    )
