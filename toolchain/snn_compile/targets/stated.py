"""The figures of a target as its files state them, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile.targets.load import SECTIONS, load_target, read_tables


@dataclass(frozen=True)
class Stated:
    """One figure of a target.

    Attributes:
        section: its table in the file, such as ``core``.
        key: its name there.
        value: as in the file: a number, a list, a word or a truth value.
        low: lower end of a range; None without one.
        high: upper end of a range; None without one.
        unit: of the value.
        confidence: name of a :class:`~snn_compile.targets.target.Confidence`.
        source: where it is from.
        file: the file that states it; another one where it is inherited.
    """

    section: str
    key: str
    value: Any
    low: float | None
    high: float | None
    unit: str
    confidence: str
    source: str
    file: str


def stated(name_or_path: str | Path) -> tuple[Stated, ...]:
    """All figures of a target, those of a section together.

    Raises:
        UsageError: as ``load_target``, which checks the file.
    """
    load_target(name_or_path)
    by_section: dict[str, list[Stated]] = {section: [] for section in SECTIONS}
    tables, origins = read_tables(str(name_or_path))
    for section, figures in by_section.items():
        for key, table in tables.get(section, {}).items():
            figures.append(
                Stated(
                    section,
                    key,
                    table["value"],
                    table.get("low"),
                    table.get("high"),
                    table["unit"],
                    table["confidence"],
                    table["source"],
                    origins[section, key],
                )
            )
    return tuple(figure for figures in by_section.values() for figure in figures)
