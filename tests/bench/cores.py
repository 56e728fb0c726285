"""Cores that networks take on a target, beside the least that any placement needs.

    python tests/bench/cores.py [--target loihi2] [--coding graded] [MODEL ...]

Prints a table in Markdown: of the shared models, or of the files named. Weights are bounded without
data, as ``snn-compile check`` does it, so the counts are those of a network of this shape.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from snn_compile.errors import CompileError, CompileErrors
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping import map_program, resources
from snn_compile.options import CompileOptions
from snn_compile.pipeline import driver, trained_models
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

ROOT = Path(__file__).resolve().parents[2]
CHIPS = 100_000
"""No network is refused for want of cores: how many it takes is the question."""


def network(path: Path, options: CompileOptions) -> QuantizedGraph:
    """The network in integers that ``check`` maps."""
    found: list[QuantizedGraph] = []
    mapping = trained_models.map_program

    def keep(program: QuantizedGraph, target: Target, placement: object) -> object:
        del placement
        found.append(program)
        return mapping(program, load_target("unlimited"))

    trained_models.map_program = keep  # type: ignore[assignment]
    try:
        driver.check_model(path, options)
    finally:
        trained_models.map_program = mapping
    return found[0]


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--coding")
    asked = parser.parse_args(arguments)
    target = load_target(asked.target, CHIPS)
    coding = asked.coding or target.default_coding.value
    models = asked.models or sorted((ROOT.parent / "shared" / "models").glob("*.onnx"))
    print("| network | cores | bound | ratio | tightest limit | CPU seconds |")
    print("|---|---:|---:|---:|---|---:|")
    for path in models:
        try:
            program = network(path, CompileOptions(coding=coding))
            start = time.process_time()
            taken = resources(map_program(program, target).graph)
            seconds = time.process_time() - start
        except CompileError as error:
            errors = error.errors if isinstance(error, CompileErrors) else (error,)
            print(
                f"| {path.stem} | refused: {', '.join(sorted({e.code for e in errors}))} | | | | |"
            )
            continue
        bound, limit = taken.lower_bound.cores, taken.binding_limit
        print(
            f"| {path.stem} | {taken.cores} | {bound} | {taken.cores / bound:.2f}"
            f" | {limit.limit if limit else ''} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
