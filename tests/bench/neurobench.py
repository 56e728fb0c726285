"""NeuroBench's metrics of N-MNIST and of spoken digits, by its harness, beside the report's.

    python tests/bench/neurobench.py [--python INTERPRETER] [--write PAGE]

Trains a small network on shared N-MNIST recordings, from random weights, and compiles the GRU of
``examples``. Both are then run by ``snn-compile neurobench``, with an interpreter that has the
extra: ``--python``, ``SNN_COMPILE_NEUROBENCH_PYTHON``, or an environment that is made here and
thrown away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from tuning_tables import replaced

from recordings import READING, classifier, nmnist
from snn_compile.cli import main as snn_compile

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PACKAGES = ("torch==2.13.0", "neurobench==2.3.0")
VARIABLE = "SNN_COMPILE_NEUROBENCH_PYTHON"
RUN = "import sys; from snn_compile.cli import main; sys.exit(main(sys.argv[1:]))"
N_TRAIN, N_RECORDINGS, N_MAPS = 150, 200, 8


def interpreter(folder: Path) -> Path:
    """A Python of an environment of its own, with the extra ``neurobench``."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    for packages in (PACKAGES[:1], (*PACKAGES, *needed)):
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def measured(python: Path, folder: Path, data: Path, *options: str) -> list[dict[str, Any]]:
    """The rows that ``snn-compile neurobench`` prints; it fails where they are not equal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(ROOT / "toolchain")
    line = [str(python), "-c", RUN, "neurobench", str(folder), "--data", str(data), *options]
    ran = subprocess.run(
        [*line, "--json", "-q"], capture_output=True, text=True, env=environment, check=False
    )
    if ran.returncode:
        raise SystemExit(f"neurobench failed:\n{ran.stderr[-2000:]}")
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


def networks(folder: Path, shared: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, compiled folder and labelled data of each network."""
    train, test = folder / "train.npz", folder / "test.npz"
    nmnist(shared, 0, N_TRAIN, train)
    nmnist(shared, N_TRAIN, N_RECORDINGS, test)
    words = [str(classifier(folder / "nmnist.nir", N_MAPS)), "-o", str(folder / "nmnist.snn")]
    words += ["--nir-producer", READING["nir_producer"], "--nir-reset", READING["nir_reset"]]
    words += ["-T", str(READING["timesteps"]), "--from-scratch", "--calibrate", str(train)]
    words += ["--train", str(train), "--epochs", "60", "--patience", "0", "--batch-size", "16"]
    _called("tune", *words, "--no-emit", "-q")
    yield "N-MNIST", folder / "nmnist.snn", test
    words = [str(EXAMPLES / "kws_gru.onnx"), "-o", str(folder / "kws.snn"), "--no-emit", "-q"]
    _called("compile", *words)
    yield "spoken digits", folder / "kws.snn", EXAMPLES / "kws_evaluate.npz"


def _called(*words: str) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        code = snn_compile([*words, "--no-progress"])
    if code:
        raise SystemExit(code)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")


def _verdict(equal: bool | None) -> str:
    return "defined otherwise" if equal is None else "equal" if equal else "differs"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="an interpreter with the extra neurobench")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    arguments = parser.parse_args()
    named = arguments.python or os.environ.get(VARIABLE)
    shared = Path(os.environ.get("SNN_COMPILE_DATA", ROOT.parent / "shared"))
    lines = ["| data | metric | NeuroBench | report | |", "|---|---|---:|---:|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = Path(named) if named else interpreter(folder / "environment")
        for data, compiled, samples in networks(folder, shared):
            for row in measured(python, compiled, samples):
                cells = (_number(row["theirs"]), _number(row["ours"]), _verdict(row["equal"]))
                lines.append(f"| {data} | `{row['metric']}` | {' | '.join(cells)} |")
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    if arguments.write:
        text = arguments.write.read_text()
        arguments.write.write_text(replaced(text, "neurobench", table))


if __name__ == "__main__":
    main()
