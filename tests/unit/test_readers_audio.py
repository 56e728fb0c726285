"""Recordings of sound as samples: the features that a recipe states, or a complaint."""

from __future__ import annotations

import struct
from hashlib import sha256

import numpy as np
import pytest
import scipy.fft

from snn_compile import memory
from snn_compile.errors import CompileError, UsageError
from snn_compile.options import CompileOptions
from snn_compile.recipes import AudioRecipe, read_recipe
from snn_compile.samples import stored
from snn_compile.samples.readers import Request, kept, open_samples
from snn_compile.samples.readers.features import features, mel_bands, taper
from sounds import log_mel, noise, record

RECIPE = "log-mel rate=8000 window=64 hop=32 bands=8"


def opened(path, shape=(9, 8), recipe=RECIPE, **request):
    content = open_samples(path, Request({"x": shape}, read_recipe(recipe), **request))
    content.check(path)
    return content


def test_features_are_those_of_the_equations():
    sound = noise(64 + 8 * 32)
    expected = log_mel(sound, 8000, 64, 32, 8)
    found = features(sound, read_recipe(RECIPE))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()
    cosines = scipy.fft.dct(expected, type=2, norm="ortho")[:, :5]
    mfcc = read_recipe(RECIPE.replace("log-mel", "mfcc coefficients=5"))
    assert np.abs(features(sound, mfcc) - cosines).max() < 1e-5
    scaled = read_recipe(RECIPE + " log=db offset=0 floor=1e-9 mean=-40 std=10 step=0.25")
    decibel = (10 * np.log10(np.exp(expected) - 1e-6) + 40) / 10
    assert (features(sound, scaled) == np.rint(decibel * 4) / 4).all()


def test_features_have_the_same_bits_everywhere():
    """The hash was taken on an AMD EPYC with AVX-512; calibration samples decide integers."""
    words = "mfcc rate=8000 window=200 hop=80 fft=256 coefficients=13 mel=slaney area=true power=1"
    found = features(noise(2000), read_recipe(words))
    assert sha256(found.tobytes()).hexdigest()[:16] == "48058095fd59dd6a"


def test_bands_and_tapers_are_the_published_ones():
    # Slaney's bands: 200/3 Hz apart below 1000 Hz, then each 6.4 ** (1 / 27) times the last.
    slaney = read_recipe("log-mel rate=8000 window=2000 bands=16 highest=1000 mel=slaney")
    peaks = mel_bands(slaney).argmax(axis=1) * 4
    assert np.abs(peaks - 1000 / 17 * np.arange(1, 17)).max() <= 2
    area = mel_bands(read_recipe("log-mel window=2000 bands=10 area=true lowest=500"))
    assert np.abs(area.sum(axis=1) * 8 - 1).max() < 0.02
    symmetric = taper(read_recipe("log-mel window=33 taper=hann-symmetric"))
    assert np.abs(symmetric - np.hanning(33)).max() < 1e-15
    hamming = taper(read_recipe("log-mel window=32 taper=hamming"))
    assert np.abs(hamming - np.hamming(33)[:-1]).max() < 1e-15


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_integers_of_every_width(tmp_path, width):
    sound = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75])
    record(tmp_path / "a.wav", sound, 100, width)
    found = opened(tmp_path / "a.wav", (6,), "samples rate=100").arrays["x"][:]
    assert found.dtype == np.float32
    assert (found == sound).all()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("keep=centre", [3, 4, 5, 6]),
        ("keep=end", [5, 6, 7, 8]),
    ],
)
def test_the_part_of_a_long_recording(tmp_path, words, expected):
    record(tmp_path / "a.wav", np.arange(1, 9) / 32768, 100)
    found = opened(tmp_path, (4,), f"samples rate=100 {words}").arrays["x"][:]
    assert (found * 32768 == expected).all()


@pytest.mark.parametrize(
    ("pad", "expected"),
    [
        ("after", [1, 2, 0, 0, 0]),
        ("before", [0, 0, 0, 1, 2]),
        ("both", [0, 1, 2, 0, 0]),
    ],
)
def test_silence_around_a_short_one(tmp_path, pad, expected):
    record(tmp_path / "a.wav", np.arange(1, 3) / 32768, 100)
    found = opened(tmp_path, (1, 5), f"samples rate=100 pad={pad}").arrays["x"][:]
    assert (found * 32768 == expected).all()


def test_a_folder_for_each_class_and_any_order_of_axes(tmp_path):
    sounds = {f"{name}/{k}.wav": noise(320, k) for k, name in enumerate(("yes", "no", "yes"))}
    for name, sound in sounds.items():
        record(tmp_path / name, sound)
    content = opened(tmp_path)
    assert content.classes == ("no", "yes")
    assert content.labels["y"].tolist() == [0, 1, 1]
    rows = content.arrays["x"][:]
    assert (rows[0] == features(sounds["no/1.wav"], read_recipe(RECIPE))).all()
    assert (opened(tmp_path, (1, 9, 8)).arrays["x"][:][:, 0] == rows).all()
    assert (opened(tmp_path, (72,)).arrays["x"][:] == rows.reshape(3, 72)).all()
    turned = opened(tmp_path, (8, 9), f"{RECIPE} axes=bands,time").arrays["x"][:]
    assert (turned == rows.transpose(0, 2, 1)).all()
    (tmp_path / "list.csv").write_text("file,label\nyes/0.wav,yes\nno/1.wav,no\n")
    listed = opened(tmp_path / "list.csv")
    assert (listed.arrays["x"][:] == rows[[1, 0]]).all()


def test_features_are_computed_once(tmp_path, monkeypatch):
    for k in range(6):
        record(tmp_path / f"{k}.wav", noise(320, k))
    for held in (stored.HELD_BYTES, 0):
        monkeypatch.setattr(kept, "HELD_BYTES", held)
        content = opened(tmp_path, part="drawn", n_drawn=3)
        rows = content.arrays["x"].rows
        whole = [features(noise(320, k), read_recipe(RECIPE)) for k in range(6)]
        monkeypatch.setattr(type(rows._rows), "_decoded", None)
        some = content.arrays["x"].chosen
        assert (content.arrays["x"][:] == np.stack(whole)[some]).all()
        monkeypatch.undo()


@pytest.mark.parametrize("wrapped", [True, False])
def test_recordings_in_a_parquet_file(tmp_path, wrapped):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for k in range(3):
        record(tmp_path / "set" / f"{k}.wav", noise(320, k))
    stored = [(tmp_path / "set" / f"{k}.wav").read_bytes() for k in range(3)]
    column = [{"bytes": one, "path": "a.wav"} for one in stored] if wrapped else stored
    table = pyarrow.table({"audio": column, "label": [0, 2, 1]})
    parquet.write_table(table, tmp_path / "set.parquet")
    content = opened(tmp_path / "set.parquet")
    assert (content.arrays["x"][:] == opened(tmp_path / "set").arrays["x"][:]).all()
    assert np.asarray(content.labels["y"][:]).tolist() == [0, 2, 1]
    parquet.write_table(pyarrow.table({"audio": [b"RIFF", stored[0]]}), tmp_path / "bad.parquet")
    assert "recording 0: error[unreadable-data]" in refusals(tmp_path / "bad.parquet")


def refusals(path, shape=(9, 8), recipe=RECIPE):
    with pytest.raises(CompileError) as caught:
        opened(path, shape, recipe)
    assert all(error.hint for error in getattr(caught.value, "errors", (caught.value,)))
    return str(caught.value)


def test_what_would_be_read_wrongly_is_named_all_at_once(tmp_path):
    record(tmp_path / "rate.wav", noise(320), 16000)
    record(tmp_path / "stereo.wav", np.stack([noise(320)] * 2, axis=1))
    record(tmp_path / "empty.wav", np.zeros(0))
    content = record(tmp_path / "cut.wav", noise(320)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:-9])
    for name, number in (("float", 3), ("alaw", 6), ("other", 999)):
        (tmp_path / f"{name}.wav").write_bytes(
            content[:20] + struct.pack("<H", number) + content[22:]
        )
    (tmp_path / "odd.wav").write_bytes(content[:34] + struct.pack("<H", 64) + content[36:])
    (tmp_path / "short.wav").write_bytes(content[:20])
    (tmp_path / "none.wav").write_bytes(content[:22] + bytes(2) + content[24:])
    said = refusals(tmp_path)
    for words in (
        "rate.wav: error[wrong-shape]: it has 16,000 samples a second, and the recipe 8,000",
        "stereo.wav: error[unreadable-data]: it has 2 channels",
        "empty.wav: error[unreadable-data]: cannot be decoded (it holds no sound)",
        "cut.wav: error[unreadable-data]: cannot be decoded (it ends before its last sample)",
        "float.wav: error[unreadable-data]: its samples are floating point, not integers",
        "alaw.wav: error[unreadable-data]: its samples are A-law",
        "other.wav: error[unreadable-data]: its samples are format 999",
        "odd.wav: error[unreadable-data]: it has 64 bits a sample",
        "short.wav: error[unreadable-data]: cannot be decoded",
        "none.wav: error[unreadable-data]: cannot be decoded (bad # of channels)",
    ):
        assert words in said


def test_features_take_no_more_memory_than_they_may(tmp_path):
    """A transform of 4096 is a matrix."""
    record(tmp_path / "a.wav", noise(100))
    memory.limit_to(256 << 20)
    try:
        recipe = RECIPE.replace("window=64", "window=4096")
        assert f"{tmp_path}: error[too-large]: making features" in refusals(tmp_path, recipe=recipe)
    finally:
        memory.limit_to(None)


def test_features_that_the_network_does_not_take_are_refused(tmp_path):
    record(tmp_path / "a.wav", noise(320))
    assert "8 features a frame" in refusals(tmp_path, (8, 9))
    assert "one axis of samples" in refusals(tmp_path, (3, 4), "samples rate=8000")
    assert "the network takes (3, 9, 8)" in refusals(tmp_path, (3, 9, 8))
    assert "the recipe is of images" in refusals(tmp_path, (9, 8), "imagenet")
    with pytest.raises(UsageError, match="no recipe states") as caught:
        open_samples(tmp_path, Request({"x": (9, 8)}))
    assert "--preprocess" in caught.value.hint


@pytest.mark.parametrize("name", ["samples", "log-mel", "mfcc", RECIPE + " mean=1,2,3,4,5,6,7,8"])
def test_a_recipe_of_sound_is_read_from_its_own_text(name):
    recipe = read_recipe(name)
    assert isinstance(recipe, AudioRecipe)
    assert read_recipe(recipe.text) == recipe
    assert recipe.name in recipe.described()
    options = CompileOptions(preprocess=name)
    assert not options.mean_values
    assert not options.scale_values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fft=32", "shorter than a window"),
        ("lowest=4000", "end below their beginning"),
        ("highest=5000", "beyond the rate"),
        ("offset=0", "no logarithm of silence"),
        ("mean=1,2", "2 values of mean"),
        ("features=mfcc", "no coefficients"),
        ("taper=kaiser", "taper cannot be 'kaiser'"),
        ("resize=3", "no key 'resize'"),
    ],
)
def test_contradictions_of_a_recipe_are_refused(words, said):
    with pytest.raises(CompileError) as caught:
        read_recipe(f"{RECIPE} {words}")
    assert said in str(caught.value)
