"""What commit 7590587 wrote is still read, and said to be older; README.md says how it was made."""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError
from snn_compile.options.config_file import read_toml

ARCHIVE = Path(__file__).with_name("7590587.tar.xz")
FOLDERS = ("graded", "rate", "zero", "sync", "radix", "sigma-delta", "signed", "nir")
EMITTED = {"rate": ("nir",), "zero": ("netx",)}
"""What else lies in a folder, and can be verified without an environment."""
NOT_COMPUTED = "nir"
"""The engine has no such neurons."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with lzma.open(ARCHIVE) as stream, tarfile.open(fileobj=stream) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old(unpacked, tmp_path):
    return shutil.copytree(unpacked, tmp_path / "old")


def test_old_folders_are_compared(old, capsys):
    line = ["compare", str(old / "graded"), str(old / "rate"), "--json"]
    assert main(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["networks"]] == ["graded", "rate"]
    assert "coding" in [option["name"] for option in found["options"]]
    assert all(None not in figure["values"] for figure in found["figures"])


def schema_of(folder):
    with zipfile.ZipFile(folder / "model.snn") as archive:
        return json.loads(archive.read("program.json"))["schema"]


def said_once(capsys):
    """What a command printed, and that it was told once that the folder is older."""
    out, err = capsys.readouterr()
    assert err.count("warning[older-folder]") == 1
    assert "schema 1" in err
    return out


@pytest.mark.parametrize("name", FOLDERS)
def test_every_command_reads_an_old_folder(old, name, capsys):
    folder = str(old / name)
    assert schema_of(old / name) == 1
    assert main(["inspect", folder]) == 0
    assert "target loihi2" in said_once(capsys)
    assert main(["report", folder, "--json"]) == 0
    assert json.loads(said_once(capsys))["schema"] == 1
    against = ",".join(["golden", "engine", *EMITTED.get(name, ())])
    assert main(["verify", folder, "--against", against, "--json", "-q"]) == 0
    outcomes = json.loads(said_once(capsys))
    assert [outcome["against"] for outcome in outcomes] == against.split(",")
    assert [outcome["equal"] for outcome in outcomes] == [
        None if name == NOT_COMPUTED and outcome["against"] == "engine" else True
        for outcome in outcomes
    ]


def test_a_device_runs_an_old_folder(old, capsys):
    assert main(["hil", str(old / "nir"), "--device", "reference", "--stimuli", "3", "-q"]) == 0
    assert "equal, bit for bit" in said_once(capsys)


def test_an_old_folder_runs(old, tmp_path, capsys):
    data, out = str(old / "small.npz"), tmp_path / "out.npz"
    assert main(["run", str(old / "rate"), "--data", data, "-o", str(out), "-q"]) == 0
    said_once(capsys)
    x = np.load(data)["x"]
    with np.load(out) as written:
        assert np.array_equal(next(iter(written.values())), CompiledModel.load(old / "rate").run(x))


def test_what_an_old_seal_leaves_out_is_not_made_up(old, capsys):
    compiled = CompiledModel.load(old / "rate")
    assert compiled.backends == ()
    assert "options" not in compiled.provenance
    assert main(["reproduce", str(old / "rate")]) == 3
    assert "options" in capsys.readouterr().err


def test_an_old_folder_that_is_saved_is_of_the_present_schema(old, tmp_path):
    compiled = CompiledModel.load(old / "radix")
    compiled.save(tmp_path / "new")
    again = CompiledModel.load(tmp_path / "new")
    assert (schema_of(tmp_path / "new"), again.findings) == (2, ())
    assert np.array_equal(again.stimulus, compiled.stimulus)
    assert again.golden == compiled.golden


def test_an_old_seal_is_checked(old):
    path = old / "graded" / "model.snn"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["program.json"] += b" "
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CompileError) as caught:
        CompiledModel.load(old / "graded")
    assert caught.value.code == "seal-broken"


def test_an_old_trace_is_of_an_old_folder(old, capsys):
    folder, trace = str(old / "rate"), str(old / "rate.trace.npz")
    assert main(["hil", folder, "--replay", trace, "-q"]) == 0
    assert "20 stimuli" in said_once(capsys)
    assert main(["diff", folder, trace]) == 0
    said_once(capsys)
    assert main(["hil", str(old / "sync"), "--replay", trace, "-q"]) == 2
    assert "error[other-network]" in capsys.readouterr().err


def test_an_old_conformance_set_is_checked(old, capsys):
    assert main(["conformance", str(old / "set"), "--device", "engine", "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in rows["vectors"]] == ["equal", "equal"]


def test_an_old_configuration_is_read(old, capsys):
    model, out = str(old / "small.onnx"), old / "again"
    assert main([model, "--coding", "rate", "-T", "4", "-o", str(out), "-q"]) == 0
    said = read_toml(old / "small.toml")
    options = CompiledModel.load(out).report["options"]
    assert {options[key]["origin"].rpartition(":")[2] for key in said} == set(said)
    assert options["weight_bits"]["value"] == said["weight_bits"]


def test_an_old_folder_is_tuned(old, tmp_path, capsys):
    pytest.importorskip("torch")
    data, out = str(old / "small.npz"), tmp_path / "tuned"
    command = ["tune", str(old / "rate"), "--train", data, "--epochs", "1", "-o", str(out), "-q"]
    assert main(command) == 0
    said_once(capsys)
    assert main(["verify", str(out), "--against", "golden,engine", "-q"]) == 0
    assert "older-folder" not in capsys.readouterr().err


# Lava -------------------------------------------------------------------------------------------


@pytest.mark.lava
def test_old_code_for_lava_is_never_run(old, tmp_path, lava_environment, capsys):
    marker = tmp_path / "marker"
    for path in (old / "graded" / "lava").rglob("*.py"):
        path.write_text(f"open({str(marker)!r}, 'w').close()\n" + path.read_text())
    folder = str(old / "graded")
    assert main(["verify", folder, "--against", "lava", "--stimuli", "2", "--json", "-q"]) == 0
    (outcome,) = json.loads(said_once(capsys))
    assert outcome["equal"] is None
    assert "neither compared nor run; emitted anew, " in outcome["mode"]
    assert main(["hil", folder, "--device", "lava", "--stimuli", "2", "-q"]) == 0
    assert "emitted anew" in said_once(capsys)
    assert not marker.exists()


def weights_changed(lava):
    with np.load(lava / "weights.npz") as archive:
        arrays = dict(archive)
    arrays["relu.bias"].flat[1] += 1
    np.savez(lava / "weights.npz", **arrays)


def weights_missing(lava):
    (lava / "weights.npz").unlink()


def weights_linked(lava):
    (lava / "weights.npz").rename(lava.parent / "elsewhere.npz")
    (lava / "weights.npz").symlink_to(lava.parent / "elsewhere.npz")


def layers_renamed(lava):
    said = json.loads((lava / "manifest.json").read_text())
    said["layers"][0]["name"] = said["layers"][1]["name"]
    (lava / "manifest.json").write_text(json.dumps(said))


def layers_damaged(lava):
    said = json.loads((lava / "manifest.json").read_text())
    (lava / "manifest.json").write_text(json.dumps({**said, "layers": 7}))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (weights_changed, "layer 'relu', array 'bias' [1, 0, 0] is "),
        (weights_missing, "weights.npz cannot be read"),
        (weights_linked, "weights.npz is a link"),
        (layers_renamed, "has an unexpected member: relu_synapses.weight.npy"),
        (layers_damaged, "has an unexpected member: relu.bias.npy"),
    ],
)
def test_old_numbers_for_lava_are_compared(old, change, what, capsys):
    change(old / "graded" / "lava")
    assert main(["verify", str(old / "graded"), "--against", "lava", "--json", "-q"]) == 7
    (outcome,) = json.loads(said_once(capsys))
    assert what in outcome["details"][0]


def test_old_files_for_lava_are_old_in_an_old_folder_only(old, tmp_path, capsys):
    CompiledModel.load(old / "graded").save(tmp_path / "new")
    shutil.copytree(old / "graded" / "lava", tmp_path / "new" / "lava")
    assert main(["verify", str(tmp_path / "new"), "--against", "lava", "--json", "-q"]) == 7
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["equal"] is False
