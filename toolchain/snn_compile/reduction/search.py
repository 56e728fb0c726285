"""Greedy search for a smaller case on which a check still holds: the same result every time.

Two kinds of strategies say what to try. A *thinning* states the parts of a case and makes the case
of some of them; chunks of parts are left out, halved until single parts are (delta debugging,
Zeller and Hildebrandt 2002). A *choice* lists whole cases, simplest first, of which the first that
will do is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from snn_compile.errors import CompileError, UsageError
from snn_compile.reduction.case import Size


class Reducible(Protocol):
    """What can be made smaller."""

    @property
    def size(self) -> Size:
        """How large it is."""
        ...

    @property
    def digest(self) -> str:
        """The same for what is the same."""
        ...

    def check(self) -> None:
        """See that it can be asked about.

        Raises:
            ValueError, ArithmeticError: it cannot.
        """
        ...


C = TypeVar("C", bound=Reducible)


@dataclass(frozen=True)
class Thinning(Generic[C]):
    """Parts of a case that can be left out.

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
    """Other cases that can take the place of a case.

    Attributes:
        name: for people.
        candidates: what makes them, simplest first.
    """

    name: str
    candidates: Callable[[C], Iterator[Callable[[], C]]]


Strategy = Thinning[C] | Choice[C]
OnReduction = Callable[[str, Size], None]
"""Told the name of a strategy that has helped, and the size that it has led to."""


@dataclass(frozen=True)
class Outcome(Generic[C]):
    """What a reduction has led to.

    Attributes:
        case: the smallest one.
        checks: how often the check was asked.
        complete: whether nothing more could be left out; else the time was up.
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
        case: to begin with.
        check: whether a case is still of interest.
        strategies: what to try.
        time_limit: seconds, after which the smallest case so far is good enough.
        on_reduction: of progress.

    Raises:
        UsageError: the check does not even hold on the case to begin with.
    """
    search = _Search(case, check, strategies, time.monotonic() + time_limit)
    if not check(case):
        raise UsageError(
            "the fault does not show on the whole network",
            code="nothing-to-reduce",
            hint="executors have to differ on these stimuli (--stimulus names others), or the"
            " command of --check has to end with 0",
        )
    try:
        search.run(on_reduction)
    except _TimeIsUp:
        return Outcome(search.case, search.checks, complete=False)
    return Outcome(search.case, search.checks, complete=True)


class _TimeIsUp(Exception):  # noqa: N818  (no error)
    """Nothing more is tried."""


class _Search(Generic[C]):
    """The smallest case so far.

    Attributes:
        case: it.
        checks: how often the check was asked.
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
        """Leave out chunks of parts, and ever smaller ones."""
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
        """Take a case if it is one, if it is smaller, and if the check holds on it.

        Raises:
            _TimeIsUp: there is no time for it.
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
