"""Reconstruction: gradients of operators, fixed point inside, never worse on what is held out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import onnx_models
from anns import INPUT, Net
from blas_orders import shuffled_blas
from onnx_models import node
from quantized_cases import CODINGS, NETWORKS, SAME, Case, same
from snn_compile import compile_model
from snn_compile.codings.graded import Graded
from snn_compile.codings.radix import Radix
from snn_compile.codings.sync import Sync
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import VOLTAGE_LIMIT, ConvSynapses, DenseSynapses, SparseSynapses
from snn_compile.ir.text import to_text
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction import learning, levels, receptive, reconstruct, synapses
from snn_compile.quantize.reconstruction.network import SegmentNetwork
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.reconstruction.segments import Segment, segments_of
from snn_compile.quantize.reconstruction.synapses import Fixed, Learned
from snn_compile.quantize.reconstruction.teacher import FIRST, Teacher, mirrored, mixed
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


def convolution(name, source=(7, 8)):
    geometry, n_in, n_out = GEOMETRIES[name]
    kernel = (3, 2)
    size = geometry.output_size(source, kernel)
    weight = random(n_out, n_in // geometry.groups, *kernel)
    group = ConvSynapses(
        **place("x", (n_out, *size)),
        weight=QTensor(weight, QFormat(4)), exponent=-1, geometry=geometry,
    )  # fmt: skip
    return group, (n_in, *source)


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
for name in GEOMETRIES:  # whose rows are multiplied one by one
    GROUPS[f"wide, {name}"] = lambda name=name: convolution(name, (4, 26))


@pytest.mark.parametrize("name", GROUPS)
def test_gradients_of_synapses_are_differences(name):
    """Linear in weights and in messages: a difference of one is the derivative."""
    group, source = GROUPS[name]()
    learned, one = Learned(group, source, 7), np.ones(source[0])
    x = random(*source, 3, seed=2).astype(float)
    slope = random(*group.shape, 3, seed=3).astype(float)

    def value():
        learned.use(learned.weight, one)
        return float((learned.forward(x) * slope).sum())

    before = value()
    weights, back = learned.backward(slope, one, further=True)
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


def test_all_ways_to_read_a_population_are_here():
    found = {receptive.receptive(*GROUPS[name]()).__class__.__name__ for name in GROUPS}
    assert found == {"Dense", "Rows", "Gathered", "Depthwise"}


@pytest.mark.parametrize("make", [*GROUPS.values(), sparse])
def test_fixed_synapses_pass_gradients_to_their_source(make):
    group, source = make()
    fixed, x = Fixed(group, source, 7), random(*source, 2, seed=2).astype(float)
    slope = random(*group.shape, 2, seed=3).astype(float)
    before, back = (fixed.forward(x) * slope).sum(), fixed.backward(slope)
    for index in list(np.ndindex(x.shape))[:: max(x.size // 60, 1)]:
        x[index] += 1
        assert back[index] == (fixed.forward(x) * slope).sum() - before
        x[index] -= 1


def made(network, coding, bits=4, n=160, seed=1):
    x = np.random.default_rng(seed).normal(size=(n, *network.input.shape))
    return Case(network, coding, bits, x=x)


def whole_network(case):
    """All populations, with everything in it that can be learned."""
    program = case.quantization.program
    known = set(rectifiers_and_outputs(case.folded))
    names = tuple(p.id for p in program.populations)
    learns = {g.id for n in names if n in known for g in program.synapses_into(program.graph[n])}
    return SegmentNetwork(program, names, learns, known & set(names[:-1]))


@pytest.mark.parametrize("coding", ["graded4", "sync4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_is_fixed_point(name, coding):
    case = made(NETWORKS[name](), SINGLE_STEP[coding])
    network = whole_network(case)
    frames = case.encoding(case.x[:9])
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = np.moveaxis(frames, 0, -1).astype(float)
    potential = network.forward({source: entry})[network.names[-1]]
    run = reference.run(case.quantization.program, frames)
    assert (np.moveaxis(potential, -1, 0) == next(iter(run.outputs.values()))).all()


@pytest.mark.parametrize("narrowest", [1, 99])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_any_order_of_sums(name, narrowest, monkeypatch):
    monkeypatch.setattr(receptive, "NARROWEST", narrowest)
    case = made(NETWORKS[name](), Sync(4), bits=8)
    network, draw = whole_network(case), np.random.default_rng(3)
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:9]), 0, -1).astype(np.float32)}
    slopes = {
        at: draw.normal(size=potential.shape).astype(np.float32)
        for at, potential in network.forward(entry).items()
    }
    found = network.backward(slopes)
    for seed in range(2):
        for module in (receptive, synapses):
            monkeypatch.setattr(module, "blas", shuffled_blas(seed))
        network.forward(entry)
        again = network.backward(slopes)
        assert found.keys() == again.keys()
        assert all((again[at] == slope).all() for at, slope in found.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_biases_are_differences(name, monkeypatch):
    """With messages that are not rounded, networks consist of lines: differences are slopes."""
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)
    monkeypatch.setattr(
        levels.Levels, "messages", lambda of, v, step: np.clip(of.exact(v, step), 0, of.most)
    )
    case = made(NETWORKS[name](), Graded(6), bits=6)
    network = whole_network(case)
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:20]), 0, -1).astype(float)}
    last = network.names[-1]
    slope = np.random.default_rng(3).normal(size=network.forward(entry)[last].shape)
    found = network.backward({last: slope})
    for key in (key for key in network.parameters if key.endswith(":bias")):
        step = 8.0
        for channel in range(len(network.parameters[key])):
            values = []
            for sign in (1, -1):
                network.parameters[key][channel] += sign * step
                network.use(network.parameters)
                values.append((network.forward(entry)[last] * slope).sum())
                network.parameters[key][channel] -= sign * step
            assert found[key][channel] == pytest.approx(
                (values[0] - values[1]) / (2 * step), rel=3e-2, abs=1e-2 * np.abs(found[key]).max()
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
    sent = network._sent(name, potential)
    found = {}
    at = np.ones(potential.shape)
    back = network._through(name, at, found)
    inside = (u > 0) & (u < of.most)
    wanted = np.where(inside, sent - u, sent).sum(axis=(1, 2, 3))
    assert found[f"{name}:size"] == pytest.approx(wanted, rel=1e-4)
    one = np.where(inside, 1 / size[:, None, None, None], 0.0)
    assert back == pytest.approx(one, rel=1e-6)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(learning, "STEPS", 24)


def reconstructed(case):
    return Reconstruct(case.folded, case.x, case.encoding(case.x))(case.quantization)


def compensated(case):
    return FitLayers(case.folded, case.x, case.encoding(case.x))(case.quantization).graph


def watched(monkeypatch):
    """What is learned from now on: networks, lessons, and errors."""
    seen = []
    real = learning.learn

    def learn(network, lesson, *others):
        found = real(network, lesson, *others)
        seen.append((network, lesson, found))
        return found

    monkeypatch.setattr(learning, "learn", learn)
    return seen


@pytest.mark.parametrize(
    ("name", "coding"),
    [("mlp", "radix2"), ("residual", "sync4"), ("pooled", "graded4"), ("mlp", "graded8")],
)
def test_never_worse_on_what_is_held_out(name, coding, few, monkeypatch):
    seen = watched(monkeypatch)
    case = made(NETWORKS[name](), SINGLE_STEP[coding], bits=8, n=96)
    result = reconstructed(case)
    assert len(result.findings) == len(seen) == 1
    ((network, lesson, found),) = seen
    assert found.after <= found.before
    errors = learning.held_out_errors(network, lesson)
    assert learning.judged(lesson, errors) == found.after
    program, numbers = result.graph.program, result.graph.numbers
    assert {name: after for name, (_, after) in found.drives.items()} == errors
    noted = {n: numbers[n].drive_errors for n in numbers if numbers[n].drive_errors}
    assert noted == (found.drives if found.after < found.before else {})
    for population in program.populations:
        interval = bounds.potential(program.graph, population, 1)
        assert interval.magnitude <= VOLTAGE_LIMIT
    for old, new in zip(case.quantization.program.graph, program.graph, strict=True):
        assert (type(old), old.id, old.inputs) == (type(new), new.id, new.inputs)


def test_errors_of_drives_are_those_of_the_simulator(few):
    """Those of the output, on the samples held out, before and after."""
    n = 80
    case = made(NETWORKS["residual"](), Sync(4), bits=8, n=n)
    held = slice(n - learning.n_held(n), n)
    seen = slice(0, held.start)
    fitted = FitLayers(case.folded, case.x[seen], case.encoding(case.x[seen]))(case.quantization)
    result = reconstructed(case).graph
    (readout,) = result.program.readouts
    wanted = ann.evaluate(case.folded, case.x).reshape(n, -1)
    power = (wanted[:FIRST] ** 2).mean()
    for quantization, found in zip(
        (fitted.graph, result), result.numbers[readout.id].drive_errors, strict=True
    ):
        run = reference.run(quantization.program, case.encoding(case.x[held]))
        real = run.outputs[readout.id].reshape(n - held.start, -1)
        real = real * quantization.numbers[readout.id].unit
        assert found == pytest.approx(((real - wanted[held]) ** 2).mean() / power, rel=1e-4)


@pytest.mark.slow
def test_answers_to_fresh_samples_come_nearer():
    """Than those of compensated weights, with three levels."""
    case = made(NETWORKS["residual"](), Sync(2), bits=8, n=400)
    fresh = np.random.default_rng(2).normal(size=(300, *case.folded.input.shape))
    wanted = ann.evaluate(case.folded, fresh)

    def error(quantization):
        run = reference.run(quantization.program, case.encoding(fresh))
        ((name, potentials),) = run.outputs.items()
        real = potentials[..., 0, 0] * quantization.numbers[name].unit
        return ((real - wanted) ** 2).mean()

    assert error(reconstructed(case).graph) < error(compensated(case))


def test_the_spiking_network_has_the_learned_levels(monkeypatch):
    """Its levels are those of the program, and without rounding it still computes the same."""
    monkeypatch.setattr(learning, "STEPS", 120)
    case = made(NETWORKS["residual"](), Sync(2), bits=8, n=160)
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


def test_what_learns_nothing_is_fitted_to_all_samples(monkeypatch):
    monkeypatch.setattr(learning, "STEPS", 1)
    monkeypatch.setattr(learning, "_rate", lambda network: 9.0)
    case = made(NETWORKS["mlp"](), Sync(4), bits=8, n=64)
    result = reconstructed(case)
    assert all(map(same, result.graph.program.graph, compensated(case).program.graph))


def test_equal_samples_give_equal_networks(few):
    one, other = (
        to_text(reconstructed(made(NETWORKS["residual"](), Sync(4), n=64)).graph.program)
        for _ in range(2)
    )
    assert one == other


def test_the_best_integers_are_found(monkeypatch):
    """A layer whose optimum all 7**3 integers tell, biases aside."""
    monkeypatch.setattr(learning, "STEPS", 300)
    monkeypatch.setattr(learning, "_rate", lambda network: 0.02)
    monkeypatch.setattr(reconstruct, "FEW_BITS", 2)
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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_gradients_is_one_segment(name):
    program = made(NETWORKS[name](), Graded(4), n=20).quantization.program
    (segment,) = segments_of(program)
    assert segment.populations == tuple(p.id for p in program.populations)
    assert segment.sources == tuple(node.id for node in program.inputs)


@pytest.mark.parametrize("shape", [(4, 2, 6, 5), (4, 7)])
def test_mixtures_are_between_two_samples(shape):
    """Samples and their codes alike; rectangles, where samples are maps."""
    draw = np.random.default_rng(1)
    x, other = draw.integers(-100, 100, (2, *shape)).astype(np.int16)
    frames, others = (one.reshape(4, 7, 1, 1) if len(shape) == 2 else one for one in (x, other))
    seen = set()
    for seed in range(20):
        real, encoded = mixed(np.random.default_rng(seed), x, frames, other, others)
        assert (np.rint(real) == encoded.reshape(shape)).all()
        assert encoded.dtype == frames.dtype
        assert (real >= np.minimum(x, other) - 1e-4).all()
        assert (real <= np.maximum(x, other) + 1e-4).all()
        for one, first, second in zip(encoded, frames, others, strict=True):
            pasted = ((one == first) | (one == second)).all()
            seen.add(bool(pasted))
            if pasted:
                rows, columns = np.nonzero((one != first).any(axis=0))
                patch = np.s_[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
                assert (one[patch] == second[patch]).all()
    assert seen == ({False} if len(shape) == 2 else {False, True})


def test_mirrored_samples_are_turned_with_their_codes():
    draw = np.random.default_rng(1)
    x = draw.integers(-100, 100, (32, 2, 3, 4))
    real, encoded = mirrored(draw, x, x.astype(np.int16))
    assert (real == encoded).all()
    turned = (real == x[..., ::-1]).all(axis=(1, 2, 3))
    assert (real[~turned] == x[~turned]).all()
    assert 0 < turned.sum() < len(x)


def test_samples_are_mirrored_if_answers_stay():
    net = Net((2, 4, 5))
    net.dense(net.flatten(INPUT), 3)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(8, 2, 4, 5))
    (output,) = rectifiers_and_outputs(folded)
    shapes = {output: (3, 1, 1)}
    assert Teacher(folded, x + x[..., ::-1], shapes, 1).answers_mirrored([output])
    assert not Teacher(folded, x, shapes, 1).answers_mirrored([output])


def test_the_teacher_is_the_float_network():
    net = Net((2, 6, 6))
    at = net.relu(net.conv(INPUT, 3, geometry=SAME), cap=0.5)
    net.dense(net.flatten(at), 4)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(5, 2, 6, 6))
    rectifier, output = rectifiers_and_outputs(folded)
    teacher = Teacher(folded, x, {rectifier: (3, 6, 6), output: (4, 1, 1)}, 4)
    drives = teacher.drives(x)
    assert drives[output].shape == (4, 1, 1, 5)
    right = ann.evaluate(folded, x)
    assert drives[output].reshape(4, 5).T == pytest.approx(right, rel=1e-4, abs=1e-5)
    assert (drives[rectifier] < 0).any()
    assert (drives[rectifier] > 0.5).any()
    assert (teacher.most[rectifier] == 0.5).all()


@pytest.mark.parametrize("levels", [1, 1 << 20])
def test_rough_answers_are_as_exact_as_levels_ask(levels):
    net = Net((2, 6, 6))
    at = net.relu(net.conv(INPUT, 3, geometry=SAME))
    net.dense(net.flatten(at), 4)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(5, 2, 6, 6))
    _, output = rectifiers_and_outputs(folded)
    teacher = Teacher(folded, x, {output: (4, 1, 1)}, levels)
    exact, rough = teacher.drives(x)[output], teacher.drives(x, rough=True)[output]
    assert (exact == rough).all() == (levels > 1)
    assert rough == pytest.approx(exact, abs=1e-2 * float(np.abs(exact).max()))


def test_what_nobody_reads_is_no_error():
    """Below 0, where both are, and above the cap."""
    goal = learning.Goal(np.full(1, 0.5), 1.0, 1.0, rectified=True, most=np.full(1, 6.0))
    cases = [(-8, -3, 0), (4, -3, 2), (-8, 1, -5), (20, 7, 0), (4, 7, -4), (14, 5, 2), (4, 3, -1)]
    for potential, target, wanted in cases:
        values = (np.full((1, 1, 1, 1), v, np.float32) for v in (potential, target))
        found = goal.error(next(values), np.zeros(1), next(values))
        assert found == wanted, (potential, target)


def test_wide_sums_are_float64(monkeypatch):
    """Where float32 would not hold them; the result is the same."""
    case = made(NETWORKS["residual"](), Sync(4), bits=8)
    network = whole_network(case)
    frames = case.encoding(case.x[:3])
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(frames, 0, -1).astype(np.float32)}
    narrow = network.forward(entry)
    assert any(values.dtype == np.float32 for values in narrow.values())
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)
    network.use(network.parameters)
    wide = network.forward(entry)
    for name, values in wide.items():
        assert values.dtype == np.float64
        assert (values == narrow[name]).all()


@pytest.mark.parametrize("most", [1, 15, 255, 1 << 20])
def test_gradients_are_exact_sums(most):
    """Of gradients on a grid, in whatever order float32 adds them; float64 where it cannot."""
    group, source = convolution("padded")
    learned, one = Learned(group, source, most), np.ones(source[0])
    learned.use(learned.weight, one)
    draw = np.random.default_rng(4)
    x = draw.integers(0, most + 1, (*source, 9)).astype(np.float32)
    slope = draw.normal(size=(*group.shape, 9)).astype(np.float32)
    learned.forward(x)
    weights, back = learned.backward(slope, one, further=True)
    order = draw.permutation(9)
    learned.forward(np.ascontiguousarray(x[..., order]))
    again, there = learned.backward(np.ascontiguousarray(slope[..., order]), one, further=True)
    assert (weights == again).all()
    assert (back[..., order] == there).all()
    learned.forward(x.astype(float))
    right, _ = learned.backward(slope.astype(float), one, further=True)
    assert weights == pytest.approx(right, rel=0.05, abs=0.02 * np.abs(right).max())


def test_large_networks_get_fewer_steps():
    assert learning.n_steps(1) == learning.STEPS
    assert learning.n_steps(1 << 33) * (1 << 33) * learning.BATCH == learning.WORK
    assert learning.n_steps(1 << 50) == 1


def test_segments_end_at_what_has_no_gradient(monkeypatch, tmp_path):
    """The one behind it is learned on what is really sent."""
    monkeypatch.setattr(learning, "STEPS", 24)
    before = watched(monkeypatch)
    draw = np.random.default_rng(0)
    weights = {
        name: (draw.normal(size=shape) / 3).astype(np.float32)
        for name, shape in (("a", (4, 2, 3, 3)), ("b", (4, 4, 1, 1)), ("c", (4, 4, 1, 1)))
    }
    nodes = [
        node("Conv", "x a", "p"), node("Relu", "p", "q"), node("Conv", "q b", "r"),
        node("Sigmoid", "r", "s"), node("Conv", "s c", "t"), node("Relu", "t", "u"),
        node("GlobalAveragePool", "u", "y"),
    ]  # fmt: skip
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_models.model(nodes, ("N", 2, 6, 6), weights).SerializeToString())
    x = draw.normal(size=(64, 2, 6, 6)).astype(np.float32)
    made = compile_model(path, calibrate=x, coding="graded", rounding="reconstructed", emit=())
    parts = [isinstance(part, Segment) for part in segments_of(made.program)]
    assert parts == [True, False, True]
    assert len(before) == 2


def test_what_resets_to_zero_is_only_fitted():
    case = Case(NETWORKS["mlp"](), CODINGS["zero"], 4)
    result = reconstructed(case)
    assert all(map(same, compensated(case).program.graph, result.graph.program.graph))
    (finding,) = result.findings
    assert finding.code == "not-reconstructed"


def test_as_many_steps_are_taken_as_are_stated(few, monkeypatch):
    taken = []
    monkeypatch.setattr(
        learning, "learn", lambda *of: taken.append(of[3]) or learning.Learned(1, 1, {})
    )
    case = made(NETWORKS["mlp"](), Sync(3), bits=8, n=40)
    for steps, expected in ((None, learning.STEPS), (9, 9)):
        Reconstruct(case.folded, case.x, case.encoding(case.x), steps=steps)(case.quantization)
        assert taken.pop() == expected
