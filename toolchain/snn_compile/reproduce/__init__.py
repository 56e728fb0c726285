"""Recompilation of a folder from its recorded sources, and comparison byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_compile.bundle import CompiledModel
from snn_compile.errors import ModelError
from snn_compile.files.documents import inside, read_json, reading
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.printable import printable
from snn_compile.report.observer import Observer
from snn_compile.report.schema import REPORT
from snn_compile.reproduce.files import FileComparison, compare_folders
from snn_compile.reproduce.inputs import locate, require_repeatable
from snn_compile.sealed.provenance import FILES, Provenance

__all__ = [
    "MACHINE",
    "FileComparison",
    "compare_folders",
    "inputs_of",
    "options_of_sources",
    "recompile",
]

MACHINE = ("simulator", "environment", "verification", "timing")
"""Entries of ``report.json`` that depend on the time, the machine, or later commands."""


def inputs_of(
    compiled: CompiledModel, folder: Path, given: Mapping[str, Path]
) -> tuple[Provenance, dict[str, Path]]:
    """Provenance of a folder, and its source files.

    Args:
        compiled: its content.
        folder: its path.
        given: files by role, as named by the user.

    Raises:
        CompileError: it cannot be reproduced; a file is missing, or differs.
    """
    with _reading(folder):
        provenance = Provenance.of(compiled.provenance)
    require_repeatable(provenance, folder)
    return provenance, locate(provenance, folder, given)


def recompile(
    folder: Path,
    compiled: CompiledModel,
    provenance: Provenance,
    files: Mapping[str, Path],
    scratch: Path,
    observer: Observer | None = None,
) -> CompiledModel:
    """Recompile from the files, with the ``MACHINE`` entries of the existing report.

    Args:
        folder: the compiled folder.
        compiled: its content.
        provenance: its provenance.
        files: by role.
        scratch: an empty folder, for renamed files.
        observer: receives progress.
    """
    with _reading(folder):
        kept = read_json(inside(folder, REPORT))
    options, files = options_of_sources(folder, compiled, provenance, files, scratch)
    again = compile_model(files["model"], options=options, observer=observer)
    report = _moved(again.report, compiled.report, files)
    return replace(again, report={**report, **{key: kept[key] for key in MACHINE if key in kept}})


def options_of_sources(
    folder: Path,
    compiled: CompiledModel,
    provenance: Provenance,
    files: Mapping[str, Path],
    scratch: Path,
) -> tuple[CompileOptions, dict[str, Path]]:
    """The recorded options with the files that are there now, and these under their own names.

    Arguments as of ``recompile``.
    """
    stated = compiled.report.get("options", {})
    origins = {
        name: option["origin"] for name, option in stated.items() if option["origin"] != "default"
    }
    with _reading(folder):
        options: CompileOptions = provenance.stated(origins)
    files = {
        k: _by_its_name(path, provenance.sources[k].name, scratch / k) for k, path in files.items()
    }
    changes: dict[str, Any] = {kind: files[kind] for kind in FILES if kind in files}
    if "target" in files:
        changes["target"] = str(files["target"])
    for name, path in changes.items():
        options = options.with_value(name, path, origins.get(name, "default"))
    return options, files


def _by_its_name(path: Path, name: str, beside: Path) -> Path:
    """The same file under its original name: names are part of the seal."""
    if path.name == name:
        return path
    beside.mkdir()
    try:
        (beside / name).symlink_to(path)
    except OSError:  # Windows requires a privilege
        shutil.copyfile(path, beside / name)
    return beside / name


def _moved(
    report: Mapping[str, Any], before: Mapping[str, Any], files: Mapping[str, Path]
) -> dict[str, Any]:
    """A report with the original paths."""
    options = before.get("options", {})
    places = {"model": before.get("model", {}).get("path", "")}
    places |= {kind: str(options.get(kind, {}).get("value") or "") for kind in (*FILES, "target")}
    moves = {printable(str(path)): places[kind] for kind, path in files.items() if places[kind]}

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [moved(item) for item in value]
        if isinstance(value, str):
            for now, then in moves.items():
                value = value.replace(now, then)
        return value

    found: dict[str, Any] = moved(report)
    for kind in (*FILES, "target"):  # two of them may be the same file by different names
        if kind in files:
            found["options"][kind]["value"] = places[kind]
    return found


def _reading(folder: Path) -> Any:
    message = "its provenance is incomplete"
    return reading(folder, ModelError, "unreadable-bundle", message, "compile the model again")
