"""onnxruntime's own 8-bit static quantization of the shared models: the yardstick for `graded`.

    python tests/bench/w8a8.py [MODEL ...] [--images N]

Prints, for each model, the top-1 accuracy of the float file and of its W8A8 version, and the share
of images on which both agree. Calibration: MinMax over the same 1,024 images that snn-compile uses.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

SHARED = Path(os.environ.get("SNN_COMPILE_DATA", Path(__file__).parents[3] / "shared"))
MODELS = ("mnist_cnn_cntk", "mnist_mlp_256x2", "fashion_vggbn", "cifar10_resnet20")


class Reader(CalibrationDataReader):
    """Feeds the calibration samples one at a time, as files with a fixed batch of 1 need."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self.samples = iter([{name: sample[None]} for sample in x])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def predict(path: Path, x: np.ndarray) -> np.ndarray:
    model = session(path)
    feed = model.get_inputs()[0]
    size = 1 if feed.shape[0] == 1 else 256
    batches = [x[k : k + size] for k in range(0, len(x), size)]
    scores = [model.run(None, {feed.name: batch})[0].reshape(len(batch), -1) for batch in batches]
    return np.concatenate(scores).argmax(axis=1)


def quantized(source: Path, calibrate: np.ndarray, folder: Path) -> Path:
    """The W8A8 version of a file, written into a folder."""
    target = folder / "w8a8.onnx"
    quantize_static(
        source,
        target,
        Reader(session(source).get_inputs()[0].name, calibrate),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return target


def agreement(source: Path, calibrate: np.ndarray, x: np.ndarray, folder: Path) -> float:
    """Share of samples, in percent, on which the W8A8 version answers as the float file does."""
    same = predict(source, x) == predict(quantized(source, calibrate, folder), x)
    return 100 * float(same.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    print("| model | float top-1 | W8A8 top-1 | agreement | images |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            prepare = [sys.executable, str(SHARED / "prepare_data.py"), name, "-o", folder]
            subprocess.run([*prepare, "--evaluate", str(arguments.images)], check=True)
            calibrate = np.load(Path(folder) / "calibrate.npz")["x"]
            evaluate = np.load(Path(folder) / "evaluate.npz")
            source = SHARED / "models" / f"{name}.onnx"
            x, y = evaluate["x"], evaluate["y"]
            exact = predict(source, x)
            rounded = predict(quantized(source, calibrate, Path(folder)), x)
            top1 = [100 * float((p == y).mean()) for p in (exact, rounded)]
            same = 100 * float((exact == rounded).mean())
            print(f"| {name} | {top1[0]:.2f} | {top1[1]:.2f} | {same:.2f} | {len(x)} |")


if __name__ == "__main__":
    main()
