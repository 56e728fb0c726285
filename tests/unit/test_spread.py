"""Evaluation over workers: the same report and the same seal as in this process."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_models import ints, model, node
from recurrent_models import recurrent
from recurrent_models import samples as recurrent_samples
from snn_compile import workers
from snn_compile.errors import CompileError
from snn_compile.hil import engine, golden
from snn_compile.hil.divergence import Divergence
from snn_compile.hil.engine import Compared
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.spread import evaluation as spread
from snn_compile.pipeline.spread.verification import trace_on, verify_engine_on
from snn_compile.report import shards

EXAMPLES = "examples"
DIGITS = f"{EXAMPLES}/digits_cnn.onnx"


@pytest.fixture(scope="module")
def two():
    with workers.local(2) as found:
        yield found


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "MOST_SAMPLES", 16)


def samples(n):
    with np.load(f"{EXAMPLES}/digits_evaluate.npz") as file:
        return file["x"][:n], file["y"][:n]


def without_times(report):
    return {key: value for key, value in report.items() if key != "timing"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coding": "rate", "input": "poisson", "timesteps": 4},
        {"coding": "sigma-delta"},
    ],
    ids=["graded", "poisson", "sigma-delta"],
)
def test_workers_evaluate_as_this_process_does(two, options):
    x, y = samples(70)
    given = {"calibrate": x[:32], "evaluate": (x, y), "target": "unlimited", **options}
    here = compile_model(DIGITS, **given)
    there = compile_model(DIGITS, **given, workers=two)
    assert without_times(here.report) == without_times(there.report)
    assert here.sealed_bytes() == there.sealed_bytes()
    assert [rung["n"] for rung in here.report["ladder"]] == [70] * len(here.report["ladder"])


def several_ends() -> onnx.ModelProto:
    """Two inputs, and two outputs of which one is made by the host."""
    rng = np.random.default_rng(3)
    nodes = [
        node("MatMul", "x a", "p"), node("Relu", "p", "q"),
        node("MatMul", "z b", "r"), node("Relu", "r", "s"),
        node("Concat", "q s", "h", axis=1), node("MatMul", "h c", "y"),
        node("MatMul", "h d", "u"), node("TopK", "u k", "t i", axis=1),
    ]  # fmt: skip
    sizes = {"a": (6, 8), "b": (3, 4), "c": (12, 5), "d": (12, 4)}
    constants = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    made = model(nodes, ("N", 6), {**constants, "k": ints(2)}, "y t i")
    made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("N", 3)))
    made.graph.output[2].type.tensor_type.elem_type = TensorProto.INT64
    return made


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coding": "rate", "input": "poisson", "timesteps": 4},
        {"coding": "sigma-delta"},
        "recurrent",
    ],
    ids=["graded", "poisson", "sigma-delta", "recurrent"],
)
def test_shards_and_workers_change_nothing(options, two, tmp_path, monkeypatch):
    """Of networks with several inputs and outputs, with a tail, with a state."""
    path, rng = tmp_path / "net.onnx", np.random.default_rng(5)
    if options == "recurrent":
        options, made = {}, recurrent("GRU")
        data, y = recurrent_samples(40), None
    else:
        made, y = several_ends(), rng.integers(0, 5, 40)
        data = {"x": rng.random((40, 6), np.float32), "z": rng.random((40, 3), np.float32)}
    onnx.save(made, path)
    given = {"calibrate": data, "evaluate": (data, {"y": y} if y is not None else None)}
    given |= {"target": "unlimited", "emit": (), **options}
    there = compile_model(path, **given, workers=two)
    monkeypatch.setattr(shards, "MOST_SAMPLES", 512)
    here = compile_model(path, **given)
    assert without_times(here.report) == without_times(there.report)
    assert here.sealed_bytes() == there.sealed_bytes()
    rungs = [rung["stage"] for rung in here.report["ladder"]]
    assert ("host" in rungs) == (y is not None)


def test_workers_evaluate_a_network_trained_with_spikes(two, tmp_path):
    there = compile_model(f"{EXAMPLES}/digits_mlp.onnx", coding="rate", timesteps=4, emit=())
    there.emit("nir", tmp_path)
    (path,) = tmp_path.glob("*.nir")
    x = np.random.default_rng(0).integers(0, 2, (40, *there.encoding.shape)).astype(np.float32)
    given = {"evaluate": (x, np.arange(40) % 10), "input": "current", "emit": ()}
    here, spread_out = compile_model(path, **given), compile_model(path, **given, workers=two)
    assert without_times(here.report) == without_times(spread_out.report)
    assert here.report["ladder"]


@pytest.mark.parametrize("options", [{}, {"coding": "rate", "input": "poisson", "timesteps": 4}])
def test_workers_verify_as_this_process_does(two, options):
    x, _ = samples(21)
    compiled = compile_model(DIGITS, evaluate=(x, None), target="unlimited", **options)
    program, frames = compiled.program, compiled.encoding(x)
    wrong = frames.copy()
    wrong[13] = wrong[12]
    known = golden.by_reference(program, frames)
    compiled = replace(compiled, expected=known.potentials, golden=known.hashes)
    for given in (frames, wrong):
        there = compiled.verify_golden(given, recorded=trace_on(two, program, given))
        assert there == compiled.verify_golden(given)
        assert there.equal is (given is frames)
    assert verify_engine_on(two, program, frames) == engine.verify(program, frames)


def test_the_first_divergence_is_that_of_all_shards():
    compiled = compile_model(DIGITS, target="unlimited")
    first, other = (Divergence("relu1", 9, step, (0,), 1, 2) for step in (0, 1))
    parts = [
        Compared(("baseline", "avx2"), 8, {}, {"avx2": "messages of 'a' are miscounted"}),
        Compared(("baseline", "avx2"), 8, {"avx2": first}, {}),
        Compared(("baseline", "avx2"), 3, {"avx2": other}, {"avx2": "more", "baseline": "b"}),
    ]
    found = engine.outcome(compiled.program, parts)
    assert (found.equal, found.stimuli, found.first_divergence) == (False, 19, first)
    assert found.details == (
        f"avx2: {first}",
        "avx2: messages of 'a' are miscounted",
        "baseline: b",
    )
    assert (
        found.compared == engine.outcome(compiled.program, [replace(parts[0], stimuli=19)]).compared
    )


def test_what_a_worker_raises_ends_the_compilation(two, monkeypatch):
    x, y = samples(40)
    monkeypatch.setattr(spread, "EVALUATE", f"{spread.__name__}:nowhere")
    with pytest.raises(CompileError, match=r"job '\d' failed .*nowhere"):
        compile_model(DIGITS, evaluate=(x, y), target="unlimited", workers=two)


@pytest.mark.parametrize("shape", [(1,), (3, 32, 32), (3, 224, 224), (3, 4096, 4096), ()])
def test_shards_depend_on_the_sample_alone(shape, monkeypatch):
    monkeypatch.setattr(shards, "MOST_SAMPLES", 512)
    size = shards.shard_size(shape)
    assert 1 <= size <= 512
    assert size == 1 or 4 * size * np.prod(shape) <= shards.MOST_BYTES
    x = np.broadcast_to(np.float32(0), (2 * size + 1, *shape))
    found = list(shards.shards_of(x))
    assert [(s.start, len(s.x), len(s.before)) for s in found] == [
        (0, size, 0),
        (size, size, 1),
        (2 * size, 1, 1),
    ]
