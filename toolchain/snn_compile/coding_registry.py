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
        return _entries()[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the coding '{name}' cannot be loaded: {error}", code="broken-coding"
        ) from error


@cache
def _entries() -> dict[str, EntryPoint]:
    own = {name: EntryPoint(name, f"{GROUP}.{place}", GROUP) for name, place in _OWN.items()}
    added = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in added.keys() & own.keys():
        raise UsageError(
            f"an installed package adds a coding named '{name}', and there is one already",
            code="broken-coding",
            hint="rename its entry point",
        )
    return own | {name: added[name] for name in sorted(added)}
