"""The set on disk, and the command: what is written, what is read, what is refused."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from snn_compile.cli import main
from snn_compile.conformance import files, network_file
from snn_compile.conformance.check import EQUAL
from snn_compile.conformance.net import Draws
from snn_compile.conformance.vectors import vectors
from snn_compile.hil.recording import Recording
from snn_compile.ir.models import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "conformance.md"
FEW = ("chain-subtract", "single", "wrap", "chain-burst")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of a few vectors."""
    folder = tmp_path_factory.mktemp("set") / "vectors"
    files.write(folder, [v for v in vectors() if v.name in FEW])
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """One that may be damaged."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def a_wide_terminal(monkeypatch):
    """What is said stays on one line, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "400")


def called(*words):
    """Exit code, and what was said where."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def test_the_same_vectors_are_the_same_bytes(made, tmp_path):
    vectors.cache_clear()
    files.write(tmp_path / "again", [v for v in vectors() if v.name in FEW])
    assert content(tmp_path / "again") == content(made)
    assert len(content(made)) == 1 + 4 * len(FEW)


def test_draws_do_not_depend_on_numpy():
    """Numbers from SHAKE-256 of a name, computed here by hand."""
    import hashlib

    stream = hashlib.shake_256(b"name/1").digest(8)
    words = [int.from_bytes(stream[k : k + 4], "little") for k in (0, 4)]
    assert Draws("name")(-3, 7, 2).tolist() == [-3 + word % 11 for word in words]


def test_networks_are_read_as_they_were():
    for vector in vectors():
        description, arrays = network_file.encode(vector.program)
        again = network_file.decode(json.loads(json.dumps(description)), arrays)
        assert again.window == vector.program.window
        said, kept = network_file.encode(again)
        assert said == description
        assert set(kept) == set(arrays)
        assert all(np.array_equal(kept[key], arrays[key]) for key in kept)
        # All types and parameters, too, not only what the file has words for.
        assert len(again.graph) == len(vector.program.graph)
        for one in vector.program.graph:
            other = again.graph[one.id]
            assert (type(one), one.inputs, one.shape) == (type(other), other.inputs, other.shape)


def test_every_neuron_model_has_a_name_in_the_file():
    for name, model in registry.models().items():
        assert registry.model_of(name) is model
        assert registry.of_conformance_file(model.conformance) is model


def test_the_set_exercises_what_it_promises():
    """Everything that compiled networks have, found in the vectors themselves."""
    from snn_compile.conformance.features import exercised_features
    from snn_compile.sim import reference

    words = set()
    for vector in vectors():
        run = reference.run(vector.program, vector.frames, record=True)
        words |= set(exercised_features(vector, run.messages))
    kinds = {f"neurons:{model.conformance}" for model in registry.BUILT_IN}
    assert kinds <= words
    page = PAGE.read_text()
    promised = re.findall(r"^\| `([^`]+)` \|", page[page.index("## Words") :], re.MULTILINE)
    assert sorted(promised) == sorted(words)


def test_the_example_of_the_documentation_runs_without_this_package(tmp_path):
    """In an interpreter that finds numpy and nothing of ours."""
    folder = tmp_path / "vectors"
    files.write(folder, [v for v in vectors() if v.name.startswith(("chain-sub", "ties-z", "no-"))])
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len(code.splitlines()) <= 40
    assert "snn_compile" not in code
    ast.parse(code)
    (tmp_path / "run.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-S", "-c", _without_us(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(np.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("chain-subtract equal", "ties-zero equal", "no-synapses equal"),
    ]


def _without_us(code):
    return "import sys\nsys.modules['snn_compile'] = None\n" + code


# The command -------------------------------------------------------------------------------------


def test_it_writes_a_set_and_replaces_an_older_one(tmp_path):
    folder = tmp_path / "out"
    code, out, _ = called("conformance", folder, "-q")
    assert code == 0
    assert f"{len(vectors())} vectors" in out
    (folder / "silence" / "stray").write_text("x")
    assert called("conformance", folder, "-q", "--json")[0] == 0
    assert not (folder / "silence" / "stray").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_it_does_not_write_over_anything_else(tmp_path):
    (tmp_path / "mine").write_text("x")
    code, _, err = called("conformance", tmp_path, "-q")
    assert code == 2
    assert "error[output-exists]" in err
    assert content(tmp_path) == {"mine": b"x"}


def test_a_device_that_is_equal_and_one_that_leaves_something_out(made, build, tmp_path):
    kept = tmp_path / "kept"
    words = ["--device", f"engine:{build}", "--record", kept, "--json", "-q"]
    code, out, err = called("conformance", made, *words)
    assert code == 0, err
    said = json.loads(out)
    assert (said["equal"], said["excluded"], said["differs"]) == (2, 2, 0)
    why = {row["vector"]: row["why"] for row in said["vectors"] if row["verdict"] == "excluded"}
    assert why["wrap"] == "the engine has no states that wrap"
    with Recording.open(kept / "chain-subtract.npz") as recording:
        assert recording.header.about.device == f"engine:{build}"
    # What was recorded is checked as anybody's traces are.
    (kept / "excluded.json").write_text(json.dumps(why))
    assert called("conformance", made, "--check", kept, "-q")[0] == 0


def test_a_device_that_is_wrong_is_told_where(made):
    fault = "faulty:lost-message@first"
    code, out, err = called(
        "conformance", made, "--only", "chain-subtract", "--device", fault, "-q"
    )
    assert code == 7, err
    assert "differs: layer 'first'" in out
    assert "error[not-equal]" in err


def test_a_device_that_dies_costs_its_vector_and_no_more(made):
    words = ["--only", "single,chain-subtract", "--device", "faulty:crash", "--json", "-q"]
    code, out, err = called("conformance", made, *words)
    assert code == 8
    assert json.loads(out)["failed"] == 2
    assert err.count("error[vector-failed]") == 2


def test_a_backend_is_run_or_says_why_not(made):
    pytest.importorskip("nir")
    code, out, _ = called("conformance", made, "--backend", "nir", "-q", "--no-progress")
    assert code == 0
    assert "2 equal" in out
    assert "NIR has no neuron that sends several spikes at once" in out


def dense(case):
    with Recording.open(case.expected) as recording:
        return {name: recording.messages(name) for name in recording.layers}


def test_plain_arrays_will_do(made, tmp_path):
    """Nobody has to write our trace format to be compared."""
    for case in files.read(made):
        np.savez(tmp_path / f"{case.name}.npz", **dense(case))
    code, out, _ = called("conformance", made, "--check", tmp_path, "--json", "-q")
    assert code == 0
    rows = json.loads(out)["vectors"]
    assert {row["verdict"] for row in rows} == {EQUAL}
    assert sum(row["compared"] for row in rows) == json.loads(out)["compared"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda sent: sent["first"].__setitem__((2, 3, 1), 1 - sent["first"][2, 3, 1]), 7, "[1]: "),
        (lambda sent: sent.pop("out"), 8, "an output was not recorded"),
        (lambda sent: sent.update(first=sent["first"][:, :2]), 8, "not integers (5, 8, 8)"),
        (lambda sent: sent.update(first=sent["first"] * 0.5), 8, "'first' is float64"),
        (lambda sent: sent.update(other=sent["first"]), 8, "'other' is not a layer"),
        (lambda sent: sent.clear(), 8, "the file has no layer"),
    ],
)
def test_traces_that_are_not_right(change, code, words, made, tmp_path):
    (case,) = files.read(made, ["chain-subtract"])
    sent = dense(case)
    change(sent)
    np.savez(tmp_path / "chain-subtract.npz", **sent)
    line = ["--only", "chain-subtract", "--check", tmp_path, "-q", "--no-progress"]
    found, out, _ = called("conformance", made, *line)
    assert found == code
    assert words in out


def test_traces_that_cannot_be_read_or_are_missing(made, tmp_path):
    (tmp_path / "single.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "wrap.npz", first=np.array([None]))
    line = ["--check", tmp_path, "-q", "--json"]
    code, out, err = called("conformance", made, *line)
    assert code == 8
    rows = {row["vector"]: row for row in json.loads(out)["vectors"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        **{"chain-subtract": "missing", "chain-burst": "missing"},
        **{"single": "failed", "wrap": "failed"},
    }
    assert err.count("error[vector-failed]") == 4


@pytest.mark.parametrize(
    "said", ['{"chain-subtract": ""}', "[]", "{", '{"nothing": "x"}', '{"single": 3}']
)
def test_exclusions_need_a_vector_and_a_reason(said, made, tmp_path):
    (tmp_path / "excluded.json").write_text(said)
    code, _, err = called("conformance", made, "--check", tmp_path, "-q")
    assert code == 2
    assert "error[bad-exclusions]" in err


def test_everything_that_changed_is_named(copy):
    for name in ("single/network.npz", "wrap/expected.npz"):
        path = copy / name
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    (copy / "chain-burst" / "stimulus.npz").unlink()
    code, _, err = called("conformance", copy, "--device", "reference", "-q")
    assert code == 7
    assert err.count("error[set-changed]") == 3


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        (None, 2, "not-a-set"),
        ("{", 2, "not-a-set"),
        ('{"format": "snn-compile conformance", "version": 9}', 2, "set-version"),
        ('{"format": "snn-compile conformance", "version": 1}', 3, "unreadable-set"),
        (
            '{"format": "snn-compile conformance", "version": 1, "vectors": [{"name": "../x"}]}',
            *(3, "unreadable-set"),
        ),
    ],
)
def test_what_is_no_set(text, code, error, copy):
    (copy / "index.json").unlink()
    if text is not None:
        (copy / "index.json").write_text(text)
    found, _, err = called("conformance", copy, "--device", "reference", "-q")
    assert found == code
    assert f"error[{error}]" in err


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda population: population.update(kind="unheard-of"), "unknown-neurons"),
        (lambda population: population.pop("kind"), "unreadable-set"),
    ],
)
def test_a_network_that_cannot_be_is_refused(copy, change, error):
    path = copy / "single" / "network.json"
    said = json.loads(path.read_text())
    change(said["populations"][0])
    path.write_text(json.dumps(said))
    index = json.loads((copy / "index.json").read_text())
    entry = next(e for e in index["vectors"] if e["name"] == "single")
    entry["files"]["network.json"] = files._file(path)
    (copy / "index.json").write_text(json.dumps(index))
    code, _, err = called("conformance", copy, "--device", "reference", "-q")
    assert code == 3
    assert f"error[{error}]" in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--device", "reference", "--backend", "nir"], "bad-option"),
        (["--only", "single"], "bad-option"),
        (["--record", "x"], "bad-option"),
        (["--check", "there-is-none"], "no-such-file"),
        (["--device", "nobody"], "unknown-device"),
        (["--backend", "nobody"], "unknown-backend"),
        (["--device", "reference", "--only", "nothing"], "unknown-vector"),
        (["--device", "engine", "--set", "speed=1"], "bad-device"),
    ],
)
def test_what_is_asked_wrongly(words, error, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = content(made)
    code, _, err = called("conformance", made, *words, "-q")
    assert code == 2
    assert f"error[{error}]" in err
    assert content(made) == before


def test_help_names_what_there_is():
    from snn_compile.cli.group import cli

    result = CliRunner().invoke(cli, ["conformance", "--help"])
    assert result.exit_code == 0
    assert "--check" in result.output
