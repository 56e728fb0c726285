"""A grid of 24 points of ResNet-20: serially, over two workers one of which is killed, and on Dask.

    python tests/bench/sweep.py [--images 500] [--calibrate 256] [--cluster local:2] [--few]
        [--folder DIR]

The sweep over two workers loses one of them to SIGKILL after some points, is then killed itself in
the same way, and is resumed; the one on a Dask cluster of two processes loses a worker. Every seal
must be that of the serial run. The table in docs/how-to/sweep.md is printed by this program.
Takes some ten minutes of processor time. ``--few`` takes 3 points, at 4 time steps; an empty
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

import numpy as np
import shared_models
import w8a8

MODEL = "cifar10_resnet20"
GRID = ["--coding", "radix,sync,rate", "--rounding", "nearest", "--no-emit"]
"""Without fits, which take the same time in each point and most of it."""
WHOLE = ["-T", "2,4", "--weight-bits", "4,8", "--thresholds", "mmse,max"]
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


class Spent:
    """Seconds of wall time, and of processor time of all processes that have ended, from now on."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), self._processor()

    @staticmethod
    def _processor() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def row(self, what: str, found: dict[str, str], equal: str) -> None:
        """Print a row of the table."""
        wall, seconds = time.monotonic() - self._began, self._processor() - self._before
        print(f"| {what} | {len(found)} | {wall:.0f} | {seconds:.0f} | {equal} |", flush=True)


def ended(process: subprocess.Popen[bytes], folder: Path) -> dict[str, str]:
    """The seals of a sweep that has to succeed."""
    if process.wait():
        raise SystemExit(folder.with_suffix(".log").read_text())
    return seals(folder)


def serially(line: list[str], folder: Path) -> dict[str, str]:
    return ended(sweep(line, folder, "--workers", "1"), folder)


def killed(line: list[str], folder: Path, one: int, everything: int) -> tuple[dict[str, str], int]:
    """Over two workers: one dies after some points, all after more; resumed. Points kept then."""
    process = sweep(line, folder, "--workers", "2")
    wait_for_records(folder, one, process)
    os.kill(next(filter(is_worker, descendants(process.pid))), signal.SIGKILL)
    wait_for_records(folder, everything, process)
    process.kill()
    process.wait()
    kept = len(list((folder / "points").glob("*.json")))
    return ended(sweep(line, folder, "--workers", "2"), folder), kept


def on_dask(line: list[str], folder: Path, cluster: str, one: int) -> tuple[dict[str, str], bool]:
    """On a cluster; whether a worker of it, if it is here, was killed after some points."""
    process = sweep(line, folder, "--cluster", cluster)
    wait_for_records(folder, one, process)
    workers = [one for one in descendants(process.pid) if is_worker(one)]
    if workers:
        os.kill(workers[-1], signal.SIGKILL)
    return ended(process, folder), bool(workers)


def command(place: Path, given: argparse.Namespace) -> list[str]:
    """The sweep, with its data in a folder."""
    shared_models.prepare(MODEL, place, given.images)
    with np.load(place / "calibrate.npz") as file:
        few = {"x": file["x"][: given.calibrate]}
    np.savez(place / "calibrate.npz", **few)
    data = [f"--{name}={place / name}.npz" for name in ("calibrate", "evaluate")]
    line = ["sweep", str(w8a8.SHARED / "models" / f"{MODEL}.onnx"), *data, *GRID]
    return line + (FEW if given.few else WHOLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--calibrate", type=int, default=256)
    parser.add_argument("--cluster", default="local:2")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--folder", type=Path, help="keeps data and sweeps; must be empty")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.folder or Path(scratch)
        line = command(place, given)
        print("| sweep | points | s | processor s | seals |\n|---|--:|--:|--:|---|", flush=True)
        spent = Spent()
        serial = serially(line, place / "serial")
        spent.row("one worker", serial, "the reference")
        one, everything = KILLED[len(serial)]

        spent = Spent()
        found, kept = killed(line, place / "killed", one, everything)
        what = f"two workers; one killed after {one} points, all after {kept}, resumed"
        spent.row(what, found, f"equal: {found == serial}")
        if not given.cluster:
            return

        spent = Spent()
        found, died = on_dask(line, place / "dask", given.cluster, one)
        what = f"Dask, {given.cluster}" + (f"; a worker killed after {one} points" if died else "")
        spent.row(what, found, f"equal: {found == serial}")


if __name__ == "__main__":
    main()
