"""Every layer in integers by itself, given the integers nearest to the values of the float network.

Nothing that an earlier layer lost counts, so that one sees where accuracy is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir import ann, spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.schedule import integer_network
from snn_compile.lowering import Lowering
from snn_compile.report.layer_bounds import Array, Values, Worst, worst_of
from snn_compile.sim.ann import batch_last, forward
from snn_compile.sim.reference import Simulator
from snn_compile.sim.reproducible import Reproducible

SAME = 1e-3
"""Difference, as a share, up to which two values are the same node's."""


@dataclass(frozen=True)
class FixedLayer:
    """A layer in integers by itself.

    Attributes:
        name: the population.
        origin: its operator in the user's file.
        share: its worst error as a share of the bound; the layer is right up to 1.
        error: that error in payload steps; of an output in steps of the potential.
        sqnr_db: ``10 log10(signal / error)`` of its values, the rounding of its inputs included;
            None if there is no error.
        saturated: share of its values beyond its largest payload.
        ours: the value farthest from the float layer's.
        theirs: the float layer's there.
    """

    name: NodeId
    origin: Origin
    share: float
    error: float
    sqnr_db: float | None
    saturated: float
    ours: float
    theirs: float

    @property
    def within(self) -> bool:
        """Whether the layer keeps to its bound."""
        return self.share <= 1.0


def fixed_layers(
    lowered: Lowering, x: Array, known: Mapping[NodeId, Array] | None = None
) -> list[FixedLayer]:
    """Every layer in integers, given the integers nearest to the values of the float network.

    Args:
        lowered: the network; ``has_bounds`` holds.
        x: samples, (N, *input shape).
        known: values of nodes from elsewhere, (N, *shape of the node), instead of the float
            network's.
    """
    exact = _float_values(lowered, x, known or {})
    simulator = Simulator(integer_network(lowered.program))
    frames = lowered.program.inputs.split(lowered.encoding(x))
    values: Values = {n: np.moveaxis(shown, 0, -1).astype(float) for n, shown in frames.items()}
    layers = []
    for population in lowered.spiking.populations:
        node: Any = simulator.program.graph[population.id]
        sources = {group.inputs[0] for group in lowered.spiking.synapses_into(population)}
        sent = {source: values[source].astype(np.int64)[..., None, :] for source in sources}
        answer = node.respond(simulator.current(node, sent), 1)[..., -1, :].astype(float)
        values[population.id] = answer
        if population.id not in exact:
            continue  # a relay, or a part of a sum: it goes on with its own answer
        unit = _unit(lowered, population)
        real = exact[population.id].reshape(answer.shape)
        worst = worst_of(lowered, population, values, answer)
        layers.append(_fixed_layer(population, worst, answer * unit, real, unit))
        if isinstance(population, spiking.Neurons):
            ends = _ends(population)
            values[population.id] = np.clip(np.rint(real / unit), *ends)
    return layers


def _float_values(lowered: Lowering, x: Array, known: Mapping[NodeId, Array]) -> Values:
    """Values of the folded network's nodes that populations stand for, (*shape, B)."""
    wanted = {population.id for population in lowered.spiking.populations}
    found: Values = {}

    def keep(node: ann.AnnNode, value: Array) -> Array:
        if node.id in wanted:
            given = known.get(node.id)
            found[node.id] = value if given is None else _closer(value, np.moveaxis(given, 0, -1))
        return value

    forward(lowered.folded, batch_last(x), keep, Reproducible(lowered.folded, x))
    return {name: value.astype(np.float64) for name, value in found.items()}


def _closer(value: Array, given: Array) -> Array:
    """A given value, if it is that of the node: passes may have changed what a node computes."""
    same = given.shape == value.shape and np.allclose(
        given, value, SAME, SAME * np.abs(value).max()
    )
    return given if same else value


def _fixed_layer(
    population: Any, worst: Worst, ours: Array, theirs: Array, unit: Array
) -> FixedLayer:
    error = ours - theirs
    signal, noise = float((theirs**2).sum()), float((error**2).sum())
    place = np.unravel_index(int(np.abs(error).argmax()), error.shape)
    beyond = 0.0
    if isinstance(population, spiking.Neurons):
        low, high = _ends(population)
        beyond = float(((theirs < (low - 0.5) * unit) | (theirs > (high + 0.5) * unit)).mean())
    return FixedLayer(
        population.id,
        population.origin,
        worst.share,
        worst.error,
        10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None,
        beyond,
        float(ours[place]),
        float(theirs[place]),
    )


def _unit(lowered: Lowering, population: Any) -> Array:
    """The real value of a payload step, or of a step of an output's potential; (C, 1, 1, 1)."""
    if isinstance(population, spiking.Readout):
        unit = lowered.quantization.numbers[population.id].unit
    else:
        unit = lowered.scales[population.id] / _ends(population)[1]
    return np.asarray(unit, float)[:, None, None, None]


def _ends(population: Any) -> tuple[int, int]:
    """The smallest and the largest payload."""
    if isinstance(population, spiking.GradedNeurons):
        return 0, population.levels
    return population.low, population.high
