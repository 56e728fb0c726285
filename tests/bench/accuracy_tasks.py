"""Outputs that are no classes: an autoencoder and a U-Net with few levels, few steps, few bits.

    python tests/bench/accuracy.py --tasks [--settings SETTING ...] [--roundings METHOD ...]
                                   [--samples 500] [--write]

The autoencoder is of the kind of MLPerf Tiny's anomaly detection: dense layers of 128, four of them
before and four after one of 8, each with batch normalization and a rectifier. It is trained here on
windows of 8 frames of 16 log mel energies of spoken digits (``examples/kws_calibrate.npz``), and
judged on those of other recordings by the mean squared error against its own input. The U-Net is
``examples/denoise_unet.onnx``: with its output less 0.5 it finds discs in noise, judged by pixels
that are right; by itself it removes noise from images of Fashion-MNIST, judged by the mean squared
error against the images without it. Each in fixed point beside its float file, without labels.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from accuracy_goals import run_compiled
from accuracy_goals_cells import SETTINGS
from accuracy_goals_tables import markdown, spent, write
from activations import images, in_float, noisy
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MARK = "<!-- not checked: python tests/bench/accuracy.py --tasks --write, in minutes -->"
CHOSEN = {
    "W8 graded": {"coding": "graded"},
    **{name: SETTINGS[name] for name in ("W4 graded", "sync 16", "radix 4")},
}
FRAMES, WIDTH, CODE = 8, 128, 8
EPOCHS, BATCH, RATE = 30, 256, 3e-3
CALIBRATE = 1024
ROUNDINGS = ("compensated", "reconstructed")
TITLES = ("network", "setting", "rounding", "figure", "float", "fixed", "lost")
COSTS = ("steps", "spikes", "µJ", "cores", "cpu")


@dataclass(frozen=True)
class Task:
    """A network and what its outputs are for.

    Attributes:
        model: the file.
        calibrate: samples without labels.
        x: samples to judge on.
        wanted: what the outputs should be, (N, ...).
        figure: what is measured: pixels in percent, or the mean squared error.
    """

    model: Path
    calibrate: np.ndarray
    x: np.ndarray
    wanted: np.ndarray
    figure: str

    def judged(self, outputs: np.ndarray) -> float:
        """The figure of outputs."""
        outputs = outputs.reshape(self.wanted.shape)
        if self.figure == "pixels, %":
            return 100 * float(((outputs > 0) == self.wanted).mean())
        return float(((outputs - self.wanted) ** 2).mean())


def windows(name: str) -> np.ndarray:
    """Windows of some frames, one after the other, flat: (N, FRAMES * 16) float32."""
    with np.load(EXAMPLES / f"{name}.npz") as data:
        frames = data["x"]
    starts = range(frames.shape[1] - FRAMES + 1)
    each = [frames[:, k : k + FRAMES].reshape(len(frames), -1) for k in starts]
    return np.stack(each, axis=1).reshape(-1, each[0].shape[1])


def autoencoder(folder: Path, n_samples: int) -> Task:
    """Train it and write it as a file."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.from_numpy(windows("kws_calibrate"))
    sizes = [x.shape[1], *[WIDTH] * 4, CODE, *[WIDTH] * 4]
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        batch_norm = torch.nn.BatchNorm1d(after)
        layers += [torch.nn.Linear(before, after), batch_norm, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], x.shape[1]))
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            ((network(x[some]) - x[some]) ** 2).mean().backward()
            optimizer.step()
            schedule.step()
    path = folder / "autoencoder.onnx"
    options = {"input_names": ["input"], "dynamic_axes": {"input": {0: "N"}}, "dynamo": False}
    torch.onnx.export(network.eval(), (x[:1],), path, **options)
    random = np.random.default_rng(0)
    test = windows("kws_evaluate")
    test = test[random.permutation(len(test))[:n_samples]]
    some = x.numpy()[random.permutation(len(x))[:CALIBRATE]]
    return Task(path, some, test, test, "MSE")


def discs(folder: Path, n_samples: int) -> Task:
    """The U-Net as it finds discs in noise."""
    model = onnx.load(EXAMPLES / "denoise_unet.onnx")
    name = model.graph.output[0].name
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    model.graph.node.append(helper.make_node("Sub", [name, "half"], ["disc"]))
    model.graph.output[0].name = "disc"
    onnx.save(model, folder / "segment.onnx")
    random, n = np.random.default_rng(0), CALIBRATE // 4 + n_samples
    row, column = np.mgrid[:28, :28]
    at = random.integers(6, 22, (2, n, 1, 1))
    found = np.hypot(row - at[0], column - at[1]) < 5
    seen = (found + random.normal(scale=0.3, size=found.shape)).clip(0, 1)[:, None]
    x, few = seen.astype(np.float32), n - n_samples
    return Task(folder / "segment.onnx", x[:few], x[few:], found[few:, None], "pixels, %")


def denoising(folder: Path, n_samples: int) -> Task:
    """The U-Net as it was trained."""
    del folder
    data = images()
    clean = data["x_test"][:n_samples]
    calibrate = noisy(data["x_calib"][: CALIBRATE // 4], 3)
    return Task(EXAMPLES / "denoise_unet.onnx", calibrate, noisy(clean, 2), clean, "MSE")


TASKS: dict[str, Callable[[Path, int], Task]] = {
    "autoencoder": autoencoder,
    "U-Net, discs": discs,
    "U-Net, denoising": denoising,
}


def rows(
    name: str, settings: list[str], roundings: list[str], n_samples: int, folder: Path
) -> list[list[str]]:
    """The lines of a network."""
    task = TASKS[name](folder, n_samples)
    exact = task.judged(in_float(task.model, task.x))
    found = []
    for setting, rounding in itertools.product(settings, roundings):
        options: dict[str, Any] = {**CHOSEN[setting], "rounding": rounding}
        outputs, costs = run_compiled(task.model, task.calibrate, task.x, **options)
        figure = task.judged(outputs)
        lost = f"{exact - figure:+.2f} points"
        if task.figure == "MSE":
            lost = f"{100 * (figure / exact - 1):+.1f} %"
        cells = [name, setting, rounding, task.figure, f"{exact:.4g}", f"{figure:.4g}", lost]
        found.append([*cells, *spent(costs)])
        Console(stderr=True).print(" ".join(found[-1]), style="dim")
    return found


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--settings", nargs="+", default=list(CHOSEN), choices=list(CHOSEN))
    parser.add_argument("--roundings", nargs="+", default=list(ROUNDINGS))
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as scratch:
        parts = arguments.settings, arguments.roundings, arguments.samples, Path(scratch)
        lines = [line for name in arguments.networks for line in rows(name, *parts)]
    if arguments.write:
        write(markdown((*TITLES, *COSTS), lines), MARK)
        return
    table = Table(*TITLES, *COSTS, title="outputs that are no classes")
    for line in lines:
        table.add_row(*line)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
