"""Refusals by kind: a short list and a table for users, all of them for scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from snn_compile.errors import CompileError, Survey

if TYPE_CHECKING:
    from rich.table import Table

FEW = 3
"""Most errors of one kind shown individually."""


@dataclass
class Refusal:
    """Operators of one type that are refused for one reason.

    Attributes:
        op: their type.
        code: of the error.
        message: the reason.
        hint: the action to take.
        part_of: the function that they are parts of, if known.
        nodes: their names.
        modules: their modules in the model's source, if known.
    """

    op: str
    code: str
    message: str
    hint: str
    part_of: str = ""
    nodes: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Type, and the function."""
        return f"{self.op} ({self.part_of})" if self.part_of else self.op

    @property
    def places(self) -> str:
        """The first place, by the model's source if known."""
        known = self.modules or [node or "(no name)" for node in self.nodes]
        return known[0] + (" ..." if len(known) > 1 else "")


def group_errors(errors: Sequence[CompileError]) -> list[Refusal]:
    """Errors by operator and reason, the most frequent first."""
    groups: dict[tuple[str, ...], Refusal] = {}
    for error in errors:
        op, node = (error.origin.op, error.origin.node) if error.origin else ("", "")
        key = (op, error.code, error.message, error.part_of)
        refusal = groups.setdefault(key, Refusal(*key[:3], error.hint, error.part_of))
        refusal.nodes.append(node)
        if error.module and error.module not in refusal.modules:
            refusal.modules.append(error.module)
    return sorted(groups.values(), key=lambda refusal: -len(refusal.nodes))


def table(refusals: Sequence[Refusal]) -> Table:
    """One row a kind."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 3), pad_edge=False)
    for refusal in refusals:
        why = Text.assemble((f"error[{refusal.code}]", "bold red"), f"   {refusal.message}")
        if refusal.hint:
            why.append(f"\nhint: {refusal.hint}", "dim")
        shown.add_row(f"  {refusal.kind}", f"x{len(refusal.nodes)}", refusal.places, why)
    return shown


def as_dict(refusal: Refusal) -> dict[str, Any]:
    """JSON form, for ``--json``."""
    return {**vars(refusal), "count": len(refusal.nodes)}


def survey_as_dict(survey: Survey | None) -> dict[str, Any]:
    """The supported part of the model, for ``--json``."""
    if survey is None:
        return {}
    return {
        "operators": {"total": survey.operators, "fine": survey.fine_operators},
        "operations": {"total": survey.operations, "fine": survey.fine_operations},
        "cut_at": {"tensors": list(survey.cut_at), "operations": survey.operations_before},
    }


def sentence(survey: Survey | None) -> str:
    """The supported part of the model, as a sentence."""
    if survey is None or not survey.operations:
        return ""
    fine = (
        f"{survey.fine_operators} of {survey.operators} operators are fine by themselves, with"
        f" {_share(survey.fine_operations, survey)} of {survey.operations:,} operations"
    )
    if not survey.cut_at:
        return fine
    return (
        f"{fine}\nhint: --cut-at {shlex.quote(','.join(survey.cut_at))} compiles the part before"
        f" them, with {_share(survey.operations_before, survey)} of the operations, and leaves the"
        " rest to the host"
    )


def _share(part: int, survey: Survey) -> str:
    """A part of the operations in percent; 100 only for all of them."""
    share = 100 * part / survey.operations
    return f"{share if part == survey.operations else min(share, 99.9):.1f} %"


def few(errors: Sequence[CompileError]) -> Iterator[tuple[CompileError, int]]:
    """The first errors of each kind; with the last of them, the number of others."""
    numbers: dict[tuple[str, ...], list[CompileError]] = {}
    for error in errors:
        op = error.origin.op if error.origin else ""
        numbers.setdefault((type(error).__name__, op, error.code, error.message), []).append(error)
    shown = {id(error) for same in numbers.values() for error in same[:FEW]}
    more = {id(same[FEW - 1]): len(same) - FEW for same in numbers.values() if len(same) > FEW}
    for error in errors:
        if id(error) in shown:
            yield error, more.get(id(error), 0)
