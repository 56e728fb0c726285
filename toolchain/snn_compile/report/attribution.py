"""Attribution of the loss: the effect of each layer on its activations and on the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

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
from snn_compile.sim.kernels import Array
from snn_compile.sim.reference import Simulator
from snn_compile.sim.reproducible import Reproducible

SAMPLES = 64
"""Samples on which layers are compared with the float network."""

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
) -> dict[NodeId, Loss]:
    """The loss of every layer that represents a rectifier, and of the outputs.

    The error of several outputs is the sum of their squared errors, each over the power of its
    output: none counts for more because its values are larger.

    Args:
        folded: the float network; populations represent its rectifiers.
        program: the network in fixed point.
        x: real inputs; the first ``SAMPLES`` are used.
        frames: the same, encoded.
        scales: full scale of each rectifier per channel.
        levels: largest spike count or payload of each rectifier.
        decodings: of the outputs.
    """
    x, frames = x[:SAMPLES], frames[:SAMPLES]
    at_once = integer_network(program)
    values, outputs = _values(at_once, frames)
    uneven = _unevenness(at_once, values)
    rectifiers = [n for n in folded.graph if isinstance(n, ops.Activation) and n.id in scales]
    fixed = {n.id: _real(n, values[n.id], scales[n.id] / levels[n.id]) for n in rectifiers}
    batch = ann.batch_last(x)
    run = partial(ann.forward, folded, batch, operators=Reproducible(folded, x))
    exact, scores = _exact(folded, run, fixed)
    answers = {
        name: np.moveaxis(decoding(outputs[name]), 0, -1) for name, decoding in decodings.items()
    }
    shares = _output_shares(run, fixed, scores, answers)
    found = {
        n.id: Loss(
            _decibels(exact[n.id]),
            float((np.abs(values[n.id]) >= levels[n.id]).mean()),
            uneven.get(n.id),
            shares.get(n.id),
        )
        for n in rectifiers
    }
    last = folded.outputs[0].id
    found[last] = Loss(None, None, None, shares[last])
    return found


def _values(program: QuantizedGraph, frames: npt.NDArray[np.integer]) -> tuple[Values, Values]:
    """Messages of each population and the input in a window, and potentials of the outputs."""
    pieces: dict[NodeId, list[Int]] = {}
    outputs: dict[NodeId, list[Int]] = {node.id: [] for node in program.readouts}
    for first, run in reference.record_runs(program, frames, engine.run):
        shown = frames[first : first + run.n_stimuli]
        sent = reference.input_messages(program, shown, first=first)
        arriving = program.inputs.split(sent, 2)
        for key, messages in (*run.messages.items(), *arriving.items()):
            pieces.setdefault(key, []).append(messages.sum(axis=1, dtype=np.int64))
        for key, found in outputs.items():
            found.append(run.outputs[key])

    # One layout for all simulators: floats are then added in the same order.
    def joined(of_node: Mapping[NodeId, list[Int]]) -> dict[NodeId, Int]:
        return {key: np.ascontiguousarray(np.concatenate(p)) for key, p in of_node.items()}

    return joined(pieces), joined(outputs)


def _unevenness(program: QuantizedGraph, values: Values) -> dict[NodeId, float]:
    """See ``Loss.uneven``."""
    simulator, n_steps = Simulator(program), program.window.n_steps
    found: dict[NodeId, float] = {}
    for node in program.populations:

        def arrived(node: Population = node) -> Int:
            sources = (group.inputs[0] for group in program.synapses_into(node))
            sent = {key: np.moveaxis(values[key], 0, -1)[..., None, :] for key in sources}
            total = simulator.current(node, sent)[..., 0, :]
            return np.moveaxis(total, -1, 0).astype(np.int64)

        uneven = node.unevenness(values[node.id], arrived, n_steps)
        if uneven is not None:
            found[node.id] = uneven
    return found


def _real(node: AnnNode, values: Int, unit: Float) -> Array:
    """Activations in the float network's units and layout, (*node shape, N)."""
    real = values * unit[:, None, None]
    return np.moveaxis(real, 0, -1).reshape(*node.shape, -1).astype(np.float32)


def _exact(
    folded: ANNGraph, run: Forward, fixed: Mapping[NodeId, Array]
) -> tuple[dict[NodeId, tuple[float, float]], dict[NodeId, Array]]:
    """Signal and squared error of each layer, and the outputs of the float network."""
    found: dict[NodeId, tuple[float, float]] = {}

    def compare(node: AnnNode, value: Array) -> Array:
        if node.id in fixed:
            wide = value.astype(np.float64)
            found[node.id] = float((wide**2).sum()), float(((fixed[node.id] - wide) ** 2).sum())
        return value

    values = run(compare)
    return found, {output.id: values[output.id] for output in folded.outputs}


def _decibels(powers: tuple[float, float]) -> float | None:
    signal, noise = powers
    return round(10 * float(np.log10(signal / noise)), 2) if signal > 0 and noise > 0 else None


def _output_shares(
    run: Forward,
    fixed: Mapping[NodeId, Array],
    scores: Mapping[NodeId, Array],
    answers: Mapping[NodeId, npt.NDArray[np.floating]],
) -> dict[NodeId, float]:
    """See ``Loss.output_share``; what no layer adds is the first output's.

    The float network continues from layers in fixed point, one more each time; finally the
    fixed-point outputs themselves are compared.
    """
    several, last = len(scores) > 1, next(iter(scores))

    def error(found: Mapping[NodeId, npt.NDArray[Any]]) -> float:
        total = 0.0
        for name, exact in scores.items():
            of_output = float(((found[name].astype(np.float64) - exact) ** 2).sum())
            total += of_output / (float((exact**2).sum()) or 1.0) if several else of_output
        return total

    total = error(answers)
    if not total:
        return dict.fromkeys((*fixed, last), 0.0)
    shares: dict[NodeId, float] = {}
    before, given = 0.0, dict[NodeId, Array]()
    for layer, values in fixed.items():
        given[layer] = values
        now = error(run(given=given))
        shares[layer], before = (now - before) / total, now
    shares[last] = (total - before) / total
    return shares
