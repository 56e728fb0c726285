"""Which of the models here fit which target in which coding, and what would make the others fit.

    python tests/bench/fits.py [MODEL ...]    prints a table in Markdown; without data, as check

Without models: the examples and the shared ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from snn_compile.coding_registry import coding_names
from snn_compile.errors import CapacityError, CompileError, CompileErrors
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model
from snn_compile.pluralize import pluralize
from snn_compile.targets import load_target

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("loihi2", "loihi1")


def models() -> list[Path]:
    """The examples and the shared models."""
    shared = ROOT.parent / "shared" / "models"
    return sorted([*(ROOT / "examples").glob("*.onnx"), *shared.glob("*.onnx")])


def outcome(model: Path, target: str, coding: str) -> str:
    """Cores where it fits, what to type where it does not, or the reason."""
    try:
        mapped = check_model(model, CompileOptions(target=target, coding=coding)).mapped
    except CompileError as error:
        if error.nearest:
            return error.nearest
        errors = error.errors if isinstance(error, CompileErrors) else (error,)
        codes = dict.fromkeys(one.code for one in errors if not isinstance(one, CapacityError))
        return "refused: " + ", ".join(codes or (error.code,))
    return pluralize(mapped.cores, "core")


def rows(paths: Sequence[Path]) -> Iterator[str]:
    """A row for each model and target; codings with the same outcome stand together."""
    for path in paths:
        for target in TARGETS:
            have = load_target(target).codings.value
            found: dict[str, list[str]] = {}
            for coding in coding_names():
                if have is None or coding in have:
                    found.setdefault(outcome(path, target, coding), []).append(coding)
            cells = "; ".join(f"{', '.join(names)}: {what}" for what, names in found.items())
            yield f"| {path.stem} | {target} | {cells} |"


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    print("| model | target | |\n|---|---|---|")
    for row in rows([Path(argument) for argument in arguments] or models()):
        print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
