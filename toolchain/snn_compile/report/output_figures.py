"""The figures of outputs for display, where a network has more than one or none with classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snn_compile.report import figures, metrics

_SIDE, _MARGIN = 220, 30
"""Side of the square of a scatter plot, and the room around it."""


@dataclass(frozen=True)
class OutputStep:
    """A stage of the ladder for one output, in words.

    Attributes:
        stage: its name.
        value: against labels or targets; without them, against the first stage.
        change: from the stage before.
        points: the change in points of the main figure, to colour it; None if unknown.
        against: comparison with the first stage.
        note: the transformation of this stage.
        answer: whether it is the network that the hardware runs.
        n: number of samples.
    """

    stage: str
    value: str
    change: str
    points: float | None
    against: str
    note: str
    answer: bool
    n: int


@dataclass(frozen=True)
class Scatter:
    """Values of the fixed-point network over those of the first stage.

    Attributes:
        points: x and y of each pair.
        low: the smallest value on both axes.
        high: the largest.
        side: of the square that the points lie in.
        margin: between it and the edge of the drawing.
    """

    points: tuple[tuple[float, float], ...]
    low: str
    high: str
    side: int = _SIDE
    margin: int = _MARGIN


@dataclass(frozen=True)
class OutputTable:
    """The ladder of one output.

    Attributes:
        name: of the output.
        kind: of its values, or what there is an answer for.
        title: what the values of the steps are.
        labelled: whether they are against labels or targets.
        host: whether it is an output of the file, computed by its tail on the host.
        steps: the stages.
        samples: images of a few samples, from ``report.pictures``.
        scatter: a drawing of a regression, or None.
    """

    name: str
    kind: str
    title: str
    labelled: bool
    host: bool
    steps: tuple[OutputStep, ...]
    samples: Sequence[Mapping[str, Any]] = ()
    scatter: Scatter | None = None


_TITLES = {
    "top1": "accuracy",
    "pixel_accuracy": "accuracy",
    "r2": "error",
    "agreement": "agreement",
    "r2_onnx": "error",
}


def tables(report: Mapping[str, Any]) -> tuple[OutputTable, ...]:
    """The ladder of each output; none for a network with a single output of classes.

    Outputs of the file that a tail on the host computes have ladders of their own.
    """
    stages = list(zip(report.get("ladder") or (), figures.ladder(report), strict=True))
    own = [pair for pair in stages if pair[0]["stage"] != figures.HOST]
    hosted = [pair for pair in stages if pair[0]["stage"] == figures.HOST]
    if not hosted and not any(rung.get("outputs") for rung, _ in own):
        return ()
    known: Sequence[Mapping[str, Any]] = report.get("outputs") or ()
    found = [
        _table(own, index, shown.get("name", ""), shown)
        for index, shown in enumerate(known or [{}] * len(metrics.of_rung(own[0][0])))
    ]
    names = {table.name for table in found}
    for rung, step in hosted:
        whole = {**rung["before"], "n": rung["n"]}, replace(step, stage="onnx", note="")
        outputs = (report.get("tail") or {}).get("outputs") or [""]
        for index, figures_of in enumerate(metrics.of_rung(rung)):
            name = figures_of["name"] or outputs[0]
            if name not in names:  # else it is one of the network's own
                found.append(_table([whole, (rung, step)], index, name, {}))
    return tuple(found)


def _table(
    stages: Sequence[tuple[Mapping[str, Any], figures.Step]],
    index: int,
    name: str,
    shown: Mapping[str, Any],
) -> OutputTable:
    """The ladder of one output, from its stages and what there is to show of it."""
    first = metrics.of_rung(stages[0][0])[index]
    key = metrics.measure(first)
    labelled = key in ("top1", "pixel_accuracy", "r2")
    return OutputTable(
        name or first["name"],
        _shown_kind(first),
        _TITLES[key],
        labelled,
        stages[-1][0]["stage"] == figures.HOST,
        _steps(stages, index, labelled),
        shown.get("samples") or (),
        _scatter(shown.get("scatter") or ()),
    )


def _shown_kind(found: Mapping[str, Any]) -> str:
    """The kind of an output; what it has answers for, if they are no pixels."""
    if found["kind"] != "segmentation" or found.get("of", "pixels") == "pixels":
        return str(found["kind"])
    return "classes of positions" if found["of"] == "positions" else str(found["of"])


def tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The main figures of the outputs, for the head of the page: label, value, remark."""
    found = []
    several = tables(report)
    for table in several:
        answer = next((step for step in table.steps if step.answer), table.steps[-1])
        what = "mean squared error" if table.kind == "regression" else table.title
        label = what if len(several) == 1 else f"{table.name}: {what}"
        value, _, remark = answer.value.removeprefix("mse ").partition(" · ")
        figure, _, of = value.partition(" of ")
        of = f"of {of}" if of else ""
        origin = "" if table.labelled else figures.origin_of(report)
        against = f"against {origin}" if origin else ""
        found.append((label, figure, " · ".join(filter(None, (of, remark, against)))))
    return found


def summary(table: OutputTable, origin: str) -> str:
    """How close the answer is to the first stage; empty if the ladder of the output says so."""
    answer = next((step for step in table.steps if step.answer), None)
    if answer is None or not table.labelled or not origin:
        return ""
    return f"{answer.against} {'against' if table.kind == 'regression' else 'to'} {origin}"


def _steps(
    stages: Sequence[tuple[Mapping[str, Any], figures.Step]], index: int, labelled: bool
) -> tuple[OutputStep, ...]:
    steps: list[OutputStep] = []
    whole: Mapping[str, Any] = {}  # the figures of the latest stage with all samples
    for rung, step in stages:
        found = metrics.of_rung(rung)[index]
        partial = rung.get("before")
        before = metrics.of_rung(partial)[index] if partial else whole
        lost = metrics.points_lost(before, found) if before else None
        steps.append(
            OutputStep(
                step.stage,
                against_labels(found) if labelled else _against_first(found),
                _change(before, found, lost) if labelled and before else "",
                None if lost is None else -lost,
                _against_first(found),
                step.note,
                step.answer,
                rung["n"],
            )
        )
        whole = whole if partial else found
    return tuple(steps)


def against_labels(found: Mapping[str, Any]) -> str:
    """The figures of an output against labels or targets."""
    if found["kind"] == "classes":
        return _percent(found["top1"])
    if found["kind"] == "segmentation":
        right, iou = _percent(found["pixel_accuracy"]), _percent(found["mean_iou"])
        return f"{right} of {found.get('of', 'pixels')} · mean IoU {iou}"
    return _errors(found["mse"], found["r2"])


def _against_first(found: Mapping[str, Any]) -> str:
    if found["kind"] == "regression":
        return _errors(found["mse_onnx"], found["r2_onnx"])
    of = "pixels" if found["kind"] == "segmentation" else "arg-max"
    return f"{_percent(found['agreement'])} of {found.get('of', of)} equal"


def _change(before: Mapping[str, Any], found: Mapping[str, Any], lost: float | None) -> str:
    """The change of a percentage in points, or of an error in percent."""
    if found["kind"] != "regression":
        return "" if lost is None else figures.points(-lost)
    if not before["mse"] or found["mse"] is None:
        return ""
    ratio = found["mse"] / before["mse"]
    return ">999 %" if ratio > 10 else f"{100 * (ratio - 1):+.1f} %".replace("-0.0 ", "+0.0 ")


def _errors(mse: float | None, r2: float | None) -> str:
    if mse is None:
        return "–"
    return f"mse {mse:.3g}" + ("" if r2 is None else f" · R² {r2:.4f}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} %"


def _scatter(pairs: Sequence[Sequence[float]]) -> Scatter | None:
    """The drawing of some pairs of values."""
    values = [value for pair in pairs for value in pair]
    if not values:
        return None
    low, high = min(values), max(values)
    scale = _SIDE / ((high - low) or 1.0)

    def place(one: float, other: float) -> tuple[float, float]:
        x, y = (one - low) * scale, _SIDE - (other - low) * scale
        return round(_MARGIN + x, 1), round(_MARGIN + y, 1)

    return Scatter(tuple(place(*pair) for pair in pairs), f"{low:.3g}", f"{high:.3g}")
