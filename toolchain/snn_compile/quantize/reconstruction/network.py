"""A block with gradients: what its populations compute in fixed point, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.numerics import products
from snn_compile.numerics.products import Float
from snn_compile.quantize.reconstruction.levels import Levels, Step, column, levels_of
from snn_compile.quantize.reconstruction.synapses import (
    FRACTION_BITS,
    ROOM,
    Fixed,
    Learned,
    on_grid,
)

LEAST_SIZE = 0.1
"""Of a level, relative to what it was."""

Values = dict[str, Float]
"""Parameters or their gradients, by name."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the backward pass of a population reads."""

    potential: Float
    sent: Float
    whole: Float
    step: Step


class BlockNetwork:
    """The populations of a block, with parameters that are learned.

    Args:
        program: the network in fixed point, of one step.
        names: the block's populations, in order.
        learns: whether a group's weights, and its population's bias, may change.
        sizes: populations, in the block or before it, whose levels may change in size.
        entering: those before it that enter by their potentials; all other sources by messages.
        biases: whether biases may change.
    """

    def __init__(
        self,
        program: QuantizedGraph,
        names: tuple[NodeId, ...],
        learns: set[NodeId],
        sizes: set[NodeId],
        entering: set[NodeId],
        *,
        biases: bool = True,
    ) -> None:
        self.program, self.names, self.entering = program, names, entering
        self.carriers = carriers(program, names)
        self.populations: dict[NodeId, Population] = {}
        self.groups: dict[NodeId, list[Fixed | Learned]] = {}
        self.levels: dict[NodeId, Levels] = {}
        self.parameters: Values = {}
        self.scales: Values = {}
        for name in (*entering, *names):
            population = population_of(program, name)
            self.populations[name] = population
            levels = levels_of(population)
            if levels is not None:
                self.levels[name] = levels
                if name in sizes:
                    self._add(f"{name}:size", np.ones(len(levels.given)), np.ones(1))
            if name not in entering and name not in self.carriers:
                self.groups[name] = [
                    self._group(g, learns) for g in program.synapses_into(population)
                ]
                if biases:
                    self._add_bias(name)
        self._kept: dict[NodeId, _Kept] = {}

    def _group(self, group: Synapses, learns: set[NodeId]) -> Fixed | Learned:
        source = self.program.graph[group.inputs[0]].shape
        if group.id not in learns or not isinstance(group, ConvSynapses | DenseSynapses):
            return Fixed(group, source)
        learned = Learned(group, source)
        power = np.sqrt(products.mean(np.square(learned.weight), axis=1))
        self._add(group.id, learned.weight, np.maximum(power, 0.25)[:, None])
        return learned

    def _add_bias(self, name: NodeId) -> None:
        """Shifts of the bias of each channel, in steps of the potential.

        They move by parts of a level, or of what a typical weight adds at most.
        """
        learned = [g for g in self.groups[name] if isinstance(g, Learned)]
        if not learned:
            return
        levels = self.levels.get(name)
        scale = np.zeros(self.populations[name].shape[0])
        for group in learned:
            most = 2.0 ** (self._bits(group.group.inputs[0]) - FRACTION_BITS + group.group.exponent)
            scale += self.scales[group.group.id][:, 0] * most
        self._add(f"{name}:bias", np.zeros(len(scale)), scale if levels is None else levels.given)

    def _add(self, name: str, start: Float, scale: Float) -> None:
        self.parameters[name], self.scales[name] = start, scale

    def source_of(self, group: Fixed | Learned) -> NodeId:
        """Whose messages a group gets, relays aside."""
        source = group.group.inputs[0]
        return self.carriers.get(source, source)

    def use(self, parameters: Values) -> None:
        """Take other values of the parameters."""
        self.parameters = parameters
        for groups in self.groups.values():
            for group in groups:
                if isinstance(group, Learned):
                    group.weight = parameters[group.group.id]

    @property
    def largest(self) -> int:
        """Neurons of the largest population that takes part."""
        names = {s for g in self.groups.values() for x in g for s in x.group.inputs} | {
            *self.groups
        }
        return max(prod(self.program.graph[name].shape) for name in names)

    def dropping(self, n_samples: int) -> dict[NodeId, tuple[int, ...]]:
        """Shapes of the messages, for so many samples, that may go without rounding."""
        end = self.names[-1]
        return {
            name: (*population.shape, n_samples)
            for name, population in self.populations.items()
            if name != end and not population.relay and name not in self.carriers
        }

    def ratio(self, name: NodeId) -> Float:
        """Relative sizes of the levels of a source, (C,)."""
        found = self.parameters.get(f"{self.carriers.get(name, name)}:size")
        if found is None:
            return np.ones(self.program.graph[name].shape[0])
        return np.maximum(found, LEAST_SIZE)

    def sizes(self) -> dict[NodeId, Float]:
        """Relative sizes of the levels of populations, and of their relays, that were learned."""
        names = [*self.levels, *self.carriers]
        found = {name: self.ratio(name) for name in names if self._is_sized(name)}
        return {name: ratio for name, ratio in found.items() if (ratio != 1).any()}

    def _is_sized(self, name: NodeId) -> bool:
        return f"{self.carriers.get(name, name)}:size" in self.parameters

    def bias(self, name: NodeId) -> Float:
        """Integer bias, with the half of the present levels; broadcasts to the shape."""
        population = self.populations[name]
        bias = population.bias.values.astype(np.float64)
        bias = bias.reshape(-1, *[1] * (len(population.shape) - 1)) if bias.ndim == 1 else bias
        shift = np.zeros(population.shape[0])
        if f"{name}:bias" in self.parameters:
            shift = np.rint(self.parameters[f"{name}:bias"])
        levels = self.levels.get(name)
        if levels is not None and f"{name}:size" in self.parameters:
            shift = shift + levels.step(self.ratio(name)).half - levels.half(levels.given)
        return bias + shift[:, None, None]

    def forward(
        self, entries: Mapping[NodeId, Float], dropped: Mapping[NodeId, npt.NDArray[np.bool_]]
    ) -> Float:
        """Potential of the last population, (C, H, W, B); whole unless messages are dropped.

        Args:
            entries: potentials or messages of the sources, (C, H, W, B).
            dropped: of populations and sources, the neurons whose messages are not rounded.
        """
        values: dict[NodeId, Float] = {}
        for name, entry in entries.items():
            if name in self.entering:
                levels = self.levels[name]
                half = levels.step(self.ratio(name)).half - levels.half(levels.given)
                values[name] = self._sent(name, entry + column(half), dropped)
            else:
                values[name] = entry
        *inside, end = self.groups
        for name in inside:
            values[name] = self._sent(name, self._potential(name, values), dropped)
        return self._potential(end, values)

    def _potential(self, name: NodeId, values: Mapping[NodeId, Float]) -> Float:
        first, *others = (self._current(group, values) for group in self.groups[name])
        for current in others:
            first += current
        first += self.bias(name)[..., None]
        return first

    def _current(self, group: Fixed | Learned, values: Mapping[NodeId, Float]) -> Float:
        source = self.source_of(group)
        if isinstance(group, Fixed):
            current = group.forward(values[source])
        else:
            current = group.forward(values[source], self.ratio(source))
        if group.group.exponent < 0:
            np.floor(current, out=current)
        return current

    def _sent(
        self, name: NodeId, potential: Float, dropped: Mapping[NodeId, npt.NDArray[np.bool_]]
    ) -> Float:
        levels = self.levels[name]
        step = levels.step(self.ratio(name))
        exact = levels.exact(potential, step)
        whole = levels.messages(potential, step)
        sent = whole if name not in dropped else np.where(dropped[name], exact, whole)
        self._kept[name] = _Kept(potential, sent, exact, step)
        return sent

    def backward(self, slope: Float) -> Values:
        """Gradients of the parameters, given that of the last potential."""
        found: Values = {}
        arriving: dict[NodeId, Float] = {self.names[-1]: slope}
        for name in reversed(self.groups):
            at = arriving.pop(name)
            if name != self.names[-1]:
                at = self._through(name, at, found)
            if f"{name}:bias" in self.parameters:
                flat = on_grid(at, ROOM).reshape(len(at), -1)
                found[f"{name}:bias"] = flat.sum(axis=1)
            for group in self.groups[name]:
                source = self.source_of(group)
                if isinstance(group, Fixed):
                    back = group.backward(at) if self._needs(source) else None
                else:
                    bits = self._bits(source)
                    weight, back = group.backward(at, self.ratio(source), bits)
                    found[group.group.id] = weight
                if back is not None and self._needs(source):
                    arriving[source] = arriving[source] + back if source in arriving else back
        for name in self.entering:
            self._through(name, arriving.pop(name), found)
        return found

    def _needs(self, source: NodeId) -> bool:
        return source in self.groups or source in self.entering

    def _bits(self, source: NodeId) -> int:
        node = self.program.graph[source]
        if not isinstance(node, Input | Neurons):
            raise TypeError(f"'{source}' sends no messages")
        low, high = node.messages
        return int(max(-low, high)).bit_length() + FRACTION_BITS

    def _through(self, name: NodeId, at: Float, found: Values) -> Float:
        """Gradient of the potential, given that of the messages; that of the size on the way.

        With ``n`` the messages and ``u = V / size``, weights of readers grow with the size: what
        arrives for a size is ``n - u`` inside of the range, and ``n`` where messages saturate.
        """
        kept, levels = self._kept[name], self.levels[name]
        inside = (kept.whole > 0) & (kept.whole < levels.most)
        if f"{name}:size" in self.parameters:
            ratio = self.ratio(name)
            moved = kept.sent - np.where(inside, kept.whole, 0.0)
            moved *= at
            flat = on_grid(moved, ROOM).reshape(len(at), -1)
            found[f"{name}:size"] = flat.sum(axis=1) / ratio
        return np.where(inside, at, 0.0) / column(kept.step.size)

    def changed(self) -> tuple[list[Synapses], list[Population]]:
        """Synapses and populations with the present integers."""
        synapses: list[Synapses] = []
        populations: list[Population] = []
        for name, population in self.populations.items():
            sized = name in self.levels and f"{name}:size" in self.parameters
            if not sized and f"{name}:bias" not in self.parameters:
                continue
            fields = {"bias": QTensor.of(self.bias(name).astype(np.int64))}
            if sized:
                fields |= self.levels[name].step(self.ratio(name)).fields
            populations.append(population.changed(**fields))
            for group in self.groups.get(name, ()):
                if isinstance(group, Learned):
                    synapses.append(group.changed(self.ratio(group.group.inputs[0])))
        return synapses, populations


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
