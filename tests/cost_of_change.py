"""What a change costs: files that a new one takes, and product files that name one there is.

    python tests/cost_of_change.py

From outside, a package in ``examples/plugins`` adds one of each kind; the tests install it and run
it with a compiler that does not change. Inside, product files are counted that have the name of a
neuron model, a coding or an option.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("toolchain/snn_compile", "frontends", "backends")
PLUGINS = ROOT / "examples" / "plugins"
KINDS = {
    "snn_compile.neurons": "neuron model",
    "snn_compile.codings": "coding",
    "snn_compile.backends": "backend",
    "snn_compile.frontends": "frontend",
    "snn_compile.devices": "device",
}
"""Groups of entry points, and what they add."""
MEASURED = {
    "neuron model `RadixIFNeurons`": (r"\bRadixIFNeurons\b", 12),
    "neuron model `SignedIFNeurons`": (r"\bSignedIFNeurons\b", 21),
    "neuron model `CubaLIFNeurons`": (r"\bCubaLIFNeurons\b", 30),
    "coding `radix`, its neurons included": (r"""RADIX|Radix|["']radix""", 23),
    "option `reset_calibration`": (r"\breset_calibration\b", 3),
}
"""Patterns, and the files that had them at commit 7590587, before models and codings had rooms."""
PARTS = {
    "own": r"snn_compile/(ir/models/|codings/|coding_registry|options/)",
    "vectors": "snn_compile/conformance/",
    "backends, frontends": "^(backends|frontends)/",
}
"""Whose files they are; all others are the rest of the compiler."""


@cache
def texts() -> dict[str, str]:
    """The product's Python files."""
    paths = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths}


def naming(pattern: str) -> list[str]:
    """The product files with a name."""
    return [file for file, text in texts().items() if re.search(pattern, text)]


def outside() -> Iterator[tuple[str, str, int]]:
    """Each kind that an example adds, the example, and its files."""
    for folder in sorted(PLUGINS.iterdir()):
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        n_files = len(list(folder.rglob("*.py")))
        for group, names in project["entry-points"].items():
            what = KINDS[group]
            yield what if len(names) == 1 else f"{len(names)} {what}s", folder.name, n_files


def inside() -> Iterator[tuple[str, int, Counter[str]]]:
    """Each name, the files that had it before, and the number of those that have it, by part."""
    for name, (pattern, before) in MEASURED.items():
        yield name, before, Counter(part_of(file) for file in naming(pattern))


def part_of(file: str) -> str:
    """The part of the product that a file belongs to."""
    return next((part for part, of_part in PARTS.items() if re.search(of_part, file)), "rest")


def rows() -> Iterable[str]:
    """Both tables, in Markdown."""
    yield "| added from outside | by | Python files | changed in the compiler |"
    yield "|---|---|---|---|"
    for what, package, n_files in outside():
        yield f"| {what} | `examples/plugins/{package}` | {n_files} | 0 |"
    yield ""
    parts = (*PARTS, "rest")
    yield f"| product files that name | before | now | {' | '.join(parts)} |"
    yield "|---|---|---|" + "---|" * len(parts)
    for name, before, found in inside():
        counts = " | ".join(str(found[part]) for part in parts)
        yield f"| {name} | {before} | {found.total()} | {counts} |"


if __name__ == "__main__":
    print("\n".join(rows()))
