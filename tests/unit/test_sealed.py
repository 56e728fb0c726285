"""A compiled folder from a stranger: sealed as it should be, and still not taken at its word."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from mutant_kinds import Seeds, resealed
from mutants import dumped, members_of, zipped
from snn_compile import memory
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError
from snn_compile.options import CompileOptions
from snn_compile.sealed.provenance import provenance


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return Seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def copy(seeds, tmp_path):
    return shutil.copytree(seeds.folder, tmp_path / "net.snn")


def refused(folder):
    """The error of reading a folder."""
    with pytest.raises(CompileError) as caught:
        CompiledModel.load(folder)
    assert caught.value.origin
    assert caught.value.hint
    return caught.value.code, caught.value.message


def edited(folder, change):
    """Change what ``program.json`` says, and seal it again."""
    members = members_of(folder / "model.snn")
    said = json.loads(members["program.json"])
    change(said)
    members["program.json"] = dumped(said)
    (folder / "model.snn").write_bytes(zipped(resealed(members)))


def nodes(said, kind):
    return [node for node in said["program"]["nodes"] if kind in node["$type"]]


def test_a_folder_that_is_sealed_again_is_read(copy):
    edited(copy, lambda said: None)
    assert len(CompiledModel.load(copy).stimulus) == 2


CHANGES = {
    "its schema is 999": lambda said: said.update(schema=999),
    "its schema is None": lambda said: said.pop("schema"),
    "lacks 'hashes'": lambda said: said.pop("hashes"),
    "'program.json.encoding.low' is a text": lambda said: said["encoding"].update(low="0"),
    "a backend called '../lava'": lambda said: said.update(emitted=["../lava"]),
    "levels outside the input's range": lambda said: said["encoding"].update(low=-999),
    "the encoding makes": lambda said: said["encoding"].update(shape=[1, 8, 9]),
    "'maps' is [1, -8, -8]": lambda said: said["encoding"].update(maps=[1, -8, -8]),
    "matches no output": lambda said: said["decodings"].update(logits=[11]),
    "'DenseSynapses.exponent' is a text": lambda said: nodes(said, "Dense")[0].update(exponent="1"),
    "its exponent is 99999": lambda said: nodes(said, "Dense")[0].update(exponent=99999),
    "have other shapes": lambda said: nodes(said, "IF")[0].update(shape=[1 << 30, 1, 1]),
    "a number that is not finite": lambda said: nodes(said, "IF")[0].update(burst=float("nan")),
    "an integer of more than 64 bits": lambda said: nodes(said, "IF")[0].update(burst=1 << 70),
    "its burst is 0": lambda said: nodes(said, "IF")[0].update(burst=0),
    "has no 'other'": lambda said: nodes(said, "IF")[0].update(other=1),
    "a window of -4 steps": lambda said: said["program"]["window"].update(n_steps=-4),
    "describes what is no node": lambda said: said["program"]["nodes"].append(None),
    "nested more than 64 levels": lambda said: said.update(provenance="\0nested 70\0"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_entry_is_checked(copy, what):
    edited(copy, CHANGES[what])
    code, message = refused(copy)
    assert code == "unreadable-bundle"
    assert what in message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda said: said["program"]["window"].update(coding="morse"), "unknown-coding"),
        (lambda said: nodes(said, "IF")[0].update({"$type": "MorseNeurons"}), "unknown-neurons"),
    ],
)
def test_what_is_not_installed_is_missed_by_name(copy, change, code):
    """The folder is not damaged, and compiling it again would not help."""
    edited(copy, change)
    with pytest.raises(CompileError, match=r"there (is|are) no .*[Mm]orse") as caught:
        CompiledModel.load(copy)
    assert caught.value.code == code
    assert str(caught.value.origin) == str(copy / "model.snn")
    assert caught.value.hint.startswith("install the package that adds it")


def test_a_network_that_would_take_too_much_is_refused(copy, monkeypatch):
    edited(copy, lambda said: said["program"]["window"].update(n_steps=1 << 40))
    code, message = refused(copy)
    assert code == "too-large"
    assert "neurons" in message
    monkeypatch.setenv(memory.VARIABLE, "1M")
    code, message = refused(copy)
    assert code == "too-large"


@pytest.mark.parametrize(
    ("name", "arrays", "what"),
    [
        ("stimulus.npz", {"frames": np.zeros((2, 3), np.int64)}, "have the shape"),
        ("stimulus.npz", {"frames": np.zeros((2, 1, 8, 8))}, "is of type float64"),
        ("stimulus.npz", {"frames": np.full((2, 1, 8, 8), 1 << 40)}, "and the input takes"),
        ("stimulus.npz", {"frames": np.zeros((0, 1, 8, 8), np.int64)}, "have the shape"),
        ("stimulus.npz", {"other": np.zeros(1, np.int64)}, "holds no 'frames'"),
        ("expected.npz", {"nobody": np.zeros((2, 1), np.int64)}, "has nothing for output"),
        ("expected.npz", {"0": np.zeros((2, 1), np.int64)}, "has the shape (2, 1) for output"),
    ],
)
def test_golden_files_fit_the_network(copy, name, arrays, what):
    np.savez(copy / "golden" / name, **arrays)
    code, message = refused(copy)
    assert code == "unreadable-bundle"
    assert what in message


@pytest.mark.parametrize("text", ["[]", "7", '{"a": 1}', '{"a": [1]}', '{"a": "b"}', "[" * 9999])
def test_golden_hashes_are_lists_of_texts(copy, text):
    (copy / "golden" / "messages.json").write_text(text)
    assert refused(copy)[0] == "unreadable-bundle"


REPORTS = {
    "'report' is a list": lambda report: [],
    "'report.layers[0].neurons' is a text": lambda report: report["layers"][0].update(neurons="x"),
    "'report.layers[0]' lacks 'name'": lambda report: report["layers"][0].pop("name"),
    "schema is 999": lambda report: report.update(schema=999),
    "schema is None": lambda report: report.pop("schema"),
    "the report's options": lambda report: report["options"]["payload_bits"].update(value=1 << 40),
    "best epoch": lambda report: report["tune"].update(best_epoch=3),
    "time steps": lambda report: report.update(timesteps=1 << 40),
}


@pytest.mark.parametrize("what", REPORTS)
@pytest.mark.parametrize("command", ["inspect", "report"])
def test_reports_that_cannot_be_shown_are_refused(copy, what, command, capsys):
    report = json.loads((copy / "report.json").read_text())
    changed = REPORTS[what](report)
    (copy / "report.json").write_text(json.dumps(changed if changed == [] else report))
    assert main([command, str(copy)]) == 3
    err = capsys.readouterr().err
    assert "error[unreadable-bundle]" in err
    assert what in err


@pytest.mark.parametrize("command", ["inspect", "report"])
def test_reports_of_training_before_merits_were_recorded_are_shown(copy, command):
    report = json.loads((copy / "report.json").read_text())
    for epoch in report["tune"]["curve"]:
        epoch.pop("merit", None)
    (copy / "report.json").write_text(json.dumps(report))
    assert CompiledModel.load(copy).report["tune"] == report["tune"]
    assert main([command, str(copy)]) == 0


@pytest.mark.parametrize("name", ["model.snn", "report.json", "golden/stimulus.npz"])
@pytest.mark.parametrize("how", ["pipe", "link"])
def test_pipes_and_links_to_elsewhere_are_not_followed(copy, name, how, tmp_path):
    outside = tmp_path / "outside"
    (copy / name).rename(outside)
    os.mkfifo(copy / name) if how == "pipe" else (copy / name).symlink_to(outside)
    code, message = refused(copy)
    assert code in ("unreadable-bundle", "not-compiled")
    assert code == "not-compiled" or "regular" in message or "leaves the folder" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["input"].update(low=-0.5),
        lambda said: said["input"].update(seed=1 << 63, low="0"),
        lambda said: said.update(n_steps=2.0),
        lambda said: said["populations"][0].update(name=7),
        lambda said: said["populations"][0].update(state_bits="24"),
        lambda said: said["populations"][0]["synapses"][0].update(exponent=None),
        lambda said: said["populations"].append([]),
    ],
)
def test_the_networks_of_a_conformance_set_are_checked(seeds, change, tmp_path, capsys):
    folder = shutil.copytree(seeds.vectors, tmp_path / "set")
    path = folder / "single" / "network.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    index = json.loads((folder / "index.json").read_text())
    (entry,) = (e for e in index["vectors"] if e["name"] == "single")
    entry["files"]["network.json"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(index))
    assert main(["conformance", str(folder), "--check", str(seeds.theirs), "-q"]) == 3
    assert "error[unreadable-set]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x": np.full((2, 1, 8, 8), 1e38, np.float32)}, "out-of-range"),
        ({"x": np.full((2, 1, 8, 8), np.nan, np.float32)}, "not-finite"),
        ({"x": np.array([{}], object)}, "pickled-data"),
        ({"x": np.zeros(2, [("a", "i4")])}, "unreadable-data"),
        ({"z": np.zeros(3)}, "missing-key"),
    ],
)
def test_data_that_cannot_be_used(seeds, change, code, tmp_path, capsys):
    path = tmp_path / "data.npz"
    np.savez(path, **change)
    assert main(["run", str(seeds.folder), "--data", str(path), "-q"]) == 2
    err = capsys.readouterr().err
    assert f"error[{code}]" in err
    assert "Warning" not in err


def test_data_from_a_pipe_or_beyond_the_limit(seeds, tmp_path, capsys):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    assert main(["run", str(seeds.folder), "--data", str(pipe), "-q"]) == 2
    assert "not a regular file" in capsys.readouterr().err
    np.savez_compressed(tmp_path / "large.npz", x=np.zeros((1 << 14, 1, 8, 8), np.float32))
    words = ["run", str(seeds.folder), "--data", str(tmp_path / "large.npz"), "-q"]
    assert main([*words, "--max-memory", "2M"]) == 2
    err = capsys.readouterr().err
    assert "error[too-large]: member 'x.npy' takes 4 MiB, more than the 2 MiB that it may" in err
    assert "--max-memory" in err


SEALED = """
bias_correction burst coding emit equalize event_step initial_potential input input_bits
layers layout max_accuracy_drop mean_values neurons nir_dt nir_producer nir_reset
nir_reset_delay payload_bits per_layer potential_calibration reset reset_calibration
rounding scale_values seed state_bits target thresholds timesteps weight_bits
""".split()
"""The options in the first seals."""


def test_an_option_added_later_is_not_in_the_seals_of_networks_without_it(examples):
    stated = json.loads(provenance(examples / "digits_mlp.onnx", CompileOptions())["options"])
    assert sorted(stated) == SEALED
