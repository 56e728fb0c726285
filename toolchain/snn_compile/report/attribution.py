"""Attribution of the loss: the effect of each layer on its activations and on the output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.encoding import OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, QuantizedGraph
from snn_compile.ir.schedule import integer_network
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph
from snn_compile.sim import ann, engine, reference
from snn_compile.sim.batches import Advance, map_batches, no_progress
from snn_compile.sim.kernels import Array
from snn_compile.sim.reference import Run, Simulator
from snn_compile.sim.reproducible import Reproducible
from snn_compile.threads import allowed

SAMPLES, FEWEST = 64, 2
"""Most and fewest samples on which layers are compared with the float network."""
WORK = 1 << 36
"""Multiplications that decide the number of samples in between: the float network continues from
each layer, which takes half of its work for every layer."""
PIECE_BYTES = 128 << 20
"""Size of the activations that are compared at once."""
THREADS, BLAS_THREADS = 4, 1
"""Most threads on which the float network continues, each from a layer and with values of its own;
and those of one matrix product, where more would mostly wait for each other on busy cores."""

Values = Mapping[NodeId, Int]
"""Total messages of each population in a window, (N, *shape): counts or payloads."""
Forward = Callable[..., dict[NodeId, Array]]
"""``sim.ann.forward`` of the float network, for the samples."""


@dataclass(frozen=True)
class Loss:
    """Loss of one layer on the first samples.

    Attributes:
        sqnr_db: ``10 log10(signal / error)`` of its activations against the float network, in
            decibels, all errors of the layers before it included; None if there is no error.
        saturated: share of its activations on the highest level.
        uneven: excess or missing spikes due to timing, as a share of all spikes: the
            difference to ``clip(floor((V0 + all that arrived) / threshold), 0, T)`` (the unevenness
            error of Bu et al. 2022). 0 for codings that decide on one sum, None where a reset to
            zero makes the comparison meaningless.
        output_share: share of the output's squared error that appears when this layer joins those
            before it in fixed point, with everything after it in float. Negative for a layer that
            compensates errors of others.
    """

    sqnr_db: float | None
    saturated: float | None
    uneven: float | None
    output_share: float | None


def attribute(
    folded: ANNGraph,
    program: QuantizedGraph,
    x: npt.NDArray[np.number],
    frames: npt.NDArray[np.integer],
    scales: Mapping[NodeId, Float],
    levels: Mapping[NodeId, int],
    decodings: Mapping[NodeId, OutputDecoding],
    advance: Advance = no_progress,
) -> dict[NodeId, Loss]:
    """The loss of every layer that represents a rectifier, and of the outputs.

    The error of several outputs is the sum of their squared errors, each over the power of its
    output: none counts for more because its values are larger.

    Args:
        folded: the float network; populations represent its rectifiers.
        program: the network in fixed point.
        x: real inputs; ``samples_for`` says how many are worth their work.
        frames: the same, encoded.
        scales: full scale of each rectifier per channel.
        levels: largest spike count or payload of each rectifier.
        decodings: of the outputs.
        advance: progress callback, in samples.
    """
    at_once = integer_network(program)
    rectifiers = [n for n in folded.graph if isinstance(n, ops.Activation) and n.id in scales]
    found = {node.id: _LayerSums() for node in at_once.populations}
    found |= {node.id: _LayerSums() for node in rectifiers}
    outputs = _OutputErrors([*(node.id for node in rectifiers), folded.outputs[0].id])
    with threadpool_limits(BLAS_THREADS):
        operators = Reproducible(folded, x)
        for first in range(0, len(x), size := _piece_size(at_once)):
            last = min(first + size, len(x))
            values, answers = _values(at_once, frames, first, last)
            _add_unevenness(at_once, values, found)
            fixed = {n.id: _real(n, values[n.id], scales[n.id] / levels[n.id]) for n in rectifiers}
            for node in rectifiers:
                found[node.id].add_saturation(values[node.id], levels[node.id])
            del values
            run = partial(ann.forward, folded, ann.batch_last(x[first:last]), operators=operators)
            outputs.add(run, fixed, _compare(folded, run, fixed, found), answers, decodings)
            advance(last - first)
    shares = outputs.shares()
    losses = {n.id: Loss(*found[n.id].figures(), output_share=shares.get(n.id)) for n in rectifiers}
    last_layer = folded.outputs[0].id
    losses[last_layer] = Loss(None, None, None, shares[last_layer])
    return losses


def samples_for(folded: ANNGraph, n: int) -> int:
    """The number of n samples on which the losses are measured: within ``WORK``."""
    layers = sum(isinstance(node, ops.Activation) for node in folded.graph)
    per_sample = ann.multiplications(folded) * (layers + 1) // 2
    return min(n, SAMPLES, max(FEWEST, WORK // max(1, per_sample)))


def _piece_size(program: QuantizedGraph) -> int:
    """Samples whose activations take ``PIECE_BYTES``, as integers of 8 bytes."""
    return max(1, PIECE_BYTES // (8 * sum(prod(node.shape) for node in program.populations)))


@dataclass
class _LayerSums:
    """Sums over samples for one layer.

    Attributes:
        signal, noise: squared activations of the float network, and squared errors of the layer.
        saturated, seen: activations on the highest level, and all of them.
        uneven: unevenness of each piece with the number of its spikes.
    """

    signal: float = 0.0
    noise: float = 0.0
    saturated: int = 0
    seen: int = 0
    uneven: list[tuple[float, int]] = field(default_factory=list)

    def add_saturation(self, values: Int, level: int) -> None:
        self.saturated += int(np.count_nonzero(np.abs(values) >= level))
        self.seen += values.size

    def figures(self) -> tuple[float | None, float, float | None]:
        """``sqnr_db``, ``saturated`` and ``uneven`` of ``Loss``."""
        spikes = sum(n for _, n in self.uneven)
        uneven = sum(share * (n / spikes) for share, n in self.uneven) if self.uneven else None
        return _decibels(self.signal, self.noise), self.saturated / self.seen, uneven


def _values(
    program: QuantizedGraph, frames: npt.NDArray[np.integer], first: int, last: int
) -> tuple[Values, Values]:
    """Messages of each population and the input in a window, and potentials of the outputs."""
    pieces: dict[NodeId, list[Int]] = {}
    outputs: dict[NodeId, list[Int]] = {node.id: [] for node in program.readouts}
    for start, run in _recorded(program, frames, first, last):
        shown = frames[start : start + run.n_stimuli]
        sent = reference.input_messages(program, shown, first=start)
        arriving = program.inputs.split(sent, 2)
        for key, messages in (*run.messages.items(), *arriving.items()):
            pieces.setdefault(key, []).append(messages.sum(axis=1, dtype=np.int64))
        for key, found in outputs.items():
            found.append(run.outputs[key])

    # One layout for all simulators: floats are then added in the same order.
    def joined(of_node: Mapping[NodeId, list[Int]]) -> dict[NodeId, Int]:
        return {key: np.ascontiguousarray(np.concatenate(p)) for key, p in of_node.items()}

    return joined(pieces), joined(outputs)


def _recorded(
    program: QuantizedGraph, frames: npt.NDArray[np.integer], first: int, last: int
) -> Iterator[tuple[int, Run]]:
    at_once = reference.recording_batch_size(program)
    for start in range(first, last, at_once):
        piece = frames[start : min(start + at_once, last)]
        before = reference.shown_before(frames, start)
        yield start, engine.run(program, piece, first=start, before=before, record=True)


def _add_unevenness(
    program: QuantizedGraph, values: Values, found: Mapping[NodeId, _LayerSums]
) -> None:
    """See ``Loss.uneven``."""
    simulator, n_steps = Simulator(program), program.window.n_steps
    for node in program.populations:

        def arrived(node: Population = node) -> Int:
            sources = (group.inputs[0] for group in program.synapses_into(node))
            sent = {key: np.moveaxis(values[key], 0, -1)[..., None, :] for key in sources}
            total = simulator.current(node, sent)[..., 0, :]
            return np.moveaxis(total, -1, 0).astype(np.int64)

        uneven = node.unevenness(values[node.id], arrived, n_steps)
        if uneven is not None:
            found[node.id].uneven.append((uneven, max(1, int(values[node.id].sum()))))


def _real(node: AnnNode, values: Int, unit: Float) -> Array:
    """Activations in the float network's units and layout, (*node shape, N)."""
    real = values * unit[:, None, None]
    return np.moveaxis(real, 0, -1).reshape(*node.shape, -1).astype(np.float32)


def _compare(
    folded: ANNGraph,
    run: Forward,
    fixed: Mapping[NodeId, Array],
    found: Mapping[NodeId, _LayerSums],
) -> dict[NodeId, Array]:
    """Add signal and squared error of each layer; the outputs of the float network."""

    def compare(node: AnnNode, value: Array) -> Array:
        if node.id in fixed:
            wide = value.astype(np.float64)
            found[node.id].signal += float((wide**2).sum())
            found[node.id].noise += float(((fixed[node.id] - wide) ** 2).sum())
        return value

    values = run(compare)
    return {output.id: values[output.id] for output in folded.outputs}


def _decibels(signal: float, noise: float) -> float | None:
    return round(10 * float(np.log10(signal / noise)), 2) if signal > 0 and noise > 0 else None


class _OutputErrors:
    """Squared errors of the outputs, with one layer more in fixed point each time.

    Args:
        layers: those of the network in order, the first output last: what no layer adds is its.
    """

    def __init__(self, layers: list[NodeId]) -> None:
        self._layers = layers
        self._powers: dict[NodeId, float] = defaultdict(float)
        self._errors = {layer: defaultdict[NodeId, float](float) for layer in layers}

    def add(
        self,
        run: Forward,
        fixed: Mapping[NodeId, Array],
        scores: Mapping[NodeId, Array],
        answers: Values,
        decodings: Mapping[NodeId, OutputDecoding],
    ) -> None:
        """Add some samples: the float network continues from the layers in fixed point."""
        for name, exact in scores.items():
            self._powers[name] += float((exact**2).sum())
        *layers, last = self._layers
        ours = {
            name: np.moveaxis(decode(answers[name]), 0, -1) for name, decode in decodings.items()
        }
        self._add(last, ours, scores)

        def continued(piece: npt.NDArray[np.generic], index: int) -> None:
            del piece
            given = {layer: fixed[layer] for layer in layers[: index + 1]}
            self._add(layers[index], run(given=given), scores)

        for _ in map_batches(continued, np.arange(len(layers)), 1, threads=min(THREADS, allowed())):
            pass

    def _add(
        self,
        layer: NodeId,
        found: Mapping[NodeId, npt.NDArray[np.floating]],
        scores: Mapping[NodeId, Array],
    ) -> None:
        for name, exact in scores.items():
            error = found[name].astype(np.float64) - exact
            self._errors[layer][name] += float((error**2).sum())

    def shares(self) -> dict[NodeId, float]:
        """See ``Loss.output_share``."""
        *layers, last = self._layers
        total = self._error(last)
        if not total:
            return dict.fromkeys(self._layers, 0.0)
        shares: dict[NodeId, float] = {}
        before = 0.0
        for layer in layers:
            now = self._error(layer)
            shares[layer], before = (now - before) / total, now
        shares[last] = (total - before) / total
        return shares

    def _error(self, layer: NodeId) -> float:
        """The squared error; of several outputs, each over the power of its output."""
        several = len(self._powers) > 1
        found = self._errors[layer].items()
        return sum(
            error / (self._powers[name] or 1.0) if several else error for name, error in found
        )
