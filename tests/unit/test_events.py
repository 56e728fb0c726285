"""Recorded events become trains of frames, and run through a compiled network."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import READING, classifier, nmnist
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.samples.events import Recordings

SHAPE = (2, 5, 7)
GOOD = {
    "x": np.array([6, 0, 3]),
    "y": np.array([4, 0, 1]),
    "p": np.array([1, 0, 1]),
    "t_us": np.array([20, 10, 99]),
}


def counted(file, shape, n_steps, step_us):
    """The plain definition: one event after the other."""
    trains = np.zeros((len(file["offsets"]) - 1, n_steps, *shape), int)
    for k in range(len(trains)):
        mine = range(file["offsets"][k], file["offsets"][k + 1])
        begin = min((int(file["t_us"][i]) for i in mine), default=0)
        length = max((int(file["t_us"][i]) for i in mine), default=0) - begin + 1
        for i in mine:
            since = int(file["t_us"][i]) - begin
            step = since // step_us if step_us else since * n_steps // length
            if step < n_steps:
                polarity = int(file["p"][i]) if shape[0] == 2 else 0
                trains[k, step, polarity, file["y"][i], file["x"][i]] += 1
    return trains


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 4, 9)), st.sampled_from((None, 7, 1000)))
def test_every_event_is_counted_where_it_belongs(seed, n_steps, step_us):
    random = np.random.default_rng(seed)
    n = int(random.integers(0, 60))
    offsets = np.sort(np.concatenate([[0, n], random.integers(0, n + 1, 2)]))
    file = {
        "x": random.integers(0, 7, n).astype(np.uint8),
        "y": random.integers(0, 5, n).astype(np.uint8),
        "p": random.integers(0, 2, n).astype(bool),
        "t_us": random.integers(0, 50, n).astype(np.uint32) + 5,
        "offsets": offsets,
        "label": random.integers(0, 10, 3),
    }
    recordings = Recordings.of(file, "events.npz")
    for shape in (SHAPE, (1, 5, 7)):
        found = recordings.trains(shape, n_steps, step_us)
        np.testing.assert_array_equal(found, counted(file, shape, n_steps, step_us))
        rows = recordings.train_rows(shape, n_steps, step_us)
        assert (rows.shape, rows.dtype, len(rows)) == (found.shape, found.dtype, 3)
        for index in (slice(1, 9), np.array([2, 0]), slice(0, 0)):
            np.testing.assert_array_equal(rows[index], found[index])
    np.testing.assert_array_equal(recordings.labels, file["label"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x": np.array([6, 0])}, "one entry an event"),
        ({"t_us": np.array([0.5, 1, 2])}, "t_us must be a list of integers"),
        ({"p": np.array([0, 1, 2])}, "p must be 0 or 1"),
        ({"offsets": np.array([0, 2])}, "offsets must rise from 0"),
        ({"offsets": np.array([0, 2, 1, 3])}, "offsets must rise from 0"),
        ({"label": np.array([1, 2])}, "one entry a recording"),
    ],
)
def test_damaged_recordings_are_refused(changes, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        Recordings.of(GOOD | changes, "events.npz")
    assert caught.value.code == "bad-recording"
    assert caught.value.origin.file == "events.npz"


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((2, 5, 6), "takes frames of 6 columns and 5 rows"),
        ((3, 5, 7), r"takes \(3, 5, 7\)"),
        ((70,), r"takes \(70\)"),
    ],
)
def test_events_that_the_network_does_not_take_are_refused(shape, complaint):
    with pytest.raises(UsageError, match=complaint):
        Recordings.of(GOOD, "events.npz").trains(shape, 4, None)


def test_a_network_that_takes_frames_says_so(examples, tmp_path, capsys):
    np.savez(tmp_path / "events.npz", **GOOD)
    line = [str(examples / "digits_cnn.onnx"), "--calibrate", str(tmp_path / "events.npz")]
    assert main([*line, "-o", str(tmp_path / "out.snn")]) == 2
    assert "recorded events, but the network takes whole frames" in capsys.readouterr().err


@pytest.mark.shared_data
@pytest.mark.parametrize("step_us", [None, 10_000])
def test_recordings_run_through_a_compiled_network(shared_data, tmp_path, capsys, step_us):
    """N-MNIST (Orchard et al. 2015): what ``run`` answers is what the trains give by hand."""
    pytest.importorskip("nir")
    n = 12
    few = nmnist(shared_data, 0, n, tmp_path / "few.npz")
    trains = counted({k: v.tolist() for k, v in few.items()}, (2, 34, 34), 20, step_us)
    compiled = compile_model(
        classifier(tmp_path / "net.nir"),
        calibrate=tmp_path / "few.npz",
        event_step=step_us,
        emit=(),
        **READING,
    )
    assert compiled.program.input.high == trains.max()
    compiled.save(tmp_path / "net.snn")
    expected = compiled.simulate(trains)
    call = ["run", tmp_path / "net.snn", "--data", tmp_path / "few.npz", "-o", tmp_path / "out.npz"]
    assert main([*map(str, call), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["samples"] == n
    with np.load(tmp_path / "out.npz") as out:
        (potentials,) = expected.outputs.values()
        np.testing.assert_array_equal(out["potentials"].ravel(), potentials.ravel())
        assert len(np.unique(out["outputs"])) > 3
        assert said["top1"] == round(100 * (out["argmax"] == few["label"]).mean(), 4)


@pytest.mark.shared_data
def test_crowded_steps_are_cut_down_and_said(shared_data, tmp_path, capsys):
    pytest.importorskip("nir")
    compiled = compile_model(classifier(tmp_path / "net.nir"), emit=(), **READING)
    assert compiled.program.input.high == 1
    compiled.save(tmp_path / "net.snn")
    data = str(shared_data / "data" / "nmnist_train_0_199.npz")
    assert main(["run", str(tmp_path / "net.snn"), "--data", data]) == 0
    out, err = capsys.readouterr()
    assert "exceed 1, the largest input of the network" in err
    assert "200" in out
