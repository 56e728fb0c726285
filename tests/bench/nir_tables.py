"""What other libraries make of our NIR files, and we of theirs.

    python tests/bench/nir_tables.py [--python INTERPRETER] [--write PAGE]

``INTERPRETER`` (or ``SNN_COMPILE_NIR_PYTHON``) has the libraries: docs/reference/nir.md says which.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from tuning_tables import replaced

from nir_exchange import (
    NAMES,
    PRODUCERS,
    REFUSED,
    RUNTIMES,
    called,
    dense,
    network,
    options_for,
    ran,
)
from snn_backends.nir import NirBackend
from snn_compile import compile_model
from snn_compile.errors import CompileError
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference
from snn_compile.sim import spiking as simulation
from snn_frontends.nir import NirFrontend

LIBRARIES = (
    ("spikingjelly", "spikingjelly, `import_from_nir`"),
    ("norse", "Norse, `from_nir`"),
    ("snntorch-stock", "snnTorch, `import_from_nir`"),
    ("snntorch", "snnTorch, a map of its own"),
    ("sinabs-stock", "sinabs, `from_nir`"),
    ("sinabs", "sinabs, a map of its own"),
    ("rockpool", "Rockpool, `from_nir`"),
)
PACKAGES = ("torch", "nir", "nirtorch", "norse", "rockpool", "sinabs", "snntorch", "spikingjelly")
VERSIONS = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"


def ours() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """The name of each case, its network and its frames."""
    one = {"joined": False, "one_threshold": True}
    yield "dense layers", *dense("stock", 5)
    yield "convolutions, `Flatten`", *network("stock", 0, **one)
    yield "thresholds per channel", *network("stock", 0, joined=False, one_threshold=False)
    yield "joins", *network("stock", 0, joined=True, one_threshold=True)
    yield "reset by subtraction", *network("subtract", 0, **one)


def verdict(out: Path, expected: np.ndarray, complaint: str) -> str:
    """What a runtime made of a file whose potentials after each step are known."""
    if not out.is_file():
        return f"ends: {complaint.strip().splitlines()[-1][:60]}"
    with np.load(out) as found:
        if "error" in found:
            return f"fails: {_short(str(found['error']))}"
        if found["outputs"].size != expected.size:
            return "an output of another shape"
        potentials = found["outputs"].cumsum(axis=1).reshape(expected.shape)
    wrong = potentials != expected
    if not wrong.any():
        return "equal"
    off = (potentials - expected)[:, -1].astype(float)
    error = np.sqrt((off**2).mean() / (expected[:, -1].astype(float) ** 2).mean())
    return f"differs: {100 * wrong[:, -1].mean():.0f} % of outputs, error {100 * error:.0f} % rms"


def _short(text: str) -> str:
    line = " ".join(text.replace("|", "/").split())
    return line if len(line) < 96 else f"{line[:92]} ..."


def exported(python: Path, folder: Path) -> list[str]:
    """The table of our files on each runtime."""
    cases = list(ours())
    arguments, expected = [], []
    for k, (_, program, frames) in enumerate(cases):
        made = folder / f"case{k}"
        made.mkdir()
        NirBackend().emit(program, made)
        np.savez(folder / f"in{k}.npz", messages=reference.input_messages(program, frames))
        run = reference.run(program, frames, record=True)
        expected.append(run.messages[program.readouts[0].id])
        arguments.append((made / "network.nir", folder / f"in{k}.npz"))
    lines = ["| runtime | " + " | ".join(name for name, *_ in cases) + " |"]
    lines.append("|---" * (len(cases) + 1) + "|")
    for runtime, label in LIBRARIES:
        outs = [folder / f"{runtime}{k}.npz" for k in range(len(cases))]
        files = [part for given, out in zip(arguments, outs, strict=True) for part in (*given, out)]
        done = ran(python, RUNTIMES, runtime, *files)
        found = [verdict(out, e, done.stderr) for out, e in zip(outs, expected, strict=True)]
        lines.append(f"| {label} | {' | '.join(found)} |")
    return lines


def imported(python: Path, folder: Path) -> list[str]:
    """The table of their files here."""
    called(python, PRODUCERS, folder, *NAMES, *REFUSED)
    lines = ["| network | nodes | in floating point | in fixed point |", "|---|---|---|---|"]
    for name in (*NAMES, *REFUSED):
        with np.load(folder / f"{name}.npz") as data:
            x, spikes = data["x"], data["spikes"].astype(np.int64)
        path, options = folder / f"{name}.nir", options_for(name, x.shape[1])
        try:
            here = NirFrontend().read_spiking(path, options)
            frames = x.astype(np.int64).reshape(*x.shape[:2], *here.network.input.shape)
            counts = np.rint(x.shape[1] * simulation.evaluate(here.network, frames))
            fixed = compile_model(path, options=options, evaluate=(x, None)).run(x)
        except CompileError as error:
            lines.append(f"| {name} | {kinds(path)} | refused: {_short(error.message)} | |")
            continue
        there = spikes.sum(axis=1)
        same = [_counts(each.reshape(there.shape), there) for each in (counts, fixed)]
        lines.append(f"| {name} | {kinds(path)} | {' | '.join(same)} |")
    return lines


def kinds(path: Path) -> str:
    """The types of a file's nodes. nir's own reader refuses Rockpool's: ports have more axes."""
    with h5py.File(path) as file:
        found = {node["type"][()].decode() for node in file["node/nodes"].values()}
    return ", ".join(f"`{kind}`" for kind in sorted(found) if kind not in ("Input", "Output"))


def _counts(found: np.ndarray, expected: np.ndarray) -> str:
    off = int(np.abs(found - expected).sum())
    return "equal" if not off else f"{off} of {int(expected.sum()):,} spikes more or less"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=os.environ.get("SNN_COMPILE_NIR_PYTHON"))
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    arguments = parser.parse_args()
    if not arguments.python:
        parser.error("name an interpreter that has the libraries")
    python = Path(arguments.python)
    asked = subprocess.run(
        [str(python), "-c", VERSIONS, *PACKAGES], capture_output=True, text=True, check=True
    )
    versions = ", ".join(
        f"{name} {version}" for name, version in zip(PACKAGES, asked.stdout.split(), strict=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            "versions": [f"Versions: {versions}."],
            "ours": exported(python, Path(folder)),
            "theirs": imported(python, Path(folder)),
        }
    for name, lines in tables.items():
        text = "\n".join(lines)
        sys.stdout.write(f"{text}\n\n")
        if arguments.write:
            page = arguments.write.read_text()
            arguments.write.write_text(replaced(page, name, text))


if __name__ == "__main__":
    main()
