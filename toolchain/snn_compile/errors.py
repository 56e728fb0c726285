"""What can go wrong, said so that a user can act on it.

Every error a user can meet carries a stable ``code``, the place it came from and a hint. One base
class catches them all; each child states the process exit code it maps to (see
``docs/reference/cli.md``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from snn_compile.printable import printable, printable_lines

SURROUNDINGS = (
    *("out-of-memory", "worker-lost", "worker-disk", "damaged-copy"),
    *("file", "file-changed", "output-exists"),
)
"""Codes of what happened to a machine or to its files: the same command may succeed later."""


@dataclass(frozen=True)
class Origin:
    """Where a thing came from in the user's own file, in printable characters.

    Attributes:
        file: the file as the user named it.
        node: the operator's name there, or empty for the file as a whole.
        op: the operator's type there, or empty.
    """

    file: str
    node: str = ""
    op: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, printable(getattr(self, field.name)))

    def __str__(self) -> str:
        if not self.node:
            return self.file
        return f"{self.file}: node '{self.node}'" + (f" ({self.op})" if self.op else "")


@dataclass(frozen=True)
class Survey:
    """How much of a model is fine by itself, where some of it is refused.

    Attributes:
        operators: that work on activations.
        fine_operators: those of them that are not refused.
        operations: multiplications of layers, and one for each value of other operators, for one
            sample; those of operators whose shapes nobody can tell are missing.
        fine_operations: those of operators that are not refused.
        cut_at: tensors before which everything is fine; empty if there are none.
        operations_before: operations that they take.
    """

    operators: int
    fine_operators: int
    operations: int
    fine_operations: int
    cut_at: tuple[str, ...] = ()
    operations_before: int = 0


class CompileError(Exception):
    """Base of everything this tool refuses; shown in one line plus a hint.

    What it says is printable, whatever the files hold that it speaks of.

    Attributes:
        code: stable identifier, for scripts and for searching the documentation.
        origin: where in the user's files the trouble is, if it is anywhere.
        hint: what to do about it.
        module: the module of the model's source that the operator came from, if the file says so.
        part_of: the function that an exporter has split into this operator and others, if known.
        survey: how much of the model is fine.
        nearest: of a network that does not fit, the options with which it would.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"
    module: str = ""
    part_of: str = ""
    survey: Survey | None = None
    nearest: str = ""

    def __init__(
        self, message: str, *, code: str = "", origin: Origin | None = None, hint: str = ""
    ) -> None:
        message = printable_lines(message)
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.origin = origin
        self.hint = printable_lines(hint)

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        hints = "".join(f"\nhint: {hint}" for hint in (self.hint, self.nearest) if hint)
        return f"{where}error[{self.code}]: {self.message}{hints}"


class UsageError(CompileError):
    """An option, a configuration key or a data file that cannot be used as asked."""

    exit_code: ClassVar[int] = 2
    default_code: ClassVar[str] = "usage"


class ModelError(CompileError):
    """The model file cannot be read, or what it says is not a valid network."""

    exit_code: ClassVar[int] = 3
    default_code: ClassVar[str] = "invalid-model"


class UnsupportedError(CompileError):
    """An operator or a use of one that has no spiking form here."""

    exit_code: ClassVar[int] = 4
    default_code: ClassVar[str] = "unsupported-op"


class CapacityError(CompileError):
    """The network does not fit the target: a limit of the chip, or a state that could overflow.

    Attributes:
        needed: what the network needs, where that is a number.
        limit: what the target has of it.
    """

    exit_code: ClassVar[int] = 5
    default_code: ClassVar[str] = "does-not-fit"
    needed: int = 0
    limit: int = 0

    @property
    def excess(self) -> float:
        """What is needed as a multiple of the limit; infinite where that is no matter of number."""
        return self.needed / self.limit if self.limit else math.inf


class AccuracyError(CompileError):
    """The accuracy lost is over the limit the user set. The artefacts are written all the same."""

    exit_code: ClassVar[int] = 6
    default_code: ClassVar[str] = "accuracy-drop"


class LimitError(CompileError):
    """A cost is over the limit the user set. The artefacts are written all the same."""

    exit_code: ClassVar[int] = 6
    default_code: ClassVar[str] = "over-limit"


class VerificationError(CompileError):
    """Two things that must be equal bit for bit are not."""

    exit_code: ClassVar[int] = 7
    default_code: ClassVar[str] = "not-equal"


class DeviceError(CompileError):
    """A device, or the environment it runs in, is missing, lost or over its time."""

    exit_code: ClassVar[int] = 8
    default_code: ClassVar[str] = "device"


class PluginError(CompileError):
    """A plug-in of another distribution has made a mistake."""

    default_code: ClassVar[str] = "plug-in-failed"


class CompileErrors(CompileError):  # noqa: N818  (the plural of a base class)
    """Several complaints, raised together so that the user sees all of them at once."""

    def __init__(self, errors: Sequence[CompileError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)
        self.code = errors[0].code
        self.origin = errors[0].origin

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors,), self.__dict__

    def __str__(self) -> str:
        nearest = [f"hint: {self.nearest}"] if self.nearest else []
        return "\n".join([*(str(error) for error in self.errors), *nearest])


def one_per_kind(errors: Sequence[CompileError]) -> list[CompileError]:
    """Errors with the same message, code and remedy as one, which lists where else it is so.

    Messages are the same if they differ in quoted names and in numbers only.
    """
    kinds: dict[tuple[str, ...], list[CompileError]] = {}
    for error in errors:
        said = _NAMES_AND_NUMBERS.sub("", error.message)
        kinds.setdefault((type(error).__name__, error.code, error.hint, said), []).append(error)
    return [_joined(alike) for alike in kinds.values()]


_NAMES_AND_NUMBERS = re.compile(r"'[^']*'|[0-9][0-9,.]*")


def _joined(alike: Sequence[CompileError]) -> CompileError:
    first, *others = alike
    places = list(dict.fromkeys(e.origin.node for e in others if e.origin and e.origin.node))
    if not others:
        return first
    listed = f": {', '.join(places[:MAX_LISTED])}" if places else ""
    listed += f" and {len(places) - MAX_LISTED} more" if len(places) > MAX_LISTED else ""
    message = f"{first.message}; likewise {len(others)} more{listed}"
    return type(first)(message, code=first.code, origin=first.origin, hint=first.hint)


MAX_LISTED = 20
"""Places of an error that its message lists."""


def raise_all(errors: Sequence[CompileError]) -> None:
    """Raise nothing, the one error, or all of them as one."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise CompileErrors(errors)


def exit_code(error: CompileError) -> int:
    """The process exit code for an error; of several, that of the first."""
    if isinstance(error, CompileErrors):
        return error.errors[0].exit_code
    return error.exit_code


def is_passing(error: CompileError) -> bool:
    """Whether it says nothing about what was asked for, and may not come again."""
    return isinstance(error, DeviceError) or error.code in SURROUNDINGS
