"""A comparison as one self-contained page without scripts, light or dark by preference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from snn_compile.compare.schema import Comparison
from snn_compile.compare.tables import conclusions, tables
from snn_compile.report import schema

if TYPE_CHECKING:
    from jinja2 import Template

SAMPLES = 100
"""Samples with different answers that the page has."""


@cache
def _page() -> Template:
    import jinja2

    folders = [
        jinja2.PackageLoader("snn_compile.compare", "templates"),
        jinja2.PackageLoader("snn_compile.report", "templates"),  # its style sheet
    ]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("compare.html.jinja")


def render(comparison: Comparison) -> str:
    """The page; its content is escaped and printable."""
    plain = schema.plain(comparison)
    answers = plain["answers"]
    return _page().render(
        data=Path(answers["data"]).name if answers else "",
        comparison=plain,
        names=[one["name"] for one in plain["networks"]],
        tables=tables(plain, SAMPLES),
        conclusions=conclusions(plain),
    )
