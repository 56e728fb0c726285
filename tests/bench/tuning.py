"""What tuning gains: the table of docs/explanation/tuning.md.

    python tests/bench/tuning.py [widths pda digits events fashion sync] [--seeds 3] [--epochs 5]
                                 [--threads 1] [--json FILE] [--write]

``widths``: a spiking network on a synthetic task, from surrogates so narrow that training stalls.
``pda``: potentials with and without potential distribution adjustment. ``digits``: the examples at
few time steps, in seconds. ``events``: recordings of N-MNIST, from random weights. ``fashion``: the
shared VGG with batch norm at T = 4, in rate coding, on 10,000 training images, of which a tenth is
held out; half an hour on a core. ``sync``: the same in that coding. Accuracies are those of the
bit-accurate simulator, on data that nothing was trained on (``widths``: on the training data).

What is in the JSON file already is not computed again. --write puts the tables into the docs.
Needs torch and nir.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import numpy as np
import w8a8
from shared_models import prepare
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tuning_tables import Bench, Rows, parser_of, run, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import recordings
import tuning_tasks as tasks
from snn_compile import CompileOptions, compile_model
from snn_compile.report.progress import TerminalObserver
from snn_compile.samples.events import Recordings
from snn_compile.tune import TuneOptions, tune_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, PAGE = ROOT / "examples", ROOT / "docs" / "explanation" / "tuning.md"
WIDTHS: dict[str, dict[str, Any]] = {
    "0.05, fixed": {"width": 0.05, "learn_width": False},
    "0.05, learned, from 0.05": {"width": 0.05, "smallest_width": 0.05},
    "0.2, fixed": {"width": 0.2, "learn_width": False},
    "0.05, learned, from 0.2 (default)": {"width": 0.05},
    "1 (default from scratch)": {},
}
"""Ways to begin and to learn; a learned width is kept above the smallest one."""
TRAINED_ON, TESTED_ON = (0, 150), (150, 200)
"""Recordings of N-MNIST."""


def widths(bench: Bench) -> Rows:
    """Training accuracy after 10 epochs from different widths."""
    rows = []
    for shape in bench.arguments.surrogates:
        for name, chosen in WIDTHS.items():

            def measure(seed: int, shape: str = shape, chosen: Any = chosen) -> Any:
                found = tasks.train(
                    seed, TuneOptions(surrogate=shape, **{**tasks.COURSE, **chosen})
                )
                return {"top1": found.top1, "widths": found.widths, "reached": found.reached}

            found = bench.over_seeds(f"widths {shape} {name}", measure)
            reached = [100 * one["reached"] for one in found]
            ends = [width for one in found for width in one["widths"]]
            rows.append(
                [
                    shape,
                    name,
                    spread([one["top1"] for one in found]),
                    f"{mean(reached):.1f} %",
                    f"{min(ends):.2f} to {max(ends):.2f}",
                ]
            )
    return [
        [
            "surrogate",
            "width",
            "training accuracy, %",
            "potentials in the window at first",
            "widths at the end",
        ],
        *rows,
    ]


def pda(bench: Bench) -> Rows:
    """Mean potentials after training with and without the loss."""
    rows = []
    for weight in (0.0, 0.01):

        def measure(seed: int, weight: float = weight) -> Any:
            found = tasks.train(seed, TuneOptions(pda=weight, **tasks.COURSE))
            return {"top1": found.top1, "offsets": found.offsets, "inside": found.inside}

        found = bench.over_seeds(f"pda {weight}", measure)
        for layer in range(2):
            rows.append(
                [
                    f"{weight:g}",
                    str(layer + 1),
                    spread([one["offsets"][layer] for one in found], 3),
                    spread([100 * one["inside"][layer] for one in found], 1),
                    spread([one["top1"] for one in found]),
                ]
            )
    return [
        [
            "`--pda`",
            "layer",
            "abs(mean(u) - 1/2)",
            "within 1/2 of the threshold, %",
            "training accuracy, %",
        ],
        *rows,
    ]


def digits(bench: Bench) -> Rows:
    """The examples in rate coding with very few steps."""
    images = load_digits()
    x = (images.images[:, None] / 16).astype(np.float32)
    y = images.target.astype(np.int64)
    train, test, train_y, test_y = train_test_split(x, y, test_size=500, stratify=y, random_state=0)
    rows = []
    for model in ("digits_mlp", "digits_cnn"):
        for n_steps in (1, 2):
            options = CompileOptions(
                coding="rate",
                timesteps=n_steps,
                emit=(),
                calibrate=EXAMPLES / "digits_calibrate.npz",
            )

            def measure(
                seed: int,
                method: str,
                model: str = model,
                options: CompileOptions = options,
            ) -> Any:
                tuned = tune_model(
                    EXAMPLES / f"{model}.onnx",
                    (train, train_y),
                    options=TuneOptions(method=method, seed=seed, epochs=10, threads=1),
                    compile_options=options,
                    evaluate=(test, test_y),
                )
                return [tuned.report["tune"]["before"], tuned.report["tune"]["after"]]

            found = {
                method: bench.over_seeds(
                    f"digits {model} T={n_steps} {method}", lambda s, m=method: measure(s, m)
                )
                for method in ("psg", "qcfs")
            }
            after = [spread([a for _, a in found[method]]) for method in ("psg", "qcfs")]
            rows.append([model, str(n_steps), f"{found['psg'][0][0]:.2f}", *after])
    return [["model", "T", "untuned", "psg", "qcfs"], *rows]


def events(bench: Bench) -> Rows:
    """Recorded events, from random weights; what a classifier of their sums can do beside it."""

    def untimed() -> Any:
        parts = [recordings.nmnist(w8a8.SHARED, *rows) for rows in (TRAINED_ON, TESTED_ON)]
        train, test = (
            (Recordings.of(part, "N-MNIST").trains((2, 34, 34), 1, None).reshape(len(y), -1), y)
            for part in parts
            for y in [part["label"]]
        )
        found = LogisticRegression(C=0.01, max_iter=2000).fit(*train)
        return 100 * float(found.score(*test))

    def measure(seed: int) -> Any:
        with TemporaryDirectory() as scratch:
            model = recordings.classifier(Path(scratch) / "net.nir", 8)
            train, test = Path(scratch) / "train.npz", Path(scratch) / "test.npz"
            recordings.nmnist(w8a8.SHARED, *TRAINED_ON, train)
            recordings.nmnist(w8a8.SHARED, *TESTED_ON, test)
            tuned = tune_model(
                model,
                train,
                options=TuneOptions(
                    from_scratch=True, epochs=60, batch_size=16, patience=0, seed=seed, threads=1
                ),
                compile_options=CompileOptions(emit=(), calibrate=train, **recordings.READING),
                evaluate=test,
            )
        return tuned.report["tune"]["after"]

    found = bench.over_seeds("events psg", measure)
    beside = bench.measured("events logistic regression", untimed)
    return [
        ["network", "accuracy on 50 recordings, %"],
        ["psg from random weights, T = 20", spread(found)],
        ["logistic regression of event counts", f"{beside:.2f}"],
    ]


def fashion(bench: Bench, name: str = "fashion", coding: str = "rate") -> Rows:
    """The shared network at T = 4, tuned, against T = 8 without."""
    model = w8a8.SHARED / "models" / "fashion_vggbn.onnx"
    arguments = bench.arguments
    with TemporaryDirectory() as scratch:
        calibrate, x, y = prepare("fashion_vggbn", Path(scratch), arguments.images)
    images = np.load(w8a8.SHARED / "data" / "fashion_mnist.npz", allow_pickle=False)
    train = images["x_calib"][:, None].astype(np.float32) / 255
    labels = images["y_calib"].astype(np.int64)
    common: dict[str, Any] = {"coding": coding, "emit": (), "target": "unlimited"}

    def untuned(n_steps: int) -> Any:
        compiled = compile_model(
            model, calibrate=calibrate, evaluate=(x, y), timesteps=n_steps, **common
        )
        rungs = {rung["stage"]: rung["top1"] for rung in compiled.report["ladder"]}
        return [rungs["onnx"], rungs["fixed"]]

    def tuned(method: str, seed: int) -> Any:
        file = Path(scratch_file(calibrate))
        found = tune_model(
            model,
            (train, labels),
            options=TuneOptions(
                method=method,
                epochs=arguments.epochs,
                threads=arguments.threads,
                patience=0,
                seed=seed,
            ),
            compile_options=CompileOptions(timesteps=4, calibrate=file, **common),
            evaluate=(x, y),
            observer=TerminalObserver(bench.console, bars=False),
        )
        file.unlink()
        return found.report["tune"]["after"]

    before = {n: bench.measured(f"{name} T={n} untuned", lambda n=n: untuned(n)) for n in (4, 8)}
    exact, at_four = before[4]
    rows = [
        [f"T = {n}, untuned", f"{top1:.2f}", f"{exact - top1:.2f}", ""]
        for n, (_, top1) in before.items()
    ]
    for method in arguments.methods:
        key = f"{name} T=4 {method} epochs={arguments.epochs}"
        found = bench.over_seeds(key, lambda s, m=method: tuned(m, s))
        lost = [exact - top1 for top1 in found]
        shares = [100 * (top1 - at_four) / (exact - at_four) for top1 in found]
        rows.append([f"T = 4, {method}", spread(found), spread(lost), f"{spread(shares, 0)} %"])
    return [["network", "accuracy, %", f"lost against {exact:.2f}", "of the loss recovered"], *rows]


def sync(bench: Bench) -> Rows:
    """The same in the coding whose spike counts are the integer network's."""
    return fashion(bench, "sync", "sync")


def scratch_file(calibrate: np.ndarray) -> str:
    """A file with calibration data; who asks for it removes it."""
    with NamedTemporaryFile(suffix=".npz", delete=False) as stream:
        np.savez(stream, x=calibrate)
        return stream.name


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__.splitlines()[0], list(MADE), seeds=3)
    parser.add_argument("--surrogates", nargs="+", default=("rectangle", "triangle"))
    parser.add_argument("--images", type=int, default=10_000, help="test images of fashion")
    parser.add_argument("--epochs", type=int, default=5, help="of fashion")
    parser.add_argument("--methods", nargs="+", default=("psg", "qcfs"), help="of fashion")
    run(parser.parse_args(), MADE, PAGE)


MADE = {
    "widths": widths,
    "pda": pda,
    "digits": digits,
    "events": events,
    "fashion": fashion,
    "sync": sync,
}

if __name__ == "__main__":
    main()
