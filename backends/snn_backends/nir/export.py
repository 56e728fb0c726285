"""A network in fixed point as a NIR graph, its integers as float32."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import numpy.typing as npt

from snn_backends.nir.refusals import MAX_MATRIX, too_large
from snn_compile.convert.linear import Kernel, sparse
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    SparseSynapses,
    Synapses,
    along_channels,
)
from snn_compile.ir.spiking import Reset
from snn_compile.version import __version__

Single = npt.NDArray[np.float32]
PRODUCER = "snn-compile"


def nir_graph(program: QuantizedGraph, unit: Any = None) -> nir.NIRGraph:
    """The graph: integrate-and-fire neurons between convolutions and matrices.

    The real value of one step of the input is metadata, if given.

    Populations are maps (C, H, W) if only convolutions feed them, and vectors otherwise;
    NIR can flatten but not reshape. All nodes act in the same time step.
    """
    return _Export(program, unit=unit).graph()


def write(graph: nir.NIRGraph, path: Path) -> None:
    """Write a graph that older readers accept, too.

    ``v_reset`` is new in nir 1.0.6, with a default of 0: earlier readers reject it.
    """
    content = io.BytesIO()  # HDF5 ignores a full disk and crashes later
    nir.write(content, graph)

    def strip(group: Any) -> None:
        for key in list(group):
            if isinstance(group[key], h5py.Group):
                strip(group[key])
        if "v_reset" in group and not group["v_reset"][()].any():
            del group["v_reset"]

    with h5py.File(content, "r+") as file:
        strip(file["node"])
    path.write_bytes(content.getvalue())


def metadata(program: QuantizedGraph, unit: Any = None) -> dict[str, Any]:
    """Properties that NIR cannot express; ``unit`` is the real value of one step of the input."""
    resets = {n.reset for n in program.populations if isinstance(n, IFNeurons) and not n.relay}
    (reset,) = resets or {Reset.ZERO}
    return {
        "producer": PRODUCER,
        "version": __version__,
        "coding": program.window.coding,
        "n_steps": program.window.n_steps,
        "dt": 1.0,
        "reset": reset.value,
        "threshold": _SAYS[reset],
        "input": program.input.coding.value,
        "input_low": program.input.low,
        "input_high": program.input.high,
        **({} if unit is None else {"input_unit": np.asarray(unit, np.float64)}),
        "output": "what reaches an output, summed over the steps, is the integer readout",
        "state": "starts anew with every n_steps",
    }


_SAYS = {
    Reset.ZERO: "half a step below the integer threshold, so that > and >= agree",
    Reset.SUBTRACT: (
        "the integer threshold, which a spike subtracts; potentials start half a step above the"
        " integer initial potential, so that > and >= agree"
    ),
}


@dataclass
class _Export:
    """Collects nodes and edges.

    Attributes:
        program: the network.
        names: names of populations in the file.
        flat: for each source, whether it is a vector.
        unit: real value of one step of the input, if known.
    """

    program: QuantizedGraph
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    names: dict[NodeId, str] = field(default_factory=dict)
    flat: dict[NodeId, bool] = field(default_factory=dict)
    reset: Reset = Reset.ZERO
    unit: Any = None

    def graph(self) -> nir.NIRGraph:
        said = metadata(self.program, self.unit)
        self.reset = Reset(said["reset"])
        source = self.program.input
        self.flat[source.id] = _is_vector(source.shape)
        shape = source.shape[:1] if self.flat[source.id] else source.shape
        self._add(source.id, nir.Input(input_type={"input": np.array(shape)}))
        for population in self.program.populations:
            self._population(population)
        # The types are complete; the library need not infer those of convolutions.
        graph = nir.NIRGraph(self.nodes, self.edges, metadata=said, type_check=False)
        graph.check_types()
        return graph

    def _add(self, key: NodeId, node: Any) -> str:
        """Add a node under a name valid for every reader: no dots, slashes or leading digit."""
        name = re.sub(r"\W", "_", key, flags=re.ASCII)
        name = f"n{name}" if name[:1].isdigit() else name
        while name in self.nodes:
            name += "_"
        if name != key:
            node.metadata = {**node.metadata, "layer": str(key)}
        self.nodes[name], self.names[key] = node, name
        return name

    def _population(self, node: Population) -> None:
        groups = self.program.synapses_into(node)
        bias = along_channels(node.bias.values, node.shape)
        by_channel = bias.reshape(len(bias), -1)
        per_channel = bool((by_channel == by_channel[:, :1]).all())
        convolved = [self._convolution(group) for group in groups]
        matrices = [conv is None for conv in convolved]
        if not per_channel and not any(matrices):
            matrices[0], convolved[0] = True, None  # a convolution has one bias per channel
        flat = any(matrices) or _is_vector(node.shape)
        holder = matrices.index(True) if any(matrices) else 0
        arriving = [
            self._synapses(group, conv, flat, bias if k == holder else np.zeros_like(bias))
            for k, (group, conv) in enumerate(zip(groups, convolved, strict=True))
        ]
        self.flat[node.id] = flat
        shape = (prod(node.shape),) if flat else node.shape
        if isinstance(node, Readout):
            name = self._add(node.id, nir.Output(output_type={"output": np.array(shape)}))
            self.nodes[name].input_type = {"input": np.array(shape)}
        else:
            name = self._add(node.id, self._neurons(node, shape))
        self.edges += [(source, name) for source in arriving]

    def _neurons(self, node: Population, shape: Shape) -> nir.IF:
        if not isinstance(node, IFNeurons):
            raise TypeError(f"'{node.id}' is not integrate and fire")
        half = 0.5 if self.reset is Reset.ZERO else 0.0

        def full(values: Int, more: float) -> Single:
            return (along_channels(values, node.shape) + more).reshape(shape).astype(np.float32)

        start = full(node.initial_potential.values, 0.5 - half)
        return nir.IF(
            r=np.ones(shape, np.float32),
            v_threshold=full(node.threshold.values, -half),
            v_reset=np.zeros(shape, np.float32),
            metadata={"initial_potential": start} if start.any() else {},
        )

    def _synapses(self, group: Synapses, conv: nir.Conv2d | None, flat: bool, bias: Int) -> str:
        """Nodes from a source to a population; the name of the last."""
        (source,) = group.inputs
        if conv is None:
            matrix = self._matrix(group).astype(np.float32)
            shift = bias.reshape(-1).astype(np.float32)
            node = nir.Affine(weight=matrix, bias=shift) if shift.any() else nir.Linear(matrix)
            return self._after(
                self._flattened(source, self.program.graph[source].shape), group.id, node
            )
        conv.bias = bias.reshape(len(bias), -1)[:, 0].astype(np.float32)
        name = self._after(self.names[source], group.id, conv)
        return self._flattened(NodeId(group.id), group.shape, name) if flat else name

    def _after(self, source: str, key: NodeId, node: Any) -> str:
        name = self._add(key, node)
        self.edges.append((source, name))
        return name

    def _flattened(self, key: NodeId, shape: Shape, name: str = "") -> str:
        """A source as a vector: itself, or a Flatten of it shared by all its readers."""
        if self.flat.get(key, False):
            return self.names[key]
        flatten = NodeId(f"{key}_flat")
        if flatten not in self.names:
            node = nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0, end_dim=-1)
            self._after(name or self.names[key], flatten, node)
        return self.names[flatten]

    def _convolution(self, group: Synapses) -> nir.Conv2d | None:
        """The group as NIR's convolution, if possible.

        The library's types support only square kernels without groups, so kernels get zeros around
        them and groups become blocks of zeros: the sums are the same.
        """
        (source,) = group.inputs
        if not isinstance(group, ConvSynapses) or self.flat[source]:
            return None
        squared = _squared(group.weight.values, group.geometry)
        if squared is None:
            return None
        weight, geometry = squared
        weight = _ungrouped(weight, geometry.groups)
        size = self.program.graph[source].shape[1:]
        if weight.size > MAX_MATRIX:
            raise too_large(group, weight.size)
        return nir.Conv2d(
            input_shape=(size[0], size[1]),
            weight=(weight * 2**group.exponent).astype(np.float32),
            stride=geometry.stride,
            padding=geometry.padding[:2],
            dilation=geometry.dilation,
            groups=1,
            bias=np.zeros(len(weight), np.float32),
        )

    def _matrix(self, group: Synapses) -> Int:
        """All synapses of a group as a matrix, (targets, sources)."""
        source = self.program.graph[group.inputs[0]].shape
        entries = prod(group.shape) * prod(source)
        if entries > MAX_MATRIX:
            raise too_large(group, entries)
        values = group.weight.values
        match group:
            case DenseSynapses():
                matrix = values.reshape(prod(group.shape), prod(source))
            case SparseSynapses():
                matrix = np.zeros((prod(group.shape), prod(source)), np.int64)
                rows = np.repeat(np.arange(len(matrix)), np.diff(group.indptr))
                np.add.at(matrix, (rows, group.indices), values)
            case ConvSynapses():
                kernel = Kernel(source, group.shape, values.astype(np.float64), group.geometry)
                matrix = np.rint(sparse(kernel).toarray()).astype(np.int64)
        scaled: Int = matrix * 2**group.exponent
        return scaled


def _is_vector(shape: Shape) -> bool:
    return prod(shape[1:]) == 1


def _squared(weight: Int, geometry: Geometry) -> tuple[Int, Geometry] | None:
    """A kernel made square by zeros; None if the padding cannot be adjusted."""
    top, left, bottom, right = geometry.padding
    kh, kw = weight.shape[2:]
    side = max(kh, kw)
    more_y, more_x = side - kh, side - kw
    if (top, left) != (bottom, right) or min(top, left) < 0 or more_y % 2 or more_x % 2:
        return None
    around = [(0, 0), (0, 0), (more_y // 2, more_y // 2), (more_x // 2, more_x // 2)]
    y = top + more_y // 2 * geometry.dilation[0]
    x = left + more_x // 2 * geometry.dilation[1]
    return np.pad(weight, around), Geometry(
        geometry.stride, (y, x, y, x), geometry.dilation, geometry.groups
    )


def _ungrouped(weight: Int, groups: int) -> Int:
    """The same convolution without groups: (O, I, kh, kw)."""
    if groups == 1:
        return weight
    n_out, per_group, *size = weight.shape
    full = np.zeros((n_out, per_group * groups, *size), np.int64)
    for channel in range(n_out):
        first = channel // (n_out // groups) * per_group
        full[channel, first : first + per_group] = weight[channel]
    return full
