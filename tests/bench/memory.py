"""How much memory a simulation takes: it must not grow with the number of images.

    python tests/bench/memory.py [--folder DIR]
    python tests/bench/memory.py --coding rate --timesteps 256 --images 10000 --traces sink

Each row is one process: `snn-compile run`, with its peak resident set as the kernel counts it, and
how much that is above a process that has only loaded the network. `bound` is what
docs/reference/cli.md promises for the difference. Traces go to `disk`, as the command writes them,
or into a `sink`, which counts and hashes them where they are too large for the disk. `record` is
`snn-compile hil --device engine --record`, without the process that its device has for itself.
Without --images the table of the documentation is measured; `--folder` keeps what was compiled.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MODEL = "cifar10_resnet20"
SHARED = Path(os.environ.get("SNN_COMPILE_DATA") or Path(__file__).parents[3] / "shared")
PIECE_BYTES, WORK_BYTES = 256 << 20, 64 << 20
SAMPLE_BYTES = 4 * 3 * 32 * 32
COMPILE = """
import sys
from dataclasses import replace
from snn_compile import compile_model

model, calibrate, folder, coding, *timesteps = sys.argv[1:]
options = {"timesteps": int(timesteps[0])} if timesteps else {}
made = compile_model(model, calibrate=calibrate, coding=coding, emit=(), **options)
replace(made, stimulus=made.stimulus[:2]).save(folder)  # the reference would take minutes for 100
"""


@dataclass(frozen=True)
class Case:
    coding: str
    timesteps: int
    images: int
    traces: str = "none"

    @property
    def network(self) -> str:
        return self.coding if self.coding == "graded" else f"{self.coding}-{self.timesteps}"


TABLE = [
    *(Case("graded", 1, n, traces) for traces in ("none", "disk") for n in (100, 500, 2000)),
    *(Case("rate", 256, n) for n in (50, 200, 1000)),
    *(Case("rate", 256, n, "disk") for n in (50, 100)),
]


def cli(*line: object) -> list[str]:
    start = "import sys; from snn_compile.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, *map(str, line)]


def peak(command: list[str]) -> float:
    """Largest resident set of a process of its own, in MB."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def data(folder: Path, images: int) -> Path:
    """A folder with calibration images, and evaluation images of some number."""
    target = folder / f"images-{images}"
    if not target.exists():
        script = [sys.executable, SHARED / "prepare_data.py", MODEL, "-o", target]
        subprocess.run([*script, "--calibrate", "256", "--evaluate", str(images)], check=True)
    return target


def network(folder: Path, case: Case) -> Path:
    """The compiled network."""
    target = folder / f"{case.network}.snn"
    if not target.exists():
        calibrate = data(folder, 1) / "calibrate.npz"
        line = [SHARED / "models" / f"{MODEL}.onnx", calibrate, target, case.coding]
        line += [case.timesteps] if case.coding == "rate" else []
        subprocess.run([sys.executable, "-c", COMPILE, *map(str, line)], check=True)
    return target


def measured(folder: Path, case: Case) -> float:
    compiled, samples = network(folder, case), data(folder, case.images) / "evaluate.npz"
    run = cli("run", compiled, "--data", samples, "-q")
    if case.traces == "none":
        return peak(run)
    if case.traces == "sink":
        return peak([sys.executable, __file__, "--sink", str(compiled), str(samples)])
    output = folder / "out.npz"
    try:
        if case.traces == "record":
            hil = cli("hil", compiled, "--data", samples, "--device", "engine", "-q")
            return peak([*hil, "--record", str(output), "--time-limit", "36000"])
        return peak([*run, "--trace", "-o", str(output)])
    finally:
        output.unlink(missing_ok=True)


def bound(case: Case) -> float:
    """What docs/reference/cli.md promises of `run` on the engine, in MB."""
    return (case.images * SAMPLE_BYTES + PIECE_BYTES + WORK_BYTES) / 1e6


def sink(compiled: str, samples: str) -> None:
    """Simulate, and keep no more of the messages than their number and their hash."""
    import numpy as np

    from snn_compile.bundle import CompiledModel
    from snn_compile.cli.run import load

    model = CompiledModel.load(compiled)
    digests, events, written = {}, 0, 0
    for run in model.simulate_in_pieces(load(model, Path(samples)).x, record=True):
        for name, messages in run.messages.items():
            digests.setdefault(name, hashlib.sha256()).update(np.ascontiguousarray(messages).data)
            events += int(np.count_nonzero(messages))
            written += messages.nbytes
        del run
    whole = hashlib.sha256(b"".join(digest.digest() for digest in digests.values()))
    print(f"{events:,} messages in {written / 1e9:,.1f} GB, {whole.hexdigest()}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--coding", choices=["graded", "rate"], default="graded")
    parser.add_argument("--timesteps", type=int, default=256)
    parser.add_argument("--images", type=int, nargs="+", default=[])
    parser.add_argument("--traces", choices=["none", "disk", "sink", "record"], default="none")
    parser.add_argument("--sink", nargs=2, metavar=("DIR", "NPZ"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.sink:
        return sink(*asked.sink)
    cases = [Case(asked.coding, asked.timesteps, n, asked.traces) for n in asked.images] or TABLE
    print("| network | traces | images | peak, MB | above idle, MB | bound, MB |", flush=True)
    print("|---|---|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.folder or Path(scratch)).absolute()
        folder.mkdir(exist_ok=True)
        for case in cases:
            idle = peak(cli("inspect", network(folder, case)))
            most = measured(folder, case)
            row = [case.network, case.traces, f"{case.images:,}", f"{most:,.0f}"]
            row += [f"{most - idle:,.0f}", f"{bound(case):,.0f}"]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
