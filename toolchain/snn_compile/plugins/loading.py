"""Loading of plug-ins: contracts are checked, and bugs are attributed to the plug-in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import EntryPoint
from types import UnionType
from typing import Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from snn_compile.errors import CompileError, PluginError, UsageError, raise_all
from snn_compile.files.typed import complaint
from snn_compile.installed import OURS, Guard, describe_failure, distribution, registered
from snn_compile.plugins.contracts import VERSION

T = TypeVar("T")

_ANY_NAME = re.compile(r".+")


@dataclass(frozen=True)
class Plugins(Generic[T]):
    """The registered implementations of one kind, loaded on first use.

    Attributes:
        group: group of their entry points.
        kind: user-facing name of the kind.
        contracts: a plug-in satisfies at least one of these.
        capabilities: contracts of optional capabilities.
        names_allowed: pattern of allowed names.
        failure: class of the error for a bug in a plug-in.
        code: its code.
    """

    group: str
    kind: str
    contracts: tuple[type, ...]
    capabilities: tuple[type, ...] = ()
    names_allowed: re.Pattern[str] = _ANY_NAME
    failure: type[CompileError] = PluginError
    code: str = ""

    def names(self) -> list[str]:
        """Names of all registered implementations."""
        return sorted({entry.name for entry in registered(self.group)})

    def load(self, name: str, *arguments: Any) -> T:
        """An instance of the named implementation, made with the arguments.

        Raises:
            UsageError: the name is unknown or ambiguous; the plug-in cannot be imported or created,
                or violates its contract. All errors at once.
        """
        entry = self._entry(name)
        whose = f"the {self.kind} '{name}' ({distribution(entry)})"
        try:
            plugin = entry.load()(*arguments)
        except CompileError:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, ImportError) else describe_failure(error)
            raise self._broken(f"{whose} cannot be loaded: {said}") from error
        self._require_version(plugin, whose, entry)
        raise_all([self._broken(f"{whose} {wrong}") for wrong in complaints(plugin, self)])
        if distribution(entry).split()[0] == OURS:
            return cast("T", plugin)
        return cast("T", self._answering(plugin, whose, entry))

    def _entry(self, name: str) -> EntryPoint:
        found = [entry for entry in registered(self.group) if entry.name == name]
        if not found:
            raise UsageError(
                f"no {self.kind} named '{name}'",
                code=f"unknown-{self.kind}",
                hint=f"available: {', '.join(self.names()) or 'none'}",
            )
        if len(found) > 1:
            owners = " and ".join(distribution(entry) for entry in found)
            raise UsageError(
                f"there is more than one {self.kind} named '{name}': of {owners}",
                code=f"ambiguous-{self.kind}",
                hint="uninstall all but one",
            )
        if not self.names_allowed.fullmatch(name):
            raise self._broken(f"the {self.kind} '{name}' has a name that is not allowed")
        return found[0]

    def _require_version(self, plugin: object, whose: str, entry: EntryPoint) -> None:
        version = getattr(plugin, "contract_version", 1)  # without one, older than versions
        if isinstance(version, int) and not isinstance(version, bool) and version == VERSION:
            return
        raise UsageError(
            f"{whose} was written for version {version!r} of its contract, and this is version"
            f" {VERSION}",
            code="unknown-contract",
            hint=f"install versions of snn-compile and {distribution(entry).split()[0]} that are"
            " compatible",
        )

    def _broken(self, message: str) -> UsageError:
        return UsageError(
            message,
            code=f"broken-{self.kind}",
            hint="install what it needs, or a version of it that works with this one",
        )

    def _answering(self, plugin: object, whose: str, entry: EntryPoint) -> object:
        """The same plug-in; its bugs become errors that name it."""

        def failed(what: str) -> CompileError:
            hint = f"this is a bug of {distribution(entry)}, not of snn-compile"
            return self.failure(f"{whose} {what}", code=self.code, hint=hint)

        members: dict[str, Any] = {"__getattr__": lambda _, name: getattr(plugin, name)}
        for contract in (*self.contracts, *self.capabilities):
            for name, method in methods_of(contract).items():
                if hasattr(plugin, name):
                    call = _guarded(getattr(plugin, name), name, method, failed)
                    members[name] = staticmethod(call)
            members |= {name: getattr(plugin, name) for name in _fields_of(contract, plugin)}
        return type(type(plugin).__name__, (), members)()


def complaints(plugin: object, plugins: Plugins[Any]) -> list[str]:
    """Violations of a plug-in's contract, and of those of its capabilities."""
    known = (*plugins.contracts, *plugins.capabilities)
    kept = [one for one in known if any(hasattr(plugin, name) for name in methods_of(one))]
    if not set(kept) & set(plugins.contracts):
        kept.insert(0, plugins.contracts[0])
    return [wrong for contract in kept for wrong in _complaints_about(plugin, contract)]


def methods_of(contract: type) -> dict[str, Callable[..., Any]]:
    """The methods of a contract."""
    return {
        name: method
        for name, method in vars(contract).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def _complaints_about(plugin: object, contract: type) -> Iterator[str]:
    for name, annotation in get_type_hints(contract).items():
        if not hasattr(plugin, name):
            yield f"has no '{name}'"
        elif wrong := complaint(getattr(plugin, name), annotation, name):
            yield f"violates its contract: {wrong}"
    for name, method in methods_of(contract).items():
        attribute = getattr(plugin, name, None)
        if not callable(attribute):
            yield f"has no method '{name}'"
        elif wrong := _uncallable(attribute, method):
            yield f"has a method '{name}' that cannot be called as its contract requires: {wrong}"


def _uncallable(attribute: Callable[..., Any], method: Callable[..., Any]) -> str:
    """Why a method cannot be called as the contract requires; empty if it can."""
    _, *parameters = inspect.signature(method).parameters.values()  # without self
    named = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(attribute).bind(*[None] * (len(parameters) - len(named)), **named)
    except TypeError as error:
        return str(error)
    except ValueError:  # a function in C may have no signature
        return ""
    return ""


def _fields_of(contract: type, plugin: object) -> list[str]:
    return [name for name in get_type_hints(contract) if hasattr(plugin, name)]


def _guarded(
    attribute: Callable[..., Any],
    name: str,
    method: Callable[..., Any],
    failed: Callable[[str], CompileError],
) -> Callable[..., Any]:
    """A method of a plug-in, wrapped to check its results and exceptions against the contract."""
    returned = get_type_hints(method).get("return")
    kinds = _classes_of(returned)

    @wraps(attribute)
    def call(*arguments: Any, **named: Any) -> Any:
        guard = Guard(failed, name)
        with guard:
            result = attribute(*arguments, **named)
        if isinstance(result, Iterator):
            return _guarded_items(result, guard)
        if kinds and not isinstance(result, kinds):
            stated = " or ".join(kind.__name__ for kind in kinds)
            raise failed(f"failed: '{name}' returned {type(result).__name__}, not {stated}")
        return result

    return call


def _classes_of(returned: Any) -> tuple[type, ...]:
    """Allowed classes of the result; empty without a result, or if unknown."""
    parts = get_args(returned) if isinstance(returned, UnionType) else (returned,)
    kinds = [get_origin(part) or part for part in parts]
    if kinds == [type(None)] or not all(isinstance(kind, type) for kind in kinds):
        return ()
    return tuple(kinds)


def _guarded_items(items: Iterator[Any], guard: Guard) -> Iterator[Any]:
    while True:
        with guard:
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
