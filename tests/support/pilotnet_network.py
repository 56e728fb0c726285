"""PilotNet as Intel trained it (lava-dl's ``.net`` files), as networks of the compiler.

The LIF network is what the frontend reads; ``test_lava_dl_records.py`` compares it with records.

The SDNN has the weights, biases and scales of the file, in the compiler's sigma-delta neurons.
These send every change; lava-dl's send none below a threshold, which the file states for each
layer. ``sdnn`` is the network of the benchmark, of which no record is stored; ``sdnn_small`` has
half its input and one layer less; ``sums_with_thresholds`` computes its stored sums.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
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
    DenseSynapses,
    Input,
    QuantizedGraph,
    QuantizedNode,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
)
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.options import CompileOptions
from snn_compile.sim.reference import SynapseOperator
from snn_frontends.lava_dl import LavaDlFrontend

SPIKE_BITS = 6
"""An SDNN's messages have 2**-6 of the input's units, its states 2**-6 of theirs."""
MOST = 1 << 16
"""No message of an SDNN is larger."""
SDNN_FILES = {"sdnn": "network_tutorial.net", "sdnn_small": "network.net"}


@dataclass(frozen=True, eq=False)
class PilotNet:
    """A network and what Intel's software computed with it.

    Attributes:
        program: the network.
        frames: stimuli: (N, T, *input shape) spikes, or (N, *input shape) values.
        stored: of populations, the messages of the first stimulus (T, *shape); of an SDNN, the sums
            of their input.
        potential: of the readout at each step, in units of a weight; of an SDNN.
        thresholds: of each population of an SDNN, in units of the input.
    """

    program: QuantizedGraph
    frames: np.ndarray
    stored: dict[str, np.ndarray]
    potential: np.ndarray
    thresholds: dict[str, int] = field(default_factory=dict)


def folder(kind: str) -> Path:
    """Where the files of a kind lie: beside the clone, or in ``SNN_COMPILE_DATA``."""
    root = Path(__file__).resolve().parents[2]
    shared = os.environ.get("SNN_COMPILE_DATA") or root.parent / "shared"
    return Path(shared) / "lava_dl" / f"pilotnet_{kind.removesuffix('_small')}"


def pilotnet(kind: str) -> PilotNet:
    """The network of a kind: ``lif``, ``sdnn`` or ``sdnn_small``."""
    return _lif(folder(kind)) if kind == "lif" else _sdnn(folder(kind), kind)


def _lif(files: Path) -> PilotNet:
    found = LavaDlFrontend().read_fixed(files / "network.net", CompileOptions())
    n_steps = found.window.n_steps
    spikes = _stored(files / "input.npy")[None, :n_steps].astype(np.uint8)
    return PilotNet(found.network(found.arrivals[0]), spikes, {}, np.zeros(0))


def _sdnn(files: Path, kind: str) -> PilotNet:
    with h5py.File(files / SDNN_FILES[kind]) as file:
        layers = [file["layer"][str(i)] for i in range(len(file["layer"]))]
        source = _input(layers[0], QFormat(8 + SPIKE_BITS), InputCoding.CHANGES)
        program = QuantizedGraph(_graph(layers, source), Window("sigma-delta", 1))
        thresholds = {
            f"layer{i}": int(layer["neuron/vThMant"][()])
            for i, layer in enumerate(layers)
            if f"layer{i}" in program.graph
        }
    if kind == "sdnn":
        nothing = np.zeros((0, *source.shape), dtype=np.int64)
        return PilotNet(program, nothing, {}, nothing, thresholds)
    stored = {f"layer{i}": _stored(files / f"sigma{i}.npy") for i in (1, 2)}
    frames = _stored(files / "input.npy").astype(np.int64) << SPIKE_BITS
    return PilotNet(program, frames, stored, np.load(files / "output.npy")[0], thresholds)


def sums_with_thresholds(net: PilotNet, n_steps: int) -> dict[str, np.ndarray]:
    """Sums of each population's input (T, *shape), where lava-dl's neurons get the first frame.

    A message takes a step from layer to layer. What is below the threshold is left for later.
    """
    program = net.program
    sent = np.zeros((n_steps, *program.input.shape), dtype=np.int64)
    sent[0] = net.frames[0]
    found = {}
    for population in program.populations:
        (synapses,) = program.synapses_into(population)
        driven = SynapseOperator(synapses, (-MOST, MOST))(np.moveaxis(sent, 0, -1)[..., None])
        arrived = np.moveaxis(driven[..., 0], -1, 0).cumsum(axis=0)
        sums = np.concatenate([np.zeros_like(arrived[:1]), arrived[:-1]])
        found[population.id] = sums
        if isinstance(population, SigmaDeltaNeurons):
            threshold = net.thresholds[population.id] << 2 * SPIKE_BITS
            sent = _with_threshold(np.maximum(sums + population.bias.values, 0), threshold)
    return found


def _with_threshold(activity: np.ndarray, threshold: int) -> np.ndarray:
    """Changes (T, ...) that reach the threshold; the others wait."""
    sent = np.zeros_like(activity)
    known = np.zeros_like(activity[0])
    for step, now in enumerate(activity):
        change = now - known
        sent[step] = np.where(abs(change) >= threshold, change, 0)
        known += sent[step]
    return sent >> SPIKE_BITS


def _graph(layers: list[Any], source: Input) -> Graph[QuantizedNode]:
    nodes: list[QuantizedNode] = [source]
    for index, layer in enumerate(layers[1:], 1):
        kind = _text(layer["type"])
        if kind == "flatten":  # channels, rows, columns: as maps are flattened here, too
            continue
        synapses = _synapses(f"layer{index}", nodes[-1], layer, kind)
        last = index == len(layers) - 1
        nodes += [synapses, _changes(f"layer{index}", synapses, layer, last=last)]
    return Graph(nodes)


def _stored(path: Path) -> np.ndarray:
    """A record (..., channel, step) with x before y, as (step, channel, row, column)."""
    return np.load(path).T


def _text(dataset: Any) -> str:
    value = np.atleast_1d(dataset[()])[0]
    return bytes(value).decode()


def _input(layer: Any, format: QFormat, coding: InputCoding) -> Input:
    return Input(
        id=NodeId("input"),
        inputs=(),
        shape=tuple(int(n) for n in layer["shape"]),
        origin=Origin("network.net", "layer/0", "input"),
        format=format,
        low=format.min,
        high=format.max,
        coding=coding,
    )


def _synapses(
    name: str, source: QuantizedNode, layer: Any, kind: str
) -> ConvSynapses | DenseSynapses:
    values = np.asarray(layer["weight"][()]).astype(np.int64)
    if (values != layer["weight"][()]).any():
        raise ValueError(f"'{name}' has weights that are no integers")
    sizes = [int(n) for n in layer["shape"]]
    shape = (*sizes, 1, 1) if len(sizes) == 1 else tuple(sizes)
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


def _changes(
    name: str, synapses: ConvSynapses | DenseSynapses, layer: Any, *, last: bool
) -> SigmaDeltaNeurons | SigmaDeltaReadout:
    channels = synapses.shape[0]
    bias = np.zeros((channels, 1, 1), dtype=np.int64)
    if "bias" in layer:
        bias += np.asarray(layer["bias"][()]).astype(np.int64).reshape(-1, 1, 1)
    place = {
        "id": NodeId(name),
        "inputs": (synapses.id,),
        "shape": synapses.shape,
        "origin": synapses.origin,
        "bias": QTensor.of(bias << 2 * SPIKE_BITS),
    }
    if last:
        return SigmaDeltaReadout(**place)
    one = 11  # the multiplier is 1
    return SigmaDeltaNeurons(
        multiplier=QTensor.of(np.full(channels, 1 << one)),
        shift=QTensor.of(np.full(channels, one + SPIKE_BITS)),
        payload=QFormat(16, signed=False),
        **place,
    )
