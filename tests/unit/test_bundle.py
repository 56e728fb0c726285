"""The sealed folder: what is saved is what is loaded, and nobody changes it unnoticed."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.errors import CompileError, ModelError, UsageError, VerificationError
from snn_compile.ir.serialize import dump_program
from snn_compile.ir.text import to_text
from snn_compile.pipeline.driver import compile_model
from snn_compile.report import html
from snn_compile.sim import reference


@pytest.fixture(scope="module")
def calibration(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        return archive["x"][:64]


@pytest.fixture(scope="module")
def model(examples, calibration):
    made = compile_model(
        examples / "digits_mlp.onnx",
        calibrate=calibration,
        coding="rate",
        timesteps=4,
        emit=(),
        thresholds="max",
    )
    return replace(made, stimulus=made.stimulus[:6])


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "net"
    model.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A folder of its own with everything that loading needs."""
    folder = tmp_path / "net"
    (folder / "golden").mkdir(parents=True)
    golden = (f"golden/{path.name}" for path in (saved / "golden").iterdir())
    for name in ("model.snn", "report.json", *golden):
        (folder / name).write_bytes((saved / name).read_bytes())
    return folder


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def array_names(path):
    return sorted(json.loads(members(path)["program.json"])["hashes"])


def test_loading_gives_the_same_answers(model, saved, calibration):
    loaded = CompiledModel.load(saved)
    assert to_text(loaded.program) == to_text(model.program)
    np.testing.assert_array_equal(loaded.run(calibration), model.run(calibration))
    one, other = (m.simulate(calibration[:5], record=True) for m in (model, loaded))
    for name, messages in one.messages.items():
        np.testing.assert_array_equal(other.messages[name], messages)
    np.testing.assert_array_equal(loaded.stimulus, model.stimulus)
    assert loaded.provenance == model.provenance
    assert loaded.encoding.shape == model.encoding.shape
    assert loaded.report == json.loads((saved / "report.json").read_text())


def test_the_answers_are_useful(model, examples):
    with np.load(examples / "digits_evaluate.npz") as archive:
        x, y = archive["x"], archive["y"]
    scores = model.run(x)
    assert scores.shape == (500, 10)
    assert scores.dtype == np.float64
    assert (scores.argmax(axis=1) == y).mean() > 0.6  # four steps only


def test_the_file_is_the_same_for_the_same_network(model, saved, tmp_path):
    model.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.snn").read_bytes() == (saved / "model.snn").read_bytes()
    loaded = CompiledModel.load(saved)
    loaded.save(tmp_path / "loaded")
    assert (tmp_path / "loaded" / "model.snn").read_bytes() == (saved / "model.snn").read_bytes()


def test_a_saved_folder_holds_both_reports_and_golden_answers(model, saved):
    assert {p.name for p in saved.iterdir()} == {
        "model.snn",
        "golden",
        "report.json",
        "report.html",
        "placement.toml",
        "cores.csv",
    }
    with np.load(saved / "golden" / "expected.npz") as archive:
        assert archive.files == [str(k) for k in range(len(model.program.readouts))]
        outputs = reference.run(model.program, model.stimulus).outputs
        for number, node in enumerate(model.program.readouts):
            np.testing.assert_array_equal(archive[str(number)], outputs[node.id])
    hashes = json.loads((saved / "golden" / "messages.json").read_text())
    assert set(hashes) == {node.id for node in model.program.populations}
    assert all(len(each) == 6 for each in hashes.values())


def test_golden_messages_are_verified_and_differences_named(saved):
    loaded = CompiledModel.load(saved)
    assert loaded.verify_golden(loaded.stimulus).equal
    frames = loaded.stimulus.copy()
    frames[2] = loaded.encoding.high - frames[2]
    result = loaded.verify_golden(frames)
    assert not result.equal
    assert all("stimulus 2" in line for line in result.details if line.startswith("layer"))
    assert any(line.startswith("layer") for line in result.details)


# -------------------------------------------------------------------------------------- tampering


def test_every_array_is_sealed(copy):
    path = copy / "model.snn"
    content, names = members(path), array_names(path)
    assert len(names) == len(content) - 2
    for number, name in enumerate(names):
        array = np.load(io.BytesIO(content[f"{number}.npy"]))
        if not array.size:
            continue
        changed = array.copy()
        changed.flat[-1] = changed.flat[-1] + 1
        buffer = io.BytesIO()
        np.save(buffer, changed)
        write(path, {**content, f"{number}.npy": buffer.getvalue()})
        with pytest.raises(VerificationError) as error:
            CompiledModel.load(copy)
        assert error.value.code == "seal-broken"
        assert name in error.value.message
        assert error.value.origin.file == str(path)


@pytest.mark.parametrize("change", ["exponent", "threshold", "n_steps", "seed"])
def test_the_program_text_is_sealed(copy, change):
    path = copy / "model.snn"
    content = members(path)
    text = content["program.json"].decode()
    old = f'"{change}": ' if change in ("n_steps", "exponent", "seed") else '"program"'
    assert old in text
    place = text.index(old) + len(old)
    digit = text[place]
    new = text[:place] + ("7" if digit != "7" else "6") + text[place + 1 :]
    if change == "threshold":
        new = text.replace('"schema": ', '"schema":  ')
    write(path, {**content, "program.json": new})
    with pytest.raises(VerificationError, match=r"program\.json") as error:
        CompiledModel.load(copy)
    assert error.value.code == "seal-broken"


def test_another_type_of_the_same_numbers_is_noticed(copy):
    path = copy / "model.snn"
    content, names = members(path), array_names(path)
    k = next(k for k, name in enumerate(names) if "weight" in name)
    buffer = io.BytesIO()
    np.save(buffer, np.load(io.BytesIO(content[f"{k}.npy"])).astype(np.int32))
    write(path, {**content, f"{k}.npy": buffer.getvalue()})
    with pytest.raises(VerificationError, match="seal is broken"):
        CompiledModel.load(copy)


def test_pickles_are_never_loaded(copy):
    path = copy / "model.snn"
    content = members(path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write(path, {**content, "0.npy": buffer.getvalue()})
    with pytest.raises(ModelError, match="damaged"):
        CompiledModel.load(copy)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(copy, share):
    path = copy / "model.snn"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError) as error:
        CompiledModel.load(copy)
    assert error.value.code == "unreadable-bundle"


def test_any_damaged_byte_is_noticed_or_harmless(copy, model):
    path = copy / "model.snn"
    data = path.read_bytes()
    places = np.linspace(0, len(data) - 1, 400).astype(int)
    noticed = 0
    for place in [*places, *range(60), *range(len(data) - 120, len(data))]:
        damaged = bytearray(data)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        try:
            loaded = CompiledModel.load(copy)
        except CompileError:
            noticed += 1
        else:
            assert to_text(loaded.program) == to_text(model.program), place
    assert noticed > 350


@pytest.mark.parametrize(
    "name", ["golden/stimulus.npz", "golden/expected.npz", "golden/messages.json", "report.json"]
)
@pytest.mark.parametrize("damage", ["half", "flipped"])
def test_other_damaged_files(copy, name, damage):
    path = copy / name
    data = bytearray(path.read_bytes())
    if damage == "half":
        data = data[: len(data) // 2]
    else:
        for k in range(len(data) // 3, len(data), 7):
            data[k] ^= 0x15
    path.write_bytes(data)
    with pytest.raises(ModelError):
        CompiledModel.load(copy)


@pytest.mark.parametrize(
    "name", ["golden/stimulus.npz", "golden/expected.npz", "golden/messages.json"]
)
def test_missing_golden_files(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelError):
        CompiledModel.load(copy)


def test_the_report_may_be_missing(copy):
    (copy / "report.json").unlink()
    assert CompiledModel.load(copy).report == {}


def test_nothing_was_compiled_here(tmp_path):
    with pytest.raises(UsageError) as error:
        CompiledModel.load(tmp_path)
    assert error.value.code == "not-compiled"


def test_arrays_missing_from_the_archive(copy):
    path = copy / "model.snn"
    content = members(path)
    del content["0.npy"]
    write(path, content)
    with pytest.raises(ModelError, match="damaged"):
        CompiledModel.load(copy)


# ----------------------------------------------------------------------------------- saving is all


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("before", [False, True])
def test_a_failed_save_leaves_everything_as_it_was(model, tmp_path, monkeypatch, before):
    target = tmp_path / "out" / "net"
    if before:
        model.save(target)
        (target / "golden" / "mark").write_text("of an older version")
    there = files(tmp_path)

    def fail(report):
        raise KeyboardInterrupt

    monkeypatch.setattr(html, "render", fail)
    with pytest.raises(KeyboardInterrupt):
        model.save(target)
    assert files(tmp_path) == there
    assert target.parent.exists() is before


def test_a_save_replaces_what_was_there(model, tmp_path):
    target = tmp_path / "net"
    model.save(target)
    (target / "golden" / "mark").write_text("of an older version")
    model.save(target)
    assert not (target / "golden" / "mark").exists()
    assert CompiledModel.load(target)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_wrong_shapes_are_refused(model):
    with pytest.raises(UsageError) as error:
        model.run(np.zeros((3, 8, 8)))
    assert error.value.code == "wrong-shape"
    assert "(N, 1, 8, 8)" in error.value.message


def test_seal_is_the_hash_of_the_text(saved):
    content = members(saved / "model.snn")
    assert hashlib.sha256(content["program.json"]).hexdigest() == content["seal"].decode()
    hashed = json.loads(content["program.json"])["hashes"]
    loaded = CompiledModel.load(saved)
    assert set(dump_program(loaded.program)[1]) < set(hashed)
