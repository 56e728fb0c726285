"""Folders of images wherever a command takes data: run, verify, hil, tune and its table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from image_sets import folder_of, network, pixels
from snn_compile.cli import main

LABELS = ["a", "b", "c"] * 16


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, a folder of images and the same images in an npz file, compiled with both."""
    root = tmp_path_factory.mktemp("folders")
    images = pixels(len(LABELS))
    model = network(root / "net.onnx")
    folder_of(root / "set", images, LABELS)
    order = np.argsort(LABELS, kind="stable")
    x, y = images[order].transpose(0, 3, 1, 2), np.sort([ord(name) - ord("a") for name in LABELS])
    np.savez(root / "set.npz", x=x, y=y)
    line = [model, "--calibrate", root / "set.npz", "--preprocess", "unit", "--no-emit", "-q"]
    assert main([*map(str, [*line, "-o", root / "net.snn"])]) == 0
    return root


def answer(capsys, *line):
    capsys.readouterr()
    assert main([*map(str, line)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        ("run", "net.snn", "--json", "--data"),
        ("verify", "net.snn", "--json", "--data"),
        ("hil", "net.snn", "--device", "reference", "--json", "--data"),
    ],
    ids=lambda line: line[0],
)
def test_a_folder_says_what_its_images_in_a_file_say(place, capsys, monkeypatch, line):
    monkeypatch.chdir(place)
    folder, file = (json.loads(answer(capsys, *line, data)) for data in ("set", "set.npz"))
    if line[0] == "run":  # the classes of a folder have names
        assert [one.pop("name") for one in folder["outputs"][0]["classes"]] == ["a", "b", "c"]
    assert folder == file


@pytest.mark.slow
def test_networks_are_tuned_on_folders(place, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(place)
    line = ["tune", "net.onnx", "--calibrate", "set", "--evaluate", "set", "--preprocess", "unit"]
    line += [
        "--coding",
        "sync",
        "--epochs",
        "1",
        "--batch-size",
        "16",
        "--no-emit",
        "-q",
        "--table",
    ]
    tables = [
        answer(capsys, *line, "--table", "2", "--train", data, "-o", f"table-{data}")
        for data in ("set", "set.npz")
    ]
    assert tables[0] == tables[1]
    assert tables[0].count("%") >= 2
    found = answer(
        capsys, "tune", "net.snn", "--train", "set", "--epochs", "1", "-q", "-o", "t.snn"
    )
    assert "48 samples" in found or "43 samples" in found
