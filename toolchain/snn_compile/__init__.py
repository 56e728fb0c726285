"""snn-compile: a trained ONNX network in, a bit-accurate spiking network in fixed point out.

>>> from snn_compile import compile_model  # doctest: +SKIP
>>> compiled = compile_model("model.onnx", calibrate=x, timesteps=16)  # doctest: +SKIP
>>> y = compiled.run(x)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snn_compile.version import __version__

if TYPE_CHECKING:
    from snn_compile.against import inspect_against
    from snn_compile.bundle import CompiledModel, load
    from snn_compile.compare import compare_folders
    from snn_compile.errors import CompileError
    from snn_compile.options import CompileOptions
    from snn_compile.pipeline.driver import compile_model
    from snn_compile.report.progress import show_progress
    from snn_compile.sweep import sweep_model

__all__ = [
    "CompileError",
    "CompileOptions",
    "CompiledModel",
    "__version__",
    "compare_folders",
    "compile_model",
    "inspect_against",
    "load",
    "show_progress",
    "sweep_model",
]

_HOMES = {
    "compare_folders": "snn_compile.compare",
    "inspect_against": "snn_compile.against",
    "compile_model": "snn_compile.pipeline.driver",
    "CompiledModel": "snn_compile.bundle",
    "load": "snn_compile.bundle",
    "show_progress": "snn_compile.report.progress",
    "CompileError": "snn_compile.errors",
    "CompileOptions": "snn_compile.options",
    "sweep_model": "snn_compile.sweep",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: ``snn-compile --help`` must not wait for numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'snn_compile' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
