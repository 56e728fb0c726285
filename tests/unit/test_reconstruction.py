"""Reconstruction: gradients of operators, fixed point inside, never worse on what is held out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from anns import INPUT, Net
from quantized_cases import CODINGS, NETWORKS, SAME, Case, same
from snn_compile.codings.graded import Graded
from snn_compile.codings.radix import Radix
from snn_compile.codings.sync import Sync
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import VOLTAGE_LIMIT, ConvSynapses, DenseSynapses, SparseSynapses
from snn_compile.ir.text import to_text
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction import learning, levels, reconstruct
from snn_compile.quantize.reconstruction.blocks import MOST_LAYERS, blocks_of
from snn_compile.quantize.reconstruction.network import BlockNetwork
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.reconstruction.synapses import Fixed, Learned
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.sim import ann, bounds, reference

SINGLE_STEP = {
    "graded4": Graded(4), "graded8": Graded(8), "sync4": Sync(4), "radix2": Radix(2),
}  # fmt: skip
GEOMETRIES = {
    "plain": (Geometry(), 3, 3),
    "padded": (Geometry(padding=(1, 2, 0, 1)), 2, 3),
    "cropped": (Geometry(padding=(-1, 0, 1, -1)), 2, 3),
    "strided": (Geometry(stride=(2, 3), padding=(1, 1, 1, 1)), 2, 3),
    "dilated": (Geometry(dilation=(2, 1), padding=(1, 1, 1, 1)), 2, 3),
    "grouped": (Geometry(groups=2, padding=(1, 1, 1, 1)), 4, 6),
    "depthwise": (Geometry(groups=4, stride=(2, 1)), 4, 4),
    "multiplied": (Geometry(groups=3, padding=(1, 1, 1, 1)), 3, 6),
}


def random(*shape, seed=0, most=7):
    return np.random.default_rng(seed).integers(-most, most + 1, shape)


def place(source, shape):
    return {"id": "group", "inputs": (source,), "shape": shape, "origin": None}


def convolution(name):
    geometry, n_in, n_out = GEOMETRIES[name]
    kernel = (3, 2)
    size = geometry.output_size((7, 8), kernel)
    weight = random(n_out, n_in // geometry.groups, *kernel)
    group = ConvSynapses(
        **place("x", (n_out, *size)),
        weight=QTensor(weight, QFormat(4)), exponent=-1, geometry=geometry,
    )  # fmt: skip
    return group, (n_in, 7, 8)


def dense():
    weight = QTensor(random(5, 24), QFormat(4))
    return DenseSynapses(**place("x", (5, 1, 1)), weight=weight, exponent=1), (2, 3, 4)


def sparse():
    dense = random(6, 24) * (random(6, 24, seed=1) > 3)
    indptr = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    return SparseSynapses(
        **place("x", (3, 2, 1)), indptr=indptr, indices=np.nonzero(dense)[1],
        weight=QTensor(dense[dense != 0], QFormat(4)), exponent=0,
    ), (2, 3, 4)  # fmt: skip


GROUPS = {name: (lambda name=name: convolution(name)) for name in GEOMETRIES} | {"dense": dense}


@pytest.mark.parametrize("name", GROUPS)
def test_gradients_of_synapses_are_differences(name):
    """Linear in weights and in messages: a difference of one is the derivative."""
    group, source = GROUPS[name]()
    learned, one = Learned(group, source), np.ones(source[0])
    x = random(*source, 3, seed=2).astype(float)
    slope = random(*group.shape, 3, seed=3).astype(float)

    def value():
        return float((learned.forward(x, one) * slope).sum())

    before = value()
    weights, back = learned.backward(slope, one, bits=4)
    assert back.shape == x.shape
    for index in np.ndindex(learned.weight.shape):
        learned.weight[index] -= 1 if learned.weight[index] > 0 else -1
        sign = -1 if group.weight.values.reshape(learned.weight.shape)[index] > 0 else 1
        assert weights[index] == sign * (value() - before)
        learned.weight[index] = group.weight.values.reshape(learned.weight.shape)[index]
    for index in list(np.ndindex(x.shape))[:: max(x.size // 60, 1)]:
        x[index] += 1
        assert back[index] == value() - before
        x[index] -= 1


@pytest.mark.parametrize("make", [*GROUPS.values(), sparse])
def test_fixed_synapses_pass_gradients_to_their_source(make):
    group, source = make()
    fixed, x = Fixed(group, source), random(*source, 2, seed=2).astype(float)
    slope = random(*group.shape, 2, seed=3).astype(float)
    before, back = (fixed.forward(x) * slope).sum(), fixed.backward(slope)
    for index in list(np.ndindex(x.shape))[:: max(x.size // 60, 1)]:
        x[index] += 1
        assert back[index] == (fixed.forward(x) * slope).sum() - before
        x[index] -= 1


def made(network, coding, bits=4, n=160, seed=1):
    x = np.random.default_rng(seed).normal(size=(n, *network.input.shape))
    return Case(network, coding, bits, x=x)


def whole_network(case, drop=False):
    """All populations as one block, with everything in it that can be learned."""
    program = case.quantization.program
    known = set(rectifiers_and_outputs(case.folded))
    names = tuple(p.id for p in program.populations)
    learns = {g.id for n in names if n in known for g in program.synapses_into(program.graph[n])}
    return BlockNetwork(program, names, learns, known & set(names[:-1]), set())


@pytest.mark.parametrize("coding", ["graded4", "sync4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_is_fixed_point(name, coding):
    case = made(NETWORKS[name](), SINGLE_STEP[coding])
    network = whole_network(case)
    frames = case.encoding(case.x[:9])
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = np.moveaxis(frames, 0, -1).astype(float)
    potential = network.forward({source: entry}, {})
    run = reference.run(case.quantization.program, frames)
    assert (np.moveaxis(potential, -1, 0) == next(iter(run.outputs.values()))).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_biases_are_differences(name, monkeypatch):
    """With no message rounded, the block consists of lines: differences are derivatives."""
    monkeypatch.setattr(levels, "FRACTION_BITS", 24)
    case = made(NETWORKS[name](), Graded(6), bits=6)
    network = whole_network(case)
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:20]), 0, -1).astype(float)}
    dropped = {n: np.ones(s, bool) for n, s in network.dropping(20).items()}
    slope = np.random.default_rng(3).normal(size=network.forward(entry, dropped).shape)
    network.forward(entry, dropped)
    found = network.backward(slope)
    for key in (key for key in network.parameters if key.endswith(":bias")):
        step = 1.0
        for channel in range(len(network.parameters[key])):
            values = []
            for sign in (1, -1):
                network.parameters[key][channel] += sign * step
                values.append((network.forward(entry, dropped) * slope).sum())
                network.parameters[key][channel] -= sign * step
            assert found[key][channel] == pytest.approx(
                (values[0] - values[1]) / (2 * step), rel=1e-2, abs=1e-3 * np.abs(found[key]).max()
            )


@pytest.mark.parametrize("coding", SINGLE_STEP)
def test_gradients_of_sizes(coding):
    """``n - u`` within the range, the largest level beyond it: Esser et al. 2020."""
    case = made(NETWORKS["mlp"](), SINGLE_STEP[coding])
    network = whole_network(case)
    name = next(iter(network.levels))
    of = network.levels[name]
    size = of.given
    u = np.array([-3, -0.2, 0.3, 0.7, 1.2, of.most - 0.3, of.most + 0.6, of.most + 9])
    potential = (u * size[:, None])[:, None, None, :] + of.half(size)[:, None, None, None]
    sent = network._sent(name, potential, {})
    found = {}
    at = np.ones(potential.shape)
    back = network._through(name, at, found)
    inside = (u > 0) & (u < of.most)
    wanted = np.where(inside, sent - u, sent).sum(axis=(1, 2, 3))
    assert found[f"{name}:size"] == pytest.approx(wanted, abs=2.0**-6)
    assert (back == np.where(inside, 1 / size[:, None, None, None], 0.0)).all()


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(learning, "ITERATIONS", 24)


def reconstructed(case):
    return Reconstruct(case.folded, case.x, case.encoding(case.x))(case.quantization)


def compensated(case):
    return FitLayers(case.folded, case.x, case.encoding(case.x))(case.quantization).graph


@pytest.mark.parametrize(
    ("name", "coding"),
    [("mlp", "radix2"), ("residual", "sync4"), ("pooled", "graded4"), ("mlp", "graded8")],
)
def test_never_worse_on_what_is_held_out(name, coding, few, monkeypatch):
    seen = []
    real = learning.learn

    def watched(network, task, seed):
        found = real(network, task, seed)
        seen.append((network, task, found))
        return found

    monkeypatch.setattr(reconstruct, "learn", watched)
    case = made(NETWORKS[name](), SINGLE_STEP[coding], bits=8, n=96)
    result = reconstructed(case)
    assert len(result.findings) == len(seen) > 1
    for network, task, found in seen:
        assert found.after <= found.before
        first = len(task.target) - max(len(task.target) // learning.HELD_OUT, 1)
        assert learning._held_out_error(network, task, first) == found.after
    assert name == "mlp" or any(found.after < found.before for *_, found in seen)
    program = result.graph.program
    for population in program.populations:
        interval = bounds.potential(program.graph, population, 1)
        assert interval.magnitude <= VOLTAGE_LIMIT
    for old, new in zip(case.quantization.program.graph, program.graph, strict=True):
        assert (type(old), old.id, old.inputs) == (type(new), new.id, new.inputs)


@pytest.mark.slow
def test_answers_to_fresh_samples_come_nearer():
    """Than those of compensated weights: three levels, three bits."""
    case = made(NETWORKS["residual"](), Sync(2), bits=3, n=400)
    fresh = np.random.default_rng(2).normal(size=(300, *case.folded.input.shape))
    wanted = ann.evaluate(case.folded, fresh)

    def error(quantization):
        run = reference.run(quantization.program, case.encoding(fresh))
        ((name, potentials),) = run.outputs.items()
        real = potentials[..., 0, 0] * quantization.numbers[name].unit
        return ((real - wanted) ** 2).mean()

    assert error(reconstructed(case).graph) < error(compensated(case))


def test_the_spiking_network_has_the_learned_levels(few):
    """Its levels are those of the program, and without rounding it still computes the same."""
    case = made(NETWORKS["residual"](), Sync(2), bits=3, n=160)
    before, after = case.quantization, reconstructed(case).graph
    n_changed = 0
    for population in after.network.populations:
        fixed = after.program.graph[population.id]
        if not hasattr(population, "levels"):
            continue
        size = levels.levels_of(fixed).given * after.numbers[population.id].unit
        step = after.numbers[population.id].unit
        assert (np.abs(size - population.threshold) <= 1.1 * step).all()  # both were rounded
        old = before.network.graph[population.id]
        n_changed += (old.threshold != population.threshold).any()
        ratio = population.threshold / old.threshold
        for group in after.network.graph.consumers(population.id):
            grown = group.weight / before.network.graph[group.id].weight
            assert np.unique(np.round(grown[~np.isnan(grown)], 9)) == pytest.approx(
                np.unique(np.round(ratio, 9)), rel=1e-6
            )
    assert n_changed > 2


def test_equal_samples_give_equal_networks(few):
    one, other = (
        to_text(reconstructed(made(NETWORKS["residual"](), Sync(4), n=64)).graph.program)
        for _ in range(2)
    )
    assert one == other


def test_the_best_integers_are_found(monkeypatch):
    """A layer whose optimum all 7**3 integers tell, biases aside."""
    monkeypatch.setattr(learning, "ITERATIONS", 300)
    monkeypatch.setattr(learning, "RATE", 0.02)
    net = Net((3,))
    net.dense(INPUT, 1)
    case = made(net.build(), Graded(8), bits=3, n=200)
    program = case.quantization.program
    (group,) = program.synapses_into(program.readouts[0])
    frames = case.encoding(case.x).reshape(len(case.x), 3)
    target = ann.evaluate(case.folded, case.x).reshape(-1)
    unit = case.quantization.numbers[program.readouts[0].id].unit[0] * 2.0**group.exponent
    held = slice(-(len(target) // learning.HELD_OUT), None)
    errors = []
    for weight in product(range(-3, 4), repeat=3):
        off = target - unit * (frames @ np.array(weight))
        errors.append(float(np.var(off[held])))
    result = reconstructed(case)
    run = reference.run(result.graph.program, case.encoding(case.x))
    numbers = result.graph.numbers[program.readouts[0].id]
    found = next(iter(run.outputs.values())).reshape(-1) * numbers.unit[0] - target
    assert np.mean(found[held] ** 2) <= 1.1 * min(errors)


def test_blocks_end_where_one_value_carries_all():
    case = made(NETWORKS["residual"](), Graded(4))
    known = set(rectifiers_and_outputs(case.folded))
    program = case.quantization.program
    blocks = list(blocks_of(program, known.__contains__))
    assert sorted(n for b in blocks for n in b.populations) == sorted(
        p.id for p in program.populations
    )
    assert [sum(n in known for n in block.populations) for block in blocks] == [1, 3, 1]
    assert all(block.sources and block.owned == set(block.sources) for block in blocks)


def test_long_stretches_are_single_layers():
    net = Net((2, 6, 6))
    first = at = net.relu(net.conv(INPUT, 2, geometry=SAME))
    for _ in range(MOST_LAYERS):
        at = net.relu(net.conv(at, 2, geometry=SAME))
    net.dense(net.flatten(net.relu(net.sum(net.conv(at, 2, geometry=SAME), first))), 2)
    case = made(net.build(), Graded(4), n=20)
    known = set(rectifiers_and_outputs(case.folded))
    blocks = list(blocks_of(case.quantization.program, known.__contains__))
    assert all(sum(n in known for n in block.populations) == 1 for block in blocks)


@pytest.mark.parametrize("coding", ["rate", "zero"])
def test_spikes_over_time_keep_their_weights(coding):
    case = Case(NETWORKS["mlp"](), CODINGS[coding], 4)
    frames = case.encoding(case.x)
    result = Reconstruct(case.folded, case.x, frames)(case.quantization)
    assert all(map(same, case.quantization.program.graph, result.graph.program.graph))
    (finding,) = result.findings
    assert finding.code == "not-reconstructed"
