"""Reconstruction through spike counts: the simulator's own forward pass, on any of the two."""

from __future__ import annotations

import numpy as np
import pytest

from quantized_cases import NETWORKS, Case, same
from snn_compile.codings.rate import Rate
from snn_compile.ir.quantized import IFNeurons
from snn_compile.quantize.reconstruction.counts import CountNetwork
from snn_compile.quantize.reconstruction.segments import whole_of
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.sim import reference

N_STEPS = 12


def made(name, n=96, bits=8, coding=Rate(N_STEPS), seed=1):
    network = NETWORKS[name]() if isinstance(name, str) else name
    x = np.random.default_rng(seed).normal(size=(n, *network.input.shape))
    return Case(network, coding, bits, x=x)


def whole_network(case):
    """All populations, with everything in it that can be learned."""
    program = case.quantization.program
    known = set(rectifiers_and_outputs(case.folded))
    names = whole_of(program).populations
    learns = {g.id for n in names if n in known for g in program.synapses_into(program.graph[n])}
    return CountNetwork(program, names, learns, set())


def moved(network):
    """Other integers everywhere."""
    draw = np.random.default_rng(7)
    network.use(
        {
            name: values + draw.normal(size=values.shape) * 3 * network.scales[name] / 8
            for name, values in network.parameters.items()
        }
    )
    return network


def entry_of(case, n=7):
    frames = case.encoding(case.x[:n])
    (source,) = [node.id for node in case.quantization.program.inputs]
    return {source: np.moveaxis(frames, 0, -1).astype(np.float32)}, frames


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_sums_of_counts_are_potentials(name):
    """``V0 + drives of a window = V + threshold * count``, with V after the last step."""
    case = made(name)
    network = moved(whole_network(case))
    entry, frames = entry_of(case)
    sent = network.counts(entry)
    program = network.present
    assert not all(map(same, program.graph, case.quantization.program.graph))
    trains = reference.run(program, frames, record=True).messages
    n_spikes = 0
    for at in network.groups:
        summed = np.moveaxis(network._potential(at, sent), -1, 0)
        population = program.graph[at]
        if not isinstance(population, IFNeurons):
            assert (summed == trains[at][:, -1]).all()
            continue
        left = final_potentials(program, population, frames)
        spikes = trains[at].sum(axis=1, dtype=np.int64)
        n_spikes += spikes.sum()
        assert (summed == left + population.threshold.values[:, None, None] * spikes).all()
        assert (np.moveaxis(sent[at], -1, 0) == spikes).all()
    assert n_spikes > 100


def final_potentials(program, population, frames):
    """(N, *shape), by one more step in which nothing arrives: what is left shows where it fires."""
    simulator = reference.Simulator(program)
    values = simulator.encode_inputs(frames.astype(np.int64))
    for before in program.populations:
        current = simulator.current(before, values)
        if before.id == population.id:
            break
        values[before.id] = before.respond(current, program.window.n_steps)
    v = np.broadcast_to(
        np.asarray(population.initial_potential.values).reshape(
            *np.shape(population.initial_potential.values),
            *[1] * (len(population.shape) - np.ndim(population.initial_potential.values)),
        )[..., None],
        (*population.shape, len(frames)),
    ).astype(np.int64)
    bias = population.bias.values
    bias = bias.reshape(*bias.shape, *[1] * (4 - bias.ndim))
    threshold = population.threshold.values[:, None, None, None]
    for step in range(program.window.n_steps):
        v = v + current[..., min(step, current.shape[-2] - 1), :] + bias
        v = v - threshold * (v >= threshold)
    return np.moveaxis(v, -1, 0)
