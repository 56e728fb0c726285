"""A segment with gradients: what its populations compute in fixed point, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Neurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.numerics import products
from snn_compile.numerics.products import Float
from snn_compile.quantize.reconstruction.levels import Levels, Step, column, levels_of
from snn_compile.quantize.reconstruction.synapses import Fixed, Learned, total, type_of
from snn_compile.sim import bounds
from snn_compile.sim.kernels import Array

LEAST_SIZE = 0.1
"""Of a level, relative to what it was."""

Values = dict[str, Float]
"""Parameters or their gradients, by name."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What the backward pass of a population reads."""

    sent: Array
    exact: Array
    step: Step


class SegmentNetwork:
    """The populations of a segment, with parameters that are learned.

    Args:
        program: the network in fixed point, of one step (``CountNetwork`` has those of several).
        names: the segment's populations, in order.
        learns: whether a group's weights, and its population's bias, may change.
        sizes: populations whose levels may change in size, and their readers' weights with them.
        biases: whether biases may change.
        tuned: populations whose biases, and sizes of levels, may change while all weights stay.
    """

    def __init__(
        self,
        program: QuantizedGraph,
        names: tuple[NodeId, ...],
        learns: set[NodeId],
        sizes: set[NodeId],
        *,
        biases: bool = True,
        tuned: frozenset[NodeId] = frozenset(),
    ) -> None:
        self.program, self.names = program, names
        self._followed, self._tuned = sizes, tuned
        self.carriers = carriers(program, names)
        self.populations = {name: population_of(program, name) for name in names}
        self.groups: dict[NodeId, list[Fixed | Learned]] = {}
        self.levels: dict[NodeId, Levels] = {}
        self.parameters: Values = {}
        self.scales: Values = {}
        self._types: dict[NodeId, type[np.float32] | type[np.float64]] = {}
        self._steps: dict[NodeId, Step] = {}
        self._biases: dict[NodeId, Float] = {}
        for name, population in self.populations.items():
            levels = self._levels_of(population)
            if levels is not None:
                self.levels[name] = levels
                if name in sizes or (name in tuned and not population.relay):
                    self._add(f"{name}:size", np.ones(len(levels.given)), np.ones(1))
            if name not in self.carriers:
                groups = program.synapses_into(population)
                self.groups[name] = [self._group(group, learns) for group in groups]
                if biases:
                    self._add_bias(name)
        self._kept: dict[NodeId, Kept] = {}
        self.use(self.parameters)

    def _levels_of(self, population: Population) -> Levels | None:
        return levels_of(population)

    def _group(self, group: Synapses, learns: set[NodeId]) -> Fixed | Learned:
        source = self.program.graph[group.inputs[0]].shape
        most = int(max(map(abs, bounds.message_range(self.program.graph, group))))
        most *= self.program.window.n_steps
        if group.id not in learns or not isinstance(group, ConvSynapses | DenseSynapses):
            return Fixed(group, source, most)
        learned = Learned(group, source, most)
        self._add(group.id, learned.weight, _typical(learned)[:, None])
        return learned

    def _add_bias(self, name: NodeId) -> None:
        """Shifts of the bias of each channel, in steps of the potential.

        They move by parts of a level, or of what a typical weight adds at most; over several steps
        each has its share.
        """
        moving = [g for g in self.groups[name] if name in self._tuned or isinstance(g, Learned)]
        if not moving:
            return
        levels = self.levels.get(name)
        scale = np.zeros(self.populations[name].shape[0])
        for group in moving:
            scale += _typical(group) * group.most * 2.0**group.group.exponent
        scale = scale if levels is None else levels.given
        self._add(f"{name}:bias", np.zeros(len(scale)), scale / self.program.window.n_steps)

    def _add(self, name: str, start: Float, scale: Float) -> None:
        self.parameters[name], self.scales[name] = start, scale

    def source_of(self, group: Fixed | Learned) -> NodeId:
        """Whose messages a group gets, relays aside."""
        source = group.group.inputs[0]
        return self.carriers.get(source, source)

    def _growth(self, group: Fixed | Learned) -> Float:
        """What the weights of a group are multiplied with, for each channel of its source, (C,)."""
        source = self.source_of(group)
        ratio = self.ratio(source)
        return ratio if source in self._followed else np.ones_like(ratio)

    def use(self, parameters: Values) -> None:
        """Take other values of the parameters."""
        self.parameters = parameters
        for name, levels in self.levels.items():
            if name not in self._steps or f"{name}:size" in parameters:
                self._steps[name] = levels.step(self.ratio(name))
        for name, groups in self.groups.items():
            for group in groups:
                if isinstance(group, Learned):
                    group.use(parameters[group.group.id], self._growth(group))
            self._biases[name] = self._bias(name)
            self._types[name] = type_of(groups, self._added(name))

    @property
    def most(self) -> int:
        """The largest number of levels, relays aside."""
        found = (of.most for name, of in self.levels.items() if not self.populations[name].relay)
        return max(found, default=1)

    @property
    def largest(self) -> int:
        """Values of the receptive fields of all groups, for one sample."""
        found = 0
        for groups in self.groups.values():
            for one in groups:
                rows = len(one.weight) if isinstance(one, Learned) else prod(one.group.shape)
                found += prod(one.group.shape) // max(rows, 1) * one.weight.shape[1]
                found += prod(one.group.shape)
        return found

    def ratio(self, name: NodeId) -> Float:
        """Relative sizes of the levels of a source, (C,)."""
        found = self.parameters.get(f"{self.carriers.get(name, name)}:size")
        if found is None:
            return np.ones(self.program.graph[name].shape[0])
        return np.maximum(found, LEAST_SIZE)

    def sizes(self) -> dict[NodeId, Float]:
        """Relative sizes of levels that readers follow, of populations and of their relays."""
        names = [*self.levels, *self.carriers]
        found = {
            name: self.ratio(name)
            for name in names
            if self.carriers.get(name, name) in self._followed
        }
        return {name: ratio for name, ratio in found.items() if (ratio != 1).any()}

    def full(self, name: NodeId) -> Float:
        """The largest message of a population, in steps of its potential, (C,)."""
        return self.levels[name].most * self._steps[name].size

    def half(self, name: NodeId) -> Float:
        """Steps of the bias that only round, (C,)."""
        if name not in self.levels:
            return np.zeros(self.populations[name].shape[0])
        return self._steps[name].half

    def _bias(self, name: NodeId) -> Float:
        """Integer bias, with the half of the present levels; broadcasts to the shape."""
        population = self.populations[name]
        bias = population.bias.values.astype(np.float64)
        bias = bias.reshape(-1, *[1] * (len(population.shape) - 1)) if bias.ndim == 1 else bias
        shift = np.zeros(population.shape[0])
        if f"{name}:bias" in self.parameters:
            shift = np.rint(self.parameters[f"{name}:bias"])
        if f"{name}:size" in self.parameters:
            levels = self.levels[name]
            shift = shift + self.half(name) - levels.half(levels.given)
        return bias + shift[:, None, None]

    def _added(self, name: NodeId) -> Float:
        """What a potential has besides its input; broadcasts to the shape."""
        return self._biases[name]

    def forward(self, entries: Mapping[NodeId, Array]) -> dict[NodeId, Array]:
        """Potentials of all populations but relays, whole numbers (C, H, W, B).

        Args:
            entries: messages of the sources, (C, H, W, B).
        """
        values, potentials = dict(entries), dict[NodeId, Array]()
        for name in self.groups:
            potential = self._potential(name, values)
            potentials[name] = potential
            if name in self.levels:
                values[name] = self._sent(name, potential)
        return potentials

    def _potential(self, name: NodeId, values: Mapping[NodeId, Array]) -> Array:
        dtype, groups = self._types[name], self.groups[name]
        first, *others = (self._current(group, values, dtype) for group in groups)
        for current in others:
            first += current
        first += self._added(name)[..., None].astype(dtype)
        return first

    def _current(
        self, group: Fixed | Learned, values: Mapping[NodeId, Array], dtype: type[np.floating]
    ) -> Array:
        current = group.forward(values[self.source_of(group)].astype(dtype, copy=False))
        if group.group.exponent < 0:
            np.floor(current, out=current)
        return current

    def _sent(self, name: NodeId, potential: Array) -> Array:
        levels, step = self.levels[name], self._steps[name]
        exact = levels.exact(potential, step).astype(np.float32, copy=False)
        sent = levels.messages(potential, step).astype(np.float32, copy=False)
        self._kept[name] = Kept(sent, exact, step)
        return sent

    def backward(self, slopes: Mapping[NodeId, Array]) -> Values:
        """Gradients of the parameters, given those of potentials (C, H, W, B)."""
        found: Values = {}
        arriving: dict[NodeId, Array] = {}
        for name in reversed(self.groups):
            at = slopes.get(name)
            if name in arriving:
                through = self._through(name, arriving.pop(name), found)
                at = through if at is None else through + at
            if at is None:
                continue
            if f"{name}:bias" in self.parameters:
                found[f"{name}:bias"] = total(at)
            for group in self.groups[name]:
                source = self.source_of(group)
                back = self._back(group, source, at, found)
                if back is not None:
                    arriving[source] = arriving[source] + back if source in arriving else back
        return found

    def _back(
        self, group: Fixed | Learned, source: NodeId, at: Array, found: Values
    ) -> Array | None:
        further = source in self.groups
        if isinstance(group, Fixed):
            return group.backward(at) if further else None
        found[group.group.id], back = group.backward(at, self._growth(group), further=further)
        return back

    def _through(self, name: NodeId, at: Array, found: Values) -> Array:
        """Gradient of the potential, given that of the messages; that of the size on the way.

        With ``n`` the messages and ``u = V / size``, what arrives for a size is ``-u`` inside of
        the range, and ``n`` more, there and where messages saturate, if weights of readers grow
        with the size.
        """
        kept, levels = self._kept.pop(name), self.levels[name]
        inside = (kept.exact > 0) & (kept.exact < levels.most)
        passed = at * inside
        if f"{name}:size" in self.parameters:
            moved = kept.exact * passed
            np.subtract(kept.sent * at if name in self._followed else 0.0, moved, out=moved)
            found[f"{name}:size"] = total(moved) / self.ratio(name)
        passed /= column(kept.step.size, passed)
        return passed

    def changed(self) -> tuple[list[Synapses], list[Population]]:
        """Synapses and populations with the present integers."""
        synapses: list[Synapses] = []
        populations: list[Population] = []
        for name, population in self.populations.items():
            sized = f"{name}:size" in self.parameters
            if not sized and f"{name}:bias" not in self.parameters:
                continue
            fields = {"bias": QTensor.of(self._biases[name].astype(np.int64))}
            if sized:
                fields |= self._steps[name].fields
            populations.append(population.changed(**fields))
        for groups in self.groups.values():
            for group in groups:
                if isinstance(group, Learned):
                    synapses.append(group.changed(self._growth(group)))
        return synapses, populations


def _typical(group: Fixed | Learned) -> Float:
    """Size of a neuron's weights, in steps of their grid, for each row."""
    power = np.sqrt(products.mean(np.square(group.weight), axis=1))
    return np.maximum(power, 0.25)


def carriers(program: QuantizedGraph, names: tuple[NodeId, ...]) -> dict[NodeId, NodeId]:
    """Relays that only carry the messages of one population, and which one."""
    found: dict[NodeId, NodeId] = {}
    for name in names:
        population = program.graph[name]
        if not isinstance(population, Neurons) or not population.relay:
            continue
        groups = program.synapses_into(population)
        source = groups[0].inputs[0]
        alone = len(groups) == 1 and program.graph[source].shape == population.shape
        if alone and isinstance(groups[0], ConvSynapses) and groups[0].weight.values[0].size == 1:
            found[name] = found.get(source, source)
    return found


def population_of(program: QuantizedGraph, name: NodeId) -> Population:
    """The population of a name."""
    node = program.graph[name]
    if not isinstance(node, Population):
        raise TypeError(f"'{name}' is no population")
    return node
