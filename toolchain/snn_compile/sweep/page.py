"""``sweep.html``: one self-contained file without scripts, light or dark by preference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from snn_compile.report import schema
from snn_compile.report.page_template import page_template
from snn_compile.sweep import front_drawing
from snn_compile.sweep.rows import count, rows, summary

MARKS = ("<title>Sweep of ", " · snn-compile</title>")
"""What every page has in its head, whichever version wrote it."""
_HEAD = 4096


def render(sweep: Mapping[str, Any]) -> str:
    """A sweep as a page; its content is escaped and printable."""
    sweep = schema.plain(sweep)
    table = rows(sweep)
    # The numbers of the drawings are those of the rows.
    compiled = [row.point for row in table if row.is_compiled]
    return page_template("sweep.html.jinja", "snn_compile.sweep").render(
        sweep=sweep,
        name=PurePath(sweep["files"]["model"]["path"]).name,
        rows=[row for row in table if row.is_compiled],
        others=[row for row in table if not row.is_compiled],
        drawings=front_drawing.drawings(compiled, sweep.get("answer")),
        counts=count(sweep),
        summary=summary(sweep),
        plot=front_drawing,
    )


def is_page(path: Path) -> bool:
    """Whether a file is a page that a sweep has written."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    return all(mark in head for mark in MARKS)
