"""The codings there are, by name: this package's own, and those that installed packages add.

A package adds one by an entry point of the group ``snn_compile.codings`` that names a subclass of
``snn_compile.codings.Coding``. The list stands below everything that asks it, the options and the
IR among them; the classes stand above, and one is imported when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, get_args, get_type_hints

from snn_compile import installed
from snn_compile.errors import CompileError, PluginError, UsageError
from snn_compile.files.typed import complaint
from snn_compile.installed import Guard, distribution, registered

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
    return load_coding(_entries()[name][0])


def of_other_packages() -> list[EntryPoint]:
    """What other packages add, or would add if its name were free, in alphabetical order."""
    return sorted(registered(GROUP), key=lambda entry: entry.name)


def load_coding(entry: EntryPoint) -> Any:
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
    found = installed.load_entry_point(entry, lambda what: _broken(entry, what))
    if wrong := next(_complaints(found, entry.name), ""):
        raise _broken(entry, wrong)
    return found


def guard_call(name: str, method: str) -> AbstractContextManager[None]:
    """Context in which exceptions of a plug-in's coding become errors that name its package."""
    if name in _OWN or name not in _entries():
        return nullcontext()
    entry = _entries()[name][0]

    def failed(what: str) -> CompileError:
        whose = distribution(entry)
        hint = f"the mistake is one of {whose}, not of snn-compile"
        return PluginError(f"the coding '{name}' ({whose}) {what}", hint=hint)

    return Guard(failed, method)


def _complaints(found: Any, name: str) -> Iterator[str]:
    """What a class lacks to be the coding of a name."""
    base: Any = EntryPoint("Coding", f"{GROUP}:Coding", GROUP).load()
    if not (isinstance(found, type) and issubclass(found, base)):
        yield f"is no class that derives from {GROUP}.Coding"
        return
    if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
        yield f"does not say what its {missing} are"
    if not is_dataclass(found):
        yield "is no dataclass"
    for attribute, hint in get_type_hints(base).items():
        if not hasattr(found, attribute):
            yield f"does not state its {attribute}"
        elif wrong := complaint(getattr(found, attribute), get_args(hint)[0], attribute):
            yield f"is not as it should be: {wrong}"
    if getattr(found, "name", name) != name:
        yield "has another name in its class"


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
