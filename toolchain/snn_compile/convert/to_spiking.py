"""The spiking network: rectifiers become neurons, everything between them synapses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from snn_compile.coding_registry import guard_call
from snn_compile.codings import Coding
from snn_compile.convert import products
from snn_compile.convert.expand import Affine, Term, drives_of
from snn_compile.convert.file_integers import of_file
from snn_compile.convert.linear import (
    Float,
    Kernel,
    LinearMap,
    Matrix,
    Sparse,
    Wiring,
    as_kernel,
    scale_sources,
    sparse,
    to_depthwise,
)
from snn_compile.convert.signs import non_negative
from snn_compile.errors import CompileError, raise_all
from snn_compile.ir import ann, spiking
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import Encoding, InputEncoding
from snn_compile.ir.fitting import SEED_BITS
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape, maps_shape
from snn_compile.ir.spiking import InputCoding, Neurons, SpikingNode
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class ToSpiking:
    """Replaces rectifiers by neurons and the linear maps between them by synapses.

    Attributes:
        coding: how activations become spikes.
        scales: full scale per channel of each rectifier.
        encoding: encoding of the inputs.
        input: input coding; None for the coding's default.
        seed: seed of Poisson input, of the first input; each further one has the next seed.
        curves: functions as lines.
    """

    name: ClassVar[str] = "to-spiking"
    coding: Coding
    scales: Mapping[NodeId, Float]
    encoding: Encoding
    input: InputCoding | None = None
    seed: int = 0
    curves: Mapping[NodeId, Curve] = field(default_factory=dict)

    def __call__(self, network: ANNGraph, /) -> PassResult[SpikingGraph]:
        """Build the spiking network."""
        raise_all([*products.refusals(network, self.coding), *self._refused(network)])
        positive = non_negative(network)
        seeds = (self.seed + k for k in range(len(network.inputs)))
        sources = list(map(self._input, network.inputs, self.encoding.parts, seeds))
        nodes: list[SpikingNode] = [*sources]
        units: dict[NodeId, Float] = {source.id: source.unit for source in sources}
        for name, drive in drives_of(network):
            node = network.graph[name]
            if not isinstance(node, ann.Activation | ann.Output):
                raise TypeError(f"'{name}' is no population")
            shape = maps_shape(node.shape)
            scaled, step = _scaled(node, drive, units, network)
            synapses = _synapses(node, shape, scaled, network)
            nodes.extend(synapses)
            place = {**node.common_fields, "inputs": tuple(s.id for s in synapses), "shape": shape}
            bias = _compact(drive.constant, shape)
            if isinstance(node, ann.Output):
                nodes.append(spiking.Readout(**place, bias=bias))
                continue
            if isinstance(node, ann.Product):
                scale, signed = self.scales[node.id], not positive[node.id]
                with guard_call(self.coding.name, "product"):
                    coding = self._coding(node, network)
                    population = coding.product(place, scale=scale, step=step, signed=signed)
            else:
                population = self._neurons(node, place, bias, network)
            nodes.append(population)
            units[node.id] = population.unit
        window = self.coding.window
        if self.coding.single_step:
            window = replace(window, n_steps=1)  # it is spread over time in fixed point
        return PassResult(SpikingGraph(Graph(nodes), window))

    def _coding(self, node: ann.Activation, network: ANNGraph) -> Coding:
        """The coding of a population, whose payloads may be those of its own grid."""
        coding = self.coding.with_payloads(node.own_bits).finer(node.payload_bits)
        return coding.on_levels(network.levels_of(node, coding.levels))

    def _neurons(
        self, node: ann.Activation, place: dict[str, Any], bias: Float, network: ANNGraph
    ) -> Neurons:
        scale = self.scales[node.id]
        coding = self._coding(node, network)
        if isinstance(node, ann.Function):
            with guard_call(self.coding.name, "of_function"):
                return coding.of_function(place, self.curves[node.id], scale=scale, bias=bias)
        with guard_call(self.coding.name, "neurons"):
            return coding.neurons(place, scale=scale, bias=bias, relay=node.like is not None)

    def _refused(self, network: ANNGraph) -> list[CompileError]:
        """Functions that the coding does not support."""
        if type(self.coding).of_function is not Coding.of_function:
            return []
        return [
            self.coding.no_function(node.common_fields)
            for node in network.graph
            if isinstance(node, ann.Function)
        ]

    def _input(self, node: ann.Input, encoding: InputEncoding, seed: int) -> spiking.Input:
        shape = maps_shape(node.shape)
        unit = np.broadcast_to(encoding.unit, (shape[0],)).astype(np.float64)
        coding = self.input or self.coding.input
        if coding is InputCoding.POISSON:
            # A spike stands for full scale; its probability carries the value.
            unit = unit * max(abs(encoding.low), abs(encoding.high))
        return spiking.Input(
            **{**node.common_fields, "shape": shape},
            unit=unit,
            low=encoding.low,
            high=encoding.high,
            coding=coding,
            seed=seed % (1 << SEED_BITS),
        )


def _compact(bias: Float, shape: Shape) -> Float:
    """(C, 1, 1) if the bias is uniform over each map."""
    bias = bias.reshape(shape)
    first = bias[:, :1, :1]
    return first if (bias == first).all() else bias


def _scaled(
    node: AnnNode, drive: Affine, units: Mapping[NodeId, Float], network: ANNGraph
) -> tuple[list[Term], Float]:
    """Sources of a node with its synaptic weights; of a product also its operands' step."""
    if isinstance(node, ann.Product):
        terms, step = products.operands(node, drive, units, network)
        return [Term(*term) for term in terms], step
    return [_in_units(term, units[term.source]) for term in _merged(drive)], np.ones(1)


def _in_units(term: Term, unit: Float) -> Term:
    """A term of a source measured in units."""
    step = None if term.step is None or (unit != unit[0]).any() else term.step * unit[0]
    return Term(term.source, scale_sources(term.map, unit), step)


def _synapses(
    node: AnnNode, shape: Shape, parts: list[Term], network: ANNGraph
) -> list[spiking.Synapses]:
    groups: list[spiking.Synapses] = []

    def place(number: int, source: NodeId) -> dict[str, Any]:
        name = NodeId(f"{node.id}/synapses{number or ''}")
        return {**node.common_fields, "id": name, "inputs": (source,), "shape": shape}

    for number, part in enumerate(parts):
        source, scaled = part.source, part.map
        source_maps = maps_shape(network.graph[source].shape)
        if isinstance(scaled, Kernel) and (scaled.source != source_maps or scaled.maps != shape):
            scaled = over_maps(scaled, source_maps, shape)
        group = _group(place(number, source), scaled)
        if group is not None:
            if part.step is not None and len(part.step) == shape[0]:
                groups += of_file(replace(group, step=part.step))
            else:
                groups.append(group)
    if not groups:
        # A constant still needs synapses to be a population: a group of none.
        groups.append(
            spiking.SparseSynapses(
                **place(0, parts[0].source),
                indptr=np.zeros(prod(shape) + 1, np.int64),
                indices=np.zeros(0, np.int64),
                weight=np.zeros(0),
            )
        )
    return groups


def over_maps(kernel: Kernel, source: Shape, shape: Shape) -> Kernel | Sparse:
    """A convolution over reshaped maps as one over those of its populations.

    One that reads each position alone is the same over any maps of as many channels and positions.
    Others are unrolled.
    """
    _, _, *taps = kernel.weight.shape
    alone = taps == [1, 1] and kernel.geometry == Geometry(groups=kernel.geometry.groups)
    channels = (kernel.source[0], len(kernel.weight)) == (source[0], shape[0])
    if alone and channels and source[1:] == shape[1:]:
        return Kernel(source, shape, kernel.weight, kernel.geometry)
    return Sparse(kernel.source, kernel.target, sparse(kernel))


def _merged(drive: Affine) -> list[Term]:
    """The terms, as convolutions if possible; those of one source and form are summed."""
    merged: list[Term] = []
    for term in drive.terms:
        linear: LinearMap = term.map
        if isinstance(linear, Wiring):
            linear = as_kernel(linear) or linear
        for k, known in enumerate(merged):
            other = known.map
            if (
                known.source == term.source
                and linear.source == other.source
                and isinstance(linear, Kernel)
                and isinstance(other, Kernel)
                and linear.geometry == other.geometry
                and linear.weight.shape == other.weight.shape
            ):
                total = np.add(other.weight, linear.weight, dtype=np.float64)
                merged[k] = Term(known.source, replace(other, weight=total))
                break
        else:
            merged.append(replace(term, map=linear))
    return merged


def _group(place: dict[str, Any], linear: LinearMap) -> spiking.Synapses | None:
    """One synapse group; None if all its weights are 0."""
    match linear:
        case Kernel():
            kernel = to_depthwise(linear)
            if not kernel.weight.any():
                return None
            weight = kernel.weight.astype(np.float64, copy=False)
            return spiking.ConvSynapses(**place, weight=weight, geometry=kernel.geometry)
        case Matrix():
            if not linear.weight.any():
                return None
            weight = linear.weight.astype(np.float64, copy=False)
            return spiking.DenseSynapses(**place, weight=weight)
        case _:
            matrix = sparse(linear)
            matrix.eliminate_zeros()
            if not matrix.nnz:
                return None
            return spiking.SparseSynapses(
                **place,
                indptr=matrix.indptr.astype(np.int64),
                indices=matrix.indices.astype(np.int64),
                weight=matrix.data,
            )
