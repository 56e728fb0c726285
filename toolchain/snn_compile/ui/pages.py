"""What the pages show, as HTML; everything that comes from files is escaped and printable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from snn_compile.compare.tables import conclusions, tables
from snn_compile.plugins import DEVICES
from snn_compile.printable import printable
from snn_compile.report import figures
from snn_compile.report import tables as report_tables
from snn_compile.report.page_template import page_template
from snn_compile.sweep import page as sweep_page
from snn_compile.ui import uploads
from snn_compile.ui.divergence_view import view
from snn_compile.ui.jobs import Job
from snn_compile.ui.library import Overview
from snn_compile.ui.rows import COLUMNS, NAME, SORTABLE, WRITTEN, in_order
from snn_compile.version import __version__

PACKAGE = "snn_compile.ui"
DEVICE = "engine"
NEED_MORE = ("faulty", "remote", "replay")
"""Devices that cannot be run by their name alone."""
SAMPLES = 100
"""Samples with different answers that a comparison lists."""


def link(route: str, **query: str) -> str:
    """The address of a page."""
    words = urlencode(query, errors="surrogateescape")
    return f"/{route}?{words}" if words else f"/{route}"


FILTERS: dict[str, Callable[..., Any]] = {"link": link, "shown": printable, "where": figures.where}


def overview(found: Overview, folder: Path, sort: str, chosen: frozenset[str]) -> str:
    """The first page.

    Args:
        found: what is in the folder.
        folder: that is shown.
        sort: the column to sort by, with a minus if its largest comes first.
        chosen: names of networks that are ticked.
    """
    key, falling = sort.removeprefix("-"), sort.startswith("-")
    if key not in SORTABLE:
        key, falling = WRITTEN, True
    return _render(
        "overview.html.jinja",
        found=found,
        folder=printable(folder.name or str(folder)),
        place=printable(str(folder)),
        columns=COLUMNS,
        rows=in_order(found.networks, key, falling=falling),
        sort=key,
        falling=falling,
        chosen=chosen,
        name=NAME,
        written=WRITTEN,
        most=uploads.MOST_BYTES,
    )


def network(name: str, report: Mapping[str, Any], traces: Sequence[Mapping[str, Any]]) -> str:
    """A compiled network: its figures, its layers, its verification, its traces."""
    try:
        return _render(
            "network.html.jinja",
            name=name,
            traces=traces,
            header=figures.header(report),
            tables=[*report_tables.of_report(report), report_tables.layers(report)],
            verification=report.get("verification") or [],
            warnings=report.get("warnings") or [],
            devices=devices(),
            default=DEVICE,
        )
    except Exception as error:  # noqa: BLE001  (a stranger's report: the page says so)
        return message(f"The report cannot be shown: {type(error).__name__}: {error}")


def sweep(figures_of_it: Mapping[str, Any]) -> str:
    """The page of a sweep, made anew from its figures."""
    try:
        return sweep_page.render(figures_of_it)
    except Exception as error:  # noqa: BLE001  (a stranger's file: the page says so)
        return message(f"The sweep cannot be shown: {type(error).__name__}: {error}")


def compare(job: Job, names: Sequence[str]) -> str:
    """Networks side by side, or that this is being computed, or why it cannot be."""
    content, error = _content(job, (0,))
    if content is None:
        return _waiting(job, f"Compare {', '.join(names)}", error)
    return _render(
        "compare.html.jinja",
        names=[one["name"] for one in content["networks"]],
        folders=names,
        notes=content["notes"],
        tables=tables(content, SAMPLES),
        conclusions=conclusions(content),
    )


def session(job: Job, network: str, what: str) -> str:
    """A device or a recording beside the reference: where it first differs, and why.

    Args:
        job: that compares them.
        network: name of the folder.
        what: is compared: the name of a recording, or the option that names a device.
    """
    content, error = _content(job, (0, 7, 8))
    title = f"{what.removeprefix('--device=')} against {network}"
    if content is None:
        return _waiting(job, title, error)
    return _render(
        "session.html.jinja",
        title=title,
        network=network,
        found=content,
        complete=job.code != 8,
        view=view(content["around"]) if content["around"] else None,
        ends=job.err if job.code == 8 else "",
    )


def checked(name: str, code: int, out: str, err: str) -> str:
    """The result of a check: a part of a page."""
    content = _parsed(out)
    return _render("checked.html.jinja", name=name, code=code, found=content, err=err.strip())


def message(text: str) -> str:
    """A page with a sentence."""
    return _render("message.html.jinja", title="Not shown", text=printable(text, keep="\n"))


@cache
def devices() -> tuple[str, ...]:
    """The devices that can be run from the page: installed, and without further arguments."""
    return tuple(name for name in DEVICES.names() if name not in NEED_MORE)


@cache
def style() -> str:
    """The style of all pages."""
    return page_template("ui.css", PACKAGE).render()


def _content(job: Job, codes: tuple[int, ...]) -> tuple[Any, str]:
    """What a command has written; or None, and why there is nothing."""
    if job.code is None:
        return None, ""
    content = _parsed(job.out) if job.code in codes else None
    return content, "" if content else job.err.strip() or f"it ended with exit code {job.code}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _waiting(job: Job, title: str, error: str) -> str:
    """A page that asks again until a command has ended; or what it complained of."""
    text = printable(error or job.err, keep="\n")
    return _render("waiting.html.jinja", title=title, text=text, is_running=job.code is None)


def _render(template: str, /, **facts: Any) -> str:
    text = page_template(template, PACKAGE, FILTERS).render(version=__version__, **facts)
    # What no encoding has cannot be a letter of a page.
    return text.encode("utf-8", "replace").decode()
