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
from snn_compile.installed import distribution

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
        UsageError: there is no such coding, or the package that adds it is broken.
    """
    if name not in _entries():
        raise UsageError(
            f"there is no coding '{name}'",
            code="unknown-coding",
            hint=f"install the package that adds it; available: {', '.join(coding_names())}",
        )
    return loaded(_entries()[name][0])


def of_other_packages() -> list[EntryPoint]:
    """What other packages add, or would add if its name were free, in alphabetical order."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def loaded(entry: EntryPoint) -> Any:
    """The class of an entry point.

    Raises:
        UsageError: its name is taken, or what it names is no coding.
    """
    of_that_name = _entries()[entry.name]
    if entry not in of_that_name:
        raise _broken(entry, "is not used: snn-compile has a coding of that name")
    if len(of_that_name) > 1:
        owners = " and of ".join(distribution(other) for other in of_that_name)
        raise _broken(entry, f"is one of several: of {owners}", "uninstall all but one")
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise _broken(entry, f"cannot be loaded: {error}") from error
    if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
        raise _broken(entry, f"does not say what its {missing} are")
    if getattr(found, "name", None) != entry.name:
        raise _broken(entry, "has another name in its class")
    return found


@cache
def _entries() -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points by name; our own names are not for other packages."""
    found: dict[str, tuple[EntryPoint, ...]] = {
        name: (EntryPoint(name, f"{GROUP}.{place}", GROUP),) for name, place in _OWN.items()
    }
    for entry in of_other_packages():
        if entry.name not in _OWN:
            found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _broken(
    entry: EntryPoint, what: str, hint: str = "update the package that adds it, or uninstall it"
) -> UsageError:
    message = f"the coding '{entry.name}' ({distribution(entry)}) {what}"
    return UsageError(message, code="broken-coding", hint=hint)
