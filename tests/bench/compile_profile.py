"""Where the time and the memory of a command go: seconds and peak memory of each stage.

    python tests/bench/compile_profile.py MODEL.onnx [--calibrate N|FILE] [--evaluate N|FILE]
        [--tune] [--folder DIR] [--uint8] [OPTIONS OF snn-compile]

A number N makes random images in the shape of the model's input and writes them, stored and not
deflated; ``--uint8`` makes raw bytes, for models that take them. Each command is a process of its
own. Stages of compile and tune are those of ``timing`` in report.json; a stage that takes less than
a hundredth of the time is left out, and ``all`` is the whole process, its start included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

START = "import sys; from snn_compile.cli import main; sys.exit(main())"
INTERVAL = 0.02
"""Seconds between two looks at the memory of a process."""
PIECE = 64
"""Images that are drawn at once."""


def images(path: Path, shape: list[int], n: int, *, labels: bool, raw: bool) -> None:
    """Write n random images, and labels or not."""
    generator = np.random.default_rng([n, labels])  # the two sets share no image
    x = np.lib.format.open_memmap(
        path.with_suffix(".npy"), "w+", np.uint8 if raw else np.float32, (n, *shape)
    )
    for start in range(0, n, PIECE):
        size = (len(x[start : start + PIECE]), *shape)
        drawn = generator.integers(0, 256, size) if raw else generator.random(size, np.float32)
        x[start : start + PIECE] = drawn
    more = {"y": generator.integers(0, 10, n)} if labels else {}
    np.savez(path, x=x, **more)
    path.with_suffix(".npy").unlink()


def shape_of(model: Path) -> list[int]:
    """The shape of a sample."""
    import onnx

    (value, *_) = onnx.load(model, load_external_data=False).graph.input
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]]


def watch_mark(process: int, seen: list[int]) -> None:
    """Follow the largest resident set of a process, which sets the kernel's mark back itself."""
    while True:
        try:
            status = Path(f"/proc/{process}/status").read_text("ascii")
        except OSError:  # it has ended, or the system has no such files
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                seen[0] = max(seen[0], int(line.split()[1]))
        time.sleep(INTERVAL)


def measured(line: list[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MiB of a command; it has to succeed or differ."""
    print("$ snn-compile", *line, file=sys.stderr, flush=True)
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", START, *line], stdout=sys.stderr)
    seen = [0]
    watch = threading.Thread(target=watch_mark, args=(child.pid, seen), daemon=True)
    watch.start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"snn-compile {line[0]}: exit code {child.returncode}")
    peak = max(seen[0], usage.ru_maxrss) / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak


def rows(command: str, whole: tuple[float, float, float], folder: Path | None = None) -> None:
    """Print the rows of one command."""
    timing: list[dict[str, Any]] = []
    if folder is not None:
        timing = json.loads((folder / "report.json").read_text())["timing"]
    for entry in timing:
        if entry["seconds"] >= whole[0] / 100:
            peak = entry["peak_mb"]
            row(command, entry["stage"], entry["seconds"], entry["cpu_seconds"], peak)
    row(command, "all", *whole)


def row(command: str, stage: str, seconds: float, cpu: float, peak: float | None) -> None:
    """Print one row."""
    memory = "unknown" if peak is None else f"{peak:,.0f}"
    print(f"| {command} | {stage} | {seconds:,.1f} | {cpu:,.1f} | {memory} |", flush=True)


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibrate", default="512", metavar="N|FILE")
    parser.add_argument("--evaluate", default="500", metavar="N|FILE")
    parser.add_argument("--uint8", action="store_true")
    parser.add_argument("--tune", action="store_true", help="needs torch")
    parser.add_argument("--folder", type=Path, help="keeps data and networks")
    asked, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.folder or Path(scratch)).absolute()
        folder.mkdir(exist_ok=True)
        data = {}
        for kind in ("calibrate", "evaluate"):
            given = getattr(asked, kind)
            data[kind] = folder / f"{kind}-{given}.npz" if given.isdigit() else Path(given)
            if given.isdigit() and not data[kind].exists():
                labels = kind == "evaluate"
                shape = shape_of(asked.model)
                images(data[kind], shape, int(given), labels=labels, raw=asked.uint8)
        sets = ["--calibrate", str(data["calibrate"]), "--evaluate", str(data["evaluate"])]
        print(f"{processor()}, {os.cpu_count()} processors, {asked.model.name}\n")
        print("| command | stage | seconds | processor s | peak, MiB |\n|---|---|---:|---:|---:|")
        made, model = folder / "compiled.snn", str(asked.model)
        rows("check", measured(["check", model, *options]))
        line = [model, *sets, "-o", str(made), *options]
        rows("compile", measured(line), made)
        rows("verify", measured(["verify", str(made), "--against", "golden,engine"]))
        if asked.tune:
            tuned = folder / "tuned.snn"
            train = ["--train", str(data["evaluate"]), "--epochs", "1"]  # it has labels
            rows("tune", measured(["tune", str(made), *train, "-o", str(tuned)]), tuned)


if __name__ == "__main__":
    main()
