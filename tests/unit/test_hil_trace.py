"""The file format of traces: what numpy and the reader make of it, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hil_networks import network
from snn_compile.errors import CompileError, DeviceError, UsageError, VerificationError
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import POTENTIAL, About, Series, TraceWriter, events_of, series_of
from snn_compile.sim import reference


def write(path: Path, pieces=((0, 3), (3, 4), (4, 24)), why: str = ""):
    """A trace of the reference; the file and the run that it is of."""
    program, frames = network("rate")
    run = reference.run(program, frames, record=True)
    about = About("seal", "rate", program.window.n_steps, "reference", facts={"build": "x"})
    with TraceWriter(path, about, series_of(program), frames) as writer:
        for first, stop in pieces:
            writer.add({name: values[first:stop] for name, values in run.messages.items()})
        return writer.close(why), run


def rewrite(path: Path, change) -> None:
    """Change the members of a zip file: ``change(name, content)`` gives the new content."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, change(name, content))


def sealed_again(path: Path, change) -> None:
    """Change the header and seal it as if nothing had happened."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
    change(header)
    text = json.dumps(header).encode()
    seal = hashlib.sha256(text).hexdigest().encode()
    rewrite(path, lambda n, c: {"header.json": text, "seal": seal}.get(n, c))


def test_numpy_reads_what_the_documentation_says(tmp_path):
    path, run = write(tmp_path / "a.npz")
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(arrays["header.json"])
        layer = header["layers"][1]
        events = np.concatenate(
            [arrays[f"events/{piece:05d}/0001"] for piece in range(len(header["pieces"]))]
        )
        assert arrays["stimulus"].shape == (24, 32)
    assert header["format"] == "snn-compile trace"
    assert header["complete"] is True
    assert (header["n_steps"], header["recorded"]) == (6, 24)
    assert events.dtype == np.int32
    messages = run.messages[layer["name"]]
    assert layer["events"] == len(events) == np.count_nonzero(messages)
    flat = messages.reshape(24, 6, -1)
    assert (flat[events[:, 0], events[:, 1], events[:, 2]] == events[:, 3]).all()
    assert layer["sha256"] == hashlib.sha256(events.astype("<i4").tobytes()).hexdigest()
    with Recording.open(path) as recording:
        assert recording.header.about.facts == {"build": "x"}


def test_pieces_do_not_matter(tmp_path):
    paths = [
        write(tmp_path / "a.npz", ((0, 24),))[0],
        write(tmp_path / "b.npz", ((0, 1), (1, 2), (2, 23), (23, 24)))[0],
    ]
    one, other = (Recording.open(path) for path in paths)
    with one, other:
        assert one.header.digests == other.header.digests
        for layer in one.layers:
            for first, stop in ((0, 24), (1, 3), (2, 24), (5, 5)):
                found = [r.messages(layer, first, stop) for r in (one, other)]
                np.testing.assert_array_equal(*found)
        with pytest.raises(IndexError):
            one.messages(one.layers[0], 0, 25)
        with pytest.raises(KeyError):
            one.messages("nothing")


def test_the_same_run_is_the_same_file(tmp_path):
    contents = [write(tmp_path / name)[0].read_bytes() for name in ("a.npz", "b.npz")]
    assert contents[0] == contents[1]


def test_a_run_that_ends_early_is_kept_beside(tmp_path):
    (tmp_path / "a.npz").write_text("an older one")
    path, run = write(tmp_path / "a.npz", ((0, 3),), "the board was lost")
    assert path == tmp_path / "a.partial.npz"
    assert (tmp_path / "a.npz").read_text() == "an older one"
    with Recording.open(path) as recording:
        assert not recording.header.complete
        assert (recording.header.recorded, recording.header.why) == (3, "the board was lost")
        layer = recording.layers[0]
        np.testing.assert_array_equal(recording.messages(layer), run.messages[layer][:3])


def test_nothing_is_left_of_a_writer_that_fails(tmp_path):
    program, frames = network("rate")
    about = About("seal", "rate", 6, "reference")
    with (
        pytest.raises(OverflowError),
        TraceWriter(tmp_path / "a.npz", about, series_of(program), frames) as writer,
    ):
        writer.add({p.id: np.full((1, 6, *p.shape), 1 << 31) for p in program.populations})
    assert os.listdir(tmp_path) == []


def test_potentials_have_a_place(tmp_path):
    about = About("seal", "rate", 2, "board")
    series = (Series("a", (3,), 1), Series("a", (3,), 1, POTENTIAL))
    sent, states = np.array([[[0, 1, 0], [1, 0, 0]]]), np.array([[[-5, 7, 0], [3, 0, -(2**31)]]])
    with TraceWriter(tmp_path / "a.npz", about, series, np.zeros((1, 4), int)) as writer:
        writer.add({"a": sent}, {"a": states})
        path = writer.close()
    with Recording.open(path) as recording:
        assert recording.layers == ("a",)
        np.testing.assert_array_equal(recording.messages("a"), sent)
        np.testing.assert_array_equal(recording.messages("a", quantity=POTENTIAL), states)


def test_other_stimuli_are_refused(tmp_path):
    path, _ = write(tmp_path / "a.npz")
    _, frames = network("rate")
    with Recording.open(path) as recording:
        recording.check_stimuli(frames)
        recording.check_stimuli(frames[:5])
        other = frames.copy()
        other[7, 0, 0, 0] += 1
        with pytest.raises(UsageError, match="stimulus 7"):
            recording.check_stimuli(other)
        with pytest.raises(UsageError, match="for 24 stimuli, not 48"):
            recording.check_stimuli(np.concatenate([frames, frames]))


def test_a_file_that_is_cut_off_anywhere_is_an_error(tmp_path):
    path, _ = write(tmp_path / "a.npz")
    content = path.read_bytes()
    for length in range(2, len(content), max(1, len(content) // 97)):
        path.write_bytes(content[:length])
        with pytest.raises(DeviceError) as caught:
            Recording.open(path)
        assert caught.value.code == "trace-damaged"
        assert caught.value.hint


def test_a_byte_that_differs_is_found_or_harmless(tmp_path):
    path, run = write(tmp_path / "a.npz")
    content = path.read_bytes()
    random = np.random.default_rng(0)
    found = 0
    for place in random.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            with Recording.open(path) as recording:  # dates and the like may differ
                for layer in recording.layers:
                    np.testing.assert_array_equal(recording.messages(layer), run.messages[layer])
        except CompileError:
            found += 1
    assert found > 200


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_a_changed_event_breaks_the_hash(tmp_path):
    path, _ = write(tmp_path / "a.npz")

    def change(name: str, content: bytes) -> bytes:
        if name != "events/00000/0001.npy":
            return content
        events = np.load(io.BytesIO(content))
        events[0, 3] += 1
        return npy(events)

    rewrite(path, change)
    with pytest.raises(VerificationError) as caught:
        Recording.open(path)
    assert caught.value.code == "trace-changed"
    assert "layer4" in caught.value.message


def test_a_changed_header_breaks_the_seal(tmp_path):
    path, _ = write(tmp_path / "a.npz")
    rewrite(path, lambda n, c: c.replace(b"reference", b"loihi two") if n == "header.json" else c)
    with pytest.raises(VerificationError, match=r"header\.json changed"):
        Recording.open(path)


@pytest.mark.parametrize(
    "events",
    [
        np.zeros((1, 4), np.int64),
        np.array([None, "a"], object),
        np.full((1, 4), -1, np.int32),
        np.zeros((0, 4), np.int32),
        np.zeros((10_000_000,), np.int8),
    ],
    ids=["wide", "pickled", "negative", "missing", "huge"],
)
def test_arrays_that_are_not_events_are_refused(tmp_path, events):
    path, _ = write(tmp_path / "a.npz")
    rewrite(path, lambda n, c: npy(events) if n == "events/00001/0000.npy" else c)
    with pytest.raises(DeviceError) as caught:
        Recording.open(path)
    assert caught.value.code == "trace-damaged"


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(n_steps="6"),
        lambda h: h.update(n_steps=1 << 40),
        lambda h: h.pop("pieces"),
        lambda h: h.update(layers=3),
        lambda h: h["layers"][0].update(shape=[1 << 20, 1 << 20]),
        lambda h: h["layers"].append(h["layers"][0]),
        lambda h: h["pieces"].pop(0),
        lambda h: h["pieces"][0].update(events=[1 << 30] * 4),
        lambda h: h.update(complete=False),
        lambda h: h.update(device=None),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_even_if_it_is_sealed(tmp_path, change):
    path, _ = write(tmp_path / "a.npz")
    sealed_again(path, change)
    with pytest.raises(DeviceError) as caught:
        Recording.open(path)
    assert caught.value.code == "trace-damaged"


def test_what_is_no_trace_says_so(tmp_path):
    (tmp_path / "text").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name in ("text", "other.npz"):
        with pytest.raises(UsageError) as caught:
            Recording.open(tmp_path / name)
        assert caught.value.code == "not-a-trace"
    with pytest.raises(UsageError) as caught:
        Recording.open(tmp_path / "nothing")
    assert caught.value.code == "no-such-file"
    path, _ = write(tmp_path / "a.npz")
    sealed_again(path, lambda h: h.update(version=2))
    with pytest.raises(UsageError) as caught:
        Recording.open(path)
    assert caught.value.code == "trace-version"


def test_events_are_in_canonical_order():
    events = events_of(np.array([[[0, 2], [3, 0]], [[-1, 0], [0, 4]]], np.int8), 10)
    assert events.tolist() == [[10, 0, 1, 2], [10, 1, 0, 3], [11, 0, 0, -1], [11, 1, 1, 4]]
