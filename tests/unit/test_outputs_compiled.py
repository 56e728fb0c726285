"""Networks with several outputs, maps and real values: their figures, computed here once more."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np
import pytest
from rich.console import Console

from output_networks import hosted, regressor, run_onnx, segmenter, two_heads, uniform
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import AccuracyError, CompileError, UnsupportedError, UsageError
from snn_compile.quantize.choose_equalization import least_error_of
from snn_compile.report import html, schema, terminal
from snn_compile.sim.ann import evaluate_outputs
from snn_frontends.onnx import OnnxFrontend


def noisy(values, share=0.1):
    """Targets around values: none of the figures is then trivial."""
    return values + np.random.default_rng(7).normal(size=values.shape, scale=share * values.std())


def some_wrong(labels):
    """Labels, a tenth of which are those of the class 0."""
    kept = np.random.default_rng(7).uniform(size=labels.shape) < 0.9
    return np.where(kept, labels, 0)


def compiled_heads(folder, **options):
    path, x = two_heads(folder), uniform(120, 8)
    onnx = run_onnx(path, x)
    labels = {"policy": some_wrong(onnx["policy"].argmax(1)), "y_value": noisy(onnx["value"])}
    evaluate = (x, labels)
    return compile_model(path, calibrate=x, evaluate=evaluate, emit=(), **options), x, onnx, labels


def rungs(compiled):
    return {rung["stage"]: rung for rung in compiled.report["ladder"]}


def printed(report):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal.summary(report))
    return capture.get()


def mse(one, other):
    return float(np.mean((one.astype(np.float64) - other) ** 2))


def r2(found, wanted):
    wanted = wanted.astype(np.float64)
    variance = ((wanted - wanted.mean(axis=0)) ** 2).sum()
    return 1 - ((found - wanted) ** 2).sum() / variance


@pytest.mark.parametrize("options", [{}, {"coding": "rate", "timesteps": 8}])
def test_two_heads(tmp_path, options):
    compiled, x, onnx, labels = compiled_heads(tmp_path, **options)
    found = compiled.run(x)
    assert {name: values.shape for name, values in found.items()} == {
        "policy": (120, 4),
        "value": (120, 1),
    }
    ladder = rungs(compiled)
    policy, value = ladder["fixed"]["outputs"]
    classes = found["policy"].argmax(1)
    top1 = 100 * (classes == labels["policy"]).mean()
    assert policy == {
        "name": "policy",
        "kind": "classes",
        "top1": pytest.approx(top1, abs=1e-4),
        "agreement": pytest.approx(100 * (classes == onnx["policy"].argmax(1)).mean(), abs=1e-4),
    }
    assert value == {
        "name": "value",
        "kind": "regression",
        "mse": pytest.approx(mse(found["value"], labels["y_value"])),
        "r2": pytest.approx(r2(found["value"], labels["y_value"])),
        "mse_onnx": pytest.approx(mse(found["value"], onnx["value"])),
        "r2_onnx": pytest.approx(r2(found["value"], onnx["value"])),
    }
    assert 0 < value["mse_onnx"] < 0.01
    assert ladder["fixed"]["top1"] == policy["top1"]  # of the first output with classes
    assert ladder["onnx"]["outputs"][1]["mse_onnx"] == 0
    assert [rung["outputs"] for rung in (ladder["mapped"],)] == [ladder["fixed"]["outputs"]]
    assert not schema.complaint(json.loads(schema.dumps(compiled.report)))


def test_segmentation(tmp_path):
    path, x = segmenter(tmp_path), uniform(30, 2, 8, 8)
    onnx = run_onnx(path, x)["map"].argmax(1)
    y = some_wrong(onnx)
    compiled = compile_model(path, calibrate=x, evaluate=(x, y), emit=(), weight_bits=5)
    found = compiled.run(x).argmax(1)
    (fixed,) = rungs(compiled)["fixed"]["outputs"]
    both = [((found == c) & (y == c)).sum() for c in range(3)]
    either = [((found == c) | (y == c)).sum() for c in range(3)]
    assert fixed == {
        "name": "map",
        "kind": "segmentation",
        "of": "pixels",
        "pixel_accuracy": pytest.approx(100 * (found == y).mean(), abs=1e-4),
        "mean_iou": pytest.approx(100 * np.mean(np.divide(both, either)), abs=1e-4),
        "agreement": pytest.approx(100 * (found == onnx).mean(), abs=1e-4),
    }
    assert fixed["agreement"] < 100
    assert rungs(compiled)["fixed"]["top1"] is None
    assert rungs(compiled)["fixed"]["agreement"] is None


def test_regression_without_targets(tmp_path):
    path, x = regressor(tmp_path), uniform(60, 8)
    compiled = compile_model(
        path, calibrate=x, evaluate=(x, None), emit=(), output_kind=("regression",)
    )
    (fixed,) = rungs(compiled)["fixed"]["outputs"]
    assert (fixed["mse"], fixed["r2"]) == (None, None)
    assert fixed["mse_onnx"] == pytest.approx(mse(compiled.run(x), run_onnx(path, x)["y"]))
    said = printed(compiled.report)
    assert "error         onnx" in said
    assert f"mse {fixed['mse_onnx']:.3g}" in said
    assert "accuracy" not in said.split("costliest")[0]
    assert "agreement" not in said


def test_a_single_output_with_classes_has_no_more_keys_than_ever(tmp_path):
    path, x = regressor(tmp_path), uniform(60, 8)
    y = run_onnx(path, x)["y"].argmax(1)
    compiled = compile_model(path, calibrate=x, evaluate=(x, y), emit=())
    assert set(rungs(compiled)["fixed"]) == {"stage", "top1", "agreement", "n"}
    assert isinstance(compiled.run(x), np.ndarray)


def test_an_output_that_other_layers_read(tmp_path):
    path, x = segmenter(tmp_path, outputs="map features"), uniform(20, 2, 8, 8)
    onnx = run_onnx(path, x)
    compiled = compile_model(path, calibrate=x, evaluate=(x, None), emit=())
    found = compiled.run(x)
    assert list(found) == ["map", "features"]
    features = rungs(compiled)["fixed"]["outputs"][1]
    assert features["kind"] == "segmentation"  # six channels: by its shape
    equal = found["features"].argmax(1) == onnx["features"].argmax(1)
    assert features["agreement"] == pytest.approx(100 * equal.mean(), abs=1e-4)
    np.testing.assert_allclose(found["features"], onnx["features"], atol=0.05)


def test_outputs_keep_their_order_in_the_folder(tmp_path):
    path = segmenter(tmp_path, outputs="map features")
    compiled = compile_model(path, calibrate=uniform(5, 2, 8, 8), emit=())
    compiled.save(tmp_path / "net.snn")
    again = CompiledModel.load(tmp_path / "net.snn")
    assert list(again.decodings) == list(compiled.decodings)  # sorted, features came first
    assert list(again.output_names.values()) == ["map", "features"]


def test_the_page_and_the_terminal_show_every_output(tmp_path):
    compiled, *_ = compiled_heads(tmp_path)
    report = json.loads(schema.dumps(compiled.report))
    _, value = rungs(compiled)["fixed"]["outputs"]
    said, page = printed(report), html.render(report)
    for name, kind in (("policy", "classes"), ("value", "regression")):
        assert f"output        {name} ({kind})" in said
        assert f'{name} <span class="soft">{kind}</span>' in page
    figures = f"mse {value['mse']:.3g} · R² {value['r2']:.4f}"
    assert figures in said
    assert figures in page
    assert "arg-max equal to the ONNX model" in said
    drawn = page.split('class="scatter"')[1].split("</svg>")[0]
    assert drawn.count("<circle") == 120
    assert page.count("<script") == page.count(html.SCRIPT) == 1


def test_outputs_of_the_file_have_ladders_of_their_own(tmp_path):
    path, x = hosted(tmp_path), uniform(60, 8)
    onnx = run_onnx(path, x)
    labels = {"policy": some_wrong(onnx["policy"].argmax(1)), "value": noisy(onnx["value"])}
    compiled = compile_model(path, calibrate=x, evaluate=(x, labels), emit=())
    report = json.loads(schema.dumps(compiled.report))
    assert not schema.complaint(report)
    policy, _ = rungs(compiled)["host"]["outputs"]
    said, page = printed(report), html.render(report)
    own, file = said.split("output        policy (classes, its tail on the host)")
    assert "output        value (regression)" in own
    assert "output        p (classes)" in own
    assert f"host  {policy['top1']:.2f} %" in file
    assert "output        value" not in file  # it is the network's own
    assert 'policy <span class="soft">classes, tail on the host</span>' in page
    assert page.count("<em>the&nbsp;answer</em>") == 2


def test_stages_of_other_outputs_are_no_report(tmp_path):
    report = json.loads(schema.dumps(compiled_heads(tmp_path)[0].report))
    report["ladder"][2]["outputs"].pop()
    assert schema.complaint(report) == "the stages are of different outputs"
    for rung in report["ladder"]:
        rung["outputs"] = rung["outputs"][:1]
    assert schema.complaint(report) == "the stages are of other outputs than the report"


def test_maps_are_drawn_as_small_images(tmp_path):
    path, x = segmenter(tmp_path), uniform(5, 2, 8, 8)
    compiled = compile_model(path, calibrate=x, evaluate=(x, None), emit=(), weight_bits=3)
    (output,) = compiled.report["outputs"]
    assert [sample["sample"] for sample in output["samples"]] == [0, 1, 2]
    found, onnx = compiled.run(x).argmax(1), run_onnx(path, x)["map"].argmax(1)
    for index, sample in enumerate(output["samples"]):
        white = pixels(sample["difference"]) == 255
        assert np.array_equal(white, found[index] != onnx[index])
        assert sample["differing"] == white.sum()
    assert any(sample["differing"] for sample in output["samples"])
    page = html.render(compiled.report)
    assert page.count('<img src="data:image/png;base64,') == 12
    assert len(page) < 60_000


def pixels(uri):
    """The bytes of a grey PNG whose rows are not filtered."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))
    start = content.index(b"IDAT")
    size = int.from_bytes(content[start - 4 : start])
    rows = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + size]), np.uint8)
    return rows.reshape(height, width + 1)[:, 1:]


def test_a_strangers_images_are_images():
    report = {"schema": 1, "outputs": [{"name": "y", "layer": "y", "kind": "x", "shape": [1]}]}
    sample = dict.fromkeys(("onnx", "fixed", "difference"), "data:image/png;base64,AAAA")
    report["outputs"][0]["samples"] = [{"sample": 0, **sample}]
    assert not schema.complaint(report)
    report["outputs"][0]["samples"][0]["fixed"] = "https://example.org/x.png"
    assert schema.complaint(report) == "output 'y' has an image that is no PNG"


def test_run_writes_each_output_under_its_name(tmp_path, capsys):
    compiled, x, _, labels = compiled_heads(tmp_path)
    compiled.save(tmp_path / "net.snn")
    np.savez(tmp_path / "data.npz", x=x, y_policy=labels["policy"], value=labels["y_value"])
    command = ["run", str(tmp_path / "net.snn"), "--data", str(tmp_path / "data.npz"), "--json"]
    assert main([*command, "-o", str(tmp_path / "out.npz")]) == 0
    said = json.loads(capsys.readouterr().out)
    expected, arrays = compiled.run(x), np.load(tmp_path / "out.npz")
    for name in ("policy", "value"):
        assert np.array_equal(arrays[name], expected[name])
        assert np.array_equal(arrays[f"outputs/{name}"], expected[name])
    assert np.array_equal(arrays["outputs"], expected["policy"])
    assert np.array_equal(arrays["argmax"], expected["policy"].argmax(1))
    fixed = rungs(compiled)["fixed"]["outputs"]
    assert said["top1"] == pytest.approx(fixed[0]["top1"], abs=1e-4)
    # Summed piece by piece: the last bits may differ.
    assert said["outputs"][1]["mse"] == pytest.approx(fixed[1]["mse"], rel=1e-12)
    assert "mse_onnx" not in said["outputs"][1]
    again = CompiledModel.load(tmp_path / "net.snn")
    assert np.array_equal(again.run(x)["value"], expected["value"])


def test_a_limit_holds_for_every_output(tmp_path):
    from snn_compile.report.limits import accuracy

    compiled, *_ = compiled_heads(tmp_path, weight_bits=2)
    first, fixed = (rungs(compiled)[stage]["outputs"][1]["r2"] for stage in ("onnx", "fixed"))
    lost = 100 * (first - fixed)
    assert lost > 1
    assert not accuracy(compiled.report, 1000.0, "net.onnx")
    errors = accuracy(compiled.report, lost - 0.01, "net.onnx")
    said = [error for error in errors if "'value'" in error.message]
    assert isinstance(said[0], AccuracyError)
    assert said[0].message.startswith("100 R² of 'value' fell from")
    assert f"by {lost:.2f} points" in said[0].message


def test_a_search_goes_by_the_error_where_there_are_no_classes(tmp_path):
    path, x = regressor(tmp_path), uniform(60, 8)
    y = noisy(run_onnx(path, x)["y"])
    given = {"calibrate": x, "evaluate": (x, y), "emit": (), "payload_bits": "auto"}
    bits = []
    for points in (20.0, 0.5):
        compiled = compile_model(path, max_accuracy_drop=points, **given)
        bits.append(compiled.report["options"]["payload_bits"]["value"])
        ladder = rungs(compiled)
        onnx, fixed = (ladder[stage]["outputs"][0]["r2"] for stage in ("onnx", "fixed"))
        assert 100 * (onnx - fixed) <= points + 1e-3
    assert bits[0] < bits[1]


def test_equalization_is_chosen_by_all_outputs(tmp_path):
    path, x = two_heads(tmp_path), uniform(60, 8)
    network = OnnxFrontend().read(path).ann

    def compiled(mode, seen):
        del seen
        share = {"first alone": (0.0, 0.5), "both": (0.1, 0.1)}[mode]

        def outputs(new):
            pairs = zip(evaluate_outputs(network, new), share, strict=True)
            return [values + part * values.std(axis=0) for values, part in pairs]

        return outputs

    mode, finding = least_error_of(["first alone", "both"], compiled, network, x)
    assert mode == "both"
    errors = re.findall(r"(?:alone|both) ([\d.]+)", finding.message.partition(":")[2])
    assert [float(error) for error in errors] == pytest.approx([0.125, 0.01], rel=0.05)


@pytest.mark.parametrize(
    ("last", "kind", "figure", "better"),
    [("ArgMax", "classes", "agreement", 95.0), ("Softmax", "regression", "r2_onnx", 0.99)],
)
def test_what_the_import_leaves_off_is_not_compared(tmp_path, last, kind, figure, better):
    """onnxruntime gives a class for each sample, and probabilities; the network logits."""
    path, x = regressor(tmp_path, last), uniform(60, 8)
    asked = {"output_kind": (kind,)}
    compiled = compile_model(path, calibrate=x, evaluate=(x, None), emit=(), **asked)
    fixed = rungs(compiled)["fixed"]
    assert better < fixed.get("outputs", [fixed])[0][figure] <= 100
    assert "note" not in rungs(compiled)["onnx"]


def test_labels_without_an_output_are_refused_together(tmp_path):
    path, x = two_heads(tmp_path), uniform(20, 8)
    labels = {"y_polcy": np.zeros(20, int), "y_value": np.zeros((20, 3))}
    with pytest.raises(CompileError) as raised:
        compile_model(path, calibrate=x, evaluate=(x, labels), emit=())
    first, second = raised.value.errors
    assert (first.code, first.hint) == ("bad-labels", "did you mean y_policy?")
    assert second.code == "bad-labels"
    with pytest.raises(UsageError, match="names the output 'valve'") as unknown:
        compile_model(path, evaluate=(x, None), emit=(), output_kind=("valve=regression",))
    assert (unknown.value.code, unknown.value.hint) == ("unknown-output", "did you mean value?")


def test_labels_of_calibration_data_are_not_read(tmp_path):
    path, x = two_heads(tmp_path), uniform(20, 8)
    np.savez(tmp_path / "calibrate.npz", x=x, y=np.zeros((20, 7)), y_polcy=np.full(20, 9))
    compile_model(path, calibrate=tmp_path / "calibrate.npz", emit=())
    with pytest.raises(CompileError, match="labels no output"):
        compile_model(path, evaluate=tmp_path / "calibrate.npz", emit=())


def test_a_kind_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UsageError, match="output-kind cannot be") as raised:
        compile_model(two_heads(tmp_path), emit=(), output_kind=("value=regresion",))
    assert raised.value.hint == "use NAME=KIND with classes, regression, segmentation"


def test_tuning_refuses_what_has_no_classes(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (extra: tune)")
    from snn_compile.tune import tune_model

    x = uniform(20, 8)
    several, single = two_heads(tmp_path), regressor(tmp_path)
    with pytest.raises(UnsupportedError, match="there are 2: policy, value") as raised:
        tune_model(several, (x, np.zeros(20, int)))
    assert raised.value.code == "tune-output"
    with pytest.raises(UnsupportedError, match="the labels are of regression") as raised:
        tune_model(single, (x, x[:, :2]))
    assert raised.value.code == "tune-output"
