"""Networks of spikes over time with gradients: their own dynamics forward, sums of counts backward.

What neurons add up over a window of T steps is linear in what their sources send in it. With reset
by subtraction, ``V0 + sum of drives = V + threshold * count``: a neuron whose sum lies between none
and T thresholds sends about as many spikes as it has thresholds in it, whatever their order. So
counts come from the simulator, and their gradient is that of a staircase of T levels ("tandem
learning", Wu et al. 2021). What the order of spikes does is seen forward, and has no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    along_channels,
)
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.numerics.products import Float
from snn_compile.passes import Finding
from snn_compile.quantize.reconstruction.levels import Levels, Step, column
from snn_compile.quantize.reconstruction.network import Kept, SegmentNetwork
from snn_compile.quantize.reconstruction.synapses import Fixed, Learned
from snn_compile.sim import engine, reference
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array


def without_gradient(program: QuantizedGraph) -> Finding | None:
    """What has no gradient in a network over time; None if all of it has one."""
    without: list[NodeId] = [p.id for p in program.populations if not _has_gradient(p)]
    if program.input_coding is not InputCoding.CURRENT:
        without = [program.inputs[0].id]
    if not without:
        return None
    return Finding(
        f"--rounding reconstructed: what '{without[0]}' sends in a window of --coding"
        f" {program.window.coding} has no gradient, so that weights are compensated",
        code="not-reconstructed",
        hint="spikes have one in rate coding with --reset subtract, without bursts and random"
        " inputs; so have the messages of sync, radix and graded",
        warning=True,
    )


def _has_gradient(population: Population) -> bool:
    if isinstance(population, IFNeurons):
        return population.reset is Reset.SUBTRACT and population.burst == 1
    return type(population) is Readout


class Spikes(Levels):
    """The spikes of integrate-and-fire neurons in a window: as many levels as it has steps."""

    def __init__(self, population: IFNeurons, n_steps: int) -> None:
        self.given = population.threshold.values.astype(np.float64)
        self.most, self.carries = n_steps, False

    def step(self, ratio: Float) -> Step:
        """The threshold, which stays."""
        none = np.zeros(len(self.given))
        return Step(none + 1, self.given, none, self.given, {})

    def exact(self, potential: Array, step: Step) -> Array:
        """Thresholds in the sum of a window, which starts from half of one."""
        u = potential / column(step.size, potential)
        u -= u.dtype.type(0.5)
        return u


class CountNetwork(SegmentNetwork):
    """A whole network of T steps, in which weights and biases are learned.

    The potential of a rectifier is ``threshold * count``, that of an output the last of the window.
    """

    def _levels_of(self, population: Population) -> Levels | None:
        if isinstance(population, IFNeurons):
            return Spikes(population, self.program.window.n_steps)
        return None

    def use(self, parameters: dict[str, Float]) -> None:
        """Take other values of the parameters."""
        super().use(parameters)
        self.__dict__.pop("present", None)

    @cached_property
    def present(self) -> QuantizedGraph:
        """The program with the present integers."""
        synapses, populations = self.changed()
        graph = self.program.graph.edit(replaced=[*synapses, *populations])
        return QuantizedGraph(graph, self.program.window)

    def _added(self, name: NodeId) -> Float:
        """Biases of all steps, and the initial potential."""
        population = self.populations[name]
        added = self.program.window.n_steps * self._biases[name]
        if isinstance(population, IFNeurons):
            initial = population.initial_potential.values
            added = added + along_channels(initial, population.shape)
        return added

    def forward(self, entries: Mapping[NodeId, Array]) -> dict[NodeId, Array]:
        """Potentials of all populations but relays, whole numbers (C, H, W, B).

        Args:
            entries: messages of the inputs in each step, (C, H, W, B).
        """
        counts = self.counts(entries)
        potentials = dict[NodeId, Array]()
        for name in self.groups:
            summed = self._potential(name, counts)
            if name not in self.levels:
                potentials[name] = counts[name]
                continue
            step = self._steps[name]
            exact = self.levels[name].exact(summed, step).astype(np.float32, copy=False)
            self._kept[name] = Kept(counts[name], exact, step)
            potentials[name] = counts[name] * column(step.size, counts[name])
        return potentials

    def _current(
        self, group: Fixed | Learned, values: Mapping[NodeId, Array], dtype: type[np.floating]
    ) -> Array:
        """Of a window; what right shifts drop in each step is less than a step of the potential."""
        return group.forward(values[group.group.inputs[0]].astype(dtype, copy=False))

    def backward(self, slopes: Mapping[NodeId, Array]) -> dict[str, Float]:
        """Gradients of the parameters, given those of potentials (C, H, W, B)."""
        passed = dict(slopes)
        for name in passed.keys() & self.levels.keys():
            exact = self._kept[name].exact
            passed[name] = passed[name] * ((exact > 0) & (exact < self.levels[name].most))
        found = super().backward(passed)
        for key in (key for key in found if key.endswith(":bias")):
            found[key] *= self.program.window.n_steps
        return found

    def counts(self, entries: Mapping[NodeId, Array]) -> dict[NodeId, Array]:
        """What is sent in a window in all, (C, H, W, B) float32; of outputs, the potential."""
        n_steps, inputs = self.program.window.n_steps, self.program.inputs
        found = {node.id: entries[node.id] * np.float32(n_steps) for node in inputs}
        messages = inputs.join(
            {
                node.id: np.moveaxis(entries[node.id], -1, 0)[:, None].astype(np.int64)
                for node in inputs
            },
            2,
        )
        sent = _sent(self.present, messages)
        for population in self.program.populations:
            each = [one[population.id] for one in sent]
            dtype = np.float64 if isinstance(population, Readout) else np.float32
            found[population.id] = np.stack(each, axis=-1).astype(dtype)
        return found


def _sent(program: QuantizedGraph, messages: Int) -> list[dict[NodeId, Int]]:
    """Spikes of each neuron in a window, and potentials of outputs, for each sample."""
    if engine.no_engine(program):
        simulate = partial(reference.run_messages, program)
    else:
        simulate = partial(engine.engine_for(program).run_messages, threads=1)

    def of_sample(piece: npt.NDArray[np.generic], start: int) -> dict[NodeId, Int]:
        del start
        run = simulate(piece.astype(np.int64))
        return {**run.activity, **{name: v[0] for name, v in run.outputs.items()}}

    return list(map_batches(of_sample, messages, 1))
