"""Data of networks with several inputs: files, arrays by name, and each thing that can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from several_inputs import IMAGE_AND_VECTOR, THREE
from snn_compile import CompileOptions, compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError, CompileErrors, UsageError
from snn_compile.samples.named import check_named, load_named
from snn_compile.samples.outputs import OutputShapes

SHAPES = {"image": (2, 6, 6), "vector": (5,)}
X = IMAGE_AND_VECTOR.samples(6)
OUTPUTS = OutputShapes({"out": (3,)}, {})


def save(folder, **arrays):
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


def refusals(given, **settings):
    words = (given, None) if isinstance(given, dict) else (given,)
    check = check_named if isinstance(given, dict) else load_named
    with pytest.raises(CompileError) as caught:
        check(*words, SHAPES, **settings)
    errors = caught.value.errors if isinstance(caught.value, CompileErrors) else [caught.value]
    assert all(isinstance(error, UsageError) and error.hint for error in errors)
    assert all(error.origin is not None for error in errors)
    return errors


def test_a_file_has_an_array_for_each_input(tmp_path):
    path = save(tmp_path, **X, y=np.arange(6) % 3, more=np.zeros(2))
    samples = load_named(path, SHAPES, outputs=OUTPUTS)
    assert samples.x.shape == (6, 72 + 5)
    assert samples.x.dtype == np.float32
    np.testing.assert_array_equal(samples.x[:, :72], X["image"].reshape(6, -1))
    np.testing.assert_array_equal(samples.x[:, 72:], X["vector"])
    assert samples.y.tolist() == [0, 1, 2, 0, 1, 2]


def test_an_input_called_y_is_no_label(tmp_path):
    path = save(tmp_path, x=np.zeros((3, 2), "f4"), y=np.ones((3, 4), "f4"), labels=np.arange(3))
    shapes = {"x": (2,), "y": (4,)}
    samples = load_named(path, shapes, outputs=OUTPUTS, need_labels=True)
    assert samples.y.tolist() == [0, 1, 2]
    assert samples.x[0].tolist() == [0, 0, 1, 1, 1, 1]


def test_inputs_may_take_every_name_of_labels(tmp_path):
    shapes = {"y": (2,), "labels": (2,), "target": (2,), "class": (2,)}
    path = save(tmp_path, **{name: np.zeros((3, 2), "f4") for name in shapes})
    assert load_named(path, shapes, outputs=OUTPUTS).y is None


@pytest.mark.parametrize(
    ("names", "missing", "hint"),
    [
        ({"image": "Image"}, "'image'", "did you mean 'Image'?"),
        ({"image": "a", "vector": "vectors"}, "'image' and 'vector'", "did you mean 'vectors'?"),
        ({"image": "x", "vector": "z"}, "'image' and 'vector'", "name the arrays"),
    ],
)
def test_wrong_names(tmp_path, names, missing, hint):
    arrays = {names.get(name, name): values for name, values in X.items()}
    for given in (save(tmp_path, **arrays), arrays):
        error = refusals(given)[0]
        assert error.code == "missing-key"
        assert f"there is no {missing} in it" in error.message
        assert hint in error.hint


def test_an_array_for_no_input():
    (error,) = refusals({**X, "third": X["vector"]})
    assert error.code == "unknown-input"
    assert "'third'" in error.message
    assert "'image', 'vector'" in error.hint


def test_every_array_is_checked_at_once(tmp_path):
    arrays = {"image": X["image"][:, :, :5], "vector": np.full((6, 5), np.nan, "f4")}
    shape, finite = refusals(save(tmp_path, **arrays))
    assert (shape.code, finite.code) == ("wrong-shape", "not-finite")
    assert shape.message.startswith("'image' has the shape")
    assert finite.message.startswith("'vector' is not finite")


def test_numbers_of_samples_agree(tmp_path):
    (error,) = refusals(save(tmp_path, image=X["image"], vector=X["vector"][:4]))
    assert error.code == "wrong-shape"
    assert "6 of 'image', 4 of 'vector'" in error.message


def test_labels_are_checked(tmp_path):
    (error,) = refusals(save(tmp_path, **X), outputs=OUTPUTS, need_labels=True)
    assert error.code == "missing-labels"
    (error,) = refusals(save(tmp_path, **X, y=np.zeros((6, 3), int)), outputs=OUTPUTS)
    assert error.code == "bad-labels"


def test_images_may_have_their_channels_last(tmp_path):
    turned = {"image": np.moveaxis(X["image"], 1, -1), "vector": X["vector"]}
    samples = load_named(save(tmp_path, **turned), SHAPES, layout="nhwc")
    np.testing.assert_array_equal(samples.x[:, :72], X["image"].reshape(6, -1))


def test_a_single_input_may_go_by_its_name(examples, tmp_path):
    with np.load(examples / "digits_calibrate.npz") as data:
        x = data["x"][:40]
    network = examples / "digits_mlp.onnx"
    by_x = compile_model(network, calibrate=x, emit=())
    (name,) = (node.id for node in by_x.program.inputs)
    for given in ({"x": x}, {name: x}, save(tmp_path, **{name: x})):
        found = compile_model(network, calibrate=given, emit=())
        np.testing.assert_array_equal(found.run({name: x}), by_x.run(x))
        np.testing.assert_array_equal(found.run({"x": x}), by_x.run(x))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A compiled folder and its data, made by the command."""
    folder = tmp_path_factory.mktemp("several")
    x = IMAGE_AND_VECTOR.samples(80)
    labels = IMAGE_AND_VECTOR.wanted(x).argmax(axis=1)
    data = save(folder, **x, y=labels)
    model = IMAGE_AND_VECTOR.save(folder)
    words = ["--calibrate", str(data), "--evaluate", str(data), "--no-progress", "-q"]
    assert main([str(model), *words, "-o", str(folder / "out")]) == 0
    return folder / "out", data, x, labels


def test_run_reads_the_same_files(compiled, tmp_path, capsys):
    folder, data, x, labels = compiled
    out = tmp_path / "o.npz"
    assert main(["run", str(folder), "--data", str(data), "-o", str(out), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["input"] == ["image", "vector"]
    assert known["top1"] > 90
    model = CompiledModel.load(folder)
    with np.load(out) as found:
        np.testing.assert_array_equal(found["outputs"], model.run(x))
        assert (found["argmax"] == labels).mean() * 100 == known["top1"]
    wrong = save(tmp_path, image=x["image"], vektor=x["vector"])
    assert main(["run", str(folder), "--data", str(wrong)]) == 2
    assert "did you mean 'vektor'?" in capsys.readouterr().err


def test_the_report_states_each_encoding(compiled):
    folder = compiled[0]
    report = json.loads((folder / "report.json").read_text())
    image, vector = report["inputs"]
    assert (image["name"], image["shape"], image["low"]) == ("image", [2, 6, 6], 0)
    assert (vector["name"], vector["shape"], vector["coding"]) == ("vector", [5], "graded")
    assert vector["low"] < 0 < vector["high"]
    assert "<h3>Inputs</h3>" in (folder / "report.html").read_text()


def test_the_folder_is_reproduced_verified_and_shown(compiled, capsys):
    folder, data, *_ = compiled
    model = folder.parent / "net.onnx"
    words = ["--model", str(model), "--calibrate", str(data), "--evaluate", str(data), "-q"]
    assert main(["reproduce", str(folder), *words]) == 0
    assert main(["inspect", str(folder)]) == 0
    assert "inputs image 2x6x6, vector 5" in capsys.readouterr().out
    assert main(["hil", str(folder), "--device", "engine", "--data", str(data), "-q"]) == 0


def test_arrays_in_python_say_which_input_they_are(compiled, tmp_path):
    folder, _, x, _ = compiled
    model = CompiledModel.load(folder)
    with pytest.raises(UsageError, match="there is no 'vector' in it") as caught:
        model.run({"image": x["image"]})
    assert caught.value.code == "missing-key"
    with pytest.raises(UsageError, match="takes several inputs: 'x', 'y_', 'z'"):
        compile_model(THREE.save(tmp_path), calibrate=np.zeros((4, 16), "f4"), emit=())


def test_an_encoding_for_another_number_of_inputs_is_damage(compiled, tmp_path):
    model = CompiledModel.load(compiled[0])
    image, _ = model.encoding.parts
    replace(model, encoding=image).save(tmp_path / "bad")
    with pytest.raises(CompileError, match="has 1 encodings for 2 inputs"):
        CompiledModel.load(tmp_path / "bad")


@pytest.mark.parametrize(
    "values",
    [
        "image=100,120,vector=1",
        {"image": [100, 120], "vector": 1},
        [["image", [100, 120]], ["vector", [1]]],
    ],
)
def test_preprocessing_names_its_input(values):
    options = CompileOptions().override({"mean_values": values})
    assert options.mean_values == (("image", (100.0, 120.0)), ("vector", (1.0,)))


@pytest.mark.parametrize(
    "values", ["1,image=2", "=2", "image=1,image=2", "image=a", {"image": "b"}]
)
def test_preprocessing_that_names_no_input(values):
    with pytest.raises(UsageError, match="mean-values must be numbers"):
        CompileOptions().override({"mean_values": values})


def test_preprocessing_of_one_of_several_inputs(tmp_path):
    """An image as bytes beside a vector of floats: the same network as for scaled images."""
    model, x = IMAGE_AND_VECTOR, IMAGE_AND_VECTOR.samples(96)
    path = model.save(tmp_path)
    raw = {"image": np.rint(255 * x["image"]).astype(np.uint8), "vector": x["vector"]}
    given = {"scale_values": {"image": [255]}, "mean_values": {"image": [51]}}
    compiled = compile_model(path, calibrate=raw, emit=(), **given)
    image, _ = compiled.encoding.parts
    assert (image.low, image.high) == (0, 255)
    wanted = model.wanted({"image": (raw["image"] - np.float32(51)) / 255, "vector": x["vector"]})
    assert np.abs(compiled.run(raw) - wanted).max() < 0.03 * np.abs(wanted).max()
    compiled.save(tmp_path / "out")
    data = save(tmp_path, **raw)
    assert main(["run", str(tmp_path / "out"), "--data", str(data)]) == 0
    with pytest.raises(UsageError, match="'vector' has the type int64, but its scale is unknown"):
        compile_model(path, calibrate={**raw, "vector": np.ones((96, 5), int)}, emit=(), **given)


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ((0.5,), "bad-option", "mean-values do not say of which input: image, vector"),
        ({"picture": [1]}, "unknown-input", "mean-values name 'picture', which is no input"),
        ({"image": [1, 2, 3]}, "bad-option", "has 3 values for 2 channels of 'image'"),
    ],
)
def test_preprocessing_that_fits_no_input(values, code, words, tmp_path):
    with pytest.raises(UsageError, match=words) as caught:
        compile_model(IMAGE_AND_VECTOR.save(tmp_path), mean_values=values, emit=())
    assert caught.value.code == code
    assert caught.value.hint


def test_a_shift_of_one_input_is_said_of_it(tmp_path):
    x, other = IMAGE_AND_VECTOR.samples(300), IMAGE_AND_VECTOR.samples(300, seed=1)
    other["vector"] = other["vector"] + 5
    compiled = compile_model(
        IMAGE_AND_VECTOR.save(tmp_path), calibrate=x, evaluate=(other, None), emit=()
    )
    (warning,) = [w for w in compiled.report["warnings"] if w["code"] == "distribution-shift"]
    assert warning["message"].startswith(
        "input 'vector': calibration and evaluation samples differ"
    )
