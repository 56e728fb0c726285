"""The codings there are, by name: this package's own, and those that installed packages add.

A package adds one by an entry point of the group ``snn_compile.codings`` that names a subclass of
``snn_compile.codings.Coding``. The list stands below everything that asks it, the options and the
IR among them; the classes stand above, and one is imported when somebody asks for it.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from snn_compile.errors import UsageError

GROUP = "snn_compile.codings"
_OWN = {
    "graded": "graded:Graded",
    "signed": "signed:Signed",
    "sync": "sync:Sync",
    "radix": "radix:Radix",
    "rate": "rate:Rate",
    "sigma-delta": "sigma_delta:SigmaDelta",
}


def coding_names() -> tuple[str, ...]:
    """Names of all codings: this package's, then those of other packages in alphabetical order."""
    return tuple(_entries())


@cache
def coding_class(name: str) -> Any:
    """The class of a coding, a subclass of ``snn_compile.codings.Coding``.

    Raises:
        UsageError: there is no such coding, or the package that adds it cannot be imported.
    """
    if name not in _entries():
        raise UsageError(
            f"there is no coding '{name}'",
            code="unknown-coding",
            hint=f"available: {', '.join(coding_names())}; a package that adds it is missing",
        )
    try:
        found = _entries()[name].load()
    except (ImportError, AttributeError) as error:
        raise _broken(f"the coding '{name}' cannot be loaded: {error}") from error
    if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
        raise _broken(f"the coding '{name}' does not say what its {missing} are")
    if getattr(found, "name", None) != name:
        raise _broken(f"the coding '{name}' has another name in its class")
    return found


@cache
def _entries() -> dict[str, EntryPoint]:
    found = {name: EntryPoint(name, f"{GROUP}.{place}", GROUP) for name, place in _OWN.items()}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in found:
            raise _broken(f"there are two codings named '{entry.name}'", "rename an entry point")
        found[entry.name] = entry
    return found


def _broken(message: str, hint: str = "mend the package that adds it, or remove it") -> UsageError:
    return UsageError(message, code="broken-coding", hint=hint)
