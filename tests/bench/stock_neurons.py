"""What stock neurons and the calibration of resets are worth on the shared models.

    python tests/bench/stock_neurons.py [--models M ...] [--steps T ...] [--samples N]

Prints a table in Markdown: correct answers in percent on the first N test images, of the float
network and of rate coding with reset by subtraction, with reset to zero without and with its
calibration, and with stock neurons. SNN_COMPILE_DATA names the folder of the models.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import w8a8
from shared_models import prepare, rung

from snn_compile import compile_model

VARIANTS = {
    "reset by subtraction": {"reset": "subtract"},
    "zero, not calibrated": {"reset": "zero", "reset_calibration": False},
    "zero": {"reset": "zero"},
    "stock": {"neurons": "stock", "reset": "zero"},
}


def row(name: str, n_steps: int, calibrate: np.ndarray, x: np.ndarray, y: np.ndarray) -> str:
    """One line of the table."""
    found = {}
    for variant, options in VARIANTS.items():
        compiled = compile_model(
            w8a8.SHARED / "models" / f"{name}.onnx",
            calibrate=calibrate,
            evaluate=(x, y),
            coding="rate",
            timesteps=n_steps,
            emit=(),
            **options,
        )
        found["float"] = rung(compiled.report, "onnx")["top1"]
        found[variant] = rung(compiled.report, "fixed")["top1"]
    figures = [f"{found[key]:.2f}" for key in ("float", *VARIANTS)]
    return f"| `{name}` | {n_steps} | " + " | ".join(figures) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=w8a8.MODELS)
    parser.add_argument("--steps", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    print("| model | T | float |", " | ".join(VARIANTS), "|")
    print("|---" * (3 + len(VARIANTS)) + "|")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            data = prepare(name, Path(folder), args.samples)
        for n_steps in args.steps:
            print(row(name, n_steps, *data), flush=True)


if __name__ == "__main__":
    main()
