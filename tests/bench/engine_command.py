"""The whole ``snn-compile`` command on CIFAR-10, beside one run of the network in onnxruntime."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine_networks import SHARED

MODEL = "cifar10_resnet20"
COMMAND = "import sys; from snn_compile.cli import main; sys.exit(main())"
YARDSTICK = """
import sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads = {threads}
with np.load(sys.argv[2]) as file:
    x = file["x"]
model = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = model.get_inputs()[0]
size = 1 if feed.shape[0] == 1 else 256
wall, cpu = time.perf_counter(), time.process_time()
for k in range(0, len(x), size):
    model.run(None, {{feed.name: x[k : k + size]}})
print(time.perf_counter() - wall, time.process_time() - cpu, size)
"""


def measure(n_images: int, n_rounds: int) -> dict[str, Any]:
    """Wall and CPU seconds of both, alternating, with 1,024 calibration images."""
    model = SHARED / "models" / f"{MODEL}.onnx"
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        script = [sys.executable, str(SHARED / "prepare_data.py"), MODEL, "-o", folder]
        subprocess.run([*script, "--evaluate", str(n_images)], check=True)
        evaluate = scratch / "evaluate.npz"
        for index in range(n_rounds):
            output = scratch / f"{index}.snn"
            command = [sys.executable, "-c", COMMAND, str(model), "-o", str(output)]
            command += ["--calibrate", str(scratch / "calibrate.npz"), "--evaluate", str(evaluate)]
            wall, cpu = _timed([*command, "--quiet", "--no-progress"])
            yardstick = [sys.executable, "-c", YARDSTICK.format(threads=os.cpu_count() or 1)]
            printed = subprocess.run(
                [*yardstick, str(model), str(evaluate)], check=True, capture_output=True, text=True
            ).stdout.split()
            rounds.append(
                {
                    "command_wall": wall,
                    "command_cpu": cpu,
                    "onnxruntime_wall": float(printed[0]),
                    "onnxruntime_cpu": float(printed[1]),
                    "onnxruntime_batch": int(printed[2]),
                }
            )
    return {"model": MODEL, "images": n_images, "rounds": rounds}


def _timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a child process and its children."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system
