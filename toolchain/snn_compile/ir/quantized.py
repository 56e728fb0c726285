"""The spiking network in fixed point: the stage that defines the answer.

No floats: every tensor is a :class:`QTensor`. ``sim/reference.py`` executes these equations and
``docs/explanation/arithmetic.md`` is the same text for people. Populations are in
``ir/models``. Notation: ``s`` is the message of a source at one time step, ``>>`` an arithmetic
shift (floor).

Time. A synapse takes one step, a neuron none. A population of depth d (one more than the
populations that feed it) handles step t of stimulus n in row ``n * n_steps + t + d * lag`` of the
device's clock, where the lag of a window is one row, or the whole window if layers wait for it
(``sync``). Every synapse between populations spans exactly one depth; relays make it so. An input
may be sent at any row, so it may feed any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir import fitting
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.inputs import Inputs
from snn_compile.ir.models import registry
from snn_compile.ir.models.arithmetic import VOLTAGE_LIMIT, along_channels
from snn_compile.ir.models.clip_floor import ClipFloorNeurons
from snn_compile.ir.models.cuba import CubaLIFNeurons
from snn_compile.ir.models.delay import DelayNeurons
from snn_compile.ir.models.graded import GradedNeurons
from snn_compile.ir.models.integrate_and_fire import IFNeurons
from snn_compile.ir.models.piecewise_linear import (
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
)
from snn_compile.ir.models.population import FRACTION_BITS, STATE, Neurons, Population
from snn_compile.ir.models.product import ProductDeltaNeurons, ProductNeurons
from snn_compile.ir.models.radix import RadixIFNeurons
from snn_compile.ir.models.readout import (
    LeakyReadout,
    ProbedReadout,
    Readout,
    SigmaDeltaReadout,
    StartedReadout,
    SyncReadout,
)
from snn_compile.ir.models.sigma_delta import SigmaDeltaNeurons
from snn_compile.ir.models.signed import SignedIFNeurons
from snn_compile.ir.models.sync import SyncIFNeurons
from snn_compile.ir.models.threshold_delta import ThresholdDeltaNeurons
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.ir.stages import StageError, only

WEIGHT_BITS = range(2, 9)
"""Widths of a weight, sign included."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Encoded input: integers in ``format``; Poisson spikes are drawn from them by the host.

    Attributes:
        format: format of the encoded values.
        low: smallest encoded value, high: largest.
        coding: how values are sent to the first synapses.
        seed: seed of the Poisson generator.
    """

    format: QFormat
    low: int
    high: int
    coding: InputCoding
    seed: int = 0

    @property
    def full_scale(self) -> int:
        """Largest magnitude of an encoded value."""
        return max(abs(self.low), abs(self.high), 1)

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message at one time step."""
        if self.coding is InputCoding.POISSON:
            return (-1 if self.low < 0 else 0), 1
        if self.coding is InputCoding.CHANGES:
            span = max(self.high, 0) - min(self.low, 0)
            return -span, span
        return min(self.low, 0), max(self.high, 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvSynapses(Node):
    """``a[o] = (sum_i weight[o, i] * s[i]) * 2**exponent``, cross-correlation over (C, H, W).

    Attributes:
        weight: (O, I / groups, kh, kw), 2 to 8 bits, signed.
        exponent: of Loihi's synapse format; negative ones floor the sum.
        geometry: stride, padding, dilation and groups.
    """

    weight: QTensor
    exponent: int
    geometry: Geometry


@dataclass(frozen=True, eq=False, kw_only=True)
class DenseSynapses(Node):
    """``a = (weight @ s) * 2**exponent``; weight (O, I), s flattened in row-major order."""

    weight: QTensor
    exponent: int


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseSynapses(Node):
    """As ``DenseSynapses``, in compressed-row form.

    Attributes:
        indptr: (O + 1,).
        indices: (K,) flat source of each synapse.
        weight: (K,).
        exponent: as above.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    weight: QTensor
    exponent: int


Synapses = ConvSynapses | DenseSynapses | SparseSynapses
QuantizedNode = Input | Synapses | Population


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A spiking network in fixed point, with every edge aligned in time.

    Attributes:
        graph: inputs, synapses and populations.
        window: coding and number of steps.
    """

    graph: Graph[QuantizedNode]
    window: Window

    def __post_init__(self) -> None:
        if not self.inputs:
            raise StageError("a QuantizedGraph has at least one Input")
        if len({node.coding for node in self.inputs}) > 1:
            raise StageError("the inputs of a QuantizedGraph have one coding")
        if not self.readouts:
            raise StageError("a QuantizedGraph has at least one Readout")
        for wrong in fitting.of_window(self.window):
            raise StageError(f"a QuantizedGraph does not have {wrong}")
        for node in self.graph:
            self._check(node)
        for population in self.populations:
            self._check_depth(population)

    def _check(self, node: QuantizedNode) -> None:
        self._check_wiring(node)
        for wrong in self._misfits(node):
            raise StageError(f"'{node.id}' does not fit: {wrong}")

    def _misfits(self, node: QuantizedNode) -> Iterator[str]:
        """Defects of the numbers of a correctly wired node."""
        yield from fitting.of_shape(node)
        if isinstance(node, Input):
            yield from fitting.of_input(node.low, node.high, node.format, node.seed)
            yield from fitting.of_messages(*node.messages)
            return
        if not isinstance(node, Synapses):
            model: Any = type(node)
            yield from registry.complaints(model)
            yield from fitting.of_parameters(node)
            yield from node.misfits()
            if isinstance(node, Neurons):
                yield from fitting.of_messages(*node.messages)
            return
        yield from fitting.of_exponent(node.exponent)
        source, target = self.graph[node.inputs[0]].shape, node.shape
        match node:
            case ConvSynapses():
                yield from fitting.of_convolution(node.weight, node.geometry, source, target)
            case DenseSynapses():
                yield from fitting.of_dense(node.weight, source, target)
            case SparseSynapses():
                yield from fitting.of_sparse(node.indptr, node.indices, node.weight, source, target)

    def _check_wiring(self, node: QuantizedNode) -> None:
        sources = [self.graph[s] for s in node.inputs]
        if isinstance(node, Synapses):
            if len(sources) != 1 or not isinstance(sources[0], Input | Neurons):
                raise StageError(f"synapses '{node.id}' need one source that sends messages")
            if node.weight.format.bits not in WEIGHT_BITS or not node.weight.format.signed:
                raise StageError(f"'{node.id}' has weights in {node.weight.format}, not s2 to s8")
            if node.exponent < 0 and self.window.schedule:
                # Floors of several sums do not add up to the floor of their sum.
                raise StageError(f"'{node.id}' shifts right, in the coding {self.window.coding}")
            return
        if isinstance(node, Input):
            if sources:
                raise StageError(f"the input '{node.id}' reads another node")
            return
        if not sources or not all(isinstance(s, Synapses) for s in sources):
            raise StageError(f"population '{node.id}' must be fed by synapses")
        if any(s.shape != node.shape for s in sources):
            raise StageError(f"synapses into '{node.id}' have other shapes")

    def _check_depth(self, node: Population) -> None:
        depth = self.depth[node.id]
        for synapses in self.synapses_into(node):
            (source,) = synapses.inputs
            if not isinstance(self.graph[source], Input) and self.depth[source] != depth - 1:
                raise StageError(
                    f"'{source}' (depth {self.depth[source]}) feeds '{node.id}' (depth {depth});"
                    " a relay is missing"
                )

    @cached_property
    def inputs(self) -> Inputs[Input]:
        """The network's inputs, in order; all of one coding."""
        return Inputs.of(self.graph, Input)

    @property
    def input(self) -> Input:
        """The network's only input.

        Raises:
            StageError: it has several.
        """
        return only(self.inputs)

    @property
    def input_coding(self) -> InputCoding:
        """How the inputs send their values."""
        return self.inputs[0].coding

    @property
    def populations(self) -> tuple[Population, ...]:
        """Neurons and readouts in topological order."""
        return tuple(node for node in self.graph if isinstance(node, Population))

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """The network's outputs, in order."""
        return tuple(node for node in self.graph if isinstance(node, Readout))

    @cached_property
    def depth(self) -> dict[NodeId, int]:
        """Synapses between the inputs and each population; the row in which its window starts."""
        depth: dict[NodeId, int] = {}
        for node in self.graph:
            if isinstance(node, Input):
                depth[node.id] = 0
            elif isinstance(node, Population):
                feeding = [self.graph[s].inputs[0] for s in node.inputs]
                depth[node.id] = 1 + max(depth[s] for s in feeding)
        return depth

    @property
    def latency(self) -> int:
        """Steps from the inputs' first message to the start of the last output's window."""
        return max(self.depth[node.id] for node in self.readouts) * self.window.lag

    @property
    def total_steps(self) -> int:
        """Steps from a stimulus' first message to its last output.

        A readout that waits for its sources' window outputs at the first step of its own window.
        """
        at_once = all(node.single_step for node in self.readouts)
        return self.latency + (1 if at_once else self.window.n_steps)

    def synapses_into(self, population: Population) -> tuple[Synapses, ...]:
        """The synapse groups that feed a population, in order."""
        nodes = tuple(self.graph[s] for s in population.inputs)
        return tuple(node for node in nodes if isinstance(node, Synapses))


__all__ = [
    "FRACTION_BITS",
    "STATE",
    "VOLTAGE_LIMIT",
    "ClipFloorNeurons",
    "ConvSynapses",
    "CubaLIFNeurons",
    "DelayNeurons",
    "DenseSynapses",
    "GradedNeurons",
    "IFNeurons",
    "Input",
    "LeakyReadout",
    "Neurons",
    "PiecewiseLinearDeltaNeurons",
    "PiecewiseLinearNeurons",
    "PiecewiseLinearWindowNeurons",
    "Population",
    "ProbedReadout",
    "ProductDeltaNeurons",
    "ProductNeurons",
    "QuantizedGraph",
    "QuantizedNode",
    "RadixIFNeurons",
    "Readout",
    "SigmaDeltaNeurons",
    "SigmaDeltaReadout",
    "SignedIFNeurons",
    "SparseSynapses",
    "StartedReadout",
    "Synapses",
    "SyncIFNeurons",
    "SyncReadout",
    "ThresholdDeltaNeurons",
    "along_channels",
]
