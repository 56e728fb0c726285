"""``report.html``: one self-contained file, light or dark by the reader's preference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.report import advice, budget_drawing, cost_figures, figures, output_figures, schema
from snn_compile.report.budget_drawing import budget_drawing as plan_of_widths
from snn_compile.report.chip import chips
from snn_compile.report.curve import curve
from snn_compile.report.drawing import HEIGHT, WIDTH, layout, path
from snn_compile.report.page import layer_sections as layers
from snn_compile.report.page import raster as spikes
from snn_compile.report.page.answers import answers
from snn_compile.report.page.network import network
from snn_compile.report.page_template import page_script, page_template, policy
from snn_compile.report.shares import parts, shares
from snn_compile.report.traffic import traffic


@dataclass(frozen=True)
class Dot:
    """A stage of the ladder in the coordinates of the plot.

    ``samples`` is empty for a stage with all of them.
    """

    x: float
    y: float
    label: str
    value: str
    answer: bool
    samples: str


@dataclass(frozen=True)
class Plot:
    """The accuracy ladder as a drawing.

    Attributes:
        dots: the stages.
        path: the line through those with all samples.
        ticks: heights of the grid lines with their labels.
    """

    dots: tuple[Dot, ...]
    path: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Section:
    """A section of the page: its id, which names its template, and its title."""

    id: str
    title: str


@dataclass(frozen=True)
class Options:
    """The options in effect, each with its name, value and origin: those set, and the others."""

    given: tuple[tuple[str, Any, str], ...]
    defaults: tuple[tuple[str, Any, str], ...]


SCRIPT, SCRIPT_FILE = '<script>"use strict";', "raster.js"
"""How the only script of a page begins, and its file."""

FILTERS: dict[str, Callable[..., Any]] = {
    "short": figures.short,
    "percent": figures.percent,
    "times": figures.times,
    "span": figures.span,
    "points": figures.points,
    "number": figures.number,
    "where": figures.where,
    "numeric": "#{}".format,
}
"""What the template calls, by its words."""


def render(report: Mapping[str, Any]) -> str:
    """The report as a page; its content is escaped and printable.

    The only script steps through the raster; without it the page says the same.
    """
    report = schema.plain(report)
    facts = _facts(report)
    script = page_script(SCRIPT_FILE) if facts["raster"] else ""
    return page_template("report.html.jinja", filters=FILTERS).render(
        report=report,
        sections=_sections(report, facts),
        script=script,
        policy=policy(script),
        **facts,
    )


def _facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates show, by the names that they call it."""
    name, about, plan = figures.header(report)
    return {
        "name": name,
        "about": about,
        "plan": plan,
        "tiles": _tiles(report),
        "measure": figures.measure(report),
        "steps": figures.ladder(report),
        "plot": plot(report),
        "outputs": output_figures.tables(report),
        "answers": answers(report),
        "origin": figures.origin_of(report) or "itself",
        "curve": curve(report),
        "plan_of_widths": plan_of_widths(report),
        "budget": budget_drawing,
        "network": network(report),
        "layer_sections": layers.layer_sections(report),
        "raster": spikes.raster(report),
        "chips": chips(report),
        "traffic": traffic(report),
        "shares": shares(report),
        "parts": parts(report),
        "static": _static(report),
        "resources": figures.resources(report),
        "costliest": advice.costliest(report),
        "restriction": figures.restriction(report),
        "portable": figures.portable(report),
        "options": _options(report),
        "sources": _sources(report),
        "width": WIDTH,
        "height": HEIGHT,
        "bars": layers,
        "raster_size": spikes,
        "decibels": f"{layers.MOST_DECIBELS:.0f}",
    }


def _sections(report: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Section]:
    """The sections of a page in order, as far as there is something in them."""
    accuracy = "Accuracy" if facts["measure"] == "top1" else "Agreement with the ONNX model"
    if facts["outputs"]:
        accuracy = "Accuracy of each output" if len(facts["outputs"]) > 1 else "Accuracy"
    each = (
        (report.get("warnings"), Section("warnings", "Warnings")),
        (True, Section("accuracy", accuracy)),
        (facts["answers"], Section("answers", "Answers")),
        (facts["curve"], Section("tuning", "Tuning")),
        (facts["plan_of_widths"], Section("budget", "Bits within a budget")),
        (facts["network"], Section("network", "Network")),
        (report.get("layers"), Section("layers", "Layers")),
        (facts["raster"], Section("spikes", "Messages in time")),
        (facts["resources"], Section("resources", "Resources")),
        (facts["parts"], Section("cost", "Energy and time")),
        (True, Section("verification", "Verification")),
        (report.get("options"), Section("options", "Options")),
        (report.get("model") or report.get("timing"), Section("provenance", "Provenance")),
    )
    return [section for shown, section in each if shown]


def _options(report: Mapping[str, Any]) -> Options:
    rows = [
        (name, "–" if one["value"] is None else one["value"], str(one["origin"]))
        for name, one in (report.get("options") or {}).items()
    ]
    defaults = [row for row in rows if row[2].startswith("default")]
    return Options(tuple(row for row in rows if row not in defaults), tuple(defaults))


def _static(report: Mapping[str, Any]) -> str:
    """The energy of the chips at rest, in words; empty if unknown."""
    energy = (report.get("cost") or {}).get("energy") or {}
    return cost_figures.estimate(energy.get("static"))


def plot(report: Mapping[str, Any]) -> Plot | None:
    """The ladder as a drawing; None if nothing was evaluated."""
    steps = [step for step in figures.ladder(report) if step.percent is not None]
    if not steps:
        return None
    values = [float(step.percent or 0) for step in steps]
    drawing = layout(values, 0.25)
    dots = tuple(
        Dot(
            *place,
            step.stage,
            f"{value:.2f}",
            step.answer,
            figures.first(step.first) if step.first else "",
        )
        for step, value, place in zip(steps, values, drawing.places, strict=True)
    )
    whole = ((dot.x, dot.y) for dot in dots if not dot.samples)
    return Plot(dots, path(whole), drawing.ticks)


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The main figures: label, value and remark."""
    tiles = output_figures.tiles(report)
    answer, first = figures.rung(report, figures.ANSWER), figures.reference(report)
    if not tiles:
        tiles += _accuracy(answer, first)
    known = report.get("resources") or {}
    if known.get("cores") is not None:
        chips = known.get("chips") or 1
        tiles.append(
            ("cores", f"{known['cores']:,}", f"on {chips} chip{'s' if chips != 1 else ''}")
        )
    cost = report.get("cost") or {}
    if cost.get("spikes_per_inference") is not None:
        spikes, synops = cost["spikes_per_inference"], cost.get("synops_per_inference")
        word = f"{figures.short(synops)} synaptic operations" if synops is not None else ""
        tiles.append(("spikes per inference", figures.short(spikes), word))
    for name in ("energy", "latency"):
        value = cost.get(name) or {}
        if value.get("value") is not None:
            best, interval, unit = cost_figures.scaled(value)
            if interval:
                tiles.append((name, f"{best} {unit}", f"{interval}, range of cited constants"))
            else:
                tiles.append((name, best, unit))
    if throughput := cost.get("throughput"):
        word = f"inferences/s, limited by {cost_figures.limiting(report)}"
        tiles.append(("throughput", figures.short(throughput["value"]), word))
    return tiles


def _accuracy(
    answer: Mapping[str, Any], first: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """The figures of the only output."""
    is_compared = first.get("stage") != answer.get("stage")
    if answer.get("top1") is not None:
        text = ""
        if first.get("top1") is not None and is_compared:
            against = "ONNX" if first["stage"] == "onnx" else "floating point"
            text = f"{figures.points(answer['top1'] - first['top1'])} points against {against}"
        yield "top-1 accuracy", f"{answer['top1']:.2f} %", text
    if answer.get("agreement") is not None and is_compared:
        yield "agreement", f"{answer['agreement']:.1f} %", f"of {answer.get('n', 0):,} inputs"


def _sources(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sources of the constants behind the estimates."""
    cost = report.get("cost") or {}
    return [
        (f"{name} figures", str(cost[name]["source"]))
        for name in ("energy", "latency")
        if (cost.get(name) or {}).get("source")
    ]
