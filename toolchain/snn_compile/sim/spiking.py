"""The spiking network in floating point: the loss due to spikes, without that of integers.

All populations compute a step before any computes the next one. The working set of a step of a
layer then fits the cache, and only the input's spikes are stored for the whole window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from math import prod
from operator import iadd
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UnsupportedError
from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.spiking import Float, InputCoding, Reset
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.products import blas, linear, on_grid
from snn_compile.sim import kernels, reference
from snn_compile.sim.batches import Advance, batch_size, map_batches, no_progress
from snn_compile.sim.kernels import Array

PIECE_BYTES = 1 << 20
"""Size of the largest population's messages in one step of one piece."""

BLOCK_BYTES = 1 << 18
"""Size of the potentials updated together, in several passes: they stay in the cache in between."""

WINDOW_BYTES = 16 << 20
"""Size of a random input's spikes in one piece: they are drawn for the whole window."""

Values = Mapping[NodeId, Array]
"""Messages of each source in one step, (*shape, B)."""

Linear = Callable[[Array], Array]
"""Synapses: messages (*source shape, B) to a new array (*shape, B)."""

Step = Callable[[Array], Array]
"""A step of a population: its input to its messages or, of a readout, its potential; (*shape, B).
The input is overwritten, and a readout's potential by the next step."""


def evaluate(
    network: SpikingGraph,
    frames: npt.NDArray[np.integer],
    *,
    advance: Advance = no_progress,
) -> npt.NDArray[np.floating]:
    """The first output for encoded frames (N, *sample shape): (N, C, H, W), real values."""
    return next(iter(evaluate_outputs(network, frames, advance=advance).values()))


def evaluate_outputs(
    network: SpikingGraph,
    frames: npt.NDArray[np.integer],
    *,
    first: int = 0,
    advance: Advance = no_progress,
) -> dict[NodeId, npt.NDArray[np.floating]]:
    """Every readout for encoded frames (N, *input shape): (N, C, H, W), real values.

    ``first`` is the index of the first frame among all: random inputs are drawn by it.
    """
    size = _piece_size(network)
    readouts = [node for node in network.graph if isinstance(node, spiking.Readout)]

    def run(piece: npt.NDArray[np.generic], start: int) -> list[npt.NDArray[np.floating]]:
        potentials = forward(network, piece.astype(np.int64), first + start)
        return [np.moveaxis(potentials[n.id], -1, 0) / network.window.n_steps for n in readouts]

    pieces = list(map_batches(run, frames, size, advance))
    if not pieces:
        return {node.id: np.empty((0, *node.shape)) for node in readouts}
    joined = map(np.concatenate, zip(*pieces, strict=True))
    return {node.id: values for node, values in zip(readouts, joined, strict=True)}


def _piece_size(network: SpikingGraph) -> int:
    """Samples in a piece."""
    largest = batch_size(max(prod(n.shape) for n in network.graph), working_bytes=PIECE_BYTES)
    if network.input_coding not in (InputCoding.POISSON, InputCoding.EVENTS):
        return largest
    drawn = prod(network.inputs.shape) * network.window.n_steps
    return min(largest, batch_size(drawn, working_bytes=WINDOW_BYTES))


def forward(network: SpikingGraph, frames: Int, first: int = 0) -> dict[NodeId, Array]:
    """Every readout's potential after the window for one piece, (*shape, B) float32."""
    n_steps = network.window.n_steps
    messages = reference.encode_inputs(network.inputs, frames, n_steps, first)
    by_input = network.inputs.split(messages, 2)
    arriving = {  # (1 or T, *shape, B)
        key: np.moveaxis(sent, 0, -1).astype(np.float32, order="C")
        for key, sent in by_input.items()
    }
    inputs = [(p, _input(network, p, arriving)) for p in network.populations]
    unread = _unread(network)
    steps: dict[NodeId, Step] = {}
    values: dict[NodeId, Array] = {}
    for t in range(n_steps):
        for key, sent in arriving.items():
            values[key] = sent[min(t, len(sent) - 1)]
        for population, summed in inputs:
            a = summed(values)
            for source in unread[population.id]:
                del values[source]
            if not t:
                steps[population.id] = stepper(population, a)
            values[population.id] = steps[population.id](a)
    return {p.id: values[p.id] for p in network.populations if isinstance(p, spiking.Readout)}


def _unread(network: SpikingGraph) -> dict[NodeId, list[NodeId]]:
    """For each population, the sources that it is the last to read.

    Their memory is reused by the following populations and is still in the cache.
    """
    last = {
        group.inputs[0]: population.id
        for population in network.populations
        for group in network.synapses_into(population)
    }
    unread: dict[NodeId, list[NodeId]] = {population.id: [] for population in network.populations}
    for source, population_id in last.items():
        unread[population_id].append(source)
    return unread


def encode_inputs(network: SpikingGraph, frames: Int, first: int = 0) -> dict[NodeId, Array]:
    """Messages of each input, (*shape, 1 or T, B); one step where all steps are the same."""
    n_steps = network.window.n_steps
    messages = reference.encode_inputs(network.inputs, frames, n_steps, first)
    by_input = network.inputs.split(messages, 2)
    return {
        key: np.moveaxis(sent, (0, 1), (-1, -2)).astype(np.float32)
        for key, sent in by_input.items()
    }


def current(
    network: SpikingGraph, population: spiking.Population, values: Mapping[NodeId, Array]
) -> Array:
    """Summed synaptic input of a population from messages of many steps, (*shape, 1 or T, B).

    The same bits on every machine (``numerics.products.linear``).
    """

    def part(group: spiking.Synapses) -> Array:
        messages = values[group.inputs[0]]
        *source, n_steps, batch = messages.shape
        flat = messages.reshape(*source, n_steps * batch)
        if isinstance(group, spiking.SparseSynapses):  # sums row by row on every machine
            sums = _product(network, group, group.weight)(flat.astype(np.float64))
        else:
            kernel = on_grid(group.weight)
            sums = linear(kernel, flat, lambda w, x: _product(network, group, w)(x))
        return sums.astype(flat.dtype).reshape(*group.shape, n_steps, batch)

    return reduce(iadd, map(part, network.synapses_into(population)))


def respond(population: spiking.Population, a: Array, n_steps: int) -> Array:
    """Messages of a population in a window, (*shape, T, B), for inputs (*shape, 1 or T, B)."""
    step = stepper(population, a[..., 0, :])
    answers = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), a.dtype)
    for t in range(n_steps):
        answers[..., t, :] = step(a[..., min(t, a.shape[-2] - 1), :].copy("K"))
    return answers


def _input(
    network: SpikingGraph, population: spiking.Population, arriving: Values
) -> Callable[[Values], Array]:
    """Summed synaptic input of a population in one step, as a new array."""
    groups = network.synapses_into(population)
    parts = [_part(network, group, arriving) for group in groups]
    return lambda values: reduce(iadd, (part(values) for part in parts))


def _part(
    network: SpikingGraph, group: spiking.Synapses, arriving: Values
) -> Callable[[Values], Array]:
    """Contribution of one group; computed only once if it reads an input that is constant."""
    (source,) = group.inputs
    linear = _linear(network, group, np.float32)
    if source in arriving and len(arriving[source]) == 1:
        product = linear(arriving[source][0])
        return lambda values: product.copy("K")
    return lambda values: linear(values[source])


def _linear(network: SpikingGraph, group: spiking.Synapses, dtype: npt.DTypeLike) -> Linear:
    """Synapses, prepared for any number of messages of a floating type."""
    return _product(network, group, group.weight.astype(dtype))


def _product(network: SpikingGraph, group: spiking.Synapses, weight: Array) -> Linear:
    """The product of a group's weights, given in any floating type, with messages of that type."""
    match group:
        case spiking.ConvSynapses(geometry=geometry):
            return lambda s: kernels.conv2d(s, weight, geometry)
        case spiking.DenseSynapses():
            return lambda s: blas(weight, _flat(s)).reshape(*group.shape, -1)
        case spiking.SparseSynapses():
            from scipy.sparse import csr_array

            n_sources = prod(network.graph[group.inputs[0]].shape)
            shape = (len(group.indptr) - 1, n_sources)
            matrix = csr_array((weight, group.indices, group.indptr), shape)
            return lambda s: (matrix @ _flat(s)).reshape(*group.shape, -1)


def _flat(s: Array) -> Array:
    """Messages as the columns of a matrix."""
    return s.reshape(-1, s.shape[-1])


def stepper(population: spiking.Population, like: Array) -> Step:
    """A population at the start of a window, for inputs of the shape, type and layout of one.

    Raises:
        UnsupportedError: the class of neurons has no equations here.
    """
    if type(population) not in STEPPERS:
        name = type(population).__name__
        raise UnsupportedError(
            f"layer '{population.id}' has {name}, which have no equations here",
            code="unknown-neurons",
            origin=population.origin,
            hint="use another --coding, or install the package of the neuron model",
        )
    return STEPPERS[type(population)](population, like)


def _graded(population: spiking.GradedNeurons, like: Array) -> Step:
    threshold = _spread(population.threshold[:, None, None], like)
    bias = _spread(population.bias, like)

    def step(a: Array) -> Array:
        a += bias
        a /= threshold
        a += 0.5
        return np.clip(np.floor(a, out=a), 0, population.levels, out=a)

    return step


def _piecewise_linear(population: spiking.PiecewiseLinearNeurons, like: Array) -> Step:
    bias = population.bias[..., None]

    def step(a: Array) -> Array:
        v = a + bias
        lines = zip(
            v,
            population.breakpoints,
            population.anchor,
            population.value,
            population.slope,
            population.step,
            strict=True,
        )
        for to, (here, breakpoints, anchor, value, slope, size) in zip(a, lines, strict=True):
            k = np.searchsorted(breakpoints, here, side="right")
            y = value[k] + slope[k] * (here - anchor[k])
            to[...] = np.clip(np.floor(y / size + 0.5), population.low, population.high)
        return a

    return step


def _multiplying(population: spiking.ProductNeurons, like: Array) -> Step:
    ratio = _spread((population.step / population.threshold)[:, None, None], like)
    bias = _spread(population.bias, like)

    def step(a: Array) -> Array:
        a += bias
        x = np.floor(a / 4096 + 0.5)
        a -= 4096 * x
        a *= x
        a *= ratio
        a += 0.5
        return np.clip(np.floor(a, out=a), population.low, population.high, out=a)

    return step


def _integrate_and_fire(population: spiking.IFNeurons, like: Array) -> Step:
    threshold = _spread(population.threshold[:, None, None], like)
    bias = _spread(population.bias, like)
    v = np.empty_like(like)
    v[...] = threshold * population.initial_potential
    n_rows = max(1, BLOCK_BYTES * like.shape[1] // like.nbytes)
    blocks = [slice(y, y + n_rows) for y in range(0, like.shape[1], n_rows)]
    states = [(rows, v[:, rows], bias[:, rows] if bias.shape[1] > 1 else bias) for rows in blocks]

    def step(a: Array) -> Array:
        for rows, v, bias in states:
            drive = a[:, rows]
            np.add(drive, bias, out=drive)
            np.add(v, drive, out=v)
            fired = v >= threshold
            np.copyto(drive, fired)  # from here on: the spikes
            if population.burst > 1:
                np.clip(np.floor(v / threshold), 0, population.burst, out=drive)
            if population.reset is Reset.SUBTRACT:
                np.subtract(v, drive * threshold, out=v)
            else:
                np.copyto(v, 0, where=fired)
        return a

    return step


def _signed(population: spiking.SignedIFNeurons, like: Array) -> Step:
    threshold = _spread(population.threshold[:, None, None], like)
    bias = _spread(population.bias, like)
    v = np.empty_like(like)
    v[...] = threshold * population.initial_potential
    sent = np.zeros_like(like)

    def step(a: Array) -> Array:
        np.add(a, bias, out=a)
        np.add(v, a, out=v)
        np.copyto(a, v >= threshold)  # from here on: the spikes
        np.subtract(a, (v < 0) & (sent > 0), out=a)
        np.subtract(v, a * threshold, out=v)
        np.add(sent, a, out=sent)
        return a

    return step


def _leaky(population: spiking.LIFNeurons, like: Array) -> Step:
    threshold, drop, start = (
        _spread(parameter[:, None, None] if parameter.ndim == 1 else parameter, like)
        for parameter in (population.threshold, population.drop, population.initial_potential)
    )
    bias = _spread(population.bias, like)
    v, current = np.empty_like(like), np.zeros_like(like)
    v[...] = start
    compare = np.greater if population.strict else np.greater_equal

    def step(a: Array) -> Array:
        np.multiply(current, population.alpha, out=current)
        np.add(current, a, out=current)
        np.add(current, bias, out=current)
        np.multiply(v, population.beta, out=v)
        np.add(v, current, out=v)
        fired = compare(v, threshold)
        np.copyto(a, fired)  # from here on: the spikes
        if population.reset is Reset.SUBTRACT:
            np.subtract(v, a * drop, out=v)
        else:
            np.copyto(v, 0, where=fired)
        return a

    return step


def _readout(population: spiking.Readout, like: Array) -> Step:
    bias = _spread(population.bias, like)
    v = np.zeros_like(like)

    def step(a: Array) -> Array:
        np.add(a, bias, out=a)
        return np.add(v, a, out=v)

    return step


STEPPERS: dict[type[spiking.Population], Callable[[Any, Array], Step]] = {
    spiking.GradedNeurons: _graded,
    spiking.ClipFloorNeurons: _graded,
    spiking.PiecewiseLinearNeurons: _piecewise_linear,
    spiking.ProductNeurons: _multiplying,
    spiking.IFNeurons: _integrate_and_fire,
    spiking.SignedIFNeurons: _signed,
    spiking.LIFNeurons: _leaky,
    spiking.Readout: _readout,
}
"""One per class; a package registers those of its own classes."""


def _spread(parameter: Float, like: Array) -> Array:
    """A parameter (C, 1 or H, 1 or W) for every neuron of a row, (C, 1 or H, W, B).

    Its memory layout is that of the inputs: numpy then runs one loop over a row of all channels; a
    number per channel needs a loop for each (up to a third slower, measured).
    """
    spread = np.empty_like(like[:, : parameter.shape[1]])
    spread[...] = parameter[..., None]
    return spread
