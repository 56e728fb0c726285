"""This or that: the same network in each coding, T and weight width, with what each costs.

    python tests/bench/this_or_that.py                         examples/digits_cnn.onnx, a minute
    python tests/bench/this_or_that.py mnist_mlp_256x2         a shared model, some minutes

Accuracy, energy, latency, cores and spikes are those of the report. A row in bold is on the Pareto
front: no other row has more accuracy, less energy and less latency at once.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import w8a8
from shared_models import prepare

from snn_compile import compile_model
from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.codings import Coding
from snn_compile.errors import CompileError, CompileErrors
from snn_compile.options import CompileOptions

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STEPS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Row:
    """One way to compile the network."""

    coding: str
    n_steps: int
    weight_bits: int
    top1: float
    energy: float
    latency: float
    cores: int
    spikes: float

    def beats(self, other: Row) -> bool:
        """Whether it is nowhere worse than another and somewhere better."""
        mine, its = self.measures, other.measures
        return all(a <= b for a, b in zip(mine, its, strict=True)) and mine != its

    @property
    def measures(self) -> tuple[float, float, float]:
        """What is to be small."""
        return -self.top1, self.energy, self.latency


def ways(widths: list[int], steps: list[int]) -> Iterator[tuple[str, int | None, int]]:
    """Each coding with each number of steps, where it has any, and each width."""
    for name, bits in itertools.product(coding_names(), widths):
        kind: type[Coding] = coding_class(name)
        for n_steps in [None] if kind.payloads else steps:
            yield name, n_steps, bits


def measured(model: Path, data: tuple[np.ndarray, ...], target: str, way: Any) -> Row | None:
    """The row of one way; None where the coding cannot do it."""
    coding, n_steps, bits = way
    calibrate, x, y = data
    changes: dict[str, Any] = {} if n_steps is None else {"timesteps": n_steps}
    options = CompileOptions(target=target, coding=coding, weight_bits=bits, emit=(), **changes)
    try:
        compiled = compile_model(model, options=options, calibrate=calibrate, evaluate=(x, y))
    except (CompileError, CompileErrors) as error:
        print(f"left out: {coding}, T = {n_steps}, {bits} bits: {str(error).splitlines()[0]}")
        return None
    report: dict[str, Any] = compiled.report
    cost = report["cost"]
    return Row(
        coding=coding,
        n_steps=report["timesteps"],
        weight_bits=bits,
        top1=next(rung["top1"] for rung in report["ladder"] if rung["stage"] == "fixed"),
        energy=cost["energy"]["value"] * 1e6,
        latency=cost["latency"]["value"],
        cores=report["resources"]["cores"],
        spikes=cost["spikes_per_inference"],
    )


def lines(rows: list[Row]) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| coding | T | weight bits | top-1, % | energy, µJ | latency, µs | cores | spikes |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        front = not any(other.beats(row) for other in rows)
        cells = [
            row.coding,
            str(row.n_steps),
            str(row.weight_bits),
            f"{row.top1:.2f}",
            f"{row.energy:.3g}",
            f"{row.latency:,.0f}",
            str(row.cores),
            f"{row.spikes:,.0f}",
        ]
        yield "| " + " | ".join(f"**{cell}**" if front else cell for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", help="a shared model; without it, digits_cnn")
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--weight-bits", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--steps", type=int, nargs="*", default=list(STEPS))
    arguments = parser.parse_args()
    data: tuple[np.ndarray, ...]
    if arguments.model is None:
        model = EXAMPLES / "digits_cnn.onnx"
        evaluate = np.load(EXAMPLES / "digits_evaluate.npz")
        calibrate = np.load(EXAMPLES / "digits_calibrate.npz")["x"]
        data = calibrate, evaluate["x"], evaluate["y"]
    else:
        model = w8a8.SHARED / "models" / f"{arguments.model}.onnx"
        with tempfile.TemporaryDirectory() as folder:
            data = prepare(arguments.model, Path(folder), arguments.images)
    found = [
        measured(model, data, arguments.target, way)
        for way in ways(arguments.weight_bits, arguments.steps)
    ]
    print("\n".join(lines([row for row in found if row is not None])))


if __name__ == "__main__":
    main()
