"""What conversion costs: every shared labelled model in every coding, in fixed point.

    python tests/bench/accuracy.py [MODEL ...] [--images 10000] [--steps 4 8 16 32 64 256]
                                   [--codings sync radix signed rate classical graded sigma-delta]
                                   [--json FILE] [--show] [--markdown] [--plot FILE]

    python tests/bench/accuracy.py --goals ...      few levels, few bits: see accuracy_goals.py
    python tests/bench/accuracy.py --tasks ...      autoencoder and U-Net: see accuracy_tasks.py

First the points lost, in one table. Then, for each model, coding and number of steps: top-1
accuracy of the float file and of the network in fixed point on the test images, the points lost,
spikes and synaptic operations per inference, and total steps. 8-bit weights, 1,024 unlabelled
calibration images, no retraining. ``classical`` is the recipe that most converters have (Rueckauer
et al. 2017): rate coding with thresholds at the 99.9th percentile of each layer, reset by
subtraction, potentials that start at 0, weights rounded to nearest, no correction of biases.

What is in the JSON file already is not computed again: an interrupted run goes on where it was.
Slow: rate codings at T = 256 on 10,000 images of ResNet-20 take minutes each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import w8a8
from rich.console import Console
from rich.table import Table
from shared_models import prepare

from snn_compile import compile_model
from snn_compile.mapping.cost import exact_synops
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model
from snn_compile.sim import ann

STEPS = (4, 8, 16, 32, 64, 256)
TIMED = ("sync", "radix", "signed", "rate", "classical")
SINGLE_STEP = ("graded", "sigma-delta")
MAX_DIGITS = 8
"""Steps of radix windows: as many levels as 8-bit payloads have; more overflow in deep networks."""
LEAST = 0.01
"""One image of 10,000: less than this is not shown in the picture."""
CLASSICAL: dict[str, Any] = {
    "coding": "rate",
    "thresholds": "percentile:99.9",
    "per_layer": True,
    "initial_potential": 0.0,
    "rounding": "nearest",
    "bias_correction": False,
}
Key = tuple[str, str, int, int]
"""Model, coding, steps (0: one step) and images."""


def options_of(coding: str, n_steps: int) -> dict[str, Any]:
    """What makes a compilation the recipe that a row is named after."""
    chosen = dict(CLASSICAL) if coding == "classical" else {"coding": coding}
    return chosen | ({"timesteps": n_steps} if n_steps else {})


def float_answers(model: Path, x: np.ndarray) -> np.ndarray:
    """Class of each image as the file's own network has it."""
    network = check_model(model, CompileOptions(target="unlimited")).imported.ann
    return ann.evaluate(network, x).reshape(len(x), -1).argmax(axis=1)


def measure(model: Path, calibrate: np.ndarray, x: np.ndarray, **options: Any) -> dict[str, Any]:
    """Answers of a compiled network and what they cost."""
    begin = time.perf_counter()
    compiled = compile_model(model, calibrate=calibrate, target="unlimited", emit=(), **options)
    run = compiled.simulate(x)
    output, decoding = next(iter(compiled.decodings.items()))
    answers = decoding(run.outputs[output]).reshape(len(x), -1).argmax(axis=1)
    mean = {key: counts / len(x) for key, counts in run.activity.items()}
    sent = sum(float(v.sum()) for key, v in mean.items() if key != compiled.program.input.id)
    return {
        "answers": answers,
        "spikes": sent,
        "synops": float(exact_synops(compiled.program, mean)),
        "total_steps": compiled.program.total_steps,
        "seconds": time.perf_counter() - begin,
    }


def rows(arguments: argparse.Namespace) -> Iterator[Key]:
    """Everything to measure, model by model."""
    for model in arguments.models:
        for coding in arguments.codings:
            steps = (0,) if coding in SINGLE_STEP else arguments.steps
            if coding == "radix":
                steps = [n for n in steps if n <= MAX_DIGITS]
            for n_steps in steps:
                yield model, coding, n_steps, arguments.images


def run(arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """Measure what is not known yet; write it down after each row."""
    console = Console(stderr=True)
    missing = [key for key in rows(arguments) if _text(key) not in known]
    for name in dict.fromkeys(key[0] for key in missing):
        model = w8a8.SHARED / "models" / f"{name}.onnx"
        with tempfile.TemporaryDirectory() as scratch:
            calibrate, x, y = prepare(name, Path(scratch), arguments.images)
        exact = float_answers(model, x)
        for key in (key for key in missing if key[0] == name):
            _, coding, n_steps, _ = key
            found = measure(model, calibrate, x, **options_of(coding, n_steps))
            answers = found.pop("answers")
            known[_text(key)] = {
                "float": 100 * float((exact == y).mean()),
                "fixed": 100 * float((answers == y).mean()),
                "agreement": 100 * float((answers == exact).mean()),
                **found,
            }
            console.print(f"{_text(key)}: {known[_text(key)]['fixed']:.2f}", style="dim")
            if arguments.json:
                arguments.json.write_text(json.dumps(known, indent=1))


def _text(key: Key) -> str:
    model, coding, n_steps, images = key
    return f"{model} {coding} {n_steps or 1} {images}"


def measured(arguments: argparse.Namespace, known: dict[str, Any]) -> list[Key]:
    """What was asked for and is known: all of it, unless ``--show`` was given."""
    return [key for key in rows(arguments) if _text(key) in known]


def shown(arguments: argparse.Namespace, known: dict[str, Any]) -> Iterator[list[str]]:
    """The table's rows."""
    for key in measured(arguments, known):
        entry = known[_text(key)]
        lost = entry["float"] - entry["fixed"]
        yield [
            key[0],
            key[1],
            str(key[2] or 1),
            f"{entry['float']:.2f}",
            f"{entry['fixed']:.2f}",
            f"{lost:.2f}",
            f"{entry['agreement']:.2f}",
            f"{entry['spikes']:,.0f}",
            f"{entry['synops'] / 1e6:,.2f} M",
            f"{entry['total_steps']:,}",
        ]


TITLES = (
    "model",
    "coding",
    "T",
    "float",
    "fixed",
    "lost",
    "agreement",
    "spikes",
    "synops",
    "steps",
)


def losses(arguments: argparse.Namespace, known: dict[str, Any]) -> Iterator[list[str]]:
    """Points lost: a row for each model and coding, a column for each number of steps."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for key in measured(arguments, known):
        entry = known[_text(key)]
        found.setdefault(key[:2], {})[key[2]] = entry["float"] - entry["fixed"]
    for (model, coding), lost in found.items():
        cells = [f"{lost[n]:.2f}" if n in lost else "" for n in _columns(arguments)]
        yield [model, coding, *cells]


def _columns(arguments: argparse.Namespace) -> list[int]:
    """Numbers of steps; 0 stands for codings that need one."""
    return sorted({key[2] for key in rows(arguments)}, key=lambda n: (n == 0, n))


def summary_titles(arguments: argparse.Namespace) -> list[str]:
    """Heads of the table of losses."""
    return ["model", "coding", *(f"T = {n}" if n else "8 bit" for n in _columns(arguments))]


def tables(
    arguments: argparse.Namespace, known: dict[str, Any]
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Caption, heads and rows of each table."""
    yield "points lost by conversion", summary_titles(arguments), list(losses(arguments, known))
    yield "every row", list(TITLES), list(shown(arguments, known))


def plot(arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """Points lost against the number of steps, a panel for each model, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(arguments.models), figsize=(3.2 * len(arguments.models), 3.2), sharey=True
    )
    for panel, model in zip(np.atleast_1d(panels), arguments.models, strict=True):
        for coding in (c for c in TIMED if c in arguments.codings):
            keys = [key for key in measured(arguments, known) if key[:2] == (model, coding)]
            lost = [known[_text(key)]["float"] - known[_text(key)]["fixed"] for key in keys]
            panel.plot([key[2] for key in keys], np.maximum(lost, LEAST), "o-", ms=3, label=coding)
        panel.set(title=model, xscale="log", yscale="log", xlabel="steps of a window, T")
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[0].set(ylabel=f"points lost (at least {LEAST})")
    np.atleast_1d(panels)[-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(arguments.plot, metadata={"Date": None})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=w8a8.MODELS)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--codings", nargs="+", default=(*TIMED, *SINGLE_STEP))
    parser.add_argument("--json", type=Path, help="keep results here, and use those that are")
    parser.add_argument("--show", action="store_true", help="measure nothing: only what is known")
    parser.add_argument("--markdown", action="store_true", help="print tables for the docs")
    parser.add_argument("--plot", type=Path, help="a picture of the losses (needs matplotlib)")
    arguments = parser.parse_args()
    known = {}
    if arguments.json and arguments.json.is_file():
        known = json.loads(arguments.json.read_text())
    if not arguments.show:
        run(arguments, known)
    if arguments.plot:
        plot(arguments, known)
    for caption, titles, lines in tables(arguments, known):
        if arguments.markdown:
            print(f"\n**{caption}**\n\n| " + " | ".join(titles) + " |")
            print("| --- | --- |" + " ---: |" * (len(titles) - 2))
            print(*("| " + " | ".join(line) + " |" for line in lines), sep="\n")
            continue
        table = Table(*titles, title=caption)
        for line in lines:
            table.add_row(*line)
        Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--goals"]:
        import accuracy_goals

        accuracy_goals.main(sys.argv[2:])
    elif sys.argv[1:2] == ["--tasks"]:
        import accuracy_tasks

        accuracy_tasks.main(sys.argv[2:])
    else:
        main()
