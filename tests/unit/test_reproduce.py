"""``reproduce``: the same files give the same bytes wherever they lie; what differs is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mutant_kinds import resealed
from mutants import dumped, members_of, zipped
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.options import CompileOptions
from snn_compile.sealed.provenance import provenance

FILES = ("digits_mlp.onnx", "digits_calibrate.npz", "digits_evaluate.npz")


@pytest.fixture(scope="module")
def place(examples, tmp_path_factory) -> Path:
    """Model, data, a target and options, and what was compiled from them."""
    place = tmp_path_factory.mktemp("reproduce")
    shutil.copy(examples / FILES[0], place / FILES[0])
    for name in FILES[1:]:
        with np.load(examples / name) as file:
            np.savez(place / name, **{key: values[:32] for key, values in file.items()})
    (place / "chip.toml").write_text('inherits = "loihi2"\nname = "chip"\n')
    (place / "digits_mlp.toml").write_text(
        'calibrate = "digits_calibrate.npz"\nevaluate = "digits_evaluate.npz"\n'
        'target = "chip.toml"\ncoding = "sync"\ntimesteps = 8\n[layers."relu1"]\nweight_bits = 6\n'
    )
    compiled(place)
    return place


def compiled(place: Path, *words: str) -> Path:
    folder = place / "net.snn"
    assert main([str(place / FILES[0]), "-o", str(folder), "-q", "--seed", "3", *words]) == 0
    return folder


@pytest.fixture
def copy(place, tmp_path) -> Path:
    """The same, elsewhere."""
    return shutil.copytree(place, tmp_path / "elsewhere") / "net.snn"


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def reproduce(folder: Path, capsys, *words: str | Path) -> tuple[int, dict[str, str], str]:
    """The exit code, what differs and where, and what is said."""
    capsys.readouterr()
    code = main(["reproduce", str(folder), "--json", "-q", *map(str, words)])
    out, err = capsys.readouterr()
    files = json.loads(out)["files"] if out else []
    return code, {one["file"]: one["where"] for one in files if not one["equal"]}, err


def named(folder: Path) -> list[str]:
    options = ("--model", "--calibrate", "--evaluate", "--target")
    files = [str(folder.parent / f"other-{name}") for name in (*FILES, "chip.toml")]
    return [word for pair in zip(options, files, strict=True) for word in pair]


def edited(folder: Path, change) -> None:
    """Change what is sealed, and seal it again."""
    members = members_of(folder / "model.snn")
    said = json.loads(members["program.json"])
    change(said["provenance"])
    members["program.json"] = dumped(said)
    (folder / "model.snn").write_bytes(zipped(resealed(members)))


def test_the_same_files_give_the_same_bytes(copy, capsys):
    assert reproduce(copy, capsys) == (0, {}, "")
    assert main(["reproduce", str(copy), "-q"]) == 0
    out = capsys.readouterr().out
    assert "lava/weights.npz" in out
    assert "differs" not in out


def test_what_is_searched_for_is_found_again(copy, capsys):
    folder = compiled(copy.parent, "--equalize", "auto", "-T", "auto", "--max-accuracy-drop", "5")
    assert reproduce(folder, capsys)[:2] == (0, {})


def test_verified_folders_are_reproduced(copy, capsys):
    words = ["--against", "golden,engine", "--stimuli", "2", "-q"]
    assert main(["verify", str(copy), *words]) == 0
    assert reproduce(copy, capsys)[:2] == (0, {})


def test_files_that_are_given_may_have_other_names(copy, capsys):
    for name in (*FILES, "chip.toml"):
        (copy.parent / name).rename(copy.parent / f"other-{name}")
    assert reproduce(copy, capsys, *named(copy)) == (0, {}, "")


def weight(folder: Path) -> None:
    members = members_of(folder / "model.snn")
    number = sorted(json.loads(members["program.json"])["hashes"]).index("relu1/synapses:weight")
    array = bytearray(members[f"{number}.npy"])
    array[-8] ^= 1
    members[f"{number}.npy"] = bytes(array)
    (folder / "model.snn").write_bytes(zipped(resealed(members)))


def report(folder: Path) -> None:
    said = json.loads((folder / "report.json").read_text())
    said["ladder"][-1]["top1"] = 100.0
    (folder / "report.json").write_text(json.dumps(said))


def program(folder: Path) -> None:
    text = (folder / "lava" / "run.py").read_text()
    (folder / "lava" / "run.py").write_text(text.replace("import", "import  ", 1))


def golden(folder: Path) -> None:
    with np.load(folder / "golden" / "expected.npz") as file:
        values = file["0"]
    values[1, 2] += 1
    np.savez_compressed(folder / "golden" / "expected.npz", **{"0": values})


CHANGES = {
    "report": (report, "report.json", "].top1: 100.0, not "),
    "program": (program, "lava/run.py", "line "),
    "golden": (golden, "golden/expected.npz", "'0': 1 of 1,000 values, first [1, 2, 0, 0]: "),
    "page": (lambda f: (f / "report.html").write_text("hello"), "report.html", "line 1"),
    "added": (lambda f: (f / "notes.txt").write_text("hello"), "notes.txt", "not a result of"),
    "removed": (lambda f: (f / "lava" / "run.py").unlink(), "lava/run.py", "is missing"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_differs_is_named(copy, capsys, what):
    change, file, where = CHANGES[what]
    change(copy)
    code, unequal, err = reproduce(copy, capsys)
    assert code == 7
    assert "error[not-reproduced]" in err
    assert list(unequal) == [file]
    assert where in unequal[file]
    assert file in err


def test_a_changed_weight_is_found_by_layer(copy, capsys):
    """The seal is whole: that is what compiling again is for."""
    weight(copy)
    code, unequal, _ = reproduce(copy, capsys)
    assert code == 7
    assert unequal["model.snn"].startswith("'relu1/synapses:weight': 1 of ")


def test_what_is_missing_is_asked_for_at_once(copy, capsys, tmp_path):
    code, _, err = reproduce(shutil.copytree(copy, tmp_path / "cwd" / "deep" / "net.snn"), capsys)
    assert code == 2
    assert "error[needs-inputs]" in err
    assert all(f"{name} (" in err for name in (*FILES, "chip.toml"))
    assert "--model M --calibrate D --evaluate D --target FILE" in err


def test_other_files_are_refused_by_name_and_at_once(copy, capsys):
    shutil.copy(copy.parent / FILES[1], copy.parent / FILES[2])
    (copy.parent / FILES[0]).unlink()
    (copy.parent / "chip.toml").write_text('inherits = "loihi1"\nname = "chip"\n')
    code, _, err = reproduce(copy, capsys)
    assert code == 2
    assert err.count("error[") == 3
    assert f"{FILES[0]} (model)" in err
    assert f"{FILES[2]}: error[other-input]" in err
    assert "chip.toml: error[other-input]" in err
    code, _, err = reproduce(copy, capsys, "--model", copy.parent / FILES[1])
    assert code == 7
    assert f"{FILES[1]}: error[other-input]" in err


def test_the_right_one_of_two_is_taken(copy, capsys, tmp_path):
    shutil.copy(copy.parent / FILES[1], tmp_path / "cwd" / FILES[2])
    assert reproduce(copy, capsys)[0] == 0


NAMES = ("/etc/passwd", "../secret.onnx", "..", "a\\b.onnx", "a\0.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_folder_are_no_paths(copy, capsys, name):
    edited(copy, lambda said: said.update({"model.name": name}))
    code, _, err = reproduce(copy, capsys)
    assert code == 3
    assert "which is not a file name" in err


def test_links_are_not_followed_unless_the_user_names_them(copy, capsys):
    (copy.parent / FILES[0]).rename(copy.parent / "hidden.onnx")
    (copy.parent / FILES[0]).symlink_to("hidden.onnx")
    code, _, err = reproduce(copy, capsys)
    assert code == 2
    assert "error[needs-inputs]" in err
    assert reproduce(copy, capsys, "--model", copy.parent / FILES[0])[0] == 0


BROKEN = {
    "lacks tool, options": lambda said: [said.pop(key) for key in ("tool", "options")],
    "is not valid JSON": lambda said: said.update(options="{"),
    "options are not an object": lambda said: said.update(options="[]"),
    "coding cannot be": lambda said: said.update(options='{"coding": "morse"}'),
    "'layers' is a text": lambda said: said.update(options='{"layers": "x"}'),
    "has no 'colour'": lambda said: said.update(options='{"layers": [{"colour": 1}]}'),
}


@pytest.mark.parametrize("what", BROKEN)
def test_provenances_that_say_too_little_are_refused(copy, capsys, what):
    edited(copy, BROKEN[what])
    code, _, err = reproduce(copy, capsys)
    assert code == 3
    assert what in err


def test_what_cannot_be_repeated_says_why(copy, capsys):
    edited(copy, lambda said: said.update(tool="snn-compile 0.0.9", tuned="after compiling"))
    code, _, err = reproduce(copy, capsys)
    assert code == 2
    assert "error[not-reproducible]: it was tuned" in err
    assert "error[other-version]: snn-compile 0.0.9 compiled it" in err
    assert "pip install snn-compile==0.0.9" in err


def test_arrays_are_in_no_file(examples, tmp_path, capsys):
    with np.load(examples / FILES[1]) as file:
        x = file["x"]
    folder = tmp_path / "net.snn"
    compile_model(examples / FILES[0], calibrate=x, emit=()).save(folder)
    code, _, err = reproduce(folder, capsys)
    assert code == 2
    assert "--calibrate were arrays in Python" in err


def test_files_of_which_there_were_none_are_not_taken(examples, tmp_path, capsys):
    folder = tmp_path / "net.snn"
    compile_model(examples / FILES[0], emit=()).save(folder)
    words = ["--model", examples / FILES[0], "--evaluate", examples / FILES[2]]
    code, _, err = reproduce(folder, capsys, *words)
    assert code == 2
    assert "it was compiled without --evaluate" in err
    assert reproduce(folder, capsys, *words[:2])[0] == 0


def test_the_seal_does_not_know_where_the_files_lay(place, copy):
    """Nor does anything else in a folder but the report."""
    compiled(copy.parent)
    for path in sorted(p for p in copy.rglob("*") if p.is_file() and "report" not in p.name):
        assert path.read_bytes() == (place / "net.snn" / path.relative_to(copy)).read_bytes(), path
    assert str(copy.parent).encode() not in members_of(copy / "model.snn")["program.json"]


@pytest.mark.parametrize("backend", ["nir", "netx"])
def test_other_backends_write_the_same_bytes(examples, tmp_path, capsys, backend):
    folder = tmp_path / "net.snn"
    options = {
        "coding": "rate",
        "timesteps": 8,
        "state_bits": 18,
        "input": "poisson",
        "reset": "zero",
    }
    options |= {"reset": "zero", "input_bits": 4, "weight_bits": 4, "emit": (backend,)}
    compile_model(examples / FILES[0], **options).save(folder)
    assert (folder / backend).is_dir()
    words = ["--model", examples / FILES[0]]
    assert reproduce(folder, capsys, *words)[:2] == (0, {})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"weight_bits": 4},
        {"timesteps": "auto", "max_accuracy_drop": 1.0},
        {"emit": ()},
        {"target": "loihi1"},
        {"mean_values": (0.5,)},
    ],
)
def test_every_option_is_part_of_the_provenance(examples, change):
    model = examples / FILES[0]
    before = provenance(model, CompileOptions())
    after = provenance(model, CompileOptions(**change))
    assert after["options"] != before["options"]
    said = json.loads(after["options"])
    restored = CompileOptions.stated(said)
    assert restored == CompileOptions(**change)


def test_arrays_are_part_of_the_provenance(examples):
    model, x = examples / FILES[0], np.arange(6.0).reshape(2, 3)
    one, same, other = (
        provenance(model, CompileOptions(), {"evaluate": (values, None), "calibrate": x.T})
        for values in (x, x.copy(), x + 1)
    )
    assert one == same
    assert one["evaluate"] != other["evaluate"]
    assert "evaluate.name" not in one


SEALED_OPTIONS = (
    "bias_correction burst coding emit equalize event_step initial_potential input input_bits"
    " layers layout max_accuracy_drop mean_values neurons nir_dt nir_producer nir_reset"
    " nir_reset_delay payload_bits per_layer potential_calibration reset reset_calibration rounding"
    " scale_values seed state_bits target thresholds timesteps weight_bits"
).split()


def test_a_network_that_uses_no_later_option_keeps_its_seal(examples):
    """The seal covers the options: one that is added later is left out where it says nothing."""
    sealed = json.loads(provenance(examples / "digits_mlp.onnx", CompileOptions())["options"])
    assert sorted(sealed) == SEALED_OPTIONS
