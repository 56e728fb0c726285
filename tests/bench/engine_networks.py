"""The networks that ``engine.py`` measures: three of the prototype, and the shared models.

The three have random int8 weights and thresholds tuned so that every layer fires at one density,
that of the input. Each ends in a readout: a dense layer of 10 (MLP, conv) or the sum of every
channel's map (depthwise block). The shared models are compiled; their activity is real.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile import compile_model
from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node, NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    IFNeurons,
    Input,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import reference

Messages = npt.NDArray[Any]
N_STEPS = 32
DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.5, 0.9)
"""At which the three networks are measured."""
SHARED = Path(os.environ.get("SNN_COMPILE_DATA", Path(__file__).parents[3] / "shared"))
MODELS = ("mnist_mlp_256x2", "mnist_cnn_cntk", "fashion_vggbn", "cifar10_resnet20")
WEIGHT_SPREAD = 28
TUNED_ON = 2
"""Samples that thresholds are tuned on."""


@dataclass(frozen=True)
class Layer:
    """One group of synapses of a network: a kernel size of 0 stands for a dense layer."""

    n_out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    depthwise: bool = False
    ones: bool = False


def pool(channels: int, size: int) -> Layer:
    """The sum over windows that do not overlap."""
    return Layer(channels, size, size, 0, depthwise=True, ones=True)


def dense(n_out: int) -> Layer:
    return Layer(n_out, kernel=0)


NETWORKS: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "mlp": ((784, 1, 1), (dense(512), dense(256), dense(10))),
    "conv": (
        (3, 32, 32),
        (
            *(Layer(32), Layer(64), pool(64, 2), Layer(128), pool(128, 2), Layer(128)),
            *(pool(128, 2), dense(10)),
        ),
    ),
    "depthwise": (
        (128, 16, 16),
        (
            *(Layer(128, depthwise=True), Layer(128, 1, padding=0)),
            *(Layer(128, stride=2, depthwise=True), Layer(256, 1, padding=0), pool(256, 8)),
        ),
    ),
}
TITLES = {
    "mlp": "MLP 784-512-256-10",
    "conv": "conv 32c3-64c3-p2-128c3-p2-128c3-p2-fc10, 32x32x3",
    "depthwise": "depthwise block 16x16x128",
}


@dataclass(frozen=True)
class Workload:
    """A network with input to run it on.

    Attributes:
        name: of the network.
        activity: what drives it: a density, or the coding of a compiled model.
        program: the network.
        draw: messages of the input for a number of samples, (N, T or 1, *shape).
    """

    name: str
    activity: str
    program: QuantizedGraph
    draw: Callable[[int], Messages]

    @property
    def label(self) -> str:
        return f"{self.name}, {self.activity}"


def synthetic(name: str, density: float, seed: int = 0) -> Workload:
    """One of the three networks, with every layer firing at a density."""
    shape, layers = NETWORKS[name]
    rng = np.random.default_rng(seed)
    origin = Origin("tests/bench/engine.py")
    first = Input(
        **_place("input", (), shape, origin),
        format=QFormat(8, signed=False),
        low=0,
        high=255,
        coding=InputCoding.POISSON,
    )

    def draw(n_samples: int, seed: int = 1) -> Messages:
        spikes = np.random.default_rng(seed).random((n_samples, N_STEPS, *shape)) < density
        return spikes.astype(np.int8)

    nodes: list[QuantizedNode] = [first]
    messages = np.moveaxis(draw(TUNED_ON, seed=0), (0, 1), (-1, -2))
    for index, layer in enumerate(layers):
        synapses = _synapses(layer, nodes[-1], index, origin, rng)
        place = _place(f"n{index}", (synapses.id,), synapses.shape, origin)
        zero = QTensor.of(np.zeros(synapses.shape[0], np.int64))
        if index == len(layers) - 1:
            nodes += [synapses, Readout(**place, bias=zero)]
            break
        a = reference.SynapseOperator(synapses, (0, 1))(messages, np.int32)
        population = IFNeurons(
            **place,
            threshold=QTensor.of(np.ones(synapses.shape[0], np.int64)),
            bias=zero,
            initial_potential=zero,
            reset=Reset.SUBTRACT,
        )
        population, messages = _tuned(population, a, density)
        nodes += [synapses, population]
    program = QuantizedGraph(Graph(nodes), Window("rate", N_STEPS))
    return Workload(name, f"{density:.0%}", program, draw)


def _place(name: str, inputs: tuple[NodeId, ...], shape: Shape, origin: Origin) -> dict[str, Any]:
    return {"id": NodeId(name), "inputs": inputs, "shape": shape, "origin": origin}


def _synapses(
    layer: Layer, source: Node, index: int, origin: Origin, rng: np.random.Generator
) -> Synapses:
    name = f"s{index}"
    if layer.kernel == 0:
        weight = _weights((layer.n_out, prod(source.shape)), layer, rng)
        shape: Shape = (layer.n_out, 1, 1)
        place = _place(name, (source.id,), shape, origin)
        return DenseSynapses(**place, weight=weight, exponent=0)
    groups = source.shape[0] if layer.depthwise else 1
    kernel = (layer.kernel, layer.kernel)
    geometry = Geometry((layer.stride, layer.stride), (layer.padding,) * 4, groups=groups)
    shape = (layer.n_out, *geometry.output_size((source.shape[1], source.shape[2]), kernel))
    weight = _weights((layer.n_out, source.shape[0] // groups, *kernel), layer, rng)
    place = _place(name, (source.id,), shape, origin)
    return ConvSynapses(**place, weight=weight, exponent=0, geometry=geometry)


def _weights(shape: Shape, layer: Layer, rng: np.random.Generator) -> QTensor:
    if layer.ones:
        return QTensor(np.ones(shape, np.int64), QFormat(8))
    values = np.clip(np.rint(rng.standard_normal(shape) * WEIGHT_SPREAD), -127, 127)
    return QTensor(values.astype(np.int64), QFormat(8))


def _tuned(population: IFNeurons, a: Messages, density: float) -> tuple[IFNeurons, Messages]:
    """The population with the smallest threshold at which it fires at most so often."""
    low, high = 1, 1 << 18
    while low < high:
        middle = (low + high) // 2
        fires = _with_threshold(population, middle).respond(a, N_STEPS).mean() > density
        low, high = (middle + 1, high) if fires else (low, middle)
    population = _with_threshold(population, low)
    return population, population.respond(a, N_STEPS)


def _with_threshold(population: IFNeurons, threshold: int) -> IFNeurons:
    return replace(population, threshold=QTensor.of(np.full(population.shape[0], threshold)))


def compiled(model: str, coding: str) -> Workload:
    """A shared model as ``snn-compile`` makes it, with encoded test images."""
    with tempfile.TemporaryDirectory() as folder:
        calibrate, images = prepared_data(model, Path(folder))
    changes: dict[str, Any] = {"coding": coding}
    changes |= {"timesteps": N_STEPS} if coding == "rate" else {}
    result = compile_model(
        SHARED / "models" / f"{model}.onnx",
        calibrate=calibrate,
        evaluate=(images, None),
        **changes,
    )
    program, stimulus = result.program, np.asarray(result.stimulus)

    def draw(n_samples: int) -> Messages:
        frames = np.resize(stimulus, (n_samples, *stimulus.shape[1:]))
        return reference.encode_input(program.input, frames, program.window.n_steps, 0)

    activity = f"rate T={N_STEPS}" if coding == "rate" else "graded 8 bit"
    return Workload(model, activity, program, draw)


def prepared_data(model: str, folder: Path) -> tuple[Messages, Messages]:
    """Calibration samples and test images of a shared model, by way of a folder."""
    script = [sys.executable, str(SHARED / "prepare_data.py"), model, "-o", str(folder)]
    subprocess.run([*script, "--calibrate", "256", "--evaluate", "64"], check=True)
    calibrate, images = (np.load(folder / f"{n}.npz")["x"] for n in ("calibrate", "evaluate"))
    return calibrate, images


@dataclass(frozen=True)
class Work:
    """What one sample costs a simulator that visits spikes, not silence.

    Attributes:
        gathered: synaptic operations of dense synapses and convolutions over channels, by the
            bytes of the weights that they choose their rows from.
        taps: additions of depthwise convolutions, which look at every tap.
        neuron_steps: neurons times steps.
        spikes: messages other than 0 that are sent, the input's among them.
    """

    gathered: tuple[tuple[int, float], ...]
    taps: float
    neuron_steps: float
    spikes: float

    @property
    def synaptic_operations(self) -> float:
        return sum(count for _, count in self.gathered) + self.taps


def work(workload: Workload, run: reference.Run, n_samples: int) -> Work:
    """Count the operations of a run; its activity must have been recorded."""
    program, gathered, taps = workload.program, list[tuple[int, float]](), 0.0
    n_steps = program.window.n_steps
    for node in program.graph:
        if not isinstance(node, Synapses):
            continue
        active = run.activity[node.inputs[0]] / n_samples
        if node.inputs[0] == program.input.id and program.input.coding is InputCoding.CURRENT:
            active = active / n_steps  # what is held is summed once
        if isinstance(node, ConvSynapses) and node.geometry.groups > 1:
            taps += n_steps * prod(node.shape) * prod(node.weight.shape[1:])
        else:
            operations = float((active * fan_out(node, active)).sum())
            gathered.append((node.weight.values.size, operations))
    neurons = sum(prod(node.shape) for node in program.graph if isinstance(node, Population))
    spikes = sum(float(active.sum()) for active in run.activity.values()) / n_samples
    return Work(tuple(gathered), taps, float(neurons * n_steps), spikes)


def fan_out(node: Synapses, source: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Synapses that leave each neuron of the source, in an array that broadcasts to its shape."""
    match node:
        case DenseSynapses():
            return np.array(float(node.weight.shape[0]))
        case SparseSynapses():
            counts = np.bincount(node.indices, minlength=source.size)
            return counts.reshape(source.shape)
        case ConvSynapses():
            rows, columns = (
                _visits(source.shape[axis + 1], node.shape[axis + 1], axis, node) for axis in (0, 1)
            )
            per_place: npt.NDArray[Any] = (
                rows[:, None] * columns * (node.weight.shape[0] // node.geometry.groups)
            )
            return per_place


def _visits(size: int, n_out: int, axis: int, node: ConvSynapses) -> npt.NDArray[np.int64]:
    """How often the kernels of a convolution see each row (or column) of its source."""
    geometry = node.geometry
    places = (
        np.arange(n_out)[:, None] * geometry.stride[axis]
        - geometry.padding[axis]
        + np.arange(node.weight.shape[2 + axis]) * geometry.dilation[axis]
    )
    inside = places[(places >= 0) & (places < size)]
    return np.bincount(inside, minlength=size)
