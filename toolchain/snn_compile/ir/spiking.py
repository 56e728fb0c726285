"""The spiking network in floating point: synapses feed neurons.

Units. A synapse's weight is what one unit of its source contributes to the membrane potential of
its target. A unit is one spike (``rate``), one step of the payload (``graded``) or one step of the
encoded input; the real value of a unit is stated per channel by the source's ``unit``. Thresholds
are in the units of the potential, which are those of the trained network's activations.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Node, NodeId
from snn_compile.ir.timing import InputCoding, Schedule, Window

Float = npt.NDArray[np.float64]


class Reset(enum.Enum):
    """Reset of the membrane potential after a spike."""

    SUBTRACT = "subtract"
    ZERO = "zero"


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """The encoded input: integers from ``low`` to ``high`` per channel.

    Attributes:
        unit: real value of one step, (C,).
        low: smallest encoded value.
        high: largest encoded value.
        coding: input coding.
        seed: seed of the Poisson generator.
    """

    unit: Float
    low: int
    high: int
    coding: InputCoding
    seed: int = 0

    @property
    def full_scale(self) -> int:
        """Largest magnitude of an encoded value."""
        return max(abs(self.low), abs(self.high), 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvSynapses(Node):
    """Shared kernels: ``a[o] = sum_i weight[o, i] * s[i]`` over (C, H, W), cross-correlation.

    Attributes:
        weight: (O, I / groups, kh, kw).
        geometry: stride, padding, dilation and groups.
        step: (C,) of each target channel, where the weights are those of a quantized file: integers
            in these steps; else None.
    """

    weight: Float
    geometry: Geometry
    step: Float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class DenseSynapses(Node):
    """All to all: ``a = weight @ s`` with s flattened in row-major order; weight (O, I).

    Attributes:
        weight: (O, I).
        step: as of ``ConvSynapses``.
    """

    weight: Float
    step: Float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseSynapses(Node):
    """Any wiring, in compressed-row form over flattened source and target.

    Attributes:
        indptr: (O + 1,).
        indices: (K,) flat source of each synapse.
        weight: (K,).
        step: as of ``ConvSynapses``.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    weight: Float
    step: Float | None = None


class Population(Node):
    """Neurons or a readout; a neuron model's form before it has integers.

    ``RULES`` of ``quantize/neurons.py`` define its integer form, ``STEPPERS`` of
    ``sim/spiking.py`` its response; a class without an entry is refused.

    Attributes:
        bias: broadcasts to the shape.
    """

    bias: Float


class Neurons(Population):
    """A population that sends messages.

    Attributes:
        threshold: (C,), > 0.
        relay: whether the neurons only carry another population's values.
        repeats: whether such neurons can be relays of their own messages; else these are single
            spikes, and integrate-and-fire neurons repeat them.
    """

    threshold: Float
    relay: bool = False
    repeats: ClassVar[bool] = False

    @property
    def unit(self) -> Float:
        """Real value of one spike, or of one payload step."""
        return self.threshold

    def relaying(self, node_id: NodeId, source: NodeId) -> Neurons:
        """Neurons that relay these neurons' messages, through synapses of weight ``unit``."""
        silent = np.zeros((self.shape[0], 1, 1))
        return self.changed(id=node_id, inputs=(source,), bias=silent, relay=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class GradedNeurons(Neurons):
    """``q = clip(floor((a + bias) / threshold + 1/2), 0, levels)``, sent once as a payload.

    Attributes:
        threshold: potential of one payload step, (C,), > 0.
        bias: broadcasts to the shape.
        levels: largest payload.
        relay: whether the neurons only carry another population's values.
    """

    threshold: Float
    bias: Float
    levels: int
    relay: bool = False

    repeats = True


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipFloorNeurons(GradedNeurons):
    """Graded neurons whose values are counts of spikes: a division and no payload."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PiecewiseLinearNeurons(Neurons):
    """``q = clip(floor(f(a + bias) / step + 1/2), low, high)``, f linear between breakpoints.

    With k the number of breakpoints that ``V = a + bias`` has reached,
    ``f(V) = value[k] + slope[k] * (V - anchor[k])``. Payloads may be negative.

    Attributes:
        threshold: potential of one payload step where f is steepest, (C,), > 0.
        bias: broadcasts to the shape.
        step: real value of one payload step, (C,), > 0.
        breakpoints: (C, S - 1), ascending; infinite where a channel has fewer.
        anchor: (C, S), a point of each line; ``value`` is f there.
        value: (C, S).
        slope: (C, S).
        error: largest distance of the lines from the function that they stand for, (C,), in payload
            steps; of its argument as calibration has seen it.
        low: smallest payload, <= 0.
        high: largest payload, >= 0.
        relay: whether the neurons only carry another population's values.
    """

    threshold: Float
    bias: Float
    step: Float
    breakpoints: Float
    anchor: Float
    value: Float
    slope: Float
    error: Float
    low: int
    high: int
    relay: bool = False

    repeats = True

    @property
    def unit(self) -> Float:
        """Real value of one payload step, independent of the slopes."""
        return self.step

    def relaying(self, node_id: NodeId, source: NodeId) -> Neurons:
        """The identity: one line of slope 1."""
        channels = self.shape[0]
        line = np.zeros((channels, 1))
        return self.changed(
            id=node_id,
            inputs=(source,),
            threshold=self.step,
            bias=np.zeros((channels, 1, 1)),
            breakpoints=np.zeros((channels, 0)),
            anchor=line,
            value=line,
            slope=line + 1,
            error=np.zeros(channels),
            relay=True,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductNeurons(Neurons):
    """``q = clip(floor(x * y * step / threshold + 1/2), low, high)``, with ``a = 4096 * x + y``.

    Here, ``a`` and the weights are in payload steps of the operands x and y, not in activations:
    the synapses of x have the weight 4096, those of y 1.

    Attributes:
        threshold: real value of one payload step, (C,), > 0.
        bias: added to ``a``; broadcasts to the shape.
        step: real value of a product of one step of each operand, (C,), > 0.
        low: smallest payload, <= 0.
        high: largest payload, >= 0.
        relay: never.
    """

    threshold: Float
    bias: Float
    step: Float
    low: int
    high: int
    relay: bool = False

    repeats = True

    def relaying(self, node_id: NodeId, source: NodeId) -> Neurons:
        """The identity, of piecewise linear neurons."""
        line = np.zeros((self.shape[0], 1))
        return PiecewiseLinearNeurons(
            **{**self.common_fields, "id": node_id, "inputs": (source,)},
            threshold=self.threshold,
            bias=line[..., None],
            step=self.threshold,
            breakpoints=line[:, :0],
            anchor=line,
            value=line,
            slope=line + 1,
            error=line[:, 0],
            low=self.low,
            high=self.high,
            relay=True,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SignedIFNeurons(Neurons):
    """``V += a + bias; s = (V >= threshold) - (V < 0 and n > 0); V -= threshold * s; n += s``.

    Attributes:
        threshold: (C,), > 0; also the real value of a spike at every step.
        bias: added at every step; broadcasts to the shape.
        initial_potential: potential at the start of each window, in units of the threshold.
        relay: whether the neurons only carry another population's values.
    """

    threshold: Float
    bias: Float
    initial_potential: float
    relay: bool = False

    repeats = True


@dataclass(frozen=True, eq=False, kw_only=True)
class IFNeurons(Neurons):
    """Integrate and fire: ``V += a + bias; s = V >= threshold``, then the reset.

    Attributes:
        threshold: (C,), > 0; also the real value of a spike at every step.
        bias: added at every step; broadcasts to the shape.
        initial_potential: potential at the start of each window, in units of the threshold.
        reset: what a spike does.
        burst: most spikes of one step: ``s = clip(floor(V / threshold), 0, burst)``.
        relay: whether the neurons only carry another population's values.
    """

    threshold: Float
    bias: Float
    initial_potential: float
    reset: Reset
    burst: int = 1
    relay: bool = False

    repeats = True


@dataclass(frozen=True, eq=False, kw_only=True)
class LIFNeurons(Neurons):
    """Leaky integrate and fire, as in networks trained with spikes.

    At the first step of each window ``I = 0; V = initial_potential``. Every step::

        I = alpha * I + a + bias
        V = beta * V + I
        s = V > threshold             V >= threshold if not strict
        V = V - drop where s          reset by subtraction
        V = 0        where s          reset to zero

    This is the forward Euler form of the current-based neuron of NIR (Pedersen et al. 2024) with
    time constants and gains folded into ``alpha``, ``beta`` and the weights. Without memory of the
    current (``alpha`` 0) it is the leaky neuron, and with ``beta`` 1 integrate and fire.

    Attributes:
        threshold: (C,), > 0.
        bias: added to the current at every step; broadcasts to the shape.
        initial_potential: (C,), or (C, H, W) where it differs inside a channel.
        alpha: what is left of the current after a step, 0 <= alpha < 1.
        beta: what is left of the potential after a step, 0 < beta <= 1.
        reset: what a spike does.
        drop: (C,), what a spike takes with reset by subtraction. A reset that comes one step late,
            after the leak, takes ``threshold / beta`` at the spike.
        strict: whether a potential that equals its threshold is silent.
    """

    threshold: Float
    bias: Float
    initial_potential: Float
    alpha: float
    beta: float
    reset: Reset
    drop: Float
    strict: bool = True

    @property
    def unit(self) -> Float:
        """Value of one spike: 1, whatever the threshold."""
        return np.ones(self.shape[0])

    @property
    def leaks(self) -> bool:
        """Whether it is more than integrate and fire with a single threshold."""
        uneven = self.reset is Reset.SUBTRACT and bool((self.drop != self.threshold).any())
        return self.alpha != 0 or self.beta != 1 or uneven


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Population):
    """The potential itself: ``V += a + bias``, never fires. Holds an output of the network."""

    bias: Float


Synapses = ConvSynapses | DenseSynapses | SparseSynapses
Sources = Input | Neurons
SpikingNode = Input | Synapses | Population


__all__ = [
    "ClipFloorNeurons",
    "ConvSynapses",
    "DenseSynapses",
    "Float",
    "GradedNeurons",
    "IFNeurons",
    "Input",
    "InputCoding",
    "LIFNeurons",
    "Neurons",
    "NodeId",
    "PiecewiseLinearNeurons",
    "Population",
    "ProductNeurons",
    "Readout",
    "Reset",
    "Schedule",
    "SignedIFNeurons",
    "Sources",
    "SparseSynapses",
    "SpikingNode",
    "Synapses",
    "Window",
]
