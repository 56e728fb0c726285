"""Points won back by tuning what converts badly: tables of docs/explanation/tuning.md.

    python tests/bench/tune_few_steps.py [resnet20 spoken] [--seeds 1] [--images 1000] [--epochs 2]
                                         [--test 500] [--json FILE] [--write]

``resnet20``: the shared ResNet-20 for CIFAR-10 in ``sync`` at T = 4 and 2 and in ``radix`` at
T = 2, tuned on ``--images`` images of the training part, a tenth of which is held out.
``spoken``: a network of convolutions over time that has learned the answers of the example
``kws_gru``, in the same codings (the GRU itself has none of them). Gains are on test data that
nothing was trained on; minutes are those of the CPU for the training alone, on one thread. Results
are kept in the JSON file. Needs torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
import w8a8
from shared_models import prepare
from torch import nn
from tuning_tables import Bench, Rows, parser_of, run, spread

from snn_compile import CompileOptions
from snn_compile.tune import TuneOptions, tune_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, PAGE = ROOT / "examples", ROOT / "docs" / "explanation" / "tuning.md"
CODINGS = (("sync", 2), ("sync", 4), ("radix", 2))
METHODS = ("psg", "qcfs")
RATES = (0.002, 0.0002)
"""Learning rates: that of ``tune``, and a tenth of it."""


@dataclass(frozen=True)
class Task:
    """A model file with its data; pairs are samples and labels."""

    model: Path
    calibrate: Path
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def resnet20(bench: Bench) -> Rows:
    """The shared network for CIFAR-10."""
    with TemporaryDirectory() as scratch:
        return _table(bench, "resnet20", lambda: _cifar10(Path(scratch), bench.arguments))


def spoken(bench: Bench) -> Rows:
    """Spoken digits."""
    with TemporaryDirectory() as scratch:
        return _table(bench, "spoken", lambda: _spoken(Path(scratch)), epochs=20)


@dataclass(frozen=True)
class Arm:
    """What is varied.

    Attributes:
        coding: coding and number of steps.
        method: of the training.
        rate: learning rate.
    """

    coding: tuple[str, int]
    method: str
    rate: float

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        rate = "" if self.rate == RATES[0] else f" rate {self.rate:g}"
        return f"{self.coding[0]} T={self.coding[1]} {self.method}{rate}"


def _table(bench: Bench, name: str, make: Callable[[], Task], epochs: int = 0) -> Rows:
    task = cache(make)
    arms = [Arm(*one) for one in product(CODINGS, METHODS, bench.arguments.rates)]
    found: dict[Arm, list[Any]] = {arm: [] for arm in arms}
    # All arms of one seed before the next: an interrupted run has whole tables.
    for seed in range(bench.arguments.seeds):
        for arm in arms:

            def measure(arm: Arm = arm, seed: int = seed) -> Any:
                return _measured(task(), arm, seed, epochs or bench.arguments.epochs)

            found[arm].append(bench.measured(f"{name} {arm.key}, seed {seed}", measure))
    rows = [_row(arm, cells) for arm, cells in found.items()]
    head = ["coding", "method", "rate", "untuned, %", "tuned, %", "points"]
    return [[*head, "CPU minutes", "points a minute"], *rows]


def _measured(task: Task, arm: Arm, seed: int, epochs: int) -> list[float]:
    """Accuracy before and after, and minutes of the training."""
    coding, n_steps = arm.coding
    tuned = tune_model(
        task.model,
        task.train,
        options=TuneOptions(
            method=arm.method,
            learning_rate=arm.rate,
            seed=seed,
            epochs=epochs,
            batch_size=32,
            patience=0,
            threads=1,
        ),
        compile_options=CompileOptions(
            coding=coding,
            timesteps=n_steps,
            calibrate=task.calibrate,
            emit=(),
            target="unlimited",
        ),
        evaluate=task.test,
    )
    found, timing = tuned.report["tune"], tuned.report["timing"]
    seconds = sum(one["cpu_seconds"] for one in timing if one["stage"] == "tune")
    return [found["before"], found["after"], seconds / 60]


def _row(arm: Arm, cells: list[Any]) -> list[str]:
    gains = [after - before for before, after, _ in cells]
    minutes = mean(taken for *_, taken in cells)
    return [
        f"{arm.coding[0]}, T = {arm.coding[1]}",
        arm.method,
        f"{arm.rate:g}",
        f"{cells[0][0]:.1f}",
        spread([after for _, after, _ in cells], 1),
        spread(gains, 1),
        f"{minutes:.2f}",
        f"{mean(gains) / minutes:.0f}",
    ]


def _cifar10(scratch: Path, arguments: argparse.Namespace) -> Task:
    _, x, y = prepare("cifar10_resnet20", scratch, arguments.test)
    # The same preparation of more images of the training part than calibration takes.
    calibrate = scratch / "calibrate.npz"
    images = np.load(w8a8.SHARED / "data" / "cifar10.npz", allow_pickle=False)
    mean_, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    some = images["x_calib"][: arguments.images]
    train = ((some / 255 - mean_) / std).transpose(0, 3, 1, 2).astype(np.float32)
    held = np.load(calibrate)["x"]
    if not np.allclose(train[: len(held)], held[: len(train)], atol=1e-5):
        raise RuntimeError("the images are prepared in another way than the model's")
    np.savez(calibrate, x=held[: arguments.calibrate])
    labels = images["y_calib"][: arguments.images].astype(np.int64)
    return Task(
        w8a8.SHARED / "models" / "cifar10_resnet20.onnx", calibrate, (train, labels), (x, y)
    )


def _spoken(scratch: Path) -> Task:
    """A student of the GRU: it learns from its answers to the unlabelled recordings."""
    with np.load(EXAMPLES / "kws_calibrate.npz") as file:
        x = file["x"].transpose(0, 2, 1)[..., None].copy()
        teacher = onnxruntime.InferenceSession(EXAMPLES / "kws_gru.onnx")
        y = teacher.run(None, {"features": file["x"]})[0].argmax(axis=1)
    with np.load(EXAMPLES / "kws_evaluate.npz") as file:
        test = file["x"].transpose(0, 2, 1)[..., None].copy(), file["y"]
    torch.manual_seed(0)
    bands, digits = x.shape[1], int(y.max()) + 1
    student = nn.Sequential(
        nn.Conv2d(bands, 32, (5, 1), padding=(2, 0)),
        nn.ReLU(),
        nn.Conv2d(32, 32, (5, 1), padding=(2, 0), stride=(2, 1)),
        nn.ReLU(),
        nn.Conv2d(32, 32, (5, 1), padding=(2, 0), stride=(2, 1)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 8, digits),
    )
    optimizer = torch.optim.Adam(student.parameters(), 2e-3, weight_decay=1e-4)
    random = np.random.default_rng(0)
    for _ in range(60):
        order = random.permutation(len(x))
        for rows in np.split(order, range(32, len(x), 32)):
            moved = np.roll(x[rows], random.integers(-2, 3), axis=2)
            loss = nn.functional.cross_entropy(student(torch.tensor(moved)), torch.tensor(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model, calibrate = scratch / "spoken.onnx", scratch / "calibrate.npz"
    torch.onnx.export(student.eval(), (torch.tensor(x[:1]),), str(model), dynamo=False)
    np.savez(calibrate, x=x)
    return Task(model, calibrate, (x, y), test)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__.splitlines()[0], list(MADE), seeds=1)
    parser.add_argument("--images", type=int, default=1_000, help="training images of resnet20")
    parser.add_argument("--calibrate", type=int, default=256, help="images to calibrate on")
    parser.add_argument("--test", type=int, default=500, help="test images")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    run(parser.parse_args(), MADE, PAGE)


MADE = {"resnet20": resnet20, "spoken": spoken}

if __name__ == "__main__":
    main()
