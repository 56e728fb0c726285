"""The codings there are, by name: this package's own, and those that installed packages add.

A package adds one by an entry point of the group ``snn_compile.codings`` that names a subclass of
``snn_compile.codings.Coding``. The list stands below everything that asks it, the options and the
IR among them; the classes stand above and are imported when somebody asks for one of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from snn_compile.errors import UsageError

GROUP = "snn_compile.codings"
_OWN = {
    name: f"snn_compile.codings.{place}"
    for name, place in {
        "graded": "graded:Graded",
        "signed": "signed:Signed",
        "sync": "sync:Sync",
        "radix": "radix:Radix",
        "rate": "rate:Rate",
        "sigma-delta": "sigma_delta:SigmaDelta",
    }.items()
}


def coding_names() -> tuple[str, ...]:
    """Names of all codings: this package's, then those of other packages in alphabetical order."""
    return tuple(_places())


@cache
def coding_class(name: str) -> Any:
    """The class of a coding, a subclass of ``snn_compile.codings.Coding``.

    Raises:
        UsageError: there is no such coding, or the package that adds it cannot be imported.
    """
    from importlib.metadata import EntryPoint

    if name not in _places():
        raise UsageError(
            f"there is no coding '{name}'",
            code="unknown-coding",
            hint=f"available: {', '.join(coding_names())}; a package may have added it elsewhere",
        )
    try:
        return EntryPoint(name, _places()[name], GROUP).load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the coding '{name}' cannot be loaded: {error}", code="broken-coding"
        ) from error


@cache
def _places() -> dict[str, str]:
    from importlib.metadata import entry_points

    added = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    if taken := sorted(set(added) & set(_OWN)):
        raise UsageError(
            f"an installed package adds a coding named '{taken[0]}', and there is one already",
            code="broken-coding",
            hint="rename its entry point",
        )
    return _OWN | {name: added[name] for name in sorted(added)}
