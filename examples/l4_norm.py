"""Does it help to adjust weights by their L4 norm, as Allred and Roy (2021) propose?

    python examples/l4_norm.py [--seeds 5] [--plot FILE]

Poisson spikes as input, rate coding, reset by subtraction. Both digits networks (a perceptron and a
convolutional network), each converted without adjustment (one threshold a layer, as the adjusted
ones have, and one a channel, the default) and with adjustment by the L2 norm, by the L4 norm, and
by the noise measured on the calibration images. Accuracy in fixed point on 500 test images, mean
and standard deviation over seeds of the Poisson spikes.

Two tables: conversion as plain as in 2021 (weights rounded to nearest, nothing else corrected), and
as it is today by default, where weights, biases and initial potentials are fitted to calibration
images and noise is part of what they are fitted to. Ten minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile import compile_model

HERE = Path(__file__).resolve().parent
MODELS = ("digits_mlp", "digits_cnn")
STEPS = (4, 8, 16, 32, 64)
RECIPES: dict[str, dict[str, Any]] = {
    "none, per channel": {"equalize": "none"},
    "none, per layer": {"equalize": "none", "per_layer": True},
    "l2": {"equalize": "l2"},
    "l4": {"equalize": "l4"},
    "data": {"equalize": "data"},
}
PLAIN: dict[str, Any] = {
    "rounding": "nearest",
    "bias_correction": False,
    "potential_calibration": False,
}
Found = dict[tuple[str, str, int], np.ndarray]


def measure(seeds: int, **more: Any) -> Found:
    """Accuracy in percent for each model, recipe and number of steps: one for each seed."""
    with np.load(HERE / "digits_calibrate.npz") as file:
        calibrate = file["x"]
    with np.load(HERE / "digits_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    found: Found = {}
    for model in MODELS:
        for recipe, options in RECIPES.items():
            for n_steps in STEPS:
                correct = []
                for seed in range(seeds):
                    compiled = compile_model(
                        HERE / f"{model}.onnx",
                        calibrate=calibrate,
                        target="unlimited",
                        coding="rate",
                        input="poisson",
                        timesteps=n_steps,
                        seed=seed,
                        emit=(),
                        **options,
                        **more,
                    )
                    correct.append(100 * float((compiled.run(x).argmax(axis=1) == y).mean()))
                found[model, recipe, n_steps] = np.array(correct)
    return found


def show(found: Found) -> None:
    """Print the table, in Markdown."""
    print("| model | adjustment | " + " | ".join(f"T = {n}" for n in STEPS) + " |")
    print("|---|---|" + "---:|" * len(STEPS))
    for model in MODELS:
        for recipe in RECIPES:
            runs = [found[model, recipe, n] for n in STEPS]
            cells = " | ".join(f"{one.mean():.1f} ± {one.std(ddof=1):.1f}" for one in runs)
            print(f"| {model} | {recipe} | {cells} |")


def plot(found: Found, path: Path) -> None:
    """Accuracy against the number of steps, a panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(MODELS), figsize=(8, 3.4), sharey=True)
    for panel, model in zip(panels, MODELS, strict=True):
        for recipe in RECIPES:
            runs = [found[model, recipe, n] for n in STEPS]
            panel.errorbar(
                STEPS,
                [one.mean() for one in runs],
                [one.std(ddof=1) for one in runs],
                marker="o",
                markersize=3,
                capsize=2,
                label=recipe,
            )
        panel.set(title=model, xscale="log", xlabel="steps, T", xticks=STEPS, xticklabels=STEPS)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="accuracy, %")
    panels[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="a picture (needs matplotlib)")
    arguments = parser.parse_args()
    plain = measure(arguments.seeds, **PLAIN)
    show(plain)
    if arguments.plot:
        plot(plain, arguments.plot)
    print()
    show(measure(arguments.seeds))


if __name__ == "__main__":
    main()
