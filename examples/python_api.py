"""Compile the digits network from Python, run it bit-accurately, and print its accuracy.

python examples/python_api.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_compile import compile_model

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Compile, run, compare with the labels."""
    calibrate = np.load(FOLDER / "digits_calibrate.npz")
    evaluate = np.load(FOLDER / "digits_evaluate.npz")

    compiled = compile_model(FOLDER / "digits_cnn.onnx", calibrate=calibrate["x"], target="loihi2")
    y = compiled.run(evaluate["x"])

    top1 = 100 * np.mean(y.argmax(axis=1) == evaluate["y"])
    print(f"{top1:.1f} % of {len(y)} test images, by the spiking network in fixed point")


if __name__ == "__main__":
    main()
