"""``tune`` for people who train: their data, several seeds, schedules, augmentation, one table."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

from torch.utils.data import DataLoader, Dataset  # noqa: E402

from snn_compile.bundle import CompiledModel  # noqa: E402
from snn_compile.cli import main  # noqa: E402
from snn_compile.errors import CompileError, UnsupportedError, UsageError  # noqa: E402
from snn_compile.ir.serialize import array_hashes, dump_program  # noqa: E402
from snn_compile.tune import TuneOptions, session, setting, table, tune_model  # noqa: E402
from snn_compile.tune.augmentation import Augmentation  # noqa: E402
from snn_compile.tune.data import AugmentedSamples  # noqa: E402
from snn_compile.tune.network import Network  # noqa: E402
from snn_compile.tune.trainer import TrainingData, schedule  # noqa: E402
from tuning_tasks import spiking_mlp  # noqa: E402

SHORT = {"epochs": 1, "patience": 0, "threads": 1, "batch_size": 16, "learning_rate": 0.02}


class Digits(Dataset):
    """Pairs, as people have them."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return torch.tensor(self.x[index]), int(self.y[index])


@pytest.fixture(scope="module")
def digits(examples):
    """With labels off by one: there is something to learn, and no epoch is as good as epoch 0."""
    with np.load(examples / "digits_train.npz") as file:
        x, y = file["x"], (file["y"] + 1) % 10
    return (x[:96], y[:96]), (x[96:160], y[96:160])


@pytest.fixture
def base(examples, once):
    def make(folder):
        line = [str(examples / "digits_mlp.onnx"), "-o", str(folder / "base"), "-q", "--no-emit"]
        assert main([*line, "--coding", "sync", "-T", "1"]) == 0

    return once("tune-training-base", make) / "base"


def integers(tuned):
    return array_hashes(dump_program(tuned.program)[1])


def test_a_dataset_and_arrays_train_the_same_network(base, digits):
    train, held_out = digits
    found = [
        tune_model(base, given, held_out=apart, average=0.0, **SHORT)
        for given, apart in ((train, held_out), (Digits(*train), Digits(*held_out)))
    ]
    assert integers(found[0]) == integers(found[1]) != integers(CompiledModel.load(base))
    for tuned in found:
        facts = tuned.report["tune"]
        assert (facts["train"], facts["held_out"]) == (96, 64)
        assert facts["held_out_of"] == "data of their own"
    alone = tune_model(base, Digits(*train), hold_out=0.25, **SHORT).report["tune"]
    assert (alone["train"], alone["held_out"]) == (72, 24)
    assert alone["held_out_of"] == "25% of the training data, seed 0"


def test_samples_that_do_not_fit_the_memory_train_the_same_network(base, digits, monkeypatch):
    (train, held_out) = digits
    held = tune_model(base, train, held_out=held_out, options=TuneOptions(**SHORT))
    monkeypatch.setattr(setting, "_HELD_SHARE", 0)
    stored = tune_model(base, train, held_out=held_out, options=TuneOptions(**SHORT))
    assert integers(stored) == integers(held) != integers(CompiledModel.load(base))


def test_batches_of_a_loader_are_repeatable(base, digits):
    train, held_out = digits

    class Noisy(Digits):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x + 0.1 * torch.randn(x.shape), y

    found = []
    for before in (1, 2):
        torch.manual_seed(before)  # what the caller has drawn does not matter
        loader = DataLoader(Noisy(*train), batch_size=16, shuffle=True)
        found.append(tune_model(base, loader, held_out=held_out, average=0.0, **SHORT))
    assert integers(found[0]) == integers(found[1]) != integers(CompiledModel.load(base))
    with pytest.raises(UsageError, match="cannot be split"):
        tune_model(base, DataLoader(Digits(*train)), **SHORT)
    single = DataLoader(train[0], batch_size=5)
    with pytest.raises(UsageError, match="no pairs"):
        tune_model(base, single, held_out=held_out, **SHORT)


def test_seeds_are_trainings_of_their_own(base, digits):
    """On the same held-out samples; the best is kept, and each is what it is alone."""
    train, held_out = digits
    several = tune_model(base, train, held_out=held_out, evaluate=held_out, seeds=2, **SHORT)
    facts = several.report["tune"]
    rows = facts["seeds"]
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["merit"] != rows[1]["merit"]
    best = max(rows, key=lambda row: row["merit"])
    assert facts["options"]["seed"] == best["seed"]
    assert facts["after"] == best["after"]
    alone = tune_model(base, train, held_out=held_out, seed=1, **SHORT).report["tune"]
    assert alone["curve"][alone["best_epoch"]]["merit"] == rows[1]["merit"]
    assert "seeds" not in alone


def test_schedules():
    def factors(**options):
        chosen = TuneOptions(**options)
        return [schedule(chosen, share) for share in (0, 0.25, 0.5, 0.99)]

    assert factors() == pytest.approx([1, 0.854, 0.5, 0.00025], abs=1e-3)
    assert factors(schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.01])
    assert factors(schedule="constant") == [1, 1, 1, 1]
    assert factors(schedule="steps") == pytest.approx([1, 1, 0.1, 0.01])
    warm = factors(schedule="constant", warm_up=0.5)
    assert 0 < warm[0] < warm[1] < warm[2] == 1


def test_augmentation_changes_samples_and_nothing_else():
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4)
    flip = Augmentation(["flip:1"], x.shape[1:], 1.0)
    assert (flip(x, np.random.default_rng(0)) == x[..., ::-1]).all()
    shift = Augmentation(["shift:1"], x.shape[1:], 1.0)
    seen = {shift(x, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    moved = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows = np.clip(np.arange(3) - down, 0, 2)
            columns = np.clip(np.arange(4) - right, 0, 3)
            moved.append(x[0][:, rows][:, :, columns].tobytes())
    firsts = {np.frombuffer(one, np.float32)[:12].tobytes() for one in seen}
    assert firsts <= set(moved)
    assert len(firsts) > 5
    noisy = Augmentation(["noise:0.1"], (5,), 2.0)(np.zeros((4000, 5)), np.random.default_rng(0))
    assert noisy.std() == pytest.approx(0.2, rel=0.05)
    whole = Augmentation(["noise:1"], (5,), 2.0)(np.full((90, 5), 7), np.random.default_rng(0))
    assert whole.dtype.kind == "i"
    with pytest.raises(UnsupportedError, match="no axis"):
        Augmentation(["shift"], (5,), 1.0)
    samples = AugmentedSamples(x, np.arange(2), shift, lambda x, y: TrainingData(x, y))
    epochs = [
        b"".join(batch.frames.tobytes() for _, batch in samples.batches(epoch, 1, 0))
        for epoch in (0, 0, 1, 2)
    ]
    assert epochs[0] == epochs[1]
    assert len(set(epochs)) > 1


@pytest.mark.parametrize(
    "augment", ["turn", "shift:0", "shift:1.5", "flip:2", "flip,flip", "shift:"]
)
def test_an_augmentation_that_is_none_is_refused(augment):
    with pytest.raises(UsageError, match="augment"):
        TuneOptions(augment=augment)
    assert TuneOptions(augment="shift:2, flip").augment == ("shift:2", "flip")


def test_augmented_training_learns(base, digits):
    train, held_out = digits
    tuned = tune_model(base, train, held_out=held_out, augment="shift", average=0.0, **SHORT)
    plain = tune_model(base, train, held_out=held_out, average=0.0, **SHORT)
    assert integers(tuned) != integers(plain)


# ------------------------------------------------------------------------------ exact arithmetic


def test_products_are_in_float32_whatever_a_program_has_set():
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        cudnn.allow_tf32 = True
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with session.torch_settings(TuneOptions()):
                assert torch.get_float32_matmul_precision() == "highest"
                assert not cudnn.allow_tf32
                assert not torch.is_autocast_enabled("cpu")
                assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        assert cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]


def test_a_device_that_counts_otherwise_is_refused(monkeypatch):
    """In place of one that nobody here has: its potentials are off by one."""
    from snn_compile.tune.method import Task
    from snn_compile.tune.psg import ParametricSurrogate

    program = spiking_mlp(seed=3)
    name = program.readouts[0].id
    network = Network(program, {name: np.full(4, 1.0)})
    method = ParametricSurrogate(Task(network, name, np.full(4, 1.0), TuneOptions()))
    frames = (np.random.default_rng(0).random((3, 8, 40)) < 0.2).astype(np.int64)
    session.require_exact(network, method.respond, frames)
    right = Network.__call__

    def wrong(self, *arguments, **named):
        found = right(self, *arguments, **named)
        found.outputs[name] += 1
        return found

    monkeypatch.setattr(Network, "__call__", wrong)
    with pytest.raises(UnsupportedError, match="differs") as caught:
        session.require_exact(network, method.respond, frames)
    assert caught.value.code == "inexact-device"


def test_cuda_is_used_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [session.device_of(name) for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert session.device_of("auto") == "cpu"


# ------------------------------------------------------------------------------ the table


@pytest.fixture
def trained(monkeypatch):
    """Trainings that are not run: every seed gains a point, qcfs two."""
    calls = []

    def tune(model, train, *, options, compile_options, **named):
        calls.append((compile_options.timesteps, options.method))
        before = 90.0 + compile_options.timesteps
        gain = 1 + (options.method == "qcfs")
        rows = [{"after": before + gain + k / 10} for k in range(options.seeds)]
        facts = {"before": before, "after": before + gain, "seeds": rows}
        return SimpleNamespace(report={"tune": facts, "timing": []})

    monkeypatch.setattr(table, "tune_model", tune)
    return calls


def test_a_table_resumes_after_the_last_training(examples, tmp_path, trained, capsys, monkeypatch):
    line = ["tune", str(examples / "digits_mlp.onnx"), "--seeds", "2", "-o", str(tmp_path / "t")]
    line += ["--train", str(examples / "digits_train.npz"), "-q"]
    assert main([*line, "--table", "1"]) == 0
    assert main([*line, "--table", "2,1"]) == 0
    assert trained == [(1, "psg"), (1, "qcfs"), (2, "psg"), (2, "qcfs")]
    printed = capsys.readouterr().out.splitlines()[-4:]
    assert [cell.strip() for cell in printed[0].split("|")[1:-1]] == [
        "T",
        "untuned, %",
        "psg, %",
        "qcfs, %",
    ]
    assert "| 1 | 91.00      | 92.05 ± 0.07 (+1.05) | 93.05 ± 0.07 (+2.05) |" in printed
    document = json.loads((tmp_path / "t" / "table.json").read_text())
    assert len(document["cells"]) == 4
    assert main([*line, "--table", "1", "--epochs", "3"]) == 2
    assert "error[other-checkpoint]" in capsys.readouterr().err
    (tmp_path / "t" / "table.json").write_text('{"cells": 3}')
    assert main([*line, "--table", "1"]) == 2
    assert "error[bad-checkpoint]" in capsys.readouterr().err


def test_what_a_table_cannot_be(base, examples, tmp_path, capsys):
    """All of it at once."""
    train = ["--train", str(examples / "digits_train.npz"), "-o", str(tmp_path / "t"), "-q"]
    assert main(["tune", str(base), *train, "--table", "2,x"]) == 2
    told = capsys.readouterr().err
    assert told.count("error[") == 3
    for words in ("table cannot be '2,x'", "needs evaluation data", "give the model file"):
        assert words in told
    assert not (tmp_path / "t").exists()


@pytest.mark.slow
def test_a_table_of_trainings(examples, tmp_path, capsys):
    line = ["tune", str(examples / "digits_mlp.onnx"), "--coding", "sync", "--table", "2"]
    line += ["--train", str(examples / "digits_train.npz"), "-o", str(tmp_path / "t")]
    assert main([*line, "--epochs", "4", "--seeds", "2", "--threads", "1", "-q"]) == 0
    cells = json.loads((tmp_path / "t" / "table.json").read_text())["cells"]
    assert [cell["method"] for cell in cells] == ["psg", "qcfs"]
    assert cells[0]["before"] == cells[1]["before"]
    assert all(len(cell["after"]) == 2 for cell in cells)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["table.json"]


def test_errors_are_those_of_the_user(base, digits):
    with pytest.raises(CompileError) as caught:
        tune_model(base, Digits(*digits[0]), augment="flip", **SHORT)
    assert caught.value.code == "bad-option"
