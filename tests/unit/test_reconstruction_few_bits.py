"""Weights of few bits stay as they are fitted; biases and sizes of levels are learned."""

from __future__ import annotations

import numpy as np
import pytest

import reconstruction_cases
from anns import INPUT, Net
from blas_orders import shuffled_blas
from quantized_cases import NETWORKS, SAME, same
from snn_compile.codings.graded import Graded
from snn_compile.codings.sync import Sync
from snn_compile.ir.quantized import VOLTAGE_LIMIT, ClipFloorNeurons, Neurons, Synapses
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction import learning, synapses
from snn_compile.quantize.reconstruction.learning import held_out_errors
from snn_compile.quantize.reconstruction.network import SegmentNetwork
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.sim import bounds, engine, reference

N = 96
SEEN = N - learning.n_held(N)
CODINGS = {"graded4": Graded(4), "sync4": Sync(4)}


def made(network, coding, bits=3):
    return reconstruction_cases.made(network, coding, bits, N)


def reconstructed(case, steps=60):
    return Reconstruct(case.folded, case.x, case.encoding(case.x), steps=steps)(case.quantization)


def fitted(case, n=SEEN):
    return FitLayers(case.folded, case.x[:n], case.encoding(case.x[:n]))(case.quantization).graph


@pytest.fixture
def learned(monkeypatch):
    """Networks, lessons and errors of what is learned."""
    return reconstruction_cases.watched(monkeypatch)


@pytest.mark.parametrize("coding", CODINGS)
def test_all_but_weights_is_learned(coding, learned):
    """Errors are those of what runs, no state overflows, and relays stay."""
    case = made(NETWORKS["residual"](), CODINGS[coding])
    before, result = fitted(case), reconstructed(case)
    ((network, lesson, found),) = learned
    assert found.after < found.before
    assert learning.judged(lesson, held_out_errors(network, lesson)) == found.after
    assert [finding.code for finding in result.findings] == ["reconstructed"]
    program, n_sized = result.graph.program, 0
    for old, new in zip(before.program.graph, program.graph, strict=True):
        if isinstance(old, Synapses) or (isinstance(old, Neurons) and old.relay):
            assert same(old, new)
        elif isinstance(old, ClipFloorNeurons):
            n_sized += (old.threshold.values != new.threshold.values).any()
    assert n_sized or coding == "graded4"
    for population in program.populations:
        assert bounds.potential(program.graph, population, 1).magnitude <= VOLTAGE_LIMIT
    frames = case.encoding(case.x[-9:])
    entry = {node.id: np.moveaxis(frames, 0, -1).astype(np.float32) for node in program.inputs}
    potential = network.forward(entry)[network.names[-1]]
    for simulator in (reference, engine):
        (run,) = simulator.run(program, frames).outputs.values()
        assert (np.moveaxis(potential, -1, 0) == run).all()


def test_the_network_in_floating_point_stays():
    """A threshold that no reader follows corrects a gain; a level stands for the same number."""
    case = made(NETWORKS["residual"](), Sync(4))
    before, after = fitted(case), reconstructed(case).graph
    for old, new in zip(before.network.graph, after.network.graph, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(vars(old), vars(new), strict=True))
    for name, numbers in before.numbers.items():
        assert np.array_equal(numbers.unit, after.numbers[name].unit)


def test_without_gain_all_samples_are_fitted(monkeypatch):
    monkeypatch.setattr(learning, "_rate", lambda network: 9.0)
    case = made(NETWORKS["mlp"](), Sync(4))
    result = reconstructed(case, steps=1)
    assert all(map(same, result.graph.program.graph, fitted(case, N).program.graph))


def test_the_same_bits_in_any_order_of_sums(monkeypatch):
    case = made(NETWORKS["residual"](), Sync(3))
    program = reconstructed(case, steps=6).graph.program
    monkeypatch.setattr(synapses, "blas", shuffled_blas(1))
    assert all(map(same, program.graph, reconstructed(case, steps=6).graph.program.graph))


def test_gradients_of_sizes_that_nobody_follows(monkeypatch):
    """With messages that are not rounded: differences are slopes."""
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)
    monkeypatch.setattr(
        "snn_compile.quantize.reconstruction.levels.Levels.messages",
        lambda of, v, step: np.clip(of.exact(v, step), 0, of.most),
    )
    case = made(NETWORKS["mlp"](), Graded(6), bits=6)
    program = case.quantization.program
    names = tuple(population.id for population in program.populations)
    network = SegmentNetwork(program, names, set(), set(), tuned=frozenset(names))
    (source,) = [node.id for node in program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:20]), 0, -1).astype(float)}
    slope = np.random.default_rng(3).normal(size=network.forward(entry)[names[-1]].shape)
    found = network.backward({names[-1]: slope})
    sizes = [key for key in network.parameters if key.endswith(":size")]
    assert len(sizes) == len(names) - 1
    for key in sizes:
        for channel in range(len(network.parameters[key])):
            values = []
            for sign in (1, -1):
                network.parameters[key][channel] += sign * 0.02
                network.use(network.parameters)
                values.append((network.forward(entry)[names[-1]] * slope).sum())
                network.parameters[key][channel] -= sign * 0.02
            assert found[key][channel] == pytest.approx(
                (values[0] - values[1]) / 0.04, rel=0.1, abs=2e-2 * np.abs(found[key]).max()
            )


def test_layers_of_few_and_of_many_bits_learn_together(learned):
    """Sizes of levels are followed by readers of many bits, and by no others."""
    net = Net((2, 5, 5))
    first = net.relu(net.conv(INPUT, 3, geometry=SAME))
    second = net.relu(net.conv(first, 3, geometry=SAME))
    net.dense(net.flatten(second), 4)
    case = made(net.build(), Sync(4), bits=8)
    numbers = dict(case.quantization.numbers)
    program = case.quantization.program
    a, b, _ = (population.id for population in program.populations)
    numbers[b] = numbers[b].__class__(**{**vars(numbers[b]), "weight_bits": 4})
    case.quantization = case.quantization.__class__(program, numbers, case.quantization.network)
    reconstructed(case)
    ((network, _, _),) = learned
    assert {key for key in network.parameters if key.endswith(":size")} == {f"{b}:size"}
    assert f"{a}:bias" in network.parameters
    assert f"{b}:bias" in network.parameters
    (group,) = program.synapses_into(program.graph[b])
    assert group.id not in network.parameters
    assert set(network.sizes()) <= {b}
