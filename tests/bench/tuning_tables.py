"""What both benchmarks of tuning share: results that are kept, seeds, and tables into the docs."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy import stats

Rows = list[list[str]]
"""A table: the first row is its head."""


class Bench:
    """Runs what is not known yet and writes it down at once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.console = Console(stderr=True)
        file = arguments.json
        self.known: dict[str, Any] = json.loads(file.read_text()) if file and file.is_file() else {}

    def measured(self, key: str, measure: Callable[[], Any]) -> Any:
        """The result of a measurement, from the file if it is there."""
        if key not in self.known:
            self.known[key] = measure()
            self.console.print(f"{key}: {self.known[key]}", style="dim")
            if self.arguments.json:
                self.arguments.json.write_text(json.dumps(self.known, indent=1))
        return self.known[key]

    def over_seeds(self, key: str, measure: Callable[[int], Any]) -> list[Any]:
        """The results of all seeds."""
        seeds = range(self.arguments.seeds)
        return [self.measured(f"{key}, seed {s}", lambda s=s: measure(s)) for s in seeds]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def paired(values: Sequence[float], others: Sequence[float], digits: int = 2) -> str:
    """Mean difference of pairs, its 95 % interval (Student's t), and p of the paired test."""
    differences = np.subtract(values, others)
    n = len(differences)
    if n < 2:
        return f"{differences.mean():+.{digits}f}"
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    p = stats.ttest_rel(values, others).pvalue if differences.any() else 1.0
    return f"{differences.mean():+.{digits}f} ± {half:.{digits}f} (p = {p:.2g})"


def parser_of(description: str, cases: Sequence[str], seeds: int) -> argparse.ArgumentParser:
    """The options that every benchmark of tuning has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("cases", nargs="*", default=cases, metavar="|".join(cases))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--json", type=Path, help="keep results here, and use those that are")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs, too")
    return parser


def run(
    arguments: argparse.Namespace, made: Mapping[str, Callable[[Bench], Rows]], page: Path
) -> None:
    """Measure the cases and print their tables; write them into a page of the docs if asked to."""
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments)
    for case in arguments.cases:
        table = markdown(made[case](bench))
        print(f"\n{case}\n\n{table}")
        if arguments.write:
            page.write_text(replaced(page.read_text(encoding="utf-8"), case, table), "utf-8")


def markdown(rows: Rows) -> str:
    """A table for the docs."""
    head, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *others])


def replaced(text: str, case: str, table: str) -> str:
    """A page with another table between the marks of a case.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- table: {case} -->\n", "<!-- end -->"
    with_table = f"{begin}{table}\n{end}"
    found, n = re.subn(f"{begin}.*?{end}", lambda _: with_table, text, flags=re.DOTALL)
    if n != 1:
        raise ValueError(f"the page has {n} places for the table '{case}'")
    return found
