"""Which backend expresses which coding: asked, not written down.

    python tests/coding_table.py

A small network is compiled in each coding, and with the neurons that its options choose. A backend
whose ``check`` has no complaint writes it; what it writes computes the same integers, which
``snn-compile verify`` shows, unless the backend says of itself that it is not ``exact``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pipeline.driver import compile_model
from snn_compile.plugins import BACKENDS

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEPS = 16
"""Of codings that have any: enough for netx, which wants more than there are layers."""


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each coding, and the options that give it other neurons."""
    for name in coding_names():
        coding = coding_class(name)
        steps = {"timesteps": STEPS} if "timesteps" in coding.relevant_options else {}
        options: dict[str, Any] = {"coding": name, "target": "unlimited", "input_bits": 4} | steps
        yield name, options
        if "burst" in coding.relevant_options:
            yield f"{name}, bursts", {**options, "burst": 4}
        if "reset" in coding.relevant_options:
            yield f"{name}, reset to zero", {**options, "reset": "zero"}
        if not coding.stock_obstacle:
            yield f"{name}, stock neurons", {**options, "neurons": "stock"}


def outcome(backend: str, program: QuantizedGraph) -> str:
    """What a backend says to a network: ``exact``, ``approximate``, or the codes of its refusal."""
    loaded = BACKENDS.load(backend)
    refused = sorted({f"`{error.code}`" for error in loaded.check(program)})
    if refused:
        return f"refused: {', '.join(refused)}"
    return "exact" if getattr(loaded, "exact", True) else "approximate"


def table() -> list[str]:
    """The rows, in Markdown."""
    backends = BACKENDS.names()
    rows = [["coding", "messages", *backends], ["---"] * (2 + len(backends))]
    for name, options in variants():
        program = compile_model(EXAMPLES / "digits_mlp.onnx", emit=(), **options).program
        summary = coding_class(options["coding"]).summary
        rows.append([name, summary, *(outcome(backend, program) for backend in backends)])
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    print("\n".join(table()))
