"""A comparison as one self-contained page without scripts, light or dark by preference."""

from __future__ import annotations

from pathlib import Path

from snn_compile.compare.schema import Comparison
from snn_compile.compare.tables import conclusions, tables
from snn_compile.report import schema
from snn_compile.report.page_template import page_template

SAMPLES = 100
"""Samples with different answers that the page has."""


def render(comparison: Comparison) -> str:
    """The page; its content is escaped and printable."""
    plain = schema.plain(comparison)
    answers = plain["answers"]
    return page_template("compare.html.jinja", "snn_compile.compare").render(
        data=Path(answers["data"]).name if answers else "",
        comparison=plain,
        names=[one["name"] for one in plain["networks"]],
        tables=tables(plain, SAMPLES),
        conclusions=conclusions(plain),
    )
