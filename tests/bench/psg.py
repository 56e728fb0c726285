"""Learned widths against the best fixed one, and the two losses of PDA: tables of tuning.md.

    python tests/bench/psg.py [converted scratch adjustment] [--seeds 5] [--json FILE] [--threads 1]
                              [--write]

``converted``: the shared mnist_cnn_cntk at T = 2, tuned from its compiled integers on 1,500 images,
three epochs.
``scratch``: 784-200-200-10 leaky neurons at T = 5 from random weights, on 5,000 images of
MNIST, four epochs.
``adjustment``: the latter at two widths, with none of the losses of potential distribution
adjustment, or either. A tenth of the training images is held out. Accuracies are those of the
bit-accurate simulator on the first 5,000 test images.

The best fixed width is that with the smallest mean loss on the held-out images: test images choose
nothing. Differences are between trainings of the same seed: same weights, split and batches. The
interval is Student's of 95 %, p that of the paired test. One cell is one training; what is in the
JSON file already is not computed again. --write puts the tables into the docs. Needs torch and nir.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import w8a8
from tuning_tables import Bench, Rows, paired, parser_of, run, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from snn_compile import CompileOptions, compile_model
from snn_compile.tune import TuneOptions, tune_model
from spiking_graphs import write_mlp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "tuning.md"
FIXED = (0.25, 0.5, 1.0, 2.0)
N_TEST = 5_000
LEARNED: dict[str, dict[str, Any]] = {
    "learned, from 0.5": {"width": 0.5},
    "learned, from 1": {"width": 1.0},
    "learned ten times as fast, from 0.5": {"width": 0.5, "width_rate": 1.0},
}


@cache
def _images() -> dict[str, np.ndarray]:
    with np.load(w8a8.SHARED / "data" / "mnist.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _part(name: str, n: int, *shape: int, scale: float = 1 / 255) -> tuple[np.ndarray, np.ndarray]:
    images = _images()
    x = images[f"x_{name}"][:n].reshape(n, *shape).astype(np.float32) * np.float32(scale)
    return x, images[f"y_{name}"][:n].astype(np.int64)


def _fact(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables need of a training: on test images, on held-out ones, and widths."""
    tuned = report["tune"]
    kept = tuned["curve"][tuned["best_epoch"]]
    return {
        "top1": tuned["after"],
        "before": tuned["before"],
        "held_out_loss": kept["held_out_loss"],
        "widths": list(tuned["widths"].values()),
    }


def _converted(bench: Bench, folder: Path, seed: int, chosen: Mapping[str, Any]) -> Any:
    file = folder / "net.snn"
    if not file.exists():
        calibrate = folder / "calibrate.npz"
        np.savez(calibrate, x=_part("calib", 512, 1, 28, 28, scale=1)[0])
        model = w8a8.SHARED / "models" / "mnist_cnn_cntk.onnx"
        options = CompileOptions(
            coding="rate", timesteps=2, emit=(), target="unlimited", calibrate=calibrate
        )
        compile_model(model, options=options).save(file)
    tuned = tune_model(
        file,
        _part("calib", 1_500, 1, 28, 28, scale=1),
        options=TuneOptions(
            epochs=3, patience=0, seed=seed, threads=bench.arguments.threads, **chosen
        ),
        evaluate=_part("test", N_TEST, 1, 28, 28, scale=1),
    )
    return _fact(tuned.report)


def _scratch(bench: Bench, folder: Path, seed: int, chosen: Mapping[str, Any]) -> Any:
    train = _part("calib", 5_000, 784)
    file = write_mlp(folder / "net.nir", (784, 200, 200, 10), seed=seed, gain=40, spiking_end=False)
    calibrate = folder / "calibrate.npz"
    np.savez(calibrate, x=train[0][:500])
    tuned = tune_model(
        file,
        train,
        options=TuneOptions(
            from_scratch=True,
            epochs=4,
            patience=0,
            seed=seed,
            threads=bench.arguments.threads,
            **chosen,
        ),
        compile_options=CompileOptions(timesteps=5, calibrate=calibrate, emit=()),
        evaluate=_part("test", N_TEST, 784),
    )
    return _fact(tuned.report)


TASKS = {"converted": _converted, "scratch": _scratch}


def _cells(bench: Bench, task: str, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The facts of every training, by arm; seed by seed, so that a part of them is of all arms."""
    found: dict[str, list[Any]] = {arm: [] for arm in arms}
    with TemporaryDirectory() as scratch:
        for seed in range(bench.arguments.seeds):
            for arm, chosen in arms.items():
                key = f"{task} {arm}, seed {seed}"
                found[arm].append(
                    bench.measured(
                        key, lambda s=seed, c=chosen: TASKS[task](bench, Path(scratch), s, c)
                    )
                )
    return found


def _top1(facts: Sequence[Any]) -> list[float]:
    return [one["top1"] for one in facts]


def widths(bench: Bench, task: str) -> Rows:
    """Every width, fixed or learned, against the fixed one that held-out images favour."""
    fixed = {f"{w:g}, fixed": {"width": w, "learn_width": False} for w in FIXED}
    found = _cells(bench, task, {**fixed, **LEARNED})
    best = min(fixed, key=lambda arm: mean(one["held_out_loss"] for one in found[arm]))
    rows = []
    for arm, facts in found.items():
        ends = [width for one in facts for width in one["widths"]]
        rows.append(
            [
                f"**{arm}**" if arm == best else arm,
                f"{mean(one['held_out_loss'] for one in facts):.4f}",
                spread(_top1(facts)),
                "" if arm == best else paired(_top1(facts), _top1(found[best])),
                f"{min(ends):.2f} to {max(ends):.2f}",
            ]
        )
    return [
        [
            "width",
            "held-out loss",
            "test accuracy, %",
            "against the best fixed one, points",
            "widths at the end",
        ],
        *rows,
    ]


def converted(bench: Bench) -> Rows:
    """From a converted network."""
    return widths(bench, "converted")


def scratch(bench: Bench) -> Rows:
    """From random weights."""
    return widths(bench, "scratch")


def adjustment(bench: Bench) -> Rows:
    """PDA: neither loss, the penalty, or the divergence, at a good width and at a narrow one."""
    rows = []
    for width in (1.0, 0.25):
        fixed = {"width": width, "learn_width": False}
        # Without PDA the training is the one of ``widths``, and so is its key.
        arms = {f"{width:g}, fixed": fixed} | {
            f"{width:g}, fixed, {loss} {weight:g}": {**fixed, "pda": weight, "pda_loss": loss}
            for loss in ("penalty", "divergence")
            for weight in (0.01, 0.1)
        }
        found = _cells(bench, "scratch", arms)
        plain, *_ = arms
        for arm, facts in found.items():
            *_, name = arm.split(", ")
            rows.append(
                [
                    f"{width:g}",
                    "none" if arm == plain else name,
                    spread(_top1(facts)),
                    "" if arm == plain else paired(_top1(facts), _top1(found[plain])),
                ]
            )
    return [["width", "loss and its weight", "test accuracy, %", "against none, points"], *rows]


def main() -> None:
    """Measure and print."""
    run(parser_of(__doc__.splitlines()[0], list(MADE), seeds=5).parse_args(), MADE, PAGE)


MADE = {"converted": converted, "scratch": scratch, "adjustment": adjustment}

if __name__ == "__main__":
    main()
