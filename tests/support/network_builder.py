"""Layer by layer, random quantized networks: shapes and parameters that suit each other.

Magnitudes are chosen so that no potential can leave 24 bits: thresholds lie in the range of the
input that the weights and messages allow, so that neurons neither sleep nor fire all the time.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    PiecewiseLinearNeurons,
    ProductNeurons,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    SignedIFNeurons,
    SparseSynapses,
    StartedReadout,
    Synapses,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import bounds

INPUT = NodeId("input")
"""Of every network here."""
NEURONS = ("graded", "subtract", "zero", "stock", "leaky")
"""Kinds of population; ``stock`` is reset to zero in the form that Lava's own LIF has."""
ALL_NEURONS = (*NEURONS, "clip-floor", "signed", "lines")
"""Those of all codings; sync and sigma-delta neurons are made from others by ``schedule``."""
SINGLE_STEP = ("graded", "clip-floor", "lines")
"""Those that answer one sum with one integer."""


class Builder:
    """Adds layers with random parameters to a growing network.

    Args:
        seed: of everything random.
        shape: of the input.
        n_steps: length of a window.
        coding: of the input.
        low: smallest encoded value, high: largest.
        levels: largest count of clip-floor neurons.
        whole: whether all exponents are 0 or more, as networks need it that are spread over time.
    """

    def __init__(
        self,
        seed: int,
        shape: Shape,
        *,
        n_steps: int = 1,
        coding: InputCoding = InputCoding.GRADED,
        low: int = 0,
        high: int = 255,
        levels: int = 255,
        whole: bool = False,
    ) -> None:
        self.levels, self.whole = levels, whole
        self.random = np.random.default_rng(seed)
        self.window = Window("graded" if n_steps == 1 else "rate", n_steps)
        node = Input(
            id=NodeId("input"),
            inputs=(),
            shape=shape,
            origin=Origin("random"),
            format=QFormat.holding(low, high),
            low=low,
            high=high,
            coding=coding,
            seed=seed,
        )
        self.nodes: list[QuantizedNode] = [node]
        self._count = 0

    def __getitem__(self, node_id: NodeId) -> QuantizedNode:
        return next(node for node in self.nodes if node.id == node_id)

    def build(self) -> QuantizedGraph:
        """The network so far."""
        return QuantizedGraph(Graph[QuantizedNode](self.nodes), self.window)

    def frames(self, n: int, density: float = 0.5) -> np.ndarray:
        """Random encoded stimuli."""
        node = self.nodes[0]
        values = self.random.integers(node.low, node.high + 1, (n, *node.shape))
        return values * (self.random.random(values.shape) < density)

    def weights(self, shape: Shape, bits: int) -> QTensor:
        """Random signed weights of all magnitudes, somewhat more positive than negative."""
        top = 1 << (bits - 1)
        values = self.random.integers(-top, top, shape)
        flip = (values < 0) & (values > -top) & (self.random.random(shape) < 0.3)
        return QTensor(np.where(flip, -values, values), QFormat(bits))

    def conv(
        self,
        source: NodeId,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        bits: int = 8,
        exponent: int = 0,
        geometry: Geometry | None = None,
    ) -> NodeId:
        """Convolutional synapses."""
        geometry = geometry or Geometry()
        n_in, height, width = self[source].shape
        size = geometry.output_size((height, width), kernel)
        return self._add_synapses(
            ConvSynapses,
            source,
            (channels, *size),
            weight=self.weights((channels, n_in // geometry.groups, *kernel), bits),
            exponent=exponent,
            geometry=geometry,
        )

    def dense(
        self, source: NodeId, shape: Shape | int, *, bits: int = 8, exponent: int = 0
    ) -> NodeId:
        """All-to-all synapses."""
        shape = (shape,) if isinstance(shape, int) else shape
        weight = self.weights((prod(shape), prod(self[source].shape)), bits)
        return self._add_synapses(DenseSynapses, source, shape, weight=weight, exponent=exponent)

    def sparse(
        self,
        source: NodeId,
        shape: Shape,
        *,
        density: float = 0.3,
        bits: int = 8,
        exponent: int = 0,
    ) -> NodeId:
        """Random wiring; some targets have no synapse at all."""
        wired = self.random.random((prod(shape), prod(self[source].shape))) < density
        indptr = np.concatenate([[0], np.cumsum(wired.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(wired)[1].astype(np.int64)
        return self._add_synapses(
            SparseSynapses,
            source,
            shape,
            indptr=indptr,
            indices=indices,
            weight=self.weights((len(indices),), bits),
            exponent=exponent,
        )

    def identity(self, source: NodeId) -> NodeId:
        """One synapse of weight 1 from each neuron to its counterpart."""
        shape = self[source].shape
        n = prod(shape)
        return self._add_synapses(
            SparseSynapses,
            source,
            shape,
            indptr=np.arange(n + 1),
            indices=np.arange(n),
            weight=QTensor(np.ones(n, np.int64), QFormat(2)),
            exponent=0,
        )

    def _add_synapses(
        self, kind: type[Synapses], source: NodeId, shape: Shape, **fields: Any
    ) -> NodeId:
        self._count += 1
        if self.whole:
            fields["exponent"] = max(fields["exponent"], 0)
        node_id = NodeId(f"{source}.synapses{self._count}")
        self.nodes.append(
            kind(id=node_id, inputs=(source,), shape=shape, origin=Origin("random"), **fields)
        )
        return node_id

    def relay(self, source: NodeId) -> NodeId:
        """A population that carries another's messages one depth further."""
        shape = self[source].shape
        synapses = self.identity(source)
        one = QTensor.of(np.ones(shape[0], np.int64))
        zero = QTensor.of(np.zeros(shape[0], np.int64))
        like = self[source]
        fields: dict[str, object] = {"bias": zero, "relay": True}
        if isinstance(like, PiecewiseLinearNeurons):
            row = np.ones((shape[0], 1), np.int64)
            tables = {"breakpoints": row[:, :0], "multiplier": row << 11, "shift": row * 11}
            fields |= {name: QTensor.of(values) for name, values in tables.items()}
            fields |= {"offset": QTensor.of(row << 10), "low": like.low, "high": like.high}
            return self._add_population(PiecewiseLinearNeurons, (synapses,), **fields)
        if isinstance(like, GradedNeurons | Input):
            fields |= {
                "multiplier": QTensor(one.values << 11, QFormat(12, signed=False)),
                "shift": QTensor.of(one.values * 11),
                "payload": getattr(like, "payload", QFormat(8, signed=False)),
            }
            return self._add_population(GradedNeurons, (synapses,), **fields)
        fields["threshold"] = one
        if isinstance(like, ClipFloorNeurons):
            fields["levels"] = like.levels
            return self._add_population(ClipFloorNeurons, (synapses,), **fields)
        fields["initial_potential"] = zero
        if isinstance(like, SignedIFNeurons):
            return self._add_population(SignedIFNeurons, (synapses,), **fields)
        fields["reset"] = Reset.SUBTRACT
        return self._add_population(IFNeurons, (synapses,), **fields)

    def neurons(
        self, kind: str, *synapses: NodeId, per_element_bias: bool = False, payload_bits: int = 8
    ) -> NodeId:
        """A population of one of ``ALL_NEURONS`` or a ``readout``; parameters suit its input."""
        shape = self[synapses[0]].shape
        scale = self._scale(synapses)
        spread = max(1, scale // 8)
        bias_shape = shape if per_element_bias else (shape[0],)
        bias = QTensor.of(self.random.integers(-spread, spread + 1, bias_shape))
        threshold = self.random.integers(max(1, scale // 2), 2 * scale + 1, shape[0])
        if kind == "readout":
            return self._add_population(Readout, synapses, bias=bias)
        if kind == "graded":
            shift = np.full(shape[0], 11 + max(0, (2 * scale).bit_length() - payload_bits))
            return self._add_population(
                GradedNeurons,
                synapses,
                bias=bias,
                multiplier=QTensor(
                    self.random.integers(1 << 11, 1 << 12, shape[0]), QFormat(12, signed=False)
                ),
                shift=QTensor.of(shift),
                payload=QFormat(payload_bits, signed=False),
            )
        if kind == "lines":
            return self._add_population(
                PiecewiseLinearNeurons, synapses, bias=bias, **self._lines(scale, shape[0])
            )
        if kind == "leaky":
            return self._add_population(
                CubaLIFNeurons,
                synapses,
                threshold=QTensor.of(np.minimum(threshold, (1 << 17) - 1)),
                bias=QTensor.of(np.clip(bias.values, -512, 511) << 6),
                current_decay=int(self.random.integers(0, 4096)),
                voltage_decay=int(self.random.integers(0, 4096)),
            )
        if kind == "threshold-delta":
            return self._add_population(
                ThresholdDeltaNeurons,
                synapses,
                bias=bias,
                threshold=QTensor.of(threshold // 4),
                sent=QTensor.of(self.random.integers(0, spread + 1, bias_shape)),
                shift=int(self.random.integers(0, 7)),
                of_frames=bool(self.random.random() < 0.3),
            )
        if kind == "started":
            initial = QTensor.of(self.random.integers(-spread, spread + 1, bias_shape))
            return self._add_population(
                StartedReadout, synapses, bias=bias, initial_potential=initial
            )
        if kind == "clip-floor":
            step = np.maximum(threshold // self.levels, 1)
            return self._add_population(
                ClipFloorNeurons,
                synapses,
                threshold=QTensor.of(step),
                bias=bias,
                levels=self.levels,
            )
        if kind == "signed":
            return self._add_population(
                SignedIFNeurons,
                synapses,
                threshold=QTensor.of(threshold),
                bias=bias,
                initial_potential=QTensor.of(threshold // 2),
            )
        stock = kind == "stock"
        initial = np.zeros(shape[0], np.int64) if stock else threshold // 2
        if kind == "subtract" and prod(shape[1:]) > 1:  # each neuron its own, below 0 and above
            ninths = np.arange(prod(shape)).reshape(shape) * 5 % 19 - 6
            initial = threshold[:, None, None] * ninths // 9
        return self._add_population(
            IFNeurons,
            synapses,
            threshold=QTensor.of(threshold),
            bias=bias,
            initial_potential=QTensor.of(initial),
            reset=Reset.SUBTRACT if kind == "subtract" else Reset.ZERO,
        )

    def product(
        self, left: NodeId, right: NodeId, *, high: int = 255, low: int | None = None
    ) -> NodeId:
        """Product neurons of two sources of one shape, whose messages have 12 bits at most."""
        shape, n = self[left].shape, prod(self[left].shape)
        synapses = tuple(
            self._add_synapses(
                SparseSynapses,
                source,
                shape,
                indptr=np.arange(n + 1),
                indices=self.random.permutation(n),
                weight=QTensor(np.full(n, weight), QFormat(8)),
                exponent=exponent,
            )
            for source, weight, exponent in ((left, 64, 6), (right, 1, 0))
        )
        largest = prod(max(map(abs, self[source].messages)) for source in (left, right))
        shift = 11 + max(0, largest.bit_length() - high.bit_length())
        return self._add_population(
            ProductNeurons,
            synapses,
            bias=QTensor.of(np.zeros(shape[0], np.int64)),
            multiplier=QTensor(
                self.random.integers(1 << 11, 1 << 12, shape[0]), QFormat(12, signed=False)
            ),
            shift=QTensor.of(self.random.integers(shift - 1, shift + 2, shape[0])),
            low=-high if low is None else low,
            high=high,
        )

    def _lines(self, scale: int, channels: int) -> dict[str, Any]:
        """Tables of up to six lines, some of them empty or out of reach; payloads of both signs."""
        n = int(self.random.integers(1, 7))
        begins = np.sort(self.random.integers(-2 * scale, 2 * scale + 1, (channels, n - 1)), axis=1)
        if n > 1:
            begins[::2, -1] = 1 << 61
        multiplier = self.random.integers(-4095, 4096, (channels, n))
        shift = self.random.integers(11, 16, (channels, n)) + max(0, scale.bit_length() - 6)
        level = self.random.random((channels, n)) < 0.2
        multiplier[level] = shift[level] = 0
        limit = (1 << 47) - 1
        return {
            "breakpoints": QTensor.of(begins),
            "multiplier": QTensor.of(multiplier),
            "offset": QTensor.of(
                np.clip(self.random.integers(-90, 91, (channels, n)) << shift, -limit, limit)
            ),
            "shift": QTensor.of(shift),
            "low": -int(self.random.choice([0, 1, 90, 255])),
            "high": int(self.random.choice([1, 127, 255, 4000])),
        }

    def _scale(self, synapses: tuple[NodeId, ...]) -> int:
        """A typical magnitude of the input: a tenth of the largest possible one."""
        messages = [self[self[s].inputs[0]].messages for s in synapses]
        largest = 0
        for s, m in zip(synapses, messages, strict=True):
            sums = bounds.synapse_sums(self[s], m)[0].magnitude
            e = self[s].exponent
            largest += sums << e if e >= 0 else sums >> -e
        return max(1, largest // 10)

    def _add_population(
        self, kind: type[QuantizedNode], synapses: tuple[NodeId, ...], **fields: object
    ) -> NodeId:
        self._count += 1
        node_id = NodeId(f"layer{self._count}")
        shape = self[synapses[0]].shape
        self.nodes.append(
            kind(id=node_id, inputs=synapses, shape=shape, origin=Origin("random"), **fields)
        )
        return node_id
