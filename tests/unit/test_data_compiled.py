"""Networks compiled from folders, tables and containers are those compiled from an npz file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from image_sets import folder_of, network, pixels
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.errors import CompileError, UsageError
from snn_compile.ir.text import to_text
from snn_compile.samples.class_names import class_names
from snn_compile.samples.readers.drawing import drawn

RECIPE = "unit mean=0.5,0.4,0.3 std=0.2,0.25,0.3"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A network, 60 images of three classes in folders, and the same as npz, in their order."""
    root = tmp_path_factory.mktemp("sets")
    images = pixels(60)
    images[images > 250] = 250  # the pixels of calibration need not reach the ends
    labels = np.arange(60) % 3
    folder_of(root / "images", images, [("cat", "dog", "eel")[k] for k in labels])
    names = [f"{('cat', 'dog', 'eel')[label]}/{k:04d}.png" for k, label in enumerate(labels)]
    order = drawn(names, labels, 60, 0)
    x = images[order].transpose(0, 3, 1, 2)
    np.savez(root / "images.npz", x=x, y=labels[order])
    return network(root / "net.onnx"), root / "images", root / "images.npz"


def without_data(report):
    gone = ("timing", "environment", "options", "model", "warnings")
    return {key: value for key, value in report.items() if key not in gone}


def test_a_folder_gives_the_network_and_the_figures_of_an_npz_file(sets):
    model, folder, npz = sets
    options = {"calibrate": npz, "preprocess": RECIPE, "emit": ()}
    one = compile_model(model, evaluate=npz, **options)
    whole = compile_model(model, evaluate=folder, **options)
    assert to_text(whole.program) == to_text(one.program)
    assert without_data(whole.report) == without_data(one.report)
    assert class_names(whole.report) == ("cat", "dog", "eel")
    assert class_names(one.report) == ()


def test_a_layout_of_arrays_is_not_one_of_images(sets, tmp_path):
    """Arrays with channels last beside a folder: one recipe states both."""
    model, folder, npz = sets
    with np.load(npz) as file:
        np.savez(tmp_path / "last.npz", x=file["x"].transpose(0, 2, 3, 1))
    last = {"calibrate": tmp_path / "last.npz", "preprocess": f"{RECIPE} layout=nhwc", "emit": ()}
    one = compile_model(model, calibrate=npz, preprocess=RECIPE, emit=())
    whole = compile_model(model, evaluate=folder, **last)
    assert to_text(whole.program) == to_text(one.program)


def test_labels_name_as_many_classes_as_there_are(sets):
    model, _, npz = sets
    with pytest.raises(UsageError, match="names 2 classes, and the network has 3") as caught:
        compile_model(
            model, calibrate=npz, evaluate=npz, preprocess=RECIPE, labels=("a", "b"), emit=()
        )
    assert caught.value.code == "ambiguous-classes"


def test_pixels_reach_the_chip_as_they_are(sets):
    model, folder, npz = sets
    compiled = compile_model(model, calibrate=folder, preprocess=RECIPE, emit=())
    assert (compiled.encoding.unit == 1).all()
    assert (compiled.encoding.low, compiled.encoding.high) == (0, 255)
    assert (compiled.stimulus[:4] == compiled.stimulus[:4].clip(0, 255)).all()
    with np.load(npz) as file:
        x = file["x"]
    assert (compiled.encoding(x) == x).all()
    # A recipe is what its mean and std state, and nothing else.
    stated = {
        name: compiled.report["options"][name]["value"] for name in ("mean_values", "scale_values")
    }
    assert stated == {"mean_values": [127.5, 102.0, 76.5], "scale_values": [51.0, 63.75, 76.5]}


def test_a_folder_given_twice_is_split(sets):
    model, folder, _ = sets
    compiled = compile_model(
        model, calibrate=folder, evaluate=folder, preprocess=RECIPE, samples=21, emit=()
    )
    assert compiled.report["ladder"][0]["n"] == 39
    assert "evaluation-in-calibration" not in {w["code"] for w in compiled.report["warnings"]}


def test_pixels_without_a_recipe_are_refused(sets):
    model, folder, _ = sets
    with pytest.raises(UsageError, match="scale is unknown") as caught:
        compile_model(model, calibrate=folder)
    assert "--preprocess" in caught.value.hint


def test_other_numbers_of_classes_are_refused(sets, tmp_path):
    folder = folder_of(tmp_path, pixels(4), ["a", "b", "a", "b"])
    with pytest.raises(UsageError, match="names 2 classes, and the network has 3"):
        compile_model(sets[0], evaluate=folder, preprocess=RECIPE)
    compiled = compile_model(
        sets[0], evaluate=folder, preprocess=RECIPE, labels=["b", "c", "a"], emit=()
    )
    assert class_names(compiled.report) == ("b", "c", "a")


def test_missing_files_are_named_before_any_work(sets, tmp_path):
    with pytest.raises(CompileError) as caught:
        compile_model(tmp_path / "m.onnx", calibrate=tmp_path / "c", evaluate=tmp_path / "e")
    assert [str(error.origin) for error in caught.value.errors] == [
        str(tmp_path / name) for name in ("m.onnx", "c", "e")
    ]


def test_commands_read_folders_as_the_compilation_did(sets, tmp_path, monkeypatch, capsys):
    model, folder, _ = sets
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\neel\n")
    (tmp_path / "recipe.toml").write_text("mean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.25, 0.3]\n")

    def called(*words, code=0):
        assert main([*map(str, words)]) == code
        return capsys.readouterr()

    data = ("--calibrate", folder, "--evaluate", folder)
    recipe = ("--samples", 30, "--preprocess", "recipe.toml", "--labels", "names.txt")
    shown = called(model, *data, *recipe, "--no-emit", "-o", "net.snn").err
    assert "30 samples to calibrate · 30 samples to evaluate · 3 classes" in shown
    assert "receives pixels as whole numbers from 0 to 255" in shown
    for name in ("names.txt", "recipe.toml"):  # the folder has what they said
        (tmp_path / name).unlink()
    called("reproduce", "net.snn", "--model", model, *data)
    answer = json.loads(called("run", "net.snn", "--data", folder, "--json").out)
    assert answer["samples"] == 60
    kept = folder / "cat" / "0000.png"
    kept.rename(tmp_path / "kept.png")
    try:
        changed = called("reproduce", "net.snn", "--model", model, *data, code=7)
    finally:
        (tmp_path / "kept.png").rename(kept)
    assert "error[other-input]" in changed.err
