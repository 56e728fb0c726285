"""What a pass is, what it reports, and how passes are chained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from snn_compile.errors import Origin
from snn_compile.printable import printable_lines

In = TypeVar("In")
Mid = TypeVar("Mid")
Out = TypeVar("Out")
InContra = TypeVar("InContra", contravariant=True)
OutCo = TypeVar("OutCo", covariant=True)


@dataclass(frozen=True)
class Finding:
    """Something a user may want to know; never an error. It is printable.

    Attributes:
        message: one line.
        origin: the operator it is about, if any.
        code: stable identifier.
        hint: what to do about it, if anything.
        warning: whether it belongs among the report's warnings.
    """

    message: str
    origin: Origin | None = None
    code: str = "note"
    hint: str = ""
    warning: bool = False

    def __post_init__(self) -> None:
        for name in ("message", "hint"):
            object.__setattr__(self, name, printable_lines(getattr(self, name)))

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}{self.message}" + (f" (hint: {self.hint})" if self.hint else "")


@dataclass(frozen=True)
class PassResult(Generic[OutCo]):
    """A new graph and what there is to say about it."""

    graph: OutCo
    findings: tuple[Finding, ...] = ()


class Pass(Protocol[InContra, OutCo]):
    """A frozen dataclass whose fields are its options. It never changes its input."""

    @property
    def name(self) -> str:
        """The pass as the command line and the reports call it."""
        ...

    def __call__(self, graph: InContra, /) -> PassResult[OutCo]:
        """Run the pass."""
        ...


Watcher = Callable[[str, Any, tuple[Finding, ...], float], None]
"""Called after each pass with its name, the new graph, the findings and the seconds it took."""


def unwatched(name: str, graph: Any, findings: tuple[Finding, ...], seconds: float) -> None:
    """A watcher that does not care."""
    del name, graph, findings, seconds


@dataclass(frozen=True)
class Pipeline(Generic[In, Out]):
    """Passes in order. A wrong order of stages does not type-check."""

    steps: tuple[Pass[Any, Any], ...] = field(default=())

    @staticmethod
    def of(first: Pass[In, Out]) -> Pipeline[In, Out]:
        """A pipeline of one pass."""
        return Pipeline((first,))

    def then(self, step: Pass[Out, Mid]) -> Pipeline[In, Mid]:
        """This pipeline and one pass more."""
        return Pipeline((*self.steps, step))

    def __call__(self, graph: In, /, watch: Watcher = unwatched) -> PassResult[Out]:
        """Run all passes; ``watch`` sees every intermediate graph."""
        current: Any = graph
        findings: list[Finding] = []
        for step in self.steps:
            start = time.perf_counter()
            result = step(current)
            current = result.graph
            findings.extend(result.findings)
            watch(step.name, current, result.findings, time.perf_counter() - start)
        return PassResult(current, tuple(findings))
