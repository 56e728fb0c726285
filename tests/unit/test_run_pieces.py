"""``run`` a few samples at a time: the same file, room on the disk, and nothing is half done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from snn_compile import bundle, compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import growing, main

CODINGS = {
    "graded": {},
    "rate": {"coding": "rate", "timesteps": 5},
    "poisson": {"coding": "rate", "timesteps": 5, "input": "poisson"},
    "signed": {"coding": "signed", "timesteps": 5},
    "sync": {"coding": "sync", "timesteps": 5},
    "radix": {"coding": "radix", "timesteps": 5},
    "sigma-delta": {"coding": "sigma-delta"},
}
BATCH_SIZE = 4


@pytest.fixture(scope="module")
def samples(examples: Path) -> np.ndarray:
    with np.load(examples / "digits_evaluate.npz") as archive:
        return archive["x"][:11]


@pytest.fixture(scope="module")
def folder(
    examples: Path, samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of the example, compiled in one of the codings."""
    root = tmp_path_factory.mktemp("pieces")

    def compiled(coding: str) -> Path:
        if not (root / coding).exists():
            model = examples / "digits_mlp.onnx"
            made = compile_model(model, calibrate=samples, emit=(), **CODINGS[coding])
            made.save(root / coding)
        return root / coding

    return compiled


def at_once(compiled: CompiledModel, x: np.ndarray) -> dict[str, np.ndarray]:
    """The file's arrays, from one simulation of all samples."""
    run = compiled.simulate(x, record=True)
    (name,) = compiled.decodings
    outputs = compiled.decodings[name](run.outputs[name])
    return {
        "outputs": outputs,
        "potentials": run.outputs[name].reshape(outputs.shape),
        "argmax": outputs.argmax(axis=1),
        **{f"spikes/{layer}": active.sum() for layer, active in run.activity.items()},
        **{f"trace/{layer}": messages for layer, messages in run.messages.items()},
    }


@pytest.mark.parametrize("engine", ["", "off"])
@pytest.mark.parametrize("coding", CODINGS)
def test_pieces_make_the_same_file(coding, engine, folder, samples, tmp_path, monkeypatch):
    compiled = CompiledModel.load(folder(coding))
    if engine:
        monkeypatch.setenv("SNN_COMPILE_ENGINE", engine)
    monkeypatch.setattr(bundle, "PIECE_SAMPLES", BATCH_SIZE)
    for n in (1, BATCH_SIZE, len(samples)):
        x = samples[:n]
        np.savez(tmp_path / "x.npz", x=x)
        line = ["run", folder(coding), "--data", tmp_path / "x.npz", "-o", tmp_path / "out.npz"]
        assert main([*map(str, line), "--trace", "--quiet"]) == 0
        expected = at_once(compiled, x)
        with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
            assert set(found.files) == set(expected)
            for name, array in expected.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array, strict=True)
        assert all(array.any() for name, array in expected.items() if name.startswith("trace/"))
    assert sorted(os.listdir(tmp_path)) == ["out.npz", "x.npz"]


def test_a_piece_is_as_small_as_is_promised(folder, samples, monkeypatch):
    compiled = CompiledModel.load(folder("rate"))
    one = sum(m[0].nbytes for m in compiled.simulate(samples, record=True).messages.values())
    input_bytes = bundle.INPUT_COPIES * 8 * 64  # it is the same at every step
    monkeypatch.setattr(bundle, "PIECE_BYTES", 3 * (one + input_bytes))
    recorded = list(compiled.simulate_in_pieces(samples, record=True))
    assert [run.n_stimuli for run in recorded] == [3, 3, 3, 2]
    held = max(sum(m.nbytes for m in run.messages.values()) for run in recorded)
    assert held == 3 * one
    monkeypatch.setattr(bundle, "PIECE_BYTES", 4 * input_bytes)
    assert [run.n_stimuli for run in compiled.simulate_in_pieces(samples)] == [4, 4, 3]
    monkeypatch.setattr(bundle, "PIECE_BYTES", 1)
    assert [run.n_stimuli for run in compiled.simulate_in_pieces(samples, record=True)] == [1] * 11


@pytest.fixture
def traced(folder, samples, tmp_path, monkeypatch) -> list[str]:
    """A command line that writes traces in three pieces over an older file."""
    monkeypatch.setattr(bundle, "PIECE_SAMPLES", BATCH_SIZE)
    out = tmp_path / "out"
    out.mkdir()
    (out / "out.npz").write_bytes(b"what was there before")
    np.savez(tmp_path / "x.npz", x=samples)
    line = ["run", folder("rate"), "--data", tmp_path / "x.npz", "-o", out / "out.npz"]
    return [*map(str, line), "--trace", "--quiet"]


def untouched(folder: Path) -> bool:
    here = os.listdir(folder) == ["out.npz"]
    return here and (folder / "out.npz").read_bytes() == b"what was there before"


def test_a_disk_without_room_is_refused_before_anything_is_simulated(
    traced, folder, samples, tmp_path, monkeypatch, capsys
):
    compiled = CompiledModel.load(folder("rate"))
    arrays = at_once(compiled, samples)
    traces = [array.nbytes for name, array in arrays.items() if name.startswith("trace/")]
    needed = sum(traces) + max(traces) + arrays["outputs"].nbytes + arrays["potentials"].nbytes
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    pieces = CompiledModel.simulate_in_pieces
    monkeypatch.delattr(CompiledModel, "simulate_in_pieces")
    assert main(traced) == 2
    said = capsys.readouterr().err
    assert "out.npz: error[disk-space]: the traces of 11 samples need" in said
    assert "hint: use fewer samples (10 fit)" in said
    assert untouched(tmp_path / "out")
    free = needed
    monkeypatch.setattr(CompiledModel, "simulate_in_pieces", pieces, raising=False)
    assert main(traced) == 0


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_full_disk_leaves_what_was_there(traced, samples, folder, tmp_path, capsys, share):
    """The limit on a file's size is met by the first piece of messages, or by the last."""
    resource = pytest.importorskip("resource")
    arrays = at_once(CompiledModel.load(folder("rate")), samples)
    largest = max(array.nbytes for array in arrays.values())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest), hard))
    try:
        assert main(traced) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert "error[file]: File too large" in said
    assert "hint: make room on the disk" in said
    assert untouched(tmp_path / "out")


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2)],
)
def test_what_fails_while_the_file_is_written_leaves_what_was_there(
    traced, tmp_path, monkeypatch, error, code, nth
):
    copy, calls = shutil.copyfileobj, []

    def failing(source, target, length):
        calls.append(length)
        if len(calls) == nth:
            target.write(source.read(10))
            raise error
        copy(source, target, length)

    monkeypatch.setattr(growing.shutil, "copyfileobj", failing)
    assert main(traced) == code
    assert len(calls) == nth
    assert untouched(tmp_path / "out")


def test_an_interrupted_simulation_leaves_what_was_there(traced, tmp_path, monkeypatch):
    simulate, pieces = bundle.engine.run, []

    def interrupted(program, frames, **options):
        pieces.append(len(frames))
        if options.get("first"):
            raise KeyboardInterrupt
        return simulate(program, frames, **options)

    monkeypatch.setattr(bundle.engine, "run", interrupted)
    assert main(traced) == 130
    assert pieces == [1, BATCH_SIZE, BATCH_SIZE]  # the first is a blank one: how much traces take
    assert untouched(tmp_path / "out")


def test_a_folder_that_is_not_there_is_said_before_anything_is_simulated(
    traced, tmp_path, monkeypatch, capsys
):
    monkeypatch.delattr(CompiledModel, "simulate_in_pieces")
    for more in ([], ["--trace"]):
        line = traced[: traced.index("-o")]
        assert main([*line, "-o", str(tmp_path / "none" / "out.npz"), *more]) == 2
        assert "error[no-such-file]: there is no such folder" in capsys.readouterr().err
