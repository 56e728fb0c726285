"""How far each layer of a compiled network is from the float layer, as a share of its bound.

A layer is given the integers that really reach it. What the float layer makes of the values that
they stand for is compared with what the integers of the layer are worth. Nothing that an earlier
layer did wrong counts, so that the bound follows from the layer's own numbers:

* half a payload step, for rounding the payload;
* what its rounded weights can make of these integers, and a step of the potential for the bias and
  for each group of synapses that is shifted right: by so much the argument may be off;
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

from snn_compile.ir import spiking
from snn_compile.ir.expression import evaluate
from snn_compile.ir.integer_weights import channel_of
from snn_compile.sim.spiking import current

MULTIPLIER_ERROR = 2.0**-11
"""Of a payload, by rounding the multiplier of its neuron to 12 bits."""
EVEN = 1e-6
"""Of a payload step, for sums in float64."""
WITHIN = np.linspace(-1.0, 1.0, 9)
"""Where a function is looked at within the error of its argument."""
SMALLEST = 2.0**-12
"""Of a payload step, by which the flattest lines are off."""

Array = Any


@dataclass(frozen=True)
class Worst:
    """The worst value of a layer.

    Attributes:
        share: its error as a share of the bound; the layer is right up to 1.
        error: in payload steps; of an output in steps of the potential.
    """

    share: float
    error: float


def worst_errors(lowered: Any, frames: Array, run: Any) -> Iterator[tuple[str, Worst]]:
    """Every layer's worst error, given what has reached it.

    Args:
        lowered: the network.
        frames: encoded samples, (N, *shape).
        run: what the reference or the engine made of them, with all messages.
    """
    values = {name: np.moveaxis(m[:, 0], 0, -1).astype(float) for name, m in run.messages.items()}
    values[lowered.program.input.id] = np.moveaxis(frames, 0, -1).astype(float)
    for population in lowered.spiking.populations:
        if isinstance(population, spiking.Neurons) and population.relay:
            continue
        drive = _drive(lowered, population, values)
        if isinstance(population, spiking.Readout):
            found = np.moveaxis(run.outputs[population.id], 0, -1).reshape(drive.value.shape)
            error = np.abs(found * drive.unit - drive.value) / drive.unit
            allowed = drive.error / drive.unit + EVEN
        else:
            low, high, allowed = _payloads(lowered, population, drive)
            found = values[population.id]
            error = np.maximum(np.maximum(low - found, found - high), 0.0)
        yield population.id, Worst(float((error / allowed).max()), float(error.max()))


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


def _drive(lowered: Any, population: Any, values: dict[str, Array]) -> _Drive:
    network, program = lowered.spiking, lowered.program
    unit = lowered.quantization.numbers[population.id].unit
    parts, rounded, steps = [], [], 1.0
    for group in network.synapses_into(population):
        (source,), stored = group.inputs, program.graph[group.id]
        of_channel = unit[channel_of(group).reshape(group.weight.shape)]
        error = np.abs(group.weight - stored.weight.values * of_channel * 2.0**stored.exponent)
        parts.append(_linear(network, group, group.weight, values[source]))
        rounded.append(_linear(network, group, error, np.abs(values[source])))
        steps += stored.exponent < 0
    spread = unit[:, None, None, None]
    value = reduce(iadd, parts[1:], parts[0] + population.bias[..., None])
    return _Drive(value, reduce(iadd, rounded) + steps * spread, spread, tuple(parts))


def _payloads(lowered: Any, population: Any, drive: _Drive) -> tuple[Array, Array, Array]:
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


def _operands(lowered: Any, population: Any, drive: _Drive) -> tuple[Array, Array]:
    """The first operand's synapses have a weight of 4096."""
    groups = lowered.spiking.synapses_into(population)
    if len(groups) != 2:
        raise TypeError(f"'{population.id}' has {len(groups)} groups of synapses")
    large = [np.abs(group.weight).max(initial=0) >= 4096 for group in groups]
    x, y = (drive.parts[large.index(which)] for which in (True, False))
    return x / 4096, y


def _function(lowered: Any, population: Any, drive: _Drive) -> tuple[tuple[Array, Array], Array]:
    """Ends of what a function is near its argument, with its fit; the error of its slopes."""
    node = lowered.folded.graph[population.id]
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


def _linear(network: Any, group: Any, weight: Array, values: Array) -> Array:
    """What synapses with other weights make of messages (*shape, B), in float64."""
    only = replace(network.graph[group.id], weight=weight)
    edited = type(network)(network.graph.edit(replaced=[only]), network.window)
    alone = next(p for p in edited.populations if group.id in p.inputs)
    alone = alone.changed(inputs=(group.id,))
    return current(edited, alone, {group.inputs[0]: values[..., None, :]})[..., 0, :]
