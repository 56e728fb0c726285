"""Networks with functions, compiled: integers, reports, codings and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import NEWEST, model, node, session
from snn_compile import compile_model
from snn_compile.convert.sum_of_rectifiers import SumOfRectifiers, polygon
from snn_compile.errors import CompileError
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply, evaluate
from snn_compile.ir.quantized import PiecewiseLinearDeltaNeurons, PiecewiseLinearNeurons
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model
from snn_compile.sim import engine, reference
from snn_compile.sim.ann import forward
from transcription import assert_equal

RNG = np.random.default_rng(7)
SAMPLES = RNG.normal(size=(48, 2, 6, 6)).astype(np.float32)
HARD_SIGMOID = apply("min", apply("max", apply("add", apply("mul", X, 0.2), 0.5), 0.0), 1.0)


def real(*shape):
    return (RNG.normal(size=shape) * 0.5).astype(np.float32)


def residual(op="Sigmoid"):
    """A function, a join whose shorter arm needs a relay, and another function."""
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node(op, "a", "s"),
        node("Mul", "a s", "silu") if op == "Sigmoid" else node("Identity", "s", "silu"),
        node("Conv", "silu w2", "b", pads=[1, 1, 1, 1]),
        node("Tanh", "b", "t"),
        node("Conv", "t w2", "c", pads=[1, 1, 1, 1]),
        node("Add", "c silu", "j"),
        node("Softplus", "j", "p"),
        node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w3", "y"),
    ]
    constants = {"w1": real(5, 2, 3, 3), "w2": real(5, 5, 3, 3), "w3": real(5, 3)}
    return model(nodes, ("N", 2, 6, 6), constants, opset=NEWEST)


def written(tmp_path, made):
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("net"), residual())
    samples = SAMPLES, None
    return compile_model(path, calibrate=SAMPLES, evaluate=samples, target="unlimited", emit=())


def test_integers_are_those_of_the_equations(compiled):
    kinds = [type(node) for node in compiled.program.populations]
    assert kinds.count(PiecewiseLinearNeurons) == 4  # three functions and a relay
    frames = compiled.encoding(SAMPLES[:3])
    run = reference.run(compiled.program, frames, record=True)
    assert_equal(run, compiled.program, frames)
    assert any((messages < 0).any() for messages in run.messages.values())
    fast = engine.run(compiled.program, frames, record=True)
    for name, messages in run.messages.items():
        np.testing.assert_array_equal(fast.messages[name], messages)


def test_answers_are_near_those_of_onnxruntime(compiled):
    expected = session(compiled.report["model"]["path"]).run(None, {"x": SAMPLES})[0]
    found = compiled.run(SAMPLES).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 0.05 * np.ptp(expected)


def test_the_report_says_what_functions_cost(compiled):
    stages = [rung["stage"] for rung in compiled.report["ladder"]]
    assert stages[1:4] == ["folded", "activations", "rate"]
    functions = [layer for layer in compiled.report["layers"] if "lines" in layer]
    assert len(functions) == 4
    assert all(layer["function_error"] <= 0.375 for layer in functions)
    assert [layer["lines"] for layer in functions if layer["relay"]] == [1]


def test_fewer_lines_and_more_error(tmp_path):
    path = written(tmp_path, residual())
    options = {"calibrate": SAMPLES, "target": "unlimited", "emit": ()}
    few = compile_model(path, activation_segments=3, **options)
    for layer in few.report["layers"]:
        assert layer.get("lines", 0) <= 3
    assert max(layer.get("function_error", 0) for layer in few.report["layers"]) > 0.375


def test_sigma_delta_gives_each_frame_its_graded_answer(tmp_path):
    path = written(tmp_path, residual())
    options = {"calibrate": SAMPLES, "target": "unlimited", "emit": (), "rounding": "nearest"}
    options["bias_correction"] = False
    at_once = compile_model(path, coding="graded", **options)
    stream = compile_model(path, coding="sigma-delta", **options)
    assert any(isinstance(n, PiecewiseLinearDeltaNeurons) for n in stream.program.populations)
    np.testing.assert_array_equal(stream.run(SAMPLES[:9]), at_once.run(SAMPLES[:9]))


@pytest.mark.parametrize("coding", ["sync", "radix", "rate", "signed"])
def test_codings_of_rectifiers_refuse_what_is_none(tmp_path, coding):
    path = written(tmp_path, residual())
    with pytest.raises(CompileError) as caught:
        check_model(path, CompileOptions(coding=coding, target="unlimited"))
    errors = getattr(caught.value, "errors", [caught.value])
    assert [error.code for error in errors] == ["function-coding"] * 3
    assert all("graded" in error.hint for error in errors)


@pytest.mark.parametrize(
    ("expression", "corners"),
    [
        (apply("abs", X), [0]),
        (HARD_SIGMOID, [-2.5, 2.5]),
        (apply("min", apply("max", X, -1.0), 1.0), [-1, 1]),
        (apply("max", X, apply("mul", X, 0.25)), [0]),
    ],
)
def test_what_is_linear_in_pieces_is_a_sum_of_rectifiers(expression, corners):
    found = polygon(expression)
    np.testing.assert_allclose(found.corner, corners, atol=1e-3)
    assert found.error == 0
    x = RNG.normal(size=(1, 400)).astype(np.float32) * 4
    place = {"shape": (1,), "origin": check_origin()}
    function = ann.Function(id="f", inputs=("x",), expression=expression, **place)
    network = ann_network(function, place)
    values = forward(SumOfRectifiers()(network).graph, x)
    np.testing.assert_allclose(values["y"], evaluate(expression, x), atol=2e-3)
    assert not any(isinstance(n, ann.Function) for n in SumOfRectifiers()(network).graph.graph)


def check_origin():
    from snn_compile.errors import Origin

    return Origin("test")


def ann_network(function, place):
    from snn_compile.ir.graph import Graph
    from snn_compile.ir.stages import ANNGraph

    entry = ann.Input(id="x", inputs=(), **place)
    return ANNGraph(Graph([entry, function, ann.Output(id="y", inputs=("f",), **place)]))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "round", "sign", "exp"])
def test_what_is_no_sum_of_a_few_rectifiers(name):
    assert polygon(apply(name, X)) is None


def test_hard_swish_is_near():
    found = polygon(apply("mul", X, HARD_SIGMOID))
    assert 0 < found.error <= 0.05
    assert len(found.corner) <= 8


def test_a_function_that_is_not_defined_there_is_refused(tmp_path):
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w", "a"), node("Sqrt", "a", "y")]
    path = written(tmp_path, model(nodes, ("N", 2, 6, 6), {"w": real(72, 3)}, opset=NEWEST))
    check_model(path, CompileOptions(target="unlimited"))  # bounds alone say nothing
    with pytest.raises(CompileError) as caught:
        compile_model(path, calibrate=SAMPLES, target="unlimited", emit=())
    assert caught.value.code == "undefined-function"


@pytest.mark.parametrize("op", ["Mul", "Add", "Max", "PRelu", "LeakyRelu", "Neg", "Tanh"])
def test_samples_that_are_numbers(tmp_path, op):
    """(N, 3) to (N,), and constants without an axis."""
    takes_two = op in ("Mul", "Add", "Max", "PRelu")
    last = node(op, "m c" if takes_two else "m", "y")
    nodes = [node("ReduceMin", "x", "m", axes=[1], keepdims=0), last]
    constants = {"c": np.float32(0.25)} if takes_two else {}
    path = written(tmp_path, model(nodes, ("N", 3), constants))
    x = RNG.normal(size=(32, 3)).astype(np.float32)
    compiled = compile_model(path, calibrate=x, target="unlimited", emit=())
    expected = session(str(path)).run(None, {"x": x})[0]
    assert np.abs(compiled.run(x).ravel() - expected).max() <= 0.05 * np.ptp(expected)
