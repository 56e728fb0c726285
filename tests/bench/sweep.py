"""A grid of 24 points of ResNet-20: serially, over two workers one of which is killed, and on Dask.

    python tests/bench/sweep.py [--images 500] [--calibrate 256] [--cluster local:2] [--few]

The sweep over two workers loses one of them to SIGKILL after some points, is then killed itself in
the same way, and is resumed; the one on a Dask cluster of two processes loses a worker. Every seal
must be that of the serial run. The table in docs/how-to/sweep.md is printed by this program.
Takes about half an hour of processor time. ``--few`` takes 3 points, at 4 time steps; an empty
``--cluster`` leaves Dask out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import shared_models
import w8a8

MODEL = "cifar10_resnet20"
GRID = ["--coding", "radix,sync,rate", "--no-emit"]
WHOLE = ["-T", "4,8", "--weight-bits", "4,8", "--thresholds", "mmse,max"]
FEW = ["-T", "4", "--weight-bits", "8"]
KILLED = {24: (4, 10), 3: (1, 2)}
"""Points after which a worker is killed, and the sweep, by the size of the grid."""
CALL = [sys.executable, "-c", "from snn_compile.cli import main; raise SystemExit(main())"]
DEADLINE = 3600.0


def descendants(process: int) -> list[int]:
    """The processes that a process has started, the oldest first; on Linux."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
            if parent == process:
                found += [int(entry.name), *descendants(int(entry.name))]
    return sorted(found)


def is_worker(process: int) -> bool:
    """Whether it compiles points: a child of ours, or one that Dask's nanny has started."""
    command = Path(f"/proc/{process}/cmdline").read_bytes()
    return b"workers.child" in command or b"spawn_main" in command


def wait_for_records(folder: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + DEADLINE
    while len(list((folder / "points").glob("*.json"))) < n:
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the sweep has ended before its point {n}")
        time.sleep(0.1)


def sweep(line: list[str], folder: Path, *more: str) -> subprocess.Popen[bytes]:
    log = folder.with_suffix(".log").open("ab")
    return subprocess.Popen([*CALL, *line, "-o", str(folder), *more], stdout=log, stderr=log)


def seals(folder: Path) -> dict[str, str]:
    points = json.loads((folder / "sweep.json").read_text())["points"]
    return {point["name"]: point.get("seal", point["state"]) for point in points}


def report(what: str, began: float, spent: float, found: dict[str, str], serial: object) -> None:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = usage.ru_utime + usage.ru_stime - spent
    equal = "the reference" if found is serial else f"equal: {found == serial}"
    print(
        f"| {what} | {len(found)} | {time.monotonic() - began:.0f} | {seconds:.0f} | {equal} |",
        flush=True,
    )


def spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--calibrate", type=int, default=256)
    parser.add_argument("--cluster", default="local:2")
    parser.add_argument("--few", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        shared_models.prepare(MODEL, place, given.images)
        import numpy as np

        with np.load(place / "calibrate.npz") as file:
            few = {"x": file["x"][: given.calibrate]}
        np.savez(place / "calibrate.npz", **few)
        data = [f"--{name}={place / name}.npz" for name in ("calibrate", "evaluate")]
        line = ["sweep", str(w8a8.SHARED / "models" / f"{MODEL}.onnx"), *data, *GRID]
        line += FEW if given.few else WHOLE
        print("| sweep | points | s | processor s | seals |\n|---|--:|--:|--:|---|", flush=True)

        began, before, folder = time.monotonic(), spent(), place / "serial"
        if sweep(line, folder, "--workers", "1").wait():
            raise SystemExit(folder.with_suffix(".log").read_text())
        serial = seals(folder)
        one, everything = KILLED[len(serial)]
        report("one worker", began, before, serial, serial)

        began, before, folder = time.monotonic(), spent(), place / "killed"
        process = sweep(line, folder, "--workers", "2")
        wait_for_records(folder, one, process)
        os.kill(next(filter(is_worker, descendants(process.pid))), signal.SIGKILL)
        wait_for_records(folder, everything, process)
        process.kill()
        process.wait()
        kept = len(list((folder / "points").glob("*.json")))
        if sweep(line, folder, "--workers", "2").wait():
            raise SystemExit(folder.with_suffix(".log").read_text())
        what = f"two workers; one killed after {one} points, all after {kept}, resumed"
        report(what, began, before, seals(folder), serial)
        if not given.cluster:
            return

        began, before, folder = time.monotonic(), spent(), place / "dask"
        process = sweep(line, folder, "--cluster", given.cluster)
        wait_for_records(folder, one, process)
        workers = [one for one in descendants(process.pid) if is_worker(one)]
        if workers:
            os.kill(workers[-1], signal.SIGKILL)
        if process.wait():
            raise SystemExit(folder.with_suffix(".log").read_text())
        what = f"Dask, {given.cluster}" + (
            f"; a worker killed after {one} points" if workers else ""
        )
        report(what, began, before, seals(folder), serial)


if __name__ == "__main__":
    main()
