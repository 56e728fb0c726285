"""The structure of what ``report.json`` says of the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

from snn_compile.report.figures import HOST
from snn_compile.report.observed_schema import IMAGE, Changed, Confusion

_FIGURES = {
    "classes": ("top1", "agreement"),
    "segmentation": ("pixel_accuracy", "mean_iou", "agreement"),
    "regression": ("mse", "r2", "mse_onnx", "r2_onnx"),
}


class OutputFigures(TypedDict, total=False):
    """The figures of one output at a stage; which ones, depends on its kind (``report.metrics``).

    Shares are in percent of samples, or of what ``of`` says (pixels, positions, integers), ``r2``
    of the variance, at most 1.
    """

    name: Required[str]
    kind: Required[str]
    of: str
    top1: float | None
    agreement: float | None
    pixel_accuracy: float | None
    mean_iou: float | None
    mse: float | None
    r2: float | None
    mse_onnx: float | None
    r2_onnx: float | None


class Before(TypedDict, total=False):
    """The stage that another is compared with, on the samples of the latter."""

    stage: Required[str]
    top1: Required[float | None]
    agreement: Required[float | None]
    outputs: list[OutputFigures]


class OutputSample(TypedDict, total=False):
    """Images of a map for one sample, as data URIs, and how much they differ."""

    sample: Required[int]
    input: str
    onnx: Required[str]
    fixed: Required[str]
    difference: Required[str]
    largest: float
    differing: int
    of: int


class Output(TypedDict, total=False):
    """An output of the network: its name in the user's file, its readout, and pictures of it.

    ``threshold`` is that of a single value within [0, 1], beyond which it is class 1; else it is 0.
    ``scatter`` are pairs of values of the first stage and of the fixed-point network.
    """

    name: Required[str]
    layer: Required[str]
    kind: Required[str]
    shape: Required[list[int]]
    threshold: float
    samples: list[OutputSample]
    scatter: list[list[float]]
    confusion: Confusion
    changed: Changed


def wrong_outputs(report: Mapping[str, Any]) -> str:
    """What the page cannot show of the outputs; empty if there is nothing."""
    kinds: dict[bool, list[str]] = {}  # of the network's outputs, and of those of the file
    for stage in report.get("ladder") or []:
        for rung in (stage, stage.get("before", stage)):
            figures = rung.get("outputs") or []
            if not all(set(_FIGURES.get(one["kind"], ("kind?",))) <= set(one) for one in figures):
                return f"stage '{rung['stage']}' lacks figures of an output"
            known = [one["kind"] for one in figures]
            if kinds.setdefault(stage["stage"] == HOST, known) != known:
                return "the stages are of different outputs"
    shown = report.get("outputs") or []
    if kinds.get(False) and [output["kind"] for output in shown] != kinds[False]:
        return "the stages are of other outputs than the report"
    for output in shown:
        if not all(len(pair) == 2 for pair in output.get("scatter") or []):
            return f"the points of output '{output['name']}' are not pairs"
        for sample in output.get("samples") or []:
            images = [v for k, v in sample.items() if k in ("input", "onnx", "fixed", "difference")]
            if not all(IMAGE.fullmatch(image) for image in images):
                return f"output '{output['name']}' has an image that is no PNG"
    return ""
