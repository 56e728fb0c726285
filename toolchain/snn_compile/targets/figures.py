"""A list of the figures of a target, with the file of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile.targets.load import SECTIONS, load_with_tables
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class FigureEntry:
    """One figure of a target, as in its file.

    Attributes:
        section: its table, such as ``core``.
        key: its name in the table.
        value: a number, a list, a string or a truth value.
        low: lower end of the range; None without one.
        high: upper end of the range; None without one.
        unit: unit of the value.
        confidence: value of a :class:`~snn_compile.targets.target.Confidence`.
        source: its source, with caveats.
        file: the file that defines it, which is another one if the figure is inherited; empty for
            the limit of a link, where none defines it.
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


def figure_entries(name_or_path: str | Path) -> tuple[Target, tuple[FigureEntry, ...]]:
    """A target, and all of its figures by section.

    Args:
        name_or_path: name of a built-in target, or path of a TOML file.

    Raises:
        UsageError: the target is unknown or its file is invalid, as for ``load_target``.
    """
    target, tables, origins = load_with_tables(name_or_path)
    by_section: dict[str, list[FigureEntry]] = {section: [] for section in SECTIONS}
    for section, figures in by_section.items():
        for key, table in tables.get(section, {}).items():
            figures.append(
                FigureEntry(
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
    if "link_messages_per_step" not in tables.get("board", {}):
        link = target.link_messages_per_step
        unstated = "unlimited", None, None, link.unit, link.confidence.value, link.source, ""
        by_section["board"].append(FigureEntry("board", "link_messages_per_step", *unstated))
    return target, tuple(figure for figures in by_section.values() for figure in figures)
