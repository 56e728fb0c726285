"""Mutants of every kind of file that is read: counts by exit code, the slowest and the largest.

    python tests/bench/fuzz.py [--mutants 100000] [--first 0] [--kinds data,folder] [--markdown]

Each mutant is a number: the same one is the same file on every machine, so that what is found can
be had again (``--first N --mutants 1 --kinds KIND``). Kinds that take a tenth of a second a mutant
get a twentieth of the others' share. A fault is an exit code that is not documented, 1 included, a
traceback, a warning of Python's, a run of 10 s, or a process that grows by 512 MiB while a file may
take 128 MiB; any makes the exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from rich.console import Console
from rich.table import Table

from fuzzing import DOCUMENTED, MEMORY, Outcome, outcome
from mutant_kinds import KINDS, SLOW, Seeds
from snn_compile import memory

SHOWN = 5
"""Faults of a kind that are shown in full."""
SLOW_SHARE = 20


def main() -> int:
    """Run the mutants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    os.environ[memory.VARIABLE] = MEMORY
    shares = {kind: 1 if kind in SLOW else SLOW_SHARE for kind in asked.kinds.split(",")}
    rows, faulty = [], 0
    with tempfile.TemporaryDirectory() as place:
        seeds = Seeds(Path(place))
        for kind, share in shares.items():
            count = -(-asked.mutants * share // sum(shares.values()))
            found = run(seeds, kind, asked.first, count)
            rows.append(found)
            faulty += int(found[-1])
    show(rows, markdown=asked.markdown)
    return 1 if faulty else 0


def run(seeds: Seeds, kind: str, first: int, count: int) -> list[str]:
    """The row of a kind; faults are told as they are found."""
    codes: Counter[int | None] = Counter()
    faults: list[tuple[int, Outcome]] = []
    slowest, largest = 0.0, 0
    for number in range(first, first + count):
        one = outcome(seeds, kind, number)
        codes[one.code] += 1
        slowest, largest = max(slowest, one.seconds), max(largest, one.grown)
        if one.fault:
            faults.append((number, one))
            if len(faults) <= SHOWN:
                print(f"{kind} {number}: {one.fault}: {' '.join(one.words)}\n  {one.said[-500:]}")
    counts = [f"{codes[code]:,}" for code in DOCUMENTED]
    return [kind, f"{count:,}", *counts, f"{slowest:.1f}", f"{largest >> 20}", str(len(faults))]


def show(rows: list[list[str]], *, markdown: bool) -> None:
    """A table for people, or one of Markdown."""
    heads = ["kind", "mutants", *(f"exit {c}" for c in DOCUMENTED), "longest s", "MiB", "faults"]
    if markdown:
        for cells in (heads, ["---"] * len(heads), *rows):
            print(f"| {' | '.join(cells)} |")
        return
    table = Table(*heads)
    for cells in rows:
        table.add_row(*cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    sys.exit(main())
