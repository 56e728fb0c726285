"""From a NIR graph to a spiking network in floating point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

import nir
import numpy as np

from snn_compile.codings.rate import Rate
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.footprint import check_footprint
from snn_compile.convert.linear import Float
from snn_compile.convert.magnitudes import check_magnitudes
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import (
    CompileError,
    CompileErrors,
    ModelError,
    Origin,
    UnsupportedError,
    raise_all,
)
from snn_compile.files.documents import TooLargeError, check_size, too_large
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import Graph, NodeId, Shape, maps_shape
from snn_compile.ir.spiking import InputCoding, LIFNeurons
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding, Pipeline
from snn_compile.plugins import ImportedSpiking
from snn_frontends.nir.conventions import Conventions, resolve_conventions
from snn_frontends.nir.layers import linear
from snn_frontends.nir.neurons import Model, Reading
from snn_frontends.nir.wiring import Wiring, flat

FLOAT_BYTES = 8
MAX_LEVEL = 1 << 24
"""Largest input in whole numbers."""
NEURONS = (nir.IF, nir.LIF, nir.CubaLIF)


def import_graph(graph: nir.NIRGraph, file: str, options: CompileOptions) -> ImportedSpiking:
    """The network of a graph.

    Between neurons everything is linear, as it is between the rectifiers of a trained network: the
    graph is read as one whose rectifiers stand for the neurons.

    Raises:
        UsageError: an option is missing that the file leaves open.
        UnsupportedError: unsupported nodes (``CompileErrors`` if several).
    """
    wiring = flat(graph, file)
    conventions = resolve_conventions(graph, wiring.nodes, options)
    walk = _Walk(wiring, file, Reading(conventions, [], []))
    with np.errstate(all="ignore"):  # what is not finite is refused
        walk.run()
    raise_all(walk.reading.errors)
    network = ANNGraph(Graph(walk.nodes), file)
    check_footprint(network, measured=True)
    check_magnitudes(network)
    shape = network.input.shape
    maps = maps_shape(shape)
    coding = _AsTrained(_n_steps(conventions, options, file), models=walk.models)
    spikes = InputEncoding(np.ones(1), 0, 1, shape, maps)
    scales = {name: np.ones(maps_shape(network.graph[name].shape)[0]) for name in walk.models}
    passes = Pipeline.of(ToSpiking(coding, scales, spikes, InputCoding.EVENTS)).then(AlignPaths())
    result = passes(network)
    return ImportedSpiking(
        result.graph,
        shape,
        {node.id: node.shape for node in network.outputs},
        (*_convention_findings(conventions), *walk.reading.findings, *result.findings),
        len(graph.nodes),
        sum(n.weight.size for n in network.graph if isinstance(n, ann.Conv | ann.Dense)),
        _encoding(conventions, shape, maps, file),
        conventions.unit is not None,
    )


def _encoding(
    conventions: Conventions, shape: Shape, maps: Shape, file: str
) -> InputEncoding | None:
    """The encoding of whole frames that the file states.

    Raises:
        ModelError: its values are impossible.
    """
    if conventions.levels is None:
        return None
    low, high = conventions.levels
    unit = np.ones(1) if conventions.unit is None else conventions.unit
    fits = unit.ndim == 1 and len(unit) in (1, shape[0]) and np.isfinite(unit).all()
    if not (fits and (unit > 0).all() and -MAX_LEVEL <= low <= 0 < high <= MAX_LEVEL):
        raise ModelError(
            f"its metadata states an impossible input: {low} to {high} in steps of {unit[:3]}",
            code="invalid-model",
            origin=Origin(file),
            hint="export it again",
        )
    return InputEncoding(unit, low, high, shape, maps)


def _n_steps(conventions: Conventions, options: CompileOptions, file: str) -> int:
    if conventions.n_steps is not None and not options.is_given("timesteps"):
        options = options.with_value("timesteps", conventions.n_steps, file)
    return options.number("timesteps")


def _convention_findings(conventions: Conventions) -> list[Finding]:
    late = (
        ", one step late" if conventions.producer == "snntorch" and conventions.reset_delay else ""
    )
    step = "" if conventions.dt is None else f", time step {conventions.dt:g} s"
    text = f"conventions of {conventions.producer}: reset {conventions.reset.value}{late}{step}"
    return [Finding(text, code="nir-conventions")]


@dataclass(frozen=True)
class _AsTrained(Rate):
    """Rate coding with the trained neurons themselves."""

    models: Mapping[NodeId, Model] = field(default_factory=dict)

    def neurons(
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> LIFNeurons:
        """The population of a node."""
        del scale, relay
        model = self.models[place["id"]]
        return LIFNeurons(
            **place,
            threshold=model.threshold,
            bias=bias,
            initial_potential=model.initial,
            alpha=model.alpha,
            beta=model.beta,
            reset=model.reset,
            drop=model.drop,
            strict=model.strict,
        )


@dataclass
class _Walk:
    """Creates the operators of all nodes, in order; errors are collected, not raised."""

    wiring: Wiring
    file: str
    reading: Reading
    nodes: list[AnnNode] = field(default_factory=list)
    models: dict[NodeId, Model] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def run(self) -> None:
        for name, node in self.wiring.nodes.items():
            origin = Origin(self.file, name, type(node).__name__)
            sources = self.wiring.sources[name]
            if any(source not in self.shapes for source in sources):
                self._judge(node, origin)
                continue  # its source was refused
            try:
                self._add(name, node, sources, origin)
            except TooLargeError as error:
                self.reading.errors.append(too_large(origin, error, ModelError))
            except CompileErrors as errors:
                self.reading.errors.extend(errors.errors)
            except CompileError as error:
                self.reading.errors.append(error)

    def _judge(self, node: Any, origin: Origin) -> None:
        """Refuse nodes that are invalid for any input."""
        if not isinstance(node, (*NEURONS, *_KNOWN)):
            try:
                linear(node, NodeId("x"), NodeId("y"), (1,), origin)
            except CompileError as error:
                self.reading.errors.append(error)

    def _add(self, name: str, node: Any, sources: tuple[str, ...], origin: Origin) -> None:
        key = NodeId(name)
        if isinstance(node, nir.Input) and not sources:
            shape = _port_shape(node.input_type["input"])
            if self.reading.conventions.producer == "rockpool":
                shape = shape[-1:]  # its networks take vectors, and the file has axes of the data
            self._append(ann.Input(id=key, inputs=(), origin=origin, shape=shape), name)
            return
        source = self._joined(name, sources, origin)
        shape = self.shapes[source]
        if isinstance(node, nir.Output) and "." not in name:
            self._append(
                ann.Output(id=key, inputs=(NodeId(source),), origin=origin, shape=shape), name
            )
        elif isinstance(node, nir.Input | nir.Output) or self._is_readout(name, node):
            flat_shape = ann.Reshape(id=key, inputs=(NodeId(source),), origin=origin, shape=shape)
            self._append(flat_shape, name)
        elif isinstance(node, NEURONS):
            self._neurons(name, node, source, origin)
        else:
            for operator in linear(node, key, NodeId(source), shape, origin):
                self._append(operator, operator.id)

    def _is_readout(self, name: str, node: Any) -> bool:
        """An integrator in front of an output is what every output here is."""
        if not isinstance(node, nir.I) or np.any(np.asarray(node.r) != 1):
            return False
        readers = [n for n, sources in self.wiring.sources.items() if name in sources]
        return all(isinstance(self.wiring.nodes[n], nir.Output) for n in readers)

    def _joined(self, name: str, sources: tuple[str, ...], origin: Origin) -> str:
        """The input of a node: the sum of its sources."""
        shapes = {self.shapes[source] for source in sources}
        if not sources or len(shapes) > 1:
            raise UnsupportedError(
                "has no source" if not sources else f"adds different shapes {sorted(shapes)}",
                code="unsupported-shape",
                origin=origin,
            )
        if len(sources) == 1:
            return sources[0]
        total = f"{name}/sum"
        inputs = tuple(NodeId(source) for source in sources)
        node = ann.Add(id=NodeId(total), inputs=inputs, origin=origin, shape=shapes.pop())
        self._append(node, total)
        return total

    def _neurons(self, name: str, node: Any, source: str, origin: Origin) -> None:
        shape = self.shapes[source]
        self.shapes[name] = shape
        threshold_shape = np.shape(node.v_threshold)
        if threshold_shape not in ((), (1,), shape):
            raise UnsupportedError(
                f"neurons of shape {threshold_shape} for an input of shape {shape}",
                code="unsupported-shape",
                origin=origin,
            )
        model = self.reading.model(node, shape, origin)
        if model is None:
            return
        if (model.gain != 1).any():
            gained = NodeId(f"{name}/gain")
            scale = np.broadcast_to(model.gain, shape)
            shift = np.zeros((1,) * len(shape))
            place: dict[str, Any]
            place = {"id": gained, "inputs": (NodeId(source),), "origin": origin, "shape": shape}
            self._append(ann.Affine(**place, scale=scale, shift=shift), gained)
            source = gained
        key = NodeId(name)
        self.models[key] = model
        self._append(ann.Relu(id=key, inputs=(NodeId(source),), origin=origin, shape=shape), name)

    def _append(self, node: AnnNode, name: str) -> None:
        """Add an operator.

        Raises:
            ModelError: its value would be empty, or it has NaN or infinite numbers.
            TooLargeError: its value would be too large.
        """
        if any(size < 1 for size in node.shape):
            raise ModelError(f"gives the empty shape {list(node.shape)}", origin=node.origin)
        check_size(f"its value of shape {list(node.shape)}", prod(node.shape) * FLOAT_BYTES)
        for item in fields(node):
            value = getattr(node, item.name)
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise ModelError(
                    f"its {item.name} is NaN or infinite", code="not-finite", origin=node.origin
                )
        self.nodes.append(node)
        self.shapes[name] = node.shape


_KNOWN = (
    *(nir.Input, nir.Output, nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d),
    *(nir.SumPool2d, nir.AvgPool2d, nir.Flatten, nir.Scale),
)


def _port_shape(port: Any) -> Shape:
    sizes = np.asarray(port).ravel()
    if sizes.dtype.kind not in "iuf" or not (sizes == np.floor(sizes)).all() or len(sizes) > 32:
        raise ValueError("the shape of the input is none")
    return tuple(int(n) for n in sizes)
