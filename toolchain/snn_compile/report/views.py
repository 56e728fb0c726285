"""What a compiled network shows of itself in Python: a line, tables, and HTML in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from snn_compile.pluralize import pluralize
from snn_compile.printable import printable
from snn_compile.report import figures, tables
from snn_compile.report.tables import Table


class ShownRows(list[dict[str, Any]]):
    """Entries of a report, shown as tables; ``pandas.DataFrame`` takes them as they are.

    Args:
        entries: of the report.
        shown: as tables.
    """

    def __init__(self, entries: Iterable[dict[str, Any]], shown: Iterable[Table]) -> None:
        super().__init__(entries)
        self._shown = [table for table in shown if table.rows]

    def __repr__(self) -> str:
        return "\n\n".join(tables.text(table) for table in self._shown) or "(nothing)"

    def _repr_html_(self) -> str:
        return "".join(tables.html(table) for table in self._shown) or "<p>(nothing)</p>"


class ReportViews:
    """The views of whatever has a report.

    Attributes:
        report: the content of ``report.json``.
    """

    report: dict[str, Any]

    @property
    def ladder(self) -> ShownRows:
        """The stages of the compilation with their accuracy."""
        return ShownRows(self.report.get("ladder") or (), tables.ladders(self.report))

    @property
    def layers(self) -> ShownRows:
        """The layers."""
        return ShownRows(self.report.get("layers") or (), [tables.layers(self.report)])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {printable(' · '.join(_words(self.report)))}>"

    def _repr_html_(self) -> str:
        name, about, plan = (escape(printable(part)) for part in figures.header(self.report))
        head = f"<p><b>{name}</b><br>{about}<br>{plan}</p>"
        shown = tables.of_report(self.report)
        warnings = self.report.get("warnings") or ()
        lines = "".join(
            f"<p>warning[{_plain(one, 'code')}]: {_plain(one, 'message')}</p>" for one in warnings
        )
        return head + "".join(tables.html(table) for table in shown) + lines


def _plain(warning: Mapping[str, Any], key: str) -> str:
    return escape(printable(str(warning.get(key) or "")))


def _words(report: Mapping[str, Any]) -> Iterable[str]:
    """The network in a few words."""
    name, _, _ = figures.header(report)
    yield name
    yield f"{report.get('coding', '?')} on {report.get('target', '?')}"
    if report.get("layers"):
        yield pluralize(len(report["layers"]), "layer")
    answer = figures.rung(report, figures.ANSWER)
    if answer.get("top1") is not None:
        yield f"{answer['top1']:.2f} %"
    elif answer.get("agreement") is not None:
        yield f"{answer['agreement']:.2f} % agreement"
    if resources := figures.resources(report):
        yield resources.partition(" · ")[0]
