"""One thread and two: wall time an image of ResNet-20, by the number of images of a call.

    python tests/bench/engine_threads.py [--images 1 2 3 4 5 8 16 64] [--rounds 40]

In turn, medians; activity is not counted. ``rate`` takes a quarter of the rounds, and a tenth from
16 images on. For a quiet machine: a busy one has no second core to give.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import w8a8
from shared_models import prepare

from snn_compile import compile_model
from snn_compile.sim.engine import Engine

MODEL = "cifar10_resnet20"
CODINGS = {"graded": {"coding": "graded"}, "rate, T = 32": {"coding": "rate", "timesteps": 32}}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 3, 4, 5, 8, 16, 64])
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calibrate, x, _ = prepare(MODEL, Path(folder), max(asked.images))
    print(
        "| coding | images | 1 thread, ms | 2 threads, ms | efficiency |\n|---|---:|---:|---:|---:|"
    )
    for name, options in CODINGS.items():
        compiled = compile_model(
            w8a8.SHARED / "models" / f"{MODEL}.onnx",
            calibrate=calibrate[:256],
            emit=(),
            target="unlimited",
            **options,
        )
        simulate = Engine(compiled.program)
        for n in asked.images:
            frames = compiled.encoding(x[:n])
            fewer = 1 if name == "graded" else 4 if n < 16 else 10
            wall: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(max(asked.rounds // fewer, 1)):
                for threads, times in wall.items():
                    begun = time.perf_counter()
                    simulate.run(frames, threads=threads, activity=False)
                    times.append(1000 * (time.perf_counter() - begun) / n)
            one, two = (median(times) for times in wall.values())
            print(f"| {name} | {n} | {one:.3g} | {two:.3g} | {one / two / 2:.0%} |", flush=True)


if __name__ == "__main__":
    main()
