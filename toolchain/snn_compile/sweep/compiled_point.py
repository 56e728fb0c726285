"""One point of a sweep, compiled in a worker."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_compile import sealed
from snn_compile.bundle import CompiledModel, claimed_output
from snn_compile.files.folders import replacing
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.report import figures, metrics

MICRO = 1e6
COMPILE = "snn_compile.sweep.compiled_point:compile_point"
"""The name of ``compile_point`` for a worker."""


def compile_point(
    model: Path,
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    named: Mapping[str, str],
    folder: str | None,
) -> dict[str, Any]:
    """Compile a point and write its folder.

    Args:
        model: the file, as everything in ``values`` that is a file, may be a copy.
        values: options by name.
        origins: where they come from.
        named: the user's names of files, by ``model`` or option.
        folder: to write, where this machine sees it; else the result contains it.

    Returns:
        The figures of a record, and ``archive``: the folder's files, or None.

    Raises:
        CompileError: the point cannot be compiled.
    """
    values = {**values, "target": str(values["target"])} if "target" in values else values
    options = CompileOptions(**values, origins=origins)
    compiled = compile_model(model, options=options)
    copies = {str(model): named["model"]}
    copies |= {str(values[n]): shown for n, shown in named.items() if n in values}
    compiled.report.update(_with_own_names(dict(compiled.report), copies))
    if folder is not None:
        compiled.save(folder)
        return {**_record(compiled, sealed.read_seal(Path(folder))), "archive": None}
    with tempfile.TemporaryDirectory(prefix="snn-compile-sweep-") as scratch:
        own = Path(scratch) / "point"
        compiled.save(own)
        return {**_record(compiled, sealed.read_seal(own)), "archive": _packed(own)}


def unpack(archive: bytes, folder: Path) -> None:
    """Write the folder of a point that was compiled elsewhere; an older one is replaced."""
    with (
        claimed_output(folder),
        replacing(folder) as beside,
        zipfile.ZipFile(io.BytesIO(archive)) as files,
    ):
        files.extractall(beside)


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that points are compared by; None where a report has none."""
    cost, resources = report.get("cost") or {}, report.get("resources") or {}
    energy, latency = cost.get("energy") or {}, cost.get("latency") or {}
    static = energy.get("static") or {}
    answer, drop = _answer_and_drop(report)
    return {
        "accuracy": answer,
        "drop": drop,
        "energy": _micro(energy.get("value")),
        "static_energy": _micro(static.get("value")),
        "latency": latency.get("value") if latency.get("unit") == "us" else None,
        "cores": resources.get("cores"),
        "chips": resources.get("chips"),
        "steps": report.get("total_steps"),
        "spikes": cost.get("spikes_per_inference"),
        "synops": cost.get("synops_per_inference"),
    }


def _answer_and_drop(report: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The main figure of the first output in fixed point, and the points lost by the worst one."""
    if not report.get("ladder"):
        return None, None
    before, after = figures.reference(report), figures.rung(report, figures.ANSWER)
    if host := figures.rung(report, figures.HOST):
        before, after = host["before"], host
    outputs = metrics.of_rung(after)
    return metrics.score(outputs[0]), metrics.most_points_lost(metrics.of_rung(before), outputs)


def _record(compiled: CompiledModel, seal: str) -> dict[str, Any]:
    report = compiled.report
    return {
        "seal": seal,
        "coding": report.get("coding"),
        **figures_of(report),
        "options": {name: one["value"] for name, one in report["options"].items()},
        "ladder": report.get("ladder") or [],
    }


def _micro(value: float | None) -> float | None:
    return None if value is None else MICRO * value


def _packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return stream.getvalue()


def _with_own_names(value: Any, copies: Mapping[str, str]) -> Any:
    """A part of a report with the user's files in place of their copies."""
    if isinstance(value, str):
        for copy, own in copies.items():
            value = value.replace(copy, own)
        return value
    if isinstance(value, Mapping):
        return {key: _with_own_names(one, copies) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_own_names(one, copies) for one in value]
    return value
