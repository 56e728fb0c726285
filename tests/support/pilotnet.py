"""PilotNet as Intel trained it (lava-dl's ``.net`` files), as networks of the compiler.

The LIF half reads weights, biases and neurons from the file as they stand. Its neurons are Loihi's
own: the current has no memory, the potential leaks by 1024 of 4096 and is reset to 0. A frame takes
16 steps, and the states are reset before each frame, layer by layer, one step later for each. The
last layer never spikes (its threshold is the largest that the chip has) and is read as a potential.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    Input,
    QuantizedGraph,
    QuantizedNode,
    Readout,
)
from snn_compile.ir.spiking import InputCoding, Window

BIAS_BITS = 6
"""The file's biases have weights' units; the neuron's have 2**-6 of them."""


@dataclass(frozen=True, eq=False)
class PilotNet:
    """A network and what Intel's software computed with it.

    Attributes:
        program: the network.
        frames: (N, T, *input shape) stimuli.
        stored: of each population, the messages of the first stimulus (T, *shape).
        potential: of the readout at each step, in units of a weight. It does not follow from the
            stored spikes of the layer before: it was recorded in another run.
    """

    program: QuantizedGraph
    frames: np.ndarray
    stored: dict[str, np.ndarray]
    potential: np.ndarray


def folder(kind: str) -> Path:
    """Where the files of a kind lie: beside the clone, or in ``SNN_COMPILE_DATA``."""
    root = Path(__file__).resolve().parents[2]
    shared = os.environ.get("SNN_COMPILE_DATA") or root.parent / "shared"
    return Path(shared) / "lava_dl" / f"pilotnet_{kind}"


def pilotnet(kind: str) -> PilotNet:
    """The network of a kind: ``lif``."""
    if kind != "lif":
        raise ValueError(f"no PilotNet of kind '{kind}' here")
    return _lif(folder(kind))


def _lif(files: Path) -> PilotNet:
    with h5py.File(files / "network.net") as file:
        n_steps = int(file["simulation/tSample"][()])
        layers = [file["layer"][str(i)] for i in range(len(file["layer"]))]
        shape = tuple(int(n) for n in layers[0]["shape"])
        nodes: list[QuantizedNode] = [_input(shape)]
        names = []
        for index, layer in enumerate(layers[1:], 1):
            kind = _text(layer["type"])
            if kind == "flatten":  # channels, rows, columns: as maps are flattened here, too
                continue
            last = index == len(layers) - 1
            synapses = _synapses(f"layer{index}", nodes[-1], layer, kind)
            nodes += [synapses, _neurons(f"layer{index}", synapses, layer, last=last)]
            names.append(nodes[-1].id)
    program = QuantizedGraph(Graph(nodes), Window("rate", n_steps))
    spikes = _stored(files / "input.npy")
    stored = {}
    for depth, name in enumerate(names[:-1], 1):
        known = _stored(files / f"{'conv' if depth <= 5 else 'fc'}-{(depth - 1) % 5}.npy")
        stored[name] = known[depth : depth + n_steps].reshape(-1, *program.graph[name].shape)
    potential = np.load(files / "fc-3-v.npy")[0, len(names) :][:n_steps] / 2**BIAS_BITS
    return PilotNet(program, spikes[None, :n_steps].astype(np.uint8), stored, potential)


def _stored(path: Path) -> np.ndarray:
    """A record (..., channel, step) with x before y, as (step, channel, row, column)."""
    return np.load(path).T


def _text(dataset: Any) -> str:
    value = np.atleast_1d(dataset[()])[0]
    return bytes(value).decode()


def _input(shape: tuple[int, ...]) -> Input:
    return Input(
        id=NodeId("input"),
        inputs=(),
        shape=shape,
        origin=Origin("network.net", "layer/0", "input"),
        format=QFormat(1, signed=False),
        low=0,
        high=1,
        coding=InputCoding.EVENTS,
    )


def _synapses(
    name: str, source: QuantizedNode, layer: Any, kind: str
) -> ConvSynapses | DenseSynapses:
    values = np.asarray(layer["weight"][()]).astype(np.int64)
    if (values != layer["weight"][()]).any():
        raise ValueError(f"'{name}' has weights that are no integers")
    shape = tuple(int(n) for n in layer["shape"])
    place = {
        "id": NodeId(f"{name}.synapses"),
        "inputs": (source.id,),
        "shape": shape,
        "origin": Origin("network.net", name, kind),
        "exponent": 0,
    }
    width = QFormat.holding(int(values.min()), int(values.max()))
    if kind == "dense":
        return DenseSynapses(weight=QTensor(values.reshape(shape[0], -1), width), **place)
    rows, columns = (int(n) for n in layer["padding"])
    geometry = Geometry(
        stride=tuple(int(n) for n in layer["stride"]),
        padding=(rows, columns, rows, columns),
        dilation=tuple(int(n) for n in layer["dilation"]),
        groups=int(layer["groups"][()]),
    )
    return ConvSynapses(weight=QTensor(values, width), geometry=geometry, **place)


def _neurons(
    name: str, synapses: ConvSynapses | DenseSynapses, layer: Any, *, last: bool
) -> CubaLIFNeurons | Readout:
    neuron = {key: layer["neuron"][key][()] for key in ("iDecay", "vDecay", "vThMant", "refDelay")}
    bias = np.asarray(layer["bias"][()]).astype(np.int64)
    place = {
        "id": NodeId(name),
        "inputs": (synapses.id,),
        "shape": synapses.shape,
        "origin": synapses.origin,
    }
    if last:
        if neuron["vDecay"] or neuron["iDecay"] != 4096:
            raise ValueError(f"'{name}' is no sum of its input")
        return Readout(bias=QTensor.of(bias), **place)
    return CubaLIFNeurons(
        threshold=QTensor.of(np.full(synapses.shape[0], int(neuron["vThMant"]))),
        bias=QTensor.of(bias.reshape(-1, 1, 1) << BIAS_BITS),
        current_decay=int(neuron["iDecay"]) - 1,
        voltage_decay=int(neuron["vDecay"]),
        **place,
    )
