"""The spiking network in fixed point: the stage that defines the answer.

No floats: every tensor is a :class:`QTensor`. ``sim/reference.py`` executes these equations and
``docs/explanation/arithmetic.md`` is the same text for people. Notation: ``s`` is the message of a
source at one time step, ``>>`` an arithmetic shift (floor).

Time. A synapse takes one step, a neuron none. A population of depth d (one more than the
populations that feed it) handles step t of stimulus n in row ``n * n_steps + t + d`` of the
device's clock. Every synapse between populations spans exactly one depth; relays make it so. The
input may be sent at any row, so it may feed any depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.ir.stages import StageError

STATE = QFormat(24)
"""Membrane potentials and synaptic currents of Loihi: 24 bits, signed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Encoded input: integers in ``format``; Poisson spikes are drawn from them by the host.

    Attributes:
        format: of the encoded values.
        low: smallest encoded value, high: largest.
        coding: how the values reach the first synapses.
        seed: of the Poisson generator.
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


@dataclass(frozen=True, eq=False, kw_only=True)
class GradedNeurons(Node):
    """``V = a + bias; q = min((max(V, 0) * multiplier) >> shift, payload.max)``. No state.

    The rounding constant (half a payload step) is part of the bias: nothing is added after the
    product. ``multiplier`` has 12 bits, like the factor of Loihi's decay unit, so that the product
    is one the chip is known to have; ``(x >> 12) >> e == x >> (12 + e)``.

    Attributes:
        bias: broadcasts to the shape.
        multiplier: (C,), 2**11 <= multiplier < 2**12.
        shift: (C,), >= 0.
        payload: unsigned format of the message.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    payload: QFormat
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, self.payload.max


@dataclass(frozen=True, eq=False, kw_only=True)
class IFNeurons(Node):
    """Integrate and fire with binary spikes.

    At the first step of each window ``V = initial_potential``. Every step::

        V = V + a + bias                      saturating at the state's format
        s = V >= threshold
        V = V - threshold where s             reset by subtraction
        V = 0             where s             reset to zero

    Attributes:
        threshold: (C,), >= 1.
        bias: added at every step; broadcasts to the shape.
        initial_potential: (C,), or broadcasts to the shape.
        reset: what a spike does.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    initial_potential: QTensor
    reset: Reset
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class CubaLIFNeurons(Node):
    """Loihi's current-based leaky integrate-and-fire neuron, as Lava 0.10.0 computes it.

    At the first step of each window ``u = v = 0``. Every step (``proc/lif/models.py``)::

        u = tz(u * (4096 - (current_decay + 1)))   the chip's ds_offset register is always 1 in Lava
        u = u + (a << 6)                           wraps once into (-2**23, 2**23]
        v = tz(v * (4096 - voltage_decay)) + u + bias     dm_offset is 0
        v = clip(v, -(2**23 - 1), 2**23 - 1)
        s = v > threshold << 6                     strict
        v = 0 where s                              u is untouched

    with ``tz(x) = sign(x) * (abs(x) >> 12)``, truncation toward zero.

    Attributes:
        threshold: (C,), in units of the synaptic weight.
        bias: in units of 2**-6 of the weight; broadcasts to the shape.
        current_decay: Loihi's du, 0 to 4095 (4095: no memory of the current).
        voltage_decay: Loihi's dv, 0 to 4095 (0: no leak).
        relay: whether the neurons only carry another population's values.
        state: format of u and v.
    """

    threshold: QTensor
    bias: QTensor
    current_decay: int
    voltage_decay: int
    relay: bool = False
    state: QFormat = STATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Node):
    """``V = V + a + bias`` from zero at the start of each window; the last V is an output.

    Attributes:
        bias: added at every step; broadcasts to the shape.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE


Synapses = ConvSynapses | DenseSynapses | SparseSynapses
Neurons = GradedNeurons | IFNeurons | CubaLIFNeurons
Population = GradedNeurons | IFNeurons | CubaLIFNeurons | Readout
QuantizedNode = Input | Synapses | Population


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A spiking network in fixed point, with every edge aligned in time.

    Attributes:
        graph: input, synapses and populations.
        window: coding and number of steps.
    """

    graph: Graph[QuantizedNode]
    window: Window = field(default_factory=lambda: Window("graded", 1))

    def __post_init__(self) -> None:
        if sum(isinstance(node, Input) for node in self.graph) != 1:
            raise StageError("a QuantizedGraph has exactly one Input")
        if not self.readouts:
            raise StageError("a QuantizedGraph has at least one Readout")
        for node in self.graph:
            self._check(node)
        for population in self.populations:
            self._check_depth(population)

    def _check(self, node: QuantizedNode) -> None:
        sources = [self.graph[s] for s in node.inputs]
        if isinstance(node, Synapses):
            if len(sources) != 1 or not isinstance(sources[0], Input | Neurons):
                raise StageError(f"synapses '{node.id}' need one source that sends messages")
            if not 2 <= node.weight.format.bits <= 8 or not node.weight.format.signed:
                raise StageError(f"'{node.id}' has weights in {node.weight.format}, not s2 to s8")
            return
        if isinstance(node, Input):
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
    def input(self) -> Input:
        """The network's input."""
        return next(node for node in self.graph if isinstance(node, Input))

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
        """Synapses between the input and each population; the row in which its window starts."""
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
        """Steps from the input's first message to the start of the last output's window."""
        return max(self.depth[node.id] for node in self.readouts)

    @property
    def total_steps(self) -> int:
        """Steps from a stimulus' first message to its last output."""
        return self.window.n_steps + self.latency

    def synapses_into(self, population: Population) -> tuple[Synapses, ...]:
        """The synapse groups that feed a population, in order."""
        nodes = tuple(self.graph[s] for s in population.inputs)
        return tuple(node for node in nodes if isinstance(node, Synapses))


def along_channels(values: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """A parameter of shape (C,), or one that broadcasts already, as a view of the full shape."""
    if values.ndim == 1 and len(shape) > 1:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(values, shape)


__all__ = [
    "STATE",
    "ConvSynapses",
    "CubaLIFNeurons",
    "DenseSynapses",
    "GradedNeurons",
    "IFNeurons",
    "Input",
    "Neurons",
    "Population",
    "QuantizedGraph",
    "QuantizedNode",
    "Readout",
    "SparseSynapses",
    "Synapses",
    "along_channels",
]
