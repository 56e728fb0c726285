"""How far each layer of a compiled network is from the float layer, as a share of its bound.

A layer is given integers: those that really reach it, or those nearest to known values. What the
float layer makes of the values that they stand for is compared with what the integers of the layer
are worth. Nothing that an earlier layer did wrong counts, so that the bound follows from the
layer's own numbers:

* half a payload step, for rounding the payload;
* what its rounded weights can make of these integers, a step of the potential for the bias and for
  each group of synapses that is shifted right, and the steps by which calibration has moved the
  bias: by so much the argument may be off;
* the stated error of a fit, for functions: the payload has to be within all that of the values that
  the function takes within the error of its argument, jumps included;
* a share of 2**-11 of the value, for multipliers of 12 bits; of lines, of the distance from the
  anchor, where a line is exact.

Products have exact operands; outputs are judged in steps of their potential.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import iadd
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.expression import evaluate
from snn_compile.ir.graph import NodeId
from snn_compile.ir.integer_weights import channel_of
from snn_compile.ir.stages import SpikingGraph
from snn_compile.lowering import Lowering
from snn_compile.quantize.neurons import in_fixed_point
from snn_compile.sim.reference import Run
from snn_compile.sim.spiking import current

MULTIPLIER_ERROR = 2.0**-11
"""Of a payload, by rounding the multiplier of its neuron to 12 bits."""
EVEN = 1e-6
"""Of a payload step, for sums in float64."""
WITHIN = np.linspace(-1.0, 1.0, 9)
"""Where a function is looked at within the error of its argument."""
SMALLEST = 2.0**-12
"""Of a payload step, by which the flattest lines are off."""

BOUNDED = (
    spiking.GradedNeurons,
    spiking.PiecewiseLinearNeurons,
    spiking.ProductNeurons,
    spiking.Readout,
)
"""Populations with a stated bound."""

Array = npt.NDArray[Any]
Values = dict[NodeId, Array]


@dataclass(frozen=True)
class Worst:
    """The worst value of a layer.

    Attributes:
        share: its error as a share of the bound; the layer is right up to 1.
        error: in payload steps; of an output in steps of the potential.
    """

    share: float
    error: float


def worst_errors(lowered: Lowering, frames: Array, run: Run) -> Iterator[tuple[NodeId, Worst]]:
    """Every layer's worst error, given what has reached it.

    Args:
        lowered: the network.
        frames: encoded samples, (N, *shape).
        run: what the reference or the engine made of them, with all messages.
    """
    values = {name: np.moveaxis(m[:, 0], 0, -1).astype(float) for name, m in run.messages.items()}
    for name, shown in lowered.program.inputs.split(frames).items():
        values[name] = np.moveaxis(shown, 0, -1).astype(float)
    for population in lowered.spiking.populations:
        if isinstance(population, spiking.Neurons) and population.relay:
            continue
        if isinstance(population, spiking.Readout):
            found = np.moveaxis(run.outputs[population.id], 0, -1).astype(float)
        else:
            found = values[population.id]
        yield population.id, worst_of(lowered, population, values, found)


def has_bounds(lowered: Lowering) -> bool:
    """Whether the bounds of all layers are known: where messages are payloads of one step."""
    graph = lowered.program.graph
    return all(isinstance(p, BOUNDED) and p.id in graph for p in lowered.spiking.populations)


def worst_of(lowered: Lowering, population: Any, values: Values, found: Array) -> Worst:
    """The worst value of a layer, given its sources' integers."""
    drive = _drive(lowered, population, values)
    if isinstance(population, spiking.Readout):
        error = np.abs(found.reshape(drive.value.shape) * drive.unit - drive.value) / drive.unit
        allowed = drive.error / drive.unit + EVEN
    else:
        low, high, allowed = _payloads(lowered, population, drive)
        error = np.maximum(np.maximum(low - found, found - high), 0.0)
    return Worst(float((error / allowed).max()), float(error.max()))


@dataclass(frozen=True, eq=False)
class _Drive:
    """The argument of a layer, (*shape, B).

    Attributes:
        value: with its float weights.
        error: how far its integers may be off.
        unit: a step of the potential, (C, 1, 1, 1).
        parts: of each synapse group.
    """

    value: Array
    error: Array
    unit: Array
    parts: tuple[Array, ...]


def _drive(lowered: Lowering, population: Any, values: Values) -> _Drive:
    network, program = lowered.spiking, lowered.program
    unit = lowered.quantization.numbers[population.id].unit
    parts, rounded, steps = [], [], 1.0
    for group in network.synapses_into(population):
        (source,) = group.inputs
        stored: Any = program.graph[group.id]
        of_channel = unit[channel_of(group).reshape(group.weight.shape)]
        error = np.abs(group.weight - stored.weight.values * of_channel * 2.0**stored.exponent)
        parts.append(_linear(network, group, group.weight, values[source]))
        rounded.append(_linear(network, group, error, np.abs(values[source])))
        steps += stored.exponent < 0
    spread = unit[:, None, None, None]
    value = reduce(iadd, parts[1:], parts[0] + population.bias[..., None])
    error = reduce(iadd, rounded) + (steps + _bias_moved(lowered, population)) * spread
    return _Drive(value, error, spread, tuple(parts))


def _bias_moved(lowered: Lowering, population: Any) -> Array:
    """Steps of the potential by which calibration has moved the biases, (C, 1 or H, 1 or W, 1)."""
    numbers: Any = lowered.quantization.numbers[population.id]
    stored: Any = lowered.program.graph[population.id]
    rounded = in_fixed_point(population, numbers.bias, numbers.unit)
    moved: Array = np.abs(stored.bias.values - rounded.bias.values)[..., None]
    return moved


def _payloads(lowered: Lowering, population: Any, drive: _Drive) -> tuple[Array, Array, Array]:
    """Between which payloads a neuron is right, and what rounding may add on either side."""
    match population:
        case spiking.ProductNeurons():
            x, y = _operands(lowered, population, drive)
            wanted = x * y * (population.step / population.threshold)[:, None, None, None]
            found = (wanted, wanted)
            multiplied = np.abs(wanted) * MULTIPLIER_ERROR
            ends = population.low, population.high
        case spiking.PiecewiseLinearNeurons():
            found, multiplied = _function(lowered, population, drive)
            ends = population.low, population.high
        case spiking.GradedNeurons():
            step = population.threshold[:, None, None, None]
            found = ((drive.value - drive.error) / step, (drive.value + drive.error) / step)
            ends = 0, population.levels
            multiplied = np.clip(found[1], *ends) * MULTIPLIER_ERROR
        case _:
            raise TypeError(f"{type(population).__name__} has no bound")
    low, high = (np.clip(end, *ends) for end in found)
    return low, high, 0.5 + EVEN + multiplied


def _operands(lowered: Lowering, population: Any, drive: _Drive) -> tuple[Array, Array]:
    """The first operand's synapses have a weight of 4096."""
    groups = lowered.spiking.synapses_into(population)
    if len(groups) != 2:
        raise TypeError(f"'{population.id}' has {len(groups)} groups of synapses")
    large = [np.abs(group.weight).max(initial=0) >= 4096 for group in groups]
    x, y = (drive.parts[large.index(which)] for which in (True, False))
    return x / 4096, y


def _function(
    lowered: Lowering, population: Any, drive: _Drive
) -> tuple[tuple[Array, Array], Array]:
    """Ends of what a function is near its argument, with its fit; the error of its slopes."""
    node: Any = lowered.folded.graph[population.id]
    step, fit = (part[:, None, None, None] for part in (population.step, population.error))
    # A line begins at a whole step of the potential.
    near = [drive.value + share * (drive.error + drive.unit) for share in WITHIN]
    tried = np.stack([evaluate(node.expression, x) / step for x in near])
    rows = zip(
        drive.value, population.breakpoints, population.anchor, population.slope, strict=True
    )
    leaning = [
        np.abs(slope[k] * (x - anchor[k]))
        for x, begins, anchor, slope in rows
        for k in [np.searchsorted(begins, x, side="right")]
    ]
    reached = 4.0 * max(population.high, -population.low)  # beyond, payloads saturate
    multiplied = np.minimum(np.stack(leaning) / step, reached) * MULTIPLIER_ERROR + SMALLEST
    return (np.nanmin(tried, axis=0) - fit, np.nanmax(tried, axis=0) + fit), multiplied


def _linear(network: SpikingGraph, group: Any, weight: Array, values: Array) -> Array:
    """What synapses with other weights make of messages (*shape, B), in float64."""
    only = replace(group, weight=weight)
    edited = type(network)(network.graph.edit(replaced=[only]), network.window)
    alone = next(p for p in edited.populations if group.id in p.inputs)
    alone = alone.changed(inputs=(group.id,))
    return current(edited, alone, {group.inputs[0]: values[..., None, :]})[..., 0, :]
