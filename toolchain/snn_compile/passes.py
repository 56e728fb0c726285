"""Passes, their diagnostics, pipelines of passes, and their textual form."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Generic, Protocol, TypeVar, get_args, get_type_hints

from snn_compile.errors import CompileError, Origin
from snn_compile.printable import printable_lines

STAGES = {"ANNGraph": "float", "SpikingGraph": "spiking", "Quantization": "fixed"}
"""Names of stages by their types, as in the accuracy table."""

In = TypeVar("In")
Mid = TypeVar("Mid")
Out = TypeVar("Out")
InContra = TypeVar("InContra", contravariant=True)
OutCo = TypeVar("OutCo", covariant=True)


APPROXIMATION = "approximation"
"""Code of a finding for a change of the network's function, with its error."""


@dataclass(frozen=True)
class Finding:
    """A diagnostic for the user that is not an error. Its texts are printable.

    Attributes:
        message: one line.
        origin: the operator it is about, if any.
        code: stable identifier.
        hint: recommended action, if any.
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
    """A new graph and its findings."""

    graph: OutCo
    findings: tuple[Finding, ...] = ()


class Pass(Protocol[InContra, OutCo]):
    """A frozen dataclass; its fields are its options and the data that it measures on.

    It never changes its input. Numbers, texts and enumerations among its fields are its options,
    written by ``spec``; arrays, networks and the like are data.
    """

    @property
    def name(self) -> str:
        """Name of the pass on the command line and in reports."""
        ...

    def __call__(self, graph: InContra, /) -> PassResult[OutCo]:
        """Run the pass."""
        ...


PassObserver = Callable[[str, Any, tuple[Finding, ...], float], None]
"""Called after each pass with its name, the new graph, the findings and the duration in seconds."""


def no_observer(name: str, graph: Any, findings: tuple[Finding, ...], seconds: float) -> None:
    """No-op pass observer."""
    del name, graph, findings, seconds


class PassFailure(Exception):  # noqa: N818  (an internal error, but one of a known pass)
    """An internal error of a pass; its cause is the exception that the pass raised.

    Attributes:
        step: the pass.
        graph: its input.
    """

    def __init__(self, step: Pass[Any, Any], graph: Any) -> None:
        super().__init__(f"pass '{step.name}' has failed")
        self.step = step
        self.graph = graph


class StopAfterPass(Exception):  # noqa: N818  (no error: the user has asked for it)
    """Ends a compilation after the pass of ``--stop-after``.

    Attributes:
        timing: durations recorded in the journal so far.
    """

    def __init__(self, timing: list[dict[str, Any]]) -> None:
        super().__init__("stopped")
        self.timing = timing


@dataclass(frozen=True)
class Instruments:
    """Instrumentation of the passes of a compilation.

    Attributes:
        stop_after: the pass after which to stop, by raising ``StopAfterPass``; empty for none.
        verify_each: whether each pass is checked.
    """

    stop_after: str = ""
    verify_each: bool = False


Advance = Callable[[int], None]
PassProgress = Callable[[str, int], AbstractContextManager[Advance]]
"""Shows the progress of a pass by its name, in a number of items."""


@contextmanager
def _uncounted(name: str, total: int) -> Iterator[Advance]:
    del name, total
    yield lambda n: None


_progress: ContextVar[PassProgress] = ContextVar("pass progress", default=_uncounted)


def counted(name: str, total: int) -> AbstractContextManager[Advance]:
    """The progress of a long pass; nothing unless somebody watches."""
    return _progress.get()(name, total)


@contextmanager
def watched(progress: PassProgress) -> Iterator[None]:
    """Show the progress of the passes that run inside."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


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

    def followed_by(self, steps: Iterable[Pass[Out, Out]]) -> Pipeline[In, Out]:
        """This pipeline and passes that stay within its last stage."""
        return Pipeline((*self.steps, *steps))

    def __call__(self, graph: In, /, observe: PassObserver = no_observer) -> PassResult[Out]:
        """Run all passes; ``observe`` sees every intermediate graph.

        Raises:
            PassFailure: a pass raises an exception other than a complaint or a lack of memory.
        """
        current: Any = graph
        findings: list[Finding] = []
        for step in self.steps:
            start = time.perf_counter()
            try:
                result = step(current)
            except (CompileError, MemoryError):
                raise
            except Exception as error:
                raise PassFailure(step, current) from error
            current = result.graph
            findings.extend(result.findings)
            observe(step.name, current, result.findings, time.perf_counter() - start)
        return PassResult(current, tuple(findings))


def spec(step: Pass[Any, Any]) -> str:
    """A pass as text: its name and, in braces, its options other than the defaults."""
    chosen = ",".join(f"{name}={text}" for name, text in options_of(step).items())
    return f"{step.name}{{{chosen}}}" if chosen else step.name


def options_of(step: Any) -> dict[str, str]:
    """The options of a pass other than the defaults, those of its parts included, as texts.

    Parts are dataclasses that compare by value; those that do not hold arrays, and are data. A part
    that has its name in a field, as a target has, is written as that name.
    """
    found: dict[str, str] = {}
    for item in fields(step):
        value = getattr(step, item.name)
        if is_dataclass(value) and type(value).__eq__ is not object.__eq__:
            found |= {item.name: value.name} if hasattr(value, "name") else {}
            found |= {} if "name" in {one.name for one in fields(value)} else options_of(value)
        elif _is_option(value) and value != item.default:
            found[item.name.replace("_", "-")] = _text(value)
    return found


def stages_of(step: Pass[Any, Any]) -> tuple[str, str]:
    """Input and output stage of a pass, by their names in reports."""
    hints = get_type_hints(type(step).__call__)
    made = get_args(hints.pop("return"))[0]
    taken = next(iter(hints.values()))
    return STAGES[taken.__name__], STAGES[made.__name__]


def _is_option(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_option(one) for one in value)
    return isinstance(value, str | int | float | enum.Enum)


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case enum.Enum():
            return str(value.value)
        case tuple():
            nested = any(isinstance(one, tuple) for one in value)
            return ("+" if nested else ":").join(_text(one) for one in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
