"""A reconstructed network: what is compiled is what the engine and Lava run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import lava_batch
from snn_compile import compile_model
from snn_compile.ir.text import to_text
from snn_compile.quantize.reconstruction import learning
from snn_compile.report import figures, tables
from snn_compile.report.page.layer_sections import layer_sections
from snn_compile.sim import engine, reference


@pytest.fixture(scope="module")
def compiled(examples):
    """The digits in few levels; of few steps, which change weights already."""
    options = {"coding": "sync", "timesteps": 3, "emit": ()}
    x = np.load(examples / "digits_calibrate.npz")["x"][:256]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "STEPS", 64)
        return [
            compile_model(examples / "digits_cnn.onnx", calibrate=x, rounding=rounding, **options)
            for rounding in ("compensated", "reconstructed")
        ]


def test_the_engine_is_the_reference(compiled, examples):
    before, after = (one.program for one in compiled)
    weights = [
        [node.weight.values for node in program.graph if hasattr(node, "weight")]
        for program in (before, after)
    ]
    assert any((a != b).any() for a, b in zip(*weights, strict=True))
    frames = compiled[1].encoding(np.load(examples / "digits_evaluate.npz")["x"][:40])
    fast, right = engine.run(after, frames), reference.run(after, frames)
    for name, potentials in right.outputs.items():
        assert (fast.outputs[name] == potentials).all()


def test_the_report_says_what_it_was_and_what_it_took(compiled):
    report = compiled[1].report
    assert report["options"]["rounding"]["value"] == "reconstructed"
    assert [one for one in report["timing"] if "reconstruct" in str(one)]


def test_the_report_has_errors_of_drives(compiled):
    report = compiled[1].report
    found = {one["name"]: one.get("drive_error") for one in report["layers"]}
    assert found.keys() == {"relu1", "relu2", "logits"}
    assert found["logits"]["after"] < found["logits"]["before"]
    words = {name: figures.drive_error({"drive_error": errors}) for name, errors in found.items()}
    assert words["logits"] == (
        f"{100 * found['logits']['before']:.3g} %, learned {100 * found['logits']['after']:.3g} %"
    )
    table = tables.layers(report)
    assert {row.cells[0]: row.cells[-1] for row in table.rows} == words
    for section in layer_sections(report):
        assert any(words[section.name] in text for _, text in section.figures)
    assert not any("drive_error" in one for one in compiled[0].report["layers"])
    assert tables.layers(compiled[0].report).columns == table.columns[:-1]


def test_spikes_over_time_are_warned_of(examples):
    x = np.load(examples / "digits_calibrate.npz")["x"][:64]
    options = {"coding": "signed", "timesteps": 4, "emit": (), "calibrate": x}
    alike = [
        compile_model(examples / "digits_mlp.onnx", rounding=rounding, **options)
        for rounding in ("compensated", "reconstructed")
    ]
    (warning,) = [w for w in alike[1].report["warnings"] if w["code"] == "not-reconstructed"]
    assert "--coding signed" in warning["message"]
    assert to_text(alike[0].program) == to_text(alike[1].program)


@pytest.mark.slow
def test_lava_is_equal_over_time(examples, lava_environment, tmp_path):
    """A network in rate coding whose weights were learned through spike counts."""
    x = np.load(examples / "digits_calibrate.npz")["x"][:256]
    network = compile_model(
        examples / "digits_cnn.onnx",
        calibrate=x, coding="rate", timesteps=8, rounding="reconstructed:64", emit=(),
    )  # fmt: skip
    (readout,) = network.program.readouts
    found = {one["name"]: one.get("drive_error") for one in network.report["layers"]}
    assert found[readout.id]["after"] < found[readout.id]["before"]
    equal_in_lava(network, examples, lava_environment, tmp_path)


@pytest.mark.slow
def test_lava_is_equal(compiled, examples, lava_environment, tmp_path):
    equal_in_lava(compiled[1], examples, lava_environment, tmp_path)


def equal_in_lava(network, examples, lava_environment, tmp_path):
    """Every message of two samples."""
    frames = network.encoding(np.load(examples / "digits_evaluate.npz")["x"][:2])
    case = SimpleNamespace(name="reconstructed", program=network.program, frames=frames)
    plans = lava_batch.emitted([case], tmp_path / "lava")
    ran = lava_batch.run(lava_environment, [case], plans, "sparse", tmp_path / "lava")
    expected = reference.run(network.program, frames, record=True).messages
    for name, messages in expected.items():
        np.testing.assert_array_equal(ran[case.name][name], messages, name)
