"""Reconstruction: never worse on what is held out, and what is left alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import onnx_models
from anns import INPUT, Net
from onnx_models import node
from quantized_cases import CODINGS, NETWORKS, Case, same
from reconstruction_cases import made, watched
from snn_compile import compile_model
from snn_compile.codings.graded import Graded
from snn_compile.codings.radix import Radix
from snn_compile.codings.sync import Sync
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.ir.text import to_text
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction import learning, levels, reconstruct
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.reconstruction.segments import Segment, segments_of
from snn_compile.quantize.reconstruction.teacher import FIRST
from snn_compile.sim import ann, bounds, reference

SINGLE_STEP = {
    "graded4": Graded(4), "graded8": Graded(8), "sync4": Sync(4), "radix2": Radix(2),
}  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(learning, "STEPS", 24)


def reconstructed(case):
    return Reconstruct(case.folded, case.x, case.encoding(case.x))(case.quantization)


def compensated(case):
    return FitLayers(case.folded, case.x, case.encoding(case.x))(case.quantization).graph


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


def test_what_nobody_reads_is_no_error():
    """Below 0, where both are, and above the cap."""
    goal = learning.Goal(np.full(1, 0.5), 1.0, 1.0, rectified=True, most=np.full(1, 6.0))
    cases = [(-8, -3, 0), (4, -3, 2), (-8, 1, -5), (20, 7, 0), (4, 7, -4), (14, 5, 2), (4, 3, -1)]
    for potential, target, wanted in cases:
        values = (np.full((1, 1, 1, 1), v, np.float32) for v in (potential, target))
        found = goal.error(next(values), np.zeros(1), next(values))
        assert found == wanted, (potential, target)


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
