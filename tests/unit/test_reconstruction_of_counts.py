"""Reconstruction through spike counts: the simulator's own forward pass, on any of the two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import reconstruction_cases
from blas_orders import shuffled_blas
from quantized_cases import NETWORKS, same
from reconstruction_cases import all_groups
from snn_compile.codings.rate import Rate
from snn_compile.codings.signed import Signed
from snn_compile.ir.quantized import VOLTAGE_LIMIT, IFNeurons, along_channels
from snn_compile.ir.spiking import InputCoding
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction import counts, learning, receptive, synapses
from snn_compile.quantize.reconstruction.counts import CountNetwork
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.reconstruction.segments import whole_of
from snn_compile.quantize.reconstruction.teacher import FIRST
from snn_compile.sim import ann, bounds, engine, reference

N_STEPS = 12


def made(name, n=96, bits=8, coding=None, seed=1):
    network = NETWORKS[name]() if isinstance(name, str) else name
    return reconstruction_cases.made(network, coding or Rate(N_STEPS), bits, n, seed)


def whole_network(case):
    """All populations, with everything in it that can be learned."""
    program = case.quantization.program
    names = whole_of(program).populations
    return CountNetwork(program, names, all_groups(case, names), set())


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


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_of_counts_are_potentials(name):
    """``V0 + drives of a window = V + threshold * count``, with V after the last step."""
    case = made(name)
    network = moved(whole_network(case))
    entry, frames = entry_of(case)
    sent, program = network.counts(entry), network.present
    assert not all(map(same, program.graph, case.quantization.program.graph))
    trains = reference.run(program, frames, record=True).messages
    n_spikes = 0
    for at in network.groups:
        summed = np.moveaxis(network._potential(at, sent), -1, 0)
        population = program.graph[at]
        if not isinstance(population, IFNeurons):
            assert (summed == trains[at][:, -1]).all()
            continue
        spikes = trains[at].sum(axis=1, dtype=np.int64)
        assert (np.moveaxis(sent[at], -1, 0) == spikes).all()
        fell = population.threshold.values[:, None, None] * spikes
        assert (summed == last_potential(program, population, frames) + fell).all()
        n_spikes += spikes.sum()
    assert n_spikes > 100


def last_potential(program, population, frames):
    """V after the window, (N, *shape), step by step."""
    simulator = reference.Simulator(program)
    values = simulator.encode_inputs(frames.astype(np.int64))
    for before in program.populations:
        current = simulator.current(before, values)
        if before.id == population.id:
            break
        values[before.id] = before.respond(current, program.window.n_steps)
    bias, v, threshold = (
        along_channels(of.values, population.shape)[..., None].astype(np.int64)
        for of in (population.bias, population.initial_potential, population.threshold)
    )
    for step in range(program.window.n_steps):
        v = v + current[..., min(step, current.shape[-2] - 1), :] + bias
        v = v - threshold * (v >= threshold)
    return np.moveaxis(v, -1, 0)


def test_counts_are_those_of_either_simulator(monkeypatch):
    network = moved(whole_network(case := made("residual")))
    entry, _ = entry_of(case)
    if engine.no_engine(network.present):
        pytest.skip("no engine")
    fast = network.counts(entry)
    monkeypatch.setattr(engine, "no_engine", lambda program: "for this test")
    right = network.counts(entry)
    assert fast.keys() == right.keys()
    assert all((fast[at] == sent).all() for at, sent in right.items())


def test_gradients_of_biases_are_differences(monkeypatch):
    """With counts that are not rounded, networks consist of lines: differences are slopes."""
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)

    def ramps(network, entries):
        found = {name: N_STEPS * sent for name, sent in entries.items()}
        for name in network.names:
            if name in network.carriers:
                found[name] = found[network.carriers[name]]
                continue
            found[name] = network._potential(name, found)
            if (of := network.levels.get(name)) is not None:
                u = of.exact(found[name], network._steps[name])
                found[name] = np.clip(u, 0, of.most)
        return found

    monkeypatch.setattr(CountNetwork, "counts", ramps)
    case = made("residual", n=20, bits=6)
    network = whole_network(case)
    entry, _ = entry_of(case, 20)
    entry = {name: sent.astype(float) for name, sent in entry.items()}
    draw, before = np.random.default_rng(3), network.forward(entry)
    slopes = {at: draw.normal(size=v.shape) for at, v in before.items()}
    slopes[network.names[-1]] *= 30
    found = network.backward(slopes)

    def loss():
        network.use(network.parameters)
        now = network.forward(entry)
        return sum(float(((now[at] - before[at]) * slopes[at]).sum()) for at in now)

    for key in (key for key in network.parameters if key.endswith(":bias")):
        for channel in range(len(network.parameters[key])):
            several = []
            for sign in (1.0, -1.0):
                network.parameters[key][channel] += sign
                several.append(loss())
                network.parameters[key][channel] -= sign
            slope = (several[0] - several[1]) / 2
            near = pytest.approx(slope, rel=3e-2, abs=1e-2 * np.abs(found[key]).max())
            assert found[key][channel] == near, (key, channel)


def test_gradients_in_any_order_of_sums(monkeypatch):
    network = moved(whole_network(case := made("residual")))
    entry, _ = entry_of(case)
    draw = np.random.default_rng(3)
    slopes = {
        at: draw.normal(size=potential.shape).astype(np.float32)
        for at, potential in network.forward(entry).items()
    }
    found = network.backward(slopes)
    for module in (receptive, synapses):
        monkeypatch.setattr(module, "blas", shuffled_blas(1))
    network.forward(entry)
    again = network.backward(slopes)
    assert found.keys() == again.keys()
    assert all((again[at] == slope).all() for at, slope in found.items())


def calibrates(case):
    return CalibratePotentials(case.folded, case.x, case.encoding(case.x), case.scales)


def reconstructed(case, steps=12):
    frames, potentials = case.encoding(case.x), calibrates(case)
    learns = Reconstruct(case.folded, case.x, frames, False, steps, potentials)
    return learns(case.quantization)


def fitted(case):
    frames, starts = case.encoding(case.x), case.scales
    fit = FitLayers(case.folded, case.x, frames, biases=False, starts=starts)
    return calibrates(case)(fit(case.quantization).graph).graph


def test_it_learns_the_same_on_either_simulator(monkeypatch):
    case = made("residual", n=80)
    result = reconstructed(case)
    (finding,) = result.findings
    assert finding.code == "reconstructed"
    (readout,) = result.graph.program.readouts
    before, after = result.graph.numbers[readout.id].drive_errors
    assert after < before
    changed = zip(fitted(case).program.graph, result.graph.program.graph, strict=True)
    assert sum(not same(*pair) for pair in changed) > 5
    program = result.graph.program
    for population in program.populations:
        interval = bounds.potential(program.graph, population, N_STEPS)
        assert interval.magnitude <= VOLTAGE_LIMIT
    monkeypatch.setattr(engine, "no_engine", lambda program: "for this test")
    assert all(map(same, reconstructed(case).graph.program.graph, program.graph))


def test_errors_of_outputs_are_those_of_the_simulator():
    """On the samples held out, of what is kept."""
    n = 80
    case = made("mlp", n=n)
    result = reconstructed(case).graph
    held = slice(n - learning.n_held(n), n)
    (readout,) = result.program.readouts
    wanted = ann.evaluate(case.folded, case.x).reshape(n, -1)
    run = reference.run(result.program, case.encoding(case.x[held]))
    real = run.outputs[readout.id].reshape(n - held.start, -1)
    real = real * result.numbers[readout.id].unit / N_STEPS
    error = ((real - wanted[held]) ** 2).mean() / (wanted[:FIRST] ** 2).mean()
    assert result.numbers[readout.id].drive_errors[1] == pytest.approx(error, rel=1e-4)


def test_what_is_not_better_is_fitted_to_all_samples(monkeypatch):
    monkeypatch.setattr(learning, "_rate", lambda network: 3.0)
    case = made("mlp", n=64)
    result = reconstructed(case, 4).graph
    assert all(map(same, result.program.graph, fitted(case).program.graph))


@pytest.mark.parametrize(
    "coding",
    [Rate(6, burst=3), Signed(6)],
    ids=lambda coding: coding.describe().replace(" ", "-"),
)
def test_what_has_no_gradient_is_only_fitted(coding):
    case = made("mlp", n=64, coding=coding)
    result = reconstructed(case)
    (finding,) = result.findings
    assert finding.code == "not-reconstructed"
    assert finding.warning
    assert "relu" in finding.message.lower()
    assert all(map(same, result.graph.program.graph, fitted(case).program.graph))


def test_random_inputs_have_no_gradient():
    program = made("mlp", n=20).quantization.program
    assert counts.without_gradient(program) is None
    source = replace(program.input, coding=InputCoding.POISSON)
    drawn = replace(program, graph=program.graph.edit(replaced=[source]))
    assert f"'{source.id}'" in counts.without_gradient(drawn).message


def test_few_bits_are_only_fitted():
    case = made("residual", n=64, bits=4)
    result = reconstructed(case)
    (finding,) = result.findings
    assert finding.code == "not-reconstructed"
    assert not finding.warning
    assert all(map(same, result.graph.program.graph, fitted(case).program.graph))
