"""Few levels, few steps, few bits: points lost without labels, with intervals, against a goal.

    python tests/bench/accuracy.py --goals [--models MODEL ...] [--settings SETTING ...]
                                   [--arms ARM ...] [--images 10000] [--seeds 1]
                                   [--json FILE ...] [--show] [--folder small_networks] [--write]

A cell is a model and a setting: coding, steps and weight bits. An arm is a way to round weights or
to choose thresholds; the first is what the tool does by itself, and with ``nearest``, ``bare`` and
the thresholds parts of it are switched off. Of each: points of top-1 accuracy lost against the
float file in fixed point, from the bit-accurate simulator, with the 95 % interval of the paired
difference over the test images; whether the goal is met (by the mean: ``met``; by the whole
interval: ``met, shown``; not even by its lower end: ``not met, shown``); and what an inference
takes: steps, spikes, microjoules, and cores of Loihi 2, by the tool's own bill. At most 1,024
unlabelled images calibrate. ``cpu``: processor time of the compilation, seconds.

``--seeds N`` takes N calibration sets: the first images of the training part, and N - 1 draws of as
many; a table then has the mean over them and the worst. The arms ``qcfs`` and ``psg`` are a scale
and no conversions: ``tune`` trains the float network with quantized activations, or the integers
of ``default``, on all labelled images of the training part that are at hand (5,000 of CIFAR-10, a
tenth held out), for six epochs. Needs torch, and so do the depthwise networks, which
``depthwise.py`` trains into the folder, if they are not there.

With ``--json`` an interrupted run goes on; of several files, the first one is written. ``--show``
and ``--write`` have all that is known of the models, on the most images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import w8a8
from accuracy import float_answers
from accuracy_goals_cells import (
    DEPTHWISE,
    FIRST,
    KIND,
    SETTINGS,
    TRAINED,
    Cell,
    Known,
    known_of,
    options_of,
    packed,
)
from accuracy_goals_tables import N_WORDS, losses, mark_of, markdown, table, write
from rich import box
from rich.console import Console
from rich.table import Table
from shared_models import prepare

from snn_compile import CompileOptions, compile_model
from snn_compile.mapping import bill, map_program
from snn_compile.targets import load_target

CALIBRATION = 1_024
DATA = {"mnist": "mnist", "fashion": "fashion_mnist", "cifar10": "cifar10"}
"""Files of the shared data, by the first word of a model's name."""
TRAINING = {
    "epochs": 6,
    "batch_size": 32,
    "augment": ("shift:2", "flip:0.5"),
    "patience": 0,
    "threads": 1,
}
"""Of the arms with labels."""
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Data:
    """A model, images of the training part with their labels, and test images with theirs."""

    path: Path
    pool: Array
    labels: Array
    x: Array
    y: Array

    def calibration(self, draw: int) -> Array:
        """At most 1,024 images without labels."""
        if draw == 0:
            return self.pool[:CALIBRATION]
        n = min(len(self.pool), CALIBRATION)
        rows = np.random.default_rng(draw).choice(len(self.pool), n, replace=False)
        return self.pool[np.sort(rows)]


def measure(cell: Cell, data: Data) -> dict[str, Any]:
    """Answers of a compiled network, and what they take on Loihi 2."""
    calibrate, begin = data.calibration(cell.draw), time.process_time()
    if cell.arm in TRAINED:
        compiled = trained(cell, data, calibrate)
    else:
        compiled = compile_model(data.path, calibrate=calibrate, emit=(), **cell.options)
    seconds = time.process_time() - begin
    outputs, taken = simulated(compiled, data.x)
    return {"answers": outputs.reshape(len(data.x), -1).argmax(axis=1), **taken, "cpu": seconds}


def trained(cell: Cell, data: Data, calibrate: Array) -> Any:
    """The network of a cell after training with labels."""
    from snn_compile.tune import TuneOptions, tune_model

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "calibrate.npz"
        np.savez(file, x=calibrate)
        return tune_model(
            data.path,
            (data.pool, data.labels),
            options=TuneOptions(method=cell.arm, **TRAINING, **TRAINED[cell.arm]),
            compile_options=CompileOptions(calibrate=file, emit=(), **cell.options),
        )


def run_compiled(
    model: Path, calibrate: np.ndarray, x: np.ndarray, **options: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """The first output of a compiled network, and what an inference takes on Loihi 2."""
    begin = time.process_time()
    compiled = compile_model(model, calibrate=calibrate, emit=(), **options)
    seconds = time.process_time() - begin
    outputs, taken = simulated(compiled, x)
    return outputs, {**taken, "cpu": seconds}


def simulated(compiled: Any, x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The first output, and what an inference takes on Loihi 2."""
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
    }


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Everything to measure that there is a goal for, model by model; whole tables set by set."""
    for model in arguments.models:
        for draw in range(arguments.seeds):
            for setting in arguments.settings:
                for arm in arguments.arms:
                    cell = Cell(model, setting, arm, arguments.images, draw)
                    if cell.goal is not None:
                        yield cell


def run(arguments: argparse.Namespace, known: Known) -> None:
    """Measure what is not known yet; write it down after each cell."""
    console = Console(stderr=True)
    missing = [cell for cell in cells(arguments) if str(cell) not in known]
    for name in dict.fromkeys(cell.model for cell in missing):
        data = load(name, arguments)
        exact = float_answers(data.path, data.x) == data.y
        for cell in (cell for cell in missing if cell.model == name):
            found = measure(cell, data)
            right = found.pop("answers") == data.y
            known[str(cell)] = {"float": packed(exact), "fixed": packed(right), **found}
            lost = 100 * (exact.mean() - right.mean())
            console.print(f"{cell}: {lost:.2f} lost, {found['cpu']:.0f} s", style="dim")
            if arguments.json:
                arguments.json[0].write_text(json.dumps(known, indent=1))


def load(name: str, arguments: argparse.Namespace) -> Data:
    """A model and its data."""
    with np.load(w8a8.SHARED / "data" / f"{DATA[name.split('_')[0]]}.npz") as file:
        labels = file["y_calib"].astype(np.int64)
    if name in DEPTHWISE:
        import depthwise
        from small_networks import images_of

        network = depthwise.load(name, arguments)
        pool, *_ = images_of("fashion_mnist", flat=False)
        return Data(network.path, pool, labels, network.x, network.y)
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(name, Path(scratch), arguments.images, len(labels))
    pool, x, y = data
    return Data(w8a8.SHARED / "models" / f"{name}.onnx", pool, labels, x, y)


def _arm(name: str) -> str:
    try:
        options_of(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(KIND), choices=list(KIND))
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--arms", nargs="+", default=list(FIRST), type=_arm)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1, help="number of calibration sets")
    parser.add_argument("--folder", type=Path, default=Path("small_networks"))
    parser.add_argument(
        "--json", type=Path, nargs="+", default=[], help="what is known; the first is written"
    )
    parser.add_argument("--show", action="store_true", help="measure nothing: only what is known")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    arguments = parser.parse_args(words)
    known = known_of(arguments.json)
    if not arguments.show:
        run(arguments, known)
    for model in arguments.models:
        found = losses(known, [model])
        if not found:
            continue
        titles, *lines = table(found)
        if arguments.write:
            write(markdown(titles, lines, N_WORDS), mark_of(model))
            continue
        exact = next(iter(found.values())).exact
        title = f"{model}, {exact:.2f} % in floating point"
        shown = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
        for k, name in enumerate(titles):
            shown.add_column(name, justify="left" if k < N_WORDS else "right", no_wrap=True)
        for line in lines:
            shown.add_row(*line)
        Console(width=128).print(shown)


if __name__ == "__main__":
    main()
