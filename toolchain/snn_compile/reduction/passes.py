"""Bisection of a compilation: the first pass after which the network is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.ir.reading import Stage
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.inputs import is_converted, read_model
from snn_compile.report.observer import SilentObserver

IMPORT, PROGRAM = "import", "program"
"""Names of the imported and of the final network."""


@dataclass(frozen=True)
class Step:
    """A network between passes.

    Attributes:
        name: of the pass that it comes from.
        stage: the network after it.
    """

    name: str
    stage: Stage


class _StageRecorder(SilentObserver):
    """Keeps the result of every pass; networks are immutable, so nothing is copied."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def dump(self, pass_name: str, graph: object) -> None:
        """Keep the network."""
        stage: Any = getattr(graph, "program", graph)
        self.steps.append(Step(pass_name, stage))


def steps(model: Path, options: CompileOptions) -> list[Step]:
    """Compile a model, and keep the network after each pass.

    Raises:
        CompileError: it does not compile.
    """
    recorder = _StageRecorder()
    if is_converted(model):
        recorder.steps.append(Step(IMPORT, read_model(model, options).ann))
    compiled = compile_model(model, options=options, observer=recorder)
    if recorder.steps[-1].stage is not compiled.program:
        recorder.steps.append(Step(PROGRAM, compiled.program))
    return recorder.steps


def first_wrong(made: list[Step], wrong: Callable[[Stage], bool]) -> Iterator[tuple[Step, bool]]:
    """Each step with the check's verdict, up to the first wrong one.

    The search is linear, not binary: a wrong network may become right again.

    Raises:
        UsageError: none of them is wrong.
    """
    for step in made:
        verdict = wrong(step.stage)
        yield step, verdict
        if verdict:
            return
    raise UsageError(
        "the check holds after no pass",
        code="nothing-to-reduce",
        hint="it must exit with 0 if the network is wrong",
    )
