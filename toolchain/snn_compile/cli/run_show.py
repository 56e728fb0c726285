"""What ``snn-compile run`` shows: figures against labels, classes, and messages of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from snn_compile.cli.console import messages, results, show_json, show_table
from snn_compile.printable import printable
from snn_compile.report import figures, output_figures
from snn_compile.report.terminal import row

MANY, FEW = 20, 10
"""Of more classes than the first number, only as many as the second are shown: the worst."""
MOST_MISTAKES = 5
"""Classes shown that a class was taken for."""


def show(
    known: Mapping[str, Any], output: Path | None, *, as_json: bool, aside: bool = False
) -> None:
    """Write the figures of a run to standard output, or to standard error beside results."""
    if as_json:
        show_json(known)
        return
    console = messages() if aside else results()
    console.print(row("samples", f"{known['samples']:,}"))
    several = len(known["outputs"]) > 1
    for one in known["outputs"]:
        label = "error" if one["kind"] == "regression" else "accuracy"
        text = output_figures.against_labels(one)
        if one.get("top5") is not None:
            text += f" · top-5 {one['top5']:.2f} %"
        console.print(row(label, text + (f"   {one['name']}" if several else "")))
    if "spikes_per_inference" in known:
        for line in _spikes(known):
            console.print(line)
    if simulator := figures.slow_simulator(known):
        console.print(row("simulator", simulator))
    if output is not None:
        console.print(row("wrote", str(output)))
    if "latency" in known:
        console.print()
        show_table(console, latency(known["latency"]))
    for one in known["outputs"]:
        if one.get("classes"):
            console.print()
            show_table(console, confusion(one, several=several))


def _spikes(known: Mapping[str, Any]) -> Iterator[Text]:
    spikes: dict[str, float] = known["spikes_per_inference"]
    given = known["input"] if isinstance(known["input"], list) else [known["input"]]
    total = sum(mean for name, mean in spikes.items() if name not in given)
    yield row("spikes", f"{figures.short(total)} per inference, without the input's")
    width = max((len(name) for name in spikes), default=0)
    for name, mean in spikes.items():
        yield row("", f"{name:<{width}}  {figures.short(mean):>10}")


def latency(times: Mapping[str, Any]) -> Table:
    """Percentiles of the time of a call, and of the simulation within it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("latency, ms")
    for name in ("p50", "p90", "p99", "max"):
        table.add_column(name, justify="right", min_width=8)
    for name, of in (("call", times["call"]), ("engine alone", times["engine"])):
        table.add_row(name, *(f"{of[column]:.3f}" for column in ("p50", "p90", "p99", "max")))
    return table


def confusion(output: Mapping[str, Any], *, several: bool) -> Table:
    """The confusion matrix by rows, without its zeros."""
    classes: Sequence[Mapping[str, Any]] = output["classes"]
    names = {one["class"]: printable(str(one.get("name", one["class"]))) for one in classes}
    mistakes: dict[int, list[str]] = {}
    for one in output["confusions"]:
        mistakes.setdefault(one["label"], []).append(f"{names[one['answer']]} ({one['n']:,})")
    shown = classes
    title = f"confusion of {output['name']}" if several else "confusion"
    if len(classes) > MANY:
        labelled = [one for one in classes if one["labels"]]
        shown = sorted(labelled, key=lambda one: (one["accuracy"], -one["labels"]))[:FEW]
        title += f": the {FEW} worst of {len(classes):,} classes (--json has all)"
    of = output.get("of", "pixels") if output["kind"] == "segmentation" else "samples"
    table = Table(
        title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("class")
    for name in (of, "accuracy %", "precision %"):
        table.add_column(name, justify="right")
    table.add_column("taken for")
    for one in shown:
        wrong = mistakes.get(one["class"], [])
        more = f" and {len(wrong) - MOST_MISTAKES} more" if len(wrong) > MOST_MISTAKES else ""
        table.add_row(
            names[one["class"]],
            f"{one['labels']:,}",
            _percent(one["accuracy"]),
            _percent(one["precision"]),
            ", ".join(wrong[:MOST_MISTAKES]) + more,
        )
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
