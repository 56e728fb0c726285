"""What the shared labelled models lose on their way to fixed point.

    python tests/bench/shared_models.py [MODEL ...] [--images 10000] [--rate-images 1000]

For each model: top-1 accuracy of the float file, of `graded` with 8-bit payloads and of `rate` at
T = 32 and 256, each from the bit-accurate simulator with 8-bit weights and 1,024 unlabelled
calibration images; the share of images on which `graded` answers as the float file does, beside
that of onnxruntime's W8A8 static quantization of the same file; and the outcome of `snn-compile
verify`. Rate coding is simulated on fewer images (the first ones), and its column says what the
float file reaches on those. Slow: about an hour on two cores; `--verify N` compares N stimuli in
Lava.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import w8a8

from snn_compile import compile_model
from snn_compile.plugins import BACKENDS

RATES = (32, 256)


def prepare(
    name: str, folder: Path, images: int, calibrate: int = 1_024
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibration images, evaluation images and labels of a shared model."""
    script = [sys.executable, str(w8a8.SHARED / "prepare_data.py"), name, "-o", str(folder)]
    numbers = ["--calibrate", str(calibrate), "--evaluate", str(images)]
    subprocess.run([*script, *numbers], check=True)
    evaluate = np.load(folder / "evaluate.npz")
    return np.load(folder / "calibrate.npz")["x"], evaluate["x"], evaluate["y"]


def rung(report: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(entry for entry in report["ladder"] if entry["stage"] == stage)


def verified(compiled: Any, stimuli: int) -> str:
    """What Lava says of a compiled network."""
    if not stimuli:
        return "not run"
    lava = BACKENDS.load("lava")
    with tempfile.TemporaryDirectory() as folder:
        compiled.emit("lava", folder)
        outcome = lava.verify(
            compiled.program, Path(folder), compiled.stimulus, stimuli=stimuli, time_limit=3000
        )
    verdict = "equal" if outcome.equal else f"DIFFERS: {outcome.first_divergence}"
    return f"{verdict}, {outcome.stimuli} stimuli, {outcome.compared / 1e6:.1f} M messages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=w8a8.MODELS)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rate-images", type=int, default=1_000)
    parser.add_argument("--verify", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    print("| model | float | graded | agreement | W8A8 agreement | graded in Lava |", end="")
    print("".join(f" rate T={t} | in Lava |" for t in RATES))
    print("| --- |" + " --- |" * (5 + 2 * len(RATES)), flush=True)
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            calibrate, x, y = prepare(name, Path(scratch), arguments.images)
            source = w8a8.SHARED / "models" / f"{name}.onnx"
            compiled = compile_model(source, calibrate=calibrate, evaluate=(x, y))
            before, after = rung(compiled.report, "onnx"), rung(compiled.report, "fixed")
            rival = w8a8.agreement(source, calibrate, x, Path(scratch))
            cells = [name, f"{before['top1']:.2f}", f"{after['top1']:.2f}"]
            cells += [f"{after['agreement']:.2f}", f"{rival:.2f}"]
            cells += [verified(compiled, arguments.verify)]
            for n_steps in RATES:
                few = slice(0, max(1, min(len(x), arguments.rate_images * 32 // n_steps)))
                compiled = compile_model(
                    source,
                    calibrate=calibrate,
                    evaluate=(x[few], y[few]),
                    coding="rate",
                    timesteps=n_steps,
                )
                before, after = rung(compiled.report, "onnx"), rung(compiled.report, "fixed")
                cells.append(f"{after['top1']:.2f} (float {before['top1']:.2f}, n={after['n']})")
                cells.append(verified(compiled, max(1, arguments.verify * 32 // n_steps)))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
