"""Small tasks for training, and networks in fixed point to train on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    CubaLIFNeurons,
    DenseSynapses,
    IFNeurons,
    Input,
    QuantizedGraph,
    Readout,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import engine
from snn_compile.tune import neurons
from snn_compile.tune.method import Task
from snn_compile.tune.network import Network
from snn_compile.tune.psg import ParametricSurrogate
from snn_compile.tune.session import evaluate_scores
from snn_compile.tune.trainer import Trainer, TrainingData

ORIGIN = Origin("task")
THRESHOLD = 512


def spike_patterns(n, n_inputs=40, n_classes=4, n_steps=8, seed=0, flips=0.12):
    """Noisy copies of one random spike pattern a class: (N, T, inputs) of 0 and 1, and labels."""
    random = np.random.default_rng(seed)
    patterns = random.random((n_classes, n_steps, n_inputs)) < 0.25
    labels = random.integers(0, n_classes, n)
    flipped = random.random((n, n_steps, n_inputs)) < flips
    return (patterns[labels] ^ flipped).astype(np.int64), labels


def spiking_mlp(sizes=(40, 32, 32, 4), kind="lif", n_steps=8, seed=0, gain=1.0, bits=8):
    """Dense layers of leaky (a half each step) or plain neurons, with random weights."""
    random = np.random.default_rng(seed)
    nodes = [
        Input(
            id=NodeId("input"),
            inputs=(),
            shape=(sizes[0],),
            origin=ORIGIN,
            format=QFormat(1, signed=False),
            low=0,
            high=1,
            coding=InputCoding.EVENTS,
        )
    ]
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        top = (1 << (bits - 1)) - 1
        spread = min(gain * THRESHOLD / 8 / np.sqrt(n_in / 8), top / 3)
        weight = np.clip(np.rint(random.normal(0, spread, (n_out, n_in))), -top, top)
        synapses = DenseSynapses(
            id=NodeId(f"synapses{index}"),
            inputs=(nodes[-1].id,),
            shape=(n_out,),
            origin=ORIGIN,
            weight=QTensor(weight.astype(np.int64), QFormat(bits)),
            exponent=3,
        )
        place = {
            "id": NodeId(f"layer{index}"),
            "inputs": (synapses.id,),
            "shape": (n_out,),
            "origin": ORIGIN,
        }
        nodes += [synapses, _population(place, kind, last=index == len(sizes) - 2)]
    return QuantizedGraph(Graph(nodes), Window("rate", n_steps))


def _population(place, kind, *, last):
    n = place["shape"][0]
    bias = QTensor.of(np.zeros(n, np.int64))
    if last:
        return Readout(**place, bias=bias)
    threshold = QTensor.of(np.full(n, THRESHOLD))
    if kind.startswith("lif"):
        return CubaLIFNeurons(
            **place,
            threshold=threshold,
            drop=QTensor.of(np.full(n, THRESHOLD << 6)) if kind == "lif-subtract" else None,
            reset=Reset.SUBTRACT if kind == "lif-subtract" else Reset.ZERO,
            bias=QTensor.of(np.zeros(n, np.int64)),
            current_decay=4095,
            voltage_decay=2048,
        )
    reset = Reset.SUBTRACT if kind == "subtract" else Reset.ZERO
    half = THRESHOLD // 2 if reset is Reset.SUBTRACT else 0
    return IFNeurons(
        **place,
        threshold=threshold,
        bias=bias,
        initial_potential=QTensor.of(np.full(n, half)),
        reset=reset,
    )


COURSE = {
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 0.01,
    "patience": 0,
    "hold_out": 0.5,
    "distill": 0.0,
    "width": 1.0,
}
"""Of a training on patterns, from random weights: seconds."""
N_PATTERNS = 800


@dataclass(frozen=True)
class Outcome:
    """What a training on patterns leads to.

    Attributes:
        top1: accuracy on the training data in percent, from the simulator, after the last epoch.
        widths: of each hidden layer's surrogate in the end.
        reached: share of the potentials inside the surrogates' windows at first.
        offsets: |mean(u) - 1/2| of each hidden layer in the end, in thresholds.
        inside: share of each hidden layer's potentials within half a threshold of the threshold.
    """

    top1: float
    widths: list[float]
    reached: float
    offsets: list[float]
    inside: list[float]


def train(seed, options, kind="lif"):
    """Train a network with two hidden layers on noisy patterns."""
    x, y = spike_patterns(N_PATTERNS, seed=seed, flips=0.2)
    options = replace(options, seed=seed)
    program = spiking_mlp(seed=seed, kind=kind)
    output, unit = program.readouts[0].id, np.full(4, 1 / (4 * THRESHOLD))
    network = Network(program, {output: unit})
    method = ParametricSurrogate(Task(network, output, unit, options))
    hidden = [name for name in network.layers if name != output]
    first = potentials(network, x)
    reached = float(
        np.mean([(np.abs(first[name] - 1) < options.first_width / 2).mean() for name in hidden])
    )

    def judge():
        scores = engine.run(network.tuned(), x).outputs[output].reshape(len(x), -1)
        return evaluate_scores(scores * unit, y)

    curve = Trainer(network, method, TrainingData(x, y), judge, options).run().curve
    last = potentials(network, x)
    return Outcome(
        top1=curve[-1].held_out_top1,
        widths=list(method.facts()["widths"].values()),
        reached=reached,
        offsets=[float(abs(last[name].mean() - 0.5)) for name in hidden],
        inside=[float((np.abs(last[name] - 1) < 0.5).mean()) for name in hidden],
    )


@torch.no_grad()
def potentials(network, x):
    """Potentials before each spike in thresholds, (T, N, *shape), of every layer that fires."""

    def fire(z):
        return (z >= 0).to(z.dtype)

    passed = network(
        network.messages(x), lambda layer, a, n: neurons.respond(layer, a, n, fire), keep=True
    )
    return {
        name: network.layers[name].potential(torch.stack(answer.potentials)).numpy()
        for name, answer in passed.answers.items()
        if answer.potentials
    }
