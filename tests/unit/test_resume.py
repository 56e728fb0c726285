"""A compilation that is killed at any moment goes on where it was, to the same folder."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from snn_compile.errors import DeviceError, ModelError, UsageError
from snn_compile.options import CompileOptions
from snn_compile.pipeline import progress_record, work
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.work import folder_of, work_folder
from snn_compile.report import shards
from snn_compile.report.journal import Kept
from snn_compile.report.observer import SilentObserver
from snn_compile.workers import program

KINDS = {
    "graded": {"coding": "graded", "equalize": "none"},
    "rate": {"coding": "rate", "timesteps": 4, "equalize": "auto"},
    "auto": {"coding": "sync", "timesteps": "auto", "max_accuracy_drop": 3.0},
}


class KilledError(BaseException):
    """As a process ends that is killed: nothing handles it."""


class KillAt(SilentObserver):
    """Counts results that are kept, and dies after some of them."""

    def __init__(self, monkeypatch, n):
        keep = work.WorkFolder.keep
        self.names = []

        def kept(folder, name, value):
            keep(folder, name, value)
            self.names.append(name)
            if len(self.names) == n:
                raise KilledError

        monkeypatch.setattr(work.WorkFolder, "keep", kept)


@pytest.fixture
def kept_at_once(monkeypatch):
    """Keep results however short the compilation, and cut a set into several shards."""
    monkeypatch.setattr(work, "WORTH", 0.0)
    monkeypatch.setattr(progress_record, "EVERY", 0.0)
    monkeypatch.setattr(shards, "MOST_SAMPLES", 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory, examples):
    """Few samples, in three shards."""
    folder = tmp_path_factory.mktemp("data")
    with np.load(examples / "digits_calibrate.npz") as file:
        np.savez(folder / "calibrate.npz", x=file["x"][:100])
    with np.load(examples / "digits_evaluate.npz") as file:
        np.savez(folder / "evaluate.npz", x=file["x"][:150], y=file["y"][:150])
    return folder


def options(files, kind="graded", **more):
    data = {name: files / f"{name}.npz" for name in ("calibrate", "evaluate")}
    return CompileOptions().override({**data, **KINDS[kind], **more})


def compiled(folder, examples, given, *, resume=False):
    """Compile into a folder; returns what there is to say of resuming."""
    model = examples / "digits_mlp.onnx"
    with work_folder(folder, model, given, {}, resume=resume) as at:
        compile_model(model, options=given, work=at).save(folder)
    return at


def content(folder):
    """All that is written, without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".html", ".npz"):
            found[path.name] = path.read_bytes()
    report = json.loads(found.pop("report.json"))
    del report["timing"]
    return found, report


@pytest.mark.parametrize("kind", ["graded", pytest.param("rate", marks=pytest.mark.slow), "auto"])
def test_killed_after_each_result_it_goes_on_to_the_same_folder(
    kind, files, examples, tmp_path, monkeypatch, kept_at_once
):
    given = options(files, kind)
    with monkeypatch.context() as patch:
        whole = KillAt(patch, 0)
        compiled(tmp_path / "whole", examples, given)
    assert {"calibrate", "convert", "evaluate 0", "evaluate 128", "attribute"} <= set(whole.names)
    folder, left = tmp_path / "net.snn", []
    for _ in whole.names:
        with monkeypatch.context() as patch:
            killer = KillAt(patch, 1)
            with pytest.raises(KilledError):
                compiled(folder, examples, given, resume=True)
        left += killer.names
    assert left == whole.names  # nothing is computed twice
    assert not folder.exists()
    compiled(folder, examples, given, resume=True)
    assert content(folder) == content(tmp_path / "whole")
    assert not folder_of(folder).exists()


def interrupted(folder, examples, given, monkeypatch, n=2):
    with monkeypatch.context() as patch:
        KillAt(patch, n)
        with pytest.raises(KilledError):
            compiled(folder, examples, given)


def damaged_ways():
    """Contents of a result that nobody has kept."""

    def archive(document, **members):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("result.json", document)
            for name, content in members.items():
                file.writestr(name, content)
        return stream.getvalue()

    pickled = io.BytesIO()
    np.save(pickled, np.array([print], dtype=object), allow_pickle=True)
    evil = {"$type": "os.system", "command": "touch was-run"}
    yield "empty", lambda _: b""
    yield "cut", lambda old: old[: len(old) // 2]
    yield "flipped", lambda old: old[:5000] + bytes(b ^ 255 for b in old[5000:5200]) + old[5200:]
    yield "text", lambda _: archive("{")
    yield "list", lambda _: archive("[]")
    yield "foreign", lambda _: archive(json.dumps({"name": "calibrate", "arrays": []}))
    yield "nested", lambda _: archive("[" * 5000 + "]" * 5000)

    def edited(old, kept, **members):
        with zipfile.ZipFile(io.BytesIO(old)) as file:
            document = json.loads(file.read("result.json"))
        document["kept"] = kept
        document["arrays"] = [str(k) for k in range(len(members))]
        return archive(json.dumps(document), **members)

    yield "class", lambda old: edited(old, evil)
    yield "few", lambda old: edited(old, [1])
    yield "findings", lambda old: edited(old, [1, [2], []])
    array = {"$type": "array", "array": "0"}
    yield "pickle", lambda old: edited(old, [array, [], []], **{"0.npy": pickled.getvalue()})


@pytest.mark.parametrize(("way", "damage"), list(damaged_ways()))
def test_a_damaged_result_is_computed_again(
    way, damage, files, examples, tmp_path, monkeypatch, kept_at_once
):
    monkeypatch.chdir(tmp_path)
    folder, given = tmp_path / "net.snn", options(files, equalize="none")
    interrupted(folder, examples, given, monkeypatch)
    (path,) = folder_of(folder).glob("calibrate*.result")
    path.write_bytes(damage(path.read_bytes()))
    found = compiled(folder, examples, given, resume=True)
    assert [one.code for one in found.findings] == ["kept-damaged"], way
    assert not Path("was-run").exists()


def test_what_has_changed_is_named(files, examples, tmp_path, monkeypatch, kept_at_once):
    folder, given = tmp_path / "net.snn", options(files)
    interrupted(folder, examples, given, monkeypatch)
    fewer = options(files, weight_bits=4, equalize="l2")
    found = compiled(folder, examples, fewer, resume=True)
    (finding,) = found.findings
    assert finding.code == "not-resumed"
    assert "--equalize, --weight-bits" in finding.message
    (finding,) = compiled(folder, examples, given, resume=True).findings
    assert finding.code == "nothing-to-resume"


def test_weights_in_another_file_that_have_changed_are_not_resumed_from(examples, tmp_path):
    model = onnx.load(examples / "digits_mlp.onnx")
    path, weights = tmp_path / "m.onnx", tmp_path / "m.data"
    onnx.save_model(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    before = work.identity_of(path, CompileOptions(), {})
    assert work.identity_of(path, CompileOptions(), {}) == before
    changed = bytearray(weights.read_bytes())
    changed[0] ^= 1
    weights.write_bytes(changed)
    now = work.identity_of(path, CompileOptions(), {})
    assert work.changes(before, now) == ["the files of the model"]
    path.write_bytes((examples / "digits_mlp.onnx").read_bytes())
    assert work.changes(before, work.identity_of(path, CompileOptions(), {})) == ["model"]


def test_a_plug_in_that_has_changed_is_not_resumed_from(examples, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plugin, metadata = tmp_path / "own_coding.py", tmp_path / "own_coding-1.dist-info"
    plugin.write_text("x = 1\n")
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-coding\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[snn_compile.codings]\nown = own_coding:Own\n")
    os.utime(plugin, (1, 1))
    before = work.identity_of(examples / "digits_mlp.onnx", CompileOptions(), {})
    os.utime(plugin, (2, 2))
    program._hash_of.cache_clear()  # a process hashes what it runs once
    assert work.identity_of(examples / "digits_mlp.onnx", CompileOptions(), {}) == before
    plugin.write_text("x = 2\n")
    os.utime(plugin, (1, 1))  # as a tool that unpacks an archive does
    program._hash_of.cache_clear()
    now = work.identity_of(examples / "digits_mlp.onnx", CompileOptions(), {})
    assert work.changes(before, now) == ["the compiler"]


def test_without_resume_it_starts_afresh(files, examples, tmp_path, monkeypatch, kept_at_once):
    folder, given = tmp_path / "net.snn", options(files, equalize="none")
    interrupted(folder, examples, given, monkeypatch)
    with monkeypatch.context() as patch:
        again = KillAt(patch, 0)
        compiled(folder, examples, given)
    assert again.names[:2] == ["calibrate", "convert"]
    assert not folder_of(folder).exists()


@pytest.mark.skipif(os.name == "nt", reason="owners and modes are those of POSIX")
@pytest.mark.parametrize("how", ["writable", "link"])
def test_a_folder_of_others_is_not_used(how, files, examples, tmp_path, monkeypatch, kept_at_once):
    folder, given = tmp_path / "net.snn", options(files, equalize="none")
    interrupted(folder, examples, given, monkeypatch)
    theirs = folder_of(folder)
    if how == "writable":
        theirs.chmod(0o777)
    else:
        theirs = theirs.rename(tmp_path / "elsewhere")
        folder_of(folder).symlink_to(theirs)
    (finding,) = compiled(folder, examples, given, resume=True).findings
    assert finding.code == "not-resumed"
    assert how == "writable" or list(theirs.iterdir())  # what the link leads to is left alone


def test_a_folder_of_another_kind_is_left_alone(files, examples, tmp_path, kept_at_once):
    """It is no leftover, whatever it is called; nothing is kept then."""
    folder = tmp_path / "net.snn"
    theirs = folder_of(folder)
    theirs.mkdir()
    (theirs / "diary.txt").write_text("dear")
    for resume in (False, True):
        (finding,) = compiled(
            folder, examples, options(files, equalize="none"), resume=resume
        ).findings
        assert (finding.code, finding.warning) == ("nothing-kept", True)
        assert [path.name for path in theirs.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize(("error", "is_kept"), [(DeviceError, True), (ModelError, False)])
def test_what_may_not_come_again_leaves_its_results(
    error, is_kept, files, examples, tmp_path, monkeypatch, kept_at_once
):
    folder, given = tmp_path / "net.snn", options(files, equalize="none")
    with monkeypatch.context() as patch:
        patch.setattr("snn_compile.pipeline.driver.finish", Raising(error("a worker is lost")))
        with pytest.raises(error):
            compiled(folder, examples, given)
    assert folder_of(folder).exists() is is_kept


class Raising:
    """Raises when called."""

    def __init__(self, error):
        self.error = error

    def __call__(self, *_):
        raise self.error


def test_a_users_error_leaves_nothing(files, examples, tmp_path, kept_at_once):
    folder = tmp_path / "net.snn"
    model = examples / "digits_mlp.onnx"

    def refused():
        with work_folder(folder, model, options(files), {}, resume=False) as at:
            at.begin("import")
            assert folder_of(folder).is_dir()
            raise UsageError("wrong")

    with pytest.raises(UsageError):
        refused()
    assert not folder_of(folder).exists()


def test_a_short_compilation_writes_nothing_beside(files, examples, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(work.WorkFolder, "_make", lambda self: made.append(self.path))
    monkeypatch.setattr(work, "WORTH", 3600.0)
    monkeypatch.setattr(progress_record, "EVERY", 3600.0)
    compiled(tmp_path / "net.snn", examples, options(files, equalize="none"))
    assert not made


def test_a_result_that_cannot_be_written_whole_takes_no_space(examples, tmp_path, kept_at_once):
    model, unwritable = examples / "digits_mlp.onnx", np.array([object()])
    with work_folder(tmp_path / "m", model, CompileOptions(), {}, resume=False) as at:
        at.keep("some", Kept(unwritable))
        assert not [path for path in at.path.glob("*") if path.suffix == ".new"]


def test_a_result_that_is_recalled_twice_is_counted_once(
    examples, tmp_path, kept_at_once, monkeypatch
):
    folder, model = tmp_path / "m", examples / "digits_mlp.onnx"

    def interrupted():
        with work_folder(folder, model, CompileOptions(), {}, resume=False) as at:
            at.begin("evaluate")
            at.keep("some", Kept(np.zeros(1000)))
            raise KilledError

    with pytest.raises(KilledError):
        interrupted()
    with work_folder(folder, model, CompileOptions(), {}, resume=True) as at:
        (kept,) = at.path.glob("*.result")
        monkeypatch.setattr(work, "MOST_BYTES", kept.stat().st_size)
        for _ in range(3):
            assert at.recall("some", np.ndarray) is not None
        at.keep("more", Kept(np.zeros(1000)))
        at.keep("too much", Kept(np.zeros(1000)))
        assert len(list(at.path.glob("*.result"))) == 2


def test_the_record_is_whole_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_record, "EVERY", 0.0)
    record = progress_record.ProgressRecord(tmp_path, "m.onnx", "m.snn", dict, lambda: None)
    record.begin("evaluate", 300)
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append(progress_record.read(tmp_path))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        record.advance(2)
    stop.set()
    reader.join()
    assert seen
    assert None not in seen
    done = [one["stages"][0]["done"] for one in seen]
    assert done == sorted(done)
    (stage,) = progress_record.read(tmp_path)["stages"]
    assert (stage["done"], stage["total"]) == (200, 300)
    assert stage["remaining"] == pytest.approx(stage["seconds"] / 2, abs=0.06)
    record.end("evaluate", 1.5)
    (stage,) = progress_record.read(tmp_path)["stages"]
    assert (stage["state"], stage["done"], stage["seconds"]) == ("done", 300, 1.5)


KILLED = """
import os, signal, sys
from snn_compile.cli import main
from snn_compile.pipeline import progress_record, work
work.WORTH = progress_record.EVERY = 0.0
keep = work.WorkFolder.keep
def kept(folder, name, value):
    keep(folder, name, value)
    if name == "convert":
        os.kill(os.getpid(), int(sys.argv[1]))
work.WorkFolder.keep = kept
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_command_goes_on_after_a_signal(number, files, examples, tmp_path):
    line = [
        str(examples / "digits_mlp.onnx"),
        *("--calibrate", str(files / "calibrate.npz")),
        *("--evaluate", str(files / "evaluate.npz")),
        *("-o", str(tmp_path / "net.snn")),
        "--no-emit",
    ]
    start = [sys.executable, "-c", KILLED, str(int(number)), *line]
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == (130 if number == signal.SIGINT else -9), done.stderr
    if number == signal.SIGINT:
        last = done.stderr.splitlines()[-1]
        assert last.startswith("resume with: snn-compile ")
        assert last.endswith(" --resume")
    record = progress_record.read(folder_of(tmp_path / "net.snn"))
    assert record is not None
    assert record["state"] == "interrupted"
    assert record["output"] == "net.snn"
    start = [sys.executable, "-c", "import sys; from snn_compile.cli import main; sys.exit(main())"]
    start += [*line, "--resume"]
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 results of the interrupted compilation" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["net.snn"]
