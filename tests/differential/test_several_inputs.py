"""Networks with several inputs against onnxruntime, through all codings, and in Lava."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine_equality import assert_equal
from several_inputs import IMAGE_AND_VECTOR, MODELS, SHARED_AND_LATE, THREE, Model
from snn_backends.lava import LavaBackend
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.mapping import map_program
from snn_compile.mapping.cost.events import events
from snn_compile.options import CompileOptions
from snn_compile.sim import ann, reference
from snn_compile.targets import load_target
from snn_frontends.onnx import OnnxFrontend

CODINGS = {
    "graded": {"coding": "graded"},
    "rate": {"coding": "rate", "timesteps": 16},
    "poisson": {"coding": "rate", "timesteps": 16, "input": "poisson"},
    "sync": {"coding": "sync", "timesteps": 15},
    "signed": {"coding": "signed", "timesteps": 16},
    "sigma-delta": {"coding": "sigma-delta"},
    "radix": {"coding": "radix", "timesteps": 6},
}
EXACT = ("graded", "sigma-delta")


@pytest.mark.parametrize("name", MODELS)
def test_the_import_computes_what_onnxruntime_does(name, tmp_path):
    model, x = MODELS[name], MODELS[name].samples()
    network = OnnxFrontend().read(model.save(tmp_path)).ann
    assert [(node.id, node.shape) for node in network.inputs] == list(model.inputs.items())
    found = ann.evaluate(network, network.inputs.join(x))
    np.testing.assert_allclose(found, model.wanted(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_graded_integers_are_close_to_onnxruntime(name, tmp_path):
    model, x = MODELS[name], MODELS[name].samples(200)
    wanted = model.wanted(x)
    compiled = compile_model(
        model.save(tmp_path), calibrate=x, evaluate=(x, wanted.argmax(axis=1)), emit=()
    )
    error = np.abs(compiled.run(x) - wanted).max()
    assert 0 < error < 0.03 * np.abs(wanted).max()
    first, *_, last = compiled.report["ladder"]
    assert (first["agreement"], first["top1"]) == (100, 100)
    assert ("note" in first) == (model.batch == "N"), "onnxruntime runs what takes batches"
    assert last["agreement"] > 95
    frames = compiled.encoding(compiled._samples(x))
    assert_equal(compiled.program, frames[:8], name)


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding(coding, tmp_path):
    model, x = IMAGE_AND_VECTOR, IMAGE_AND_VECTOR.samples(96)
    wanted = model.wanted(x)
    path = model.save(tmp_path)
    compiled = compile_model(path, calibrate=x, emit=(), **CODINGS[coding])
    answers = compiled.run(x)
    assert (answers.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.85
    frames = compiled.encoding(compiled._samples(x))
    assert_equal(compiled.program, frames[:6], coding)
    compiled.save(tmp_path / "out")
    again = CompiledModel.load(tmp_path / "out")
    np.testing.assert_array_equal(again.run(x), answers)
    assert [part.shape for part in again.encoding.parts] == [(2, 6, 6), (5,)]
    np.testing.assert_array_equal(again.encoding.unit, compiled.encoding.unit)


def test_each_input_has_the_range_of_its_own_samples(tmp_path):
    """A vector a thousand times as large as the image does not cost the image its levels."""
    model, x = IMAGE_AND_VECTOR, IMAGE_AND_VECTOR.samples()
    x["vector"] = 1000 * x["vector"]
    compiled = compile_model(model.save(tmp_path), calibrate=x, emit=())
    image, vector = compiled.encoding.parts
    assert vector.unit.max() > 500 * image.unit.max()
    rounded = compiled.encoding(compiled._samples(x)) * compiled.encoding.unit
    parts = compiled.program.inputs.split(rounded)
    assert np.abs(parts["image"] - x["image"]).max() <= image.unit.max()
    assert np.abs(parts["vector"][..., 0, 0] - x["vector"]).max() <= vector.unit.max()


def test_compiled_poisson_inputs_have_generators_of_their_own(tmp_path):
    """The same values of two inputs are different spikes; those of the first are as if alone."""
    options = {**CODINGS["poisson"], "seed": 7, "emit": ()}
    program = compile_model(THREE.save(tmp_path), calibrate=THREE.samples(), **options).program
    assert [node.seed for node in program.inputs] == [7, 8, 9]
    first, second, _ = program.inputs
    equal = {node.id: np.full((4, *node.shape), node.high // 2) for node in program.inputs}
    sent = reference.Simulator(program).encode_inputs(program.inputs.join(equal))
    assert first.shape == second.shape
    assert (np.abs(sent[first.id]) != np.abs(sent[second.id])).any()


def test_the_host_sends_the_values_of_every_input(tmp_path):
    """What the host's link carries is the sum over the inputs: each value once, none of others."""
    model, x = SHARED_AND_LATE, SHARED_AND_LATE.samples(80)
    compiled = compile_model(model.save(tmp_path), calibrate=x, emit=())
    mapped = map_program(compiled.program, load_target("loihi2")).graph
    sent = {node.id: np.ones(node.shape) for node in compiled.program.inputs}
    found = events(mapped, sent)
    assert found.input_values == 3 + 7
    without_b = events(mapped, {"a": sent["a"]})
    assert 0 < without_b.input_messages < found.input_messages


def test_without_data_every_input_goes_from_0_to_1(tmp_path):
    compiled = compile_model(SHARED_AND_LATE.save(tmp_path), emit=())
    assert [(part.low, part.high) for part in compiled.encoding.parts] == [(0, 255)] * 2


def test_an_input_that_feeds_the_last_layer_only_is_sent_late(tmp_path):
    model, x = SHARED_AND_LATE, SHARED_AND_LATE.samples(64)
    compiled = compile_model(model.save(tmp_path), calibrate=x, emit=())
    program = compiled.program
    (readout,) = program.readouts
    reads = {group.inputs[0] for group in program.synapses_into(readout)}
    assert "a" in reads
    assert program.depth[readout.id] > 1
    other = {**x, "a": x["a"][::-1]}
    assert (compiled.run(x) != compiled.run(other)).any()


def test_an_unused_input_is_removed(tmp_path):
    nodes = [n for n in IMAGE_AND_VECTOR.nodes if n.name != "never"]
    inputs = {"mask": (4,), **IMAGE_AND_VECTOR.inputs}
    types = {"mask": onnx.TensorProto.INT64}
    model = Model(nodes, inputs, IMAGE_AND_VECTOR.constants, types=types)
    imported = OnnxFrontend().read(model.save(tmp_path))
    assert [node.id for node in imported.ann.inputs] == ["image", "vector"]
    (finding,) = [f for f in imported.findings if f.code == "unused-input"]
    assert finding.origin.node == "mask"


def test_onnxruntime_is_fed_by_name(tmp_path):
    """The file's order of inputs and that of a sample may differ; unused ones get zeros."""
    path, x = THREE.save(tmp_path), THREE.samples(70)
    runtime = OnnxFrontend().source_runtime_with(path, CompileOptions(), ["z", "x", "y_"])
    packed = np.concatenate([x["z"], x["x"], x["y_"]], axis=1)
    np.testing.assert_allclose(runtime(packed), THREE.wanted(x), rtol=1e-5, atol=1e-6)
    assert OnnxFrontend().source_runtime_with(path, CompileOptions(), ["z", "missing"]) is None
    assert OnnxFrontend().source_runtime(path) is None


@pytest.mark.slow  # a conformance vector with two inputs runs in Lava
@pytest.mark.lava
@pytest.mark.usefixtures("lava_environment")
def test_lava_computes_the_same(tmp_path):
    """An image and a vector, as Poisson spikes of generators of their own."""
    model, x = IMAGE_AND_VECTOR, IMAGE_AND_VECTOR.samples(32)
    compiled = compile_model(model.save(tmp_path), calibrate=x, emit=(), **CODINGS["poisson"])
    program, folder = compiled.program, tmp_path / "lava"
    folder.mkdir()
    LavaBackend().emit(program, folder, options={})
    assert (folder / "layers.py").is_file()
    frames = compiled.encoding(compiled._samples(x))[:4]
    found = LavaBackend().verify(program, folder, frames, time_limit=600)
    assert found.equal, found.details
    per_stimulus = sum(np.prod(p.shape) for p in program.populations) * program.window.n_steps
    assert found.compared >= len(frames) * per_stimulus
