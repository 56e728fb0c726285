"""The tables of options in the reference, from the declarations.

python tests/option_tables.py compile|tune
"""

from __future__ import annotations

import sys

from snn_compile.options import CompileOptions
from snn_compile.options.declared import Option, options_of
from snn_compile.tune.options import TuneOptions


def table(owner: type) -> str:
    """A table in Markdown for each group of a dataclass of options."""
    items = [item for item in options_of(owner).values() if item.group]
    parts = []
    for group in dict.fromkeys(item.group for item in items):
        rows = [_row(item) for item in items if item.group == group]
        parts.append(
            "\n".join([f"| {group} | default | values | for | |", "|---|---|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def _row(item: Option) -> str:
    if item.kind.flags:
        spelled = ", ".join(f"`{flag}`" for flag in item.kind.flags.split("/"))
    else:
        letter = f"{item.letter}, " if item.letter else ""
        spelled = f"`{letter}--{item.words} {item.kind.metavar}`"
    allowed = "" if item.kind.allowed.startswith("one of ") else item.kind.allowed
    cells = [spelled, _code(item), allowed, where(item), item.help]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(item: Option) -> str:
    is_value = not item.shown and item.default not in (None, ())
    return f"`{item.shown_default}`" if is_value else item.shown_default


def where(item: Option) -> str:
    """Where an option has a meaning, in words."""
    words = {"network": "", "data": "with calibration data"}
    said = []
    for fact, values in item.only.items():
        shown = ", ".join("none" if value is None else str(value) for value in values)
        said.append(
            words.get(
                fact, shown if fact in ("coding", "method") else f"{fact.replace('_', '-')} {shown}"
            )
        )
    return "; ".join(filter(None, said)).replace("initial-potential none", "no initial-potential")


if __name__ == "__main__":
    print(table({"compile": CompileOptions, "tune": TuneOptions}[sys.argv[1]]))
