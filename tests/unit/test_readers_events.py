"""Recordings of events in files of their own and in Python's data sets, like those in an npz."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recordings import READING, classifier, each, nmnist_bytes, random_events
from snn_compile import compile_model, memory
from snn_compile.cli import main
from snn_compile.errors import CompileError, UsageError
from snn_compile.ir.text import to_text
from snn_compile.samples.events import Recordings
from snn_compile.samples.readers import Request, open_samples

FRAME = (2, 34, 34)
NAMES = ("zero", "one", "two")


def folder(root, events, form):
    for k, recording in enumerate(each(events)):
        place = root / NAMES[k % 3]
        place.mkdir(parents=True, exist_ok=True)
        if form == "bin":
            (place / f"{k:03d}.bin").write_bytes(nmnist_bytes(recording))
        else:
            np.save(place / f"{k:03d}.npy", recording)
    return root


def opened(path, **request):
    content = open_samples(path, Request({"x": FRAME}, n_steps=20, classes=NAMES, **request))
    content.check(path)
    return content


@pytest.mark.parametrize("form", ["bin", "npy"])
@pytest.mark.parametrize("step_us", [None, 5000])
def test_a_folder_of_recordings_is_what_an_npz_of_them_is(tmp_path, form, step_us):
    events = random_events()
    trains = Recordings.of(events, "e.npz").trains(FRAME, 20, step_us)
    content = opened(folder(tmp_path, events, form), step_us=step_us)
    rows = content.arrays["x"]
    places = [int(key.split("/")[1][:3]) for key in content.keys]
    assert rows.shape == trains.shape
    assert (rows[:] == trains[places]).all()
    assert (content.labels["y"] == events["label"][places]).all()


def test_recordings_of_other_kinds_or_pixels_are_named_all_at_once(tmp_path):
    folder(tmp_path, random_events(3), "bin")
    (tmp_path / "one" / "cut.bin").write_bytes(bytes(12))
    (tmp_path / "one" / "nothing.bin").touch()
    (tmp_path / "two" / "wide.bin").write_bytes(bytes([40, 1, 0, 0, 1]))
    np.save(tmp_path / "two" / "fields.npy", np.zeros(3, [("x", int), ("y", int), ("p", int)]))
    np.save(tmp_path / "two" / "real.npy", np.zeros(3, [(n, float) for n in "xypt"]))
    with pytest.raises(CompileError) as caught:
        opened(tmp_path)
    said = str(caught.value)
    for words in (
        "cut.bin: error[unreadable-data]: cannot be decoded (its 12 bytes are no whole number of",
        "nothing.bin: error[unreadable-data]: cannot be decoded (it is empty)",
        "wide.bin: error[bad-recording]: events up to column 40, row 1",
        "fields.npy: error[unreadable-data]: cannot be decoded (it has no field t_us, only x",
        "real.npy: error[bad-recording]: x must be a list of integers",
    ):
        assert words in said


@pytest.mark.parametrize("form", ["bin", "npy"])
def test_long_recordings_take_no_more_memory_than_they_may(tmp_path, form):
    """An event of 5 bytes is many numbers while it is counted."""
    folder(tmp_path, random_events(3), form)
    if form == "bin":
        (tmp_path / "one" / "long.bin").write_bytes(bytes(5 * 100_000))
    else:
        np.save(tmp_path / "one" / "long.npy", np.zeros(100_000, [(n, np.uint8) for n in "xypt"]))
    memory.limit_to(8 << 20)
    try:
        with pytest.raises(CompileError, match="100,000 events takes 9") as caught:
            opened(tmp_path)
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


def test_folders_are_compiled_run_and_verified(tmp_path, capsys):
    """Drawn for calibration, split, named, and answered like the same recordings in an npz."""
    pytest.importorskip("nir")
    net, events = classifier(tmp_path / "net.nir"), random_events(12)
    root = folder(tmp_path / "set", events, "bin")
    (tmp_path / "names.txt").write_text("\n".join([*NAMES, *"abcdefg"]))
    np.savez(tmp_path / "events.npz", **events)
    reading = ["-T", "20", "--nir-reset", "zero", "--nir-producer", "other"]
    data = ["--calibrate", root, "--evaluate", root, "--labels", tmp_path / "names.txt"]
    out = tmp_path / "net.snn"
    assert main([*map(str, [net, *reading, *data, "--no-emit", "-q", "-o", out])]) == 0
    capsys.readouterr()
    for name, data in (("a", root), ("b", tmp_path / "events.npz")):
        line = ["run", out, "--data", data, "-o", tmp_path / f"{name}.npz", "--json"]
        assert main([*map(str, line)]) == 0
    said = capsys.readouterr().out
    assert said.count('"top1"') >= 2
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        rows = np.argsort([f"{NAMES[k % 3]}/{k:03d}" for k in range(12)])
        assert (a["potentials"] == b["potentials"][rows]).all()
    report = json.loads((out / "report.json").read_text())
    assert report["ladder"][-1]["n"] == 6
    assert not [w for w in report["warnings"] if w["code"] == "evaluation-in-calibration"]


class DataSet:
    """As of tonic: a length, and items of events and a label."""

    def __init__(self, events):
        self.items = list(zip(each(events), events["label"].tolist(), strict=True))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


def test_a_data_set_of_tonic_is_what_an_npz_is(tmp_path):
    pytest.importorskip("nir")
    net, events = classifier(tmp_path / "net.nir"), random_events(6)
    np.savez(tmp_path / "events.npz", **events)
    settings = {**READING, "emit": ()}
    files = {"calibrate": tmp_path / "events.npz", "evaluate": tmp_path / "events.npz"}
    from_file = compile_model(net, **files, **settings)
    from_set = compile_model(net, calibrate=DataSet(events), evaluate=DataSet(events), **settings)
    assert to_text(from_file.program) == to_text(from_set.program)
    assert from_file.report["ladder"] == from_set.report["ladder"]
    lacking = (recording[["x", "y", "p"]] for recording in each(events))
    with pytest.raises(UsageError, match="no field t_us"):
        compile_model(net, calibrate=lacking, **settings)
