"""Deterministic greedy search for a smaller case on which a check still holds.

There are two kinds of strategies. A *thinning* lists the parts of a case and builds the case of a
subset; chunks of parts are removed, halved down to single parts (delta debugging, Zeller and
Hildebrandt 2002). A *choice* lists whole cases, simplest first; the first that passes is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from snn_compile.errors import CompileError, UsageError
from snn_compile.reduction.case import Size


class Reducible(Protocol):
    """An object of reduction."""

    @property
    def size(self) -> Size:
        """Its size."""
        ...

    @property
    def digest(self) -> str:
        """Equal for equal objects."""
        ...

    def check(self) -> None:
        """Check that it can be evaluated.

        Raises:
            ValueError, ArithmeticError: it cannot.
        """
        ...


C = TypeVar("C", bound=Reducible)


@dataclass(frozen=True)
class Thinning(Generic[C]):
    """Removable parts of a case.

    Attributes:
        name: for people.
        parts: of a case.
        made: the case of some of its parts; raises ``StageError`` if there is none.
    """

    name: str
    parts: Callable[[C], Sequence[Any]]
    made: Callable[[C, list[Any]], C]


@dataclass(frozen=True)
class Choice(Generic[C]):
    """Replacements of a case.

    Attributes:
        name: for people.
        candidates: what makes them, simplest first.
    """

    name: str
    candidates: Callable[[C], Iterator[Callable[[], C]]]


Strategy = Thinning[C] | Choice[C]
OnReduction = Callable[[str, Size], None]
"""Callback with the name of a successful strategy and the new size."""


@dataclass(frozen=True)
class Outcome(Generic[C]):
    """The outcome of a reduction.

    Attributes:
        case: the smallest one.
        checks: number of checks run.
        complete: whether it is minimal for the strategies; else the time limit was reached.
    """

    case: C
    checks: int
    complete: bool


def reduce_case(
    case: C,
    check: Callable[[C], bool],
    strategies: Callable[[C], Iterator[Strategy[C]]],
    time_limit: float,
    on_reduction: OnReduction = lambda name, size: None,
) -> Outcome[C]:
    """The smallest case that the strategies find, of those on which the check holds.

    Args:
        case: the initial case.
        check: whether a case is still interesting.
        strategies: the strategies.
        time_limit: seconds, after which the smallest case so far is returned.
        on_reduction: progress callback.

    Raises:
        UsageError: the check does not hold on the initial case.
    """
    search = _Search(case, check, strategies, time.monotonic() + time_limit)
    if not check(case):
        raise UsageError(
            "the fault is not present on the whole network",
            code="nothing-to-reduce",
            hint="the executors must differ on these stimuli (--stimulus names others), or the"
            " command of --check must exit with 0",
        )
    try:
        search.run(on_reduction)
    except _TimeIsUp:
        return Outcome(search.case, search.checks, complete=False)
    return Outcome(search.case, search.checks, complete=True)


class _TimeIsUp(Exception):  # noqa: N818  (no error)
    """The time limit was reached."""


class _Search(Generic[C]):
    """The smallest case so far.

    Attributes:
        case: the case.
        checks: number of checks run.
    """

    def __init__(
        self,
        case: C,
        check: Callable[[C], bool],
        strategies: Callable[[C], Iterator[Strategy[C]]],
        deadline: float,
    ) -> None:
        self.case, self.checks = case, 1
        self._check, self._strategies, self._deadline = check, strategies, deadline
        self._refused: set[str] = set()

    def run(self, on_reduction: OnReduction) -> None:
        """Try every strategy until none of them helps."""
        before = None
        while before is not self.case:
            before = self.case
            for strategy in self._strategies(self.case):
                *size, _ = self.case.size
                self._try(strategy)
                if size != list(self.case.size[:-1]):
                    on_reduction(strategy.name, self.case.size)

    def _try(self, strategy: Strategy[C]) -> None:
        match strategy:
            case Thinning():
                self._thin(strategy)
            case Choice():
                while any(self._accepts(candidate) for candidate in strategy.candidates(self.case)):
                    pass

    def _thin(self, thinning: Thinning[C]) -> None:
        """Remove chunks of parts of decreasing size."""
        base = self.case
        parts = list(thinning.parts(base))
        size = len(parts)
        while size:
            start = 0
            while start < len(parts):
                kept = parts[:start] + parts[start + size :]
                if self._accepts(lambda kept=kept: thinning.made(base, kept)):  # type: ignore[misc]
                    parts = kept
                else:
                    start += size
            size //= 2

    def _accepts(self, candidate: Callable[[], C]) -> bool:
        """Accept a case if it is valid, smaller, and if the check holds on it.

        Raises:
            _TimeIsUp: the time limit was reached.
        """
        if time.monotonic() > self._deadline:
            raise _TimeIsUp
        try:
            case = candidate()
            if case.size >= self.case.size:
                return False
            case.check()
        except (ValueError, ArithmeticError):  # no network, or none that can be simulated
            return False
        if (asked := case.digest) in self._refused:
            return False
        self.checks += 1
        try:
            if self._check(case):
                self.case = case
                return True
        except CompileError:  # an executor that is not made for such a network
            pass
        self._refused.add(asked)
        return False
