"""The report as the files of a compiled folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.report import html, schema
from snn_compile.report.schema import REPORT, REPORT_PAGE


def contents(report: Mapping[str, Any]) -> dict[str, str]:
    """Each file's name and text."""
    return {REPORT: schema.dumps(report), REPORT_PAGE: html.render(report)}
