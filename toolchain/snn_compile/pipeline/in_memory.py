"""Models that Python holds: a frontend writes them to a file, which is compiled and removed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_compile.bundle import CompiledModel
from snn_compile.errors import CompileError, CompileErrors, UsageError
from snn_compile.plugins import FRONTENDS, WritesModels


@contextmanager
def model_file(model: object, example_input: object) -> Iterator[Path]:
    """The file of a model while it is compiled; errors name a written one without its folder.

    Raises:
        UsageError: no frontend knows such an object, or an example input beside a file.
        CompileError: as of ``WritesModels.written``, and of whatever is done meanwhile.
    """
    if isinstance(model, str | Path):
        if example_input is not None:
            raise UsageError(
                "example_input is for modules of torch",
                code="bad-argument",
                hint="leave it out: a file states its inputs",
            )
        yield Path(model)
        return
    with tempfile.TemporaryDirectory(prefix="snn-compile-") as folder:
        try:
            yield _written(model, example_input, Path(folder))
        except CompileError as error:
            for one in error.errors if isinstance(error, CompileErrors) else (error,):
                if one.origin is not None:
                    one.origin = replace(one.origin, file=_shortened(one.origin.file, folder))
            raise


def _written(model: object, example_input: object, folder: Path) -> Path:
    for name in FRONTENDS.names():
        frontend = FRONTENDS.load(name)
        if isinstance(frontend, WritesModels):
            path = frontend.written(model, example_input, folder)
            if path is not None:
                return path
    raise UsageError(
        f"{type(model).__name__}: no kind of model",
        code="bad-argument",
        hint="give a path, an onnx.ModelProto, or a torch.nn.Module with example_input",
    )


def without_folder(compiled: CompiledModel, path: Path) -> CompiledModel:
    """A network whose report names the file of its model without the folder, which is gone."""
    return replace(compiled, report=_shortened(compiled.report, str(path.parent)))


def _shortened(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        return value.replace(f"{folder}{os.sep}", "")
    if isinstance(value, dict):
        return {key: _shortened(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_shortened(item, folder) for item in value)
    return value
