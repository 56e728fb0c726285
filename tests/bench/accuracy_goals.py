"""Few levels, few steps, few bits: points lost without labels, with intervals, against a goal.

    python tests/bench/accuracy.py --goals [--models MODEL ...] [--settings SETTING ...]
                                   [--arms ARM ...] [--images 10000] [--json FILE] [--show]
                                   [--folder small_networks] [--write]

A cell is a model and a setting: coding, steps and weight bits. An arm is a way to round weights or
to choose thresholds; the first is what the tool does by itself. Of each: points of top-1 accuracy
lost against the float file in fixed point, from the bit-accurate simulator, with the 95 % interval
of the paired difference over the test images; whether the goal is met (by the mean: ``met``; by the
whole interval: ``met, shown``; not even by its lower end: ``not met, shown``); and what an
inference takes: steps, spikes, microjoules, and cores of Loihi 2, by the tool's own bill. At
most 1,024 unlabelled images calibrate. ``cpu``: processor time of the compilation, seconds.

The depthwise networks are trained by ``depthwise.py`` into the folder, if they are not there.
With ``--json`` an interrupted run goes on, and arms are compared with the first on the same images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import w8a8
from accuracy import float_answers
from paired import difference
from rich.console import Console
from rich.table import Table
from shared_models import prepare

from snn_compile import compile_model
from snn_compile.mapping import bill, map_program
from snn_compile.targets import load_target

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "accuracy.md"
MARKS = "<!-- not checked: python tests/bench/accuracy.py --goals --write, in hours -->"
SETTINGS: dict[str, dict[str, Any]] = {
    "sync 16": {"coding": "sync", "timesteps": 16},
    "sync 32": {"coding": "sync", "timesteps": 32},
    "radix 4": {"coding": "radix", "timesteps": 4},
    "radix 2": {"coding": "radix", "timesteps": 2},
    "sync 4": {"coding": "sync", "timesteps": 4},
    "sync 2": {"coding": "sync", "timesteps": 2},
    "W4 graded": {"coding": "graded", "weight_bits": 4},
    "W4 radix 4": {"coding": "radix", "timesteps": 4, "weight_bits": 4},
    "rate 8": {"coding": "rate", "timesteps": 8},
    "rate 16": {"coding": "rate", "timesteps": 16},
    "rate 32": {"coding": "rate", "timesteps": 32},
}
GOALS: dict[str, dict[str, float]] = {
    "plain": {
        "sync 16": 0.35,
        "sync 32": 0.08,
        "radix 4": 0.3,
        "radix 2": 3.0,
        "sync 4": 2.0,
        "sync 2": 7.0,
        "W4 graded": 0.15,
        "W4 radix 4": 0.5,
        "rate 8": 5.0,
        "rate 16": 2.0,
        "rate 32": 0.6,
    },
    "depthwise": {
        "sync 16": 0.6,
        "sync 32": 0.1,
        "radix 4": 0.6,
        "sync 4": 4.0,
        "W4 graded": 0.8,
        "W4 radix 4": 1.5,
        "rate 32": 1.5,
    },
}
"""Points, set for ResNet-20 and for depthwise networks before anything was measured."""
DEPTHWISE = ("fashion_ds_relu", "fashion_ds_relu6")
"""Trained by ``depthwise.py``, into a folder."""
KIND = dict.fromkeys(w8a8.MODELS, "plain") | dict.fromkeys(DEPTHWISE, "depthwise")
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "nearest": {"rounding": "nearest"},
    "reconstructed": {"rounding": "reconstructed"},
    "max": {"thresholds": "max"},
    "percentile:99.9": {"thresholds": "percentile:99.9"},
}
FIRST = ("default",)
Array = np.ndarray
TITLES = (
    *("model", "setting", "arm", "float", "lost", "interval", "goal", "verdict"),
    *("steps", "spikes", "µJ", "cores", "cpu"),
)


@dataclass(frozen=True)
class Cell:
    """What is measured: a model in a setting, compiled in one way, on so many images."""

    model: str
    setting: str
    arm: str
    images: int

    def __str__(self) -> str:
        return f"{self.model} | {self.setting} | {self.arm} | {self.images}"

    @property
    def goal(self) -> float | None:
        """Points that may be lost; None without a goal."""
        return GOALS[KIND[self.model]].get(self.setting)

    @property
    def options(self) -> dict[str, Any]:
        """Of the compilation."""
        return {**SETTINGS[self.setting], **ARMS[self.arm]}


def measure(cell: Cell, model: Path, calibrate: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Answers of a compiled network, and what they take on Loihi 2."""
    outputs, spent = run_compiled(model, calibrate, x, **cell.options)
    return {"answers": outputs.reshape(len(x), -1).argmax(axis=1), **spent}


def run_compiled(
    model: Path, calibrate: np.ndarray, x: np.ndarray, **options: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """The first output of a compiled network, and what an inference takes on Loihi 2."""
    begin = time.process_time()
    compiled = compile_model(model, calibrate=calibrate, emit=(), **options)
    seconds = time.process_time() - begin
    run = compiled.simulate(x)
    output, decoding = next(iter(compiled.decodings.items()))
    mean = {name: counts / len(x) for name, counts in run.activity.items()}
    program = compiled.program
    mapped = map_program(program, load_target(compiled.report["target"], None)).graph
    inputs = {node.id for node in program.inputs}
    return decoding(run.outputs[output]), {
        "steps": program.total_steps,
        "spikes": sum(float(sent.sum()) for name, sent in mean.items() if name not in inputs),
        "microjoules": 1e6 * bill(mapped, mean).dynamic.value,
        "cores": mapped.cores,
        "cpu": seconds,
    }


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Everything to measure that there is a goal for, model by model."""
    for model in arguments.models:
        for setting in arguments.settings:
            for arm in arguments.arms:
                cell = Cell(model, setting, arm, arguments.images)
                if cell.goal is not None:
                    yield cell


def run(arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """Measure what is not known yet; write it down after each cell."""
    console = Console(stderr=True)
    missing = [cell for cell in cells(arguments) if str(cell) not in known]
    for name in dict.fromkeys(cell.model for cell in missing):
        model, calibrate, x, y = load(name, arguments)
        exact = float_answers(model, x) == y
        for cell in (cell for cell in missing if cell.model == name):
            found = measure(cell, model, calibrate, x)
            right = found.pop("answers") == y
            known[str(cell)] = {"float": _packed(exact), "fixed": _packed(right), **found}
            lost = 100 * (exact.mean() - right.mean())
            console.print(f"{cell}: {lost:.2f} lost, {found['cpu']:.0f} s", style="dim")
            if arguments.json:
                arguments.json.write_text(json.dumps(known, indent=1))


def load(name: str, arguments: argparse.Namespace) -> tuple[Path, Array, Array, Array]:
    """A model, calibration images, and test images with their labels."""
    if name in DEPTHWISE:
        import depthwise

        network = depthwise.load(name, arguments)
        return network.path, network.calibrate, network.x, network.y
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(name, Path(scratch), arguments.images)
    return w8a8.SHARED / "models" / f"{name}.onnx", *data


def _packed(right: np.ndarray) -> str:
    return np.packbits(right).tobytes().hex()


def right_of(entry: dict[str, Any], key: str, images: int) -> np.ndarray:
    """Which images were answered right."""
    bits = np.frombuffer(bytes.fromhex(entry[key]), np.uint8)
    return np.unpackbits(bits, count=images).astype(bool)


def verdict(lost: tuple[float, float, float], goal: float) -> str:
    """Whether a goal is met, by the mean and by the interval of the points lost."""
    mean, low, high = lost
    if mean <= goal:
        return "met, shown" if high <= goal else "met"
    return "not met, shown" if low > goal else "not met"


def shown(arguments: argparse.Namespace, known: dict[str, Any]) -> Iterator[list[str]]:
    """The table's rows."""
    for cell in cells(arguments):
        if (entry := known.get(str(cell))) is None:
            continue
        exact, right = (right_of(entry, key, cell.images) for key in ("float", "fixed"))
        found = difference(exact[None], right[None])
        lost, goal = (found.mean, found.low, found.high), cell.goal
        yield [
            *(cell.model, cell.setting, cell.arm, f"{100 * exact.mean():.2f}"),
            f"{found.mean:.2f}",
            f"{found.low:.2f} to {found.high:.2f}",
            "" if goal is None else f"{goal:g}",
            "" if goal is None else verdict(lost, goal),
            *spent(entry),
        ]


def spent(entry: dict[str, Any]) -> list[str]:
    """What an inference takes, and the compilation."""
    return [
        f"{entry['steps']:,}",
        f"{entry['spikes']:,.0f}",
        f"{entry['microjoules']:.4g}",
        f"{entry['cores']:,}",
        f"{entry['cpu']:.0f}",
    ]


def markdown(titles: Sequence[str], lines: list[list[str]], n_words: int = 3) -> str:
    """A table for the page; the first columns are words."""
    kinds = [*["---"] * n_words, *["---:"] * (len(titles) - n_words)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (list(titles), kinds, *lines)) + "\n"


def write(table: str, mark: str = MARKS) -> None:
    """Put a table below its mark in the page."""
    before, mark, after = PAGE.read_text().partition(mark + "\n")
    if not mark:
        raise SystemExit(f"{PAGE.name} has no such line")
    rest = after.splitlines(keepends=True)
    n = next((k for k, line in enumerate(rest) if not line.startswith("|")), len(rest))
    PAGE.write_text(before + mark + table + "".join(rest[n:]))


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(KIND), choices=list(KIND))
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--arms", nargs="+", default=list(FIRST), choices=list(ARMS))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("small_networks"))
    parser.add_argument("--json", type=Path, help="keep results here, and use those that are")
    parser.add_argument("--show", action="store_true", help="measure nothing: only what is known")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    arguments = parser.parse_args(words)
    known = {}
    if arguments.json and arguments.json.is_file():
        known = json.loads(arguments.json.read_text())
    if not arguments.show:
        run(arguments, known)
    lines = list(shown(arguments, known))
    if arguments.write:
        write(markdown(TITLES, lines))
        return
    table = Table(*TITLES, title="points lost without labels")
    for line in lines:
        table.add_row(*line)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
