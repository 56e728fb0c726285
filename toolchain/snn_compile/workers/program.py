"""The program itself, as a hash: another one may compute other integers."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from snn_compile.installed import registered
from snn_compile.version import __version__
from snn_compile.workers.machine import PACKAGES

OWN = ("snn_compile", "snn_frontends", "snn_backends")
PLUGINS = ("frontends", "backends", "codings", "neurons")
"""Entry points ``snn_compile.*`` whose code takes part in a compilation."""
SOURCES = (".py", ".so", ".dll", ".dylib", ".pyd", ".toml")
"""Endings of what decides a result: code, the engine, targets."""


def program_hash() -> str:
    """A hash of the sources, plug-ins' and engine's too, and of the versions of libraries.

    It reads contents: times of files differ between copies, and some tools set them back. A
    process reads them once for each set of plug-ins; what changes later, it does not run.
    """
    entries = (entry for kind in PLUGINS for entry in registered(f"snn_compile.{kind}"))
    packages = {*OWN, *map(_package, entries)}
    return _hash_of(tuple(sorted(packages)), tuple(sys.path), __version__)


@lru_cache
def _hash_of(packages: tuple[str, ...], _: tuple[str, ...], own: str) -> str:
    digest = hashlib.sha256(own.encode())
    for package in packages:
        for name, path in _sources(package):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"\n{package} {name} {content}".encode())
    for library in PACKAGES:
        with suppress(PackageNotFoundError):
            digest.update(f"\n{library} {version(library)}".encode())
    return digest.hexdigest()


def _package(entry: EntryPoint) -> str:
    return entry.module.partition(".")[0]


def _sources(package: str) -> list[tuple[str, Path]]:
    """The names and paths of a top-level package's source files, or of a module's one file."""
    spec = find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        if not spec.has_location or not spec.origin:
            return []
        return [(Path(spec.origin).name, Path(spec.origin))]
    roots = [Path(root) for root in spec.submodule_search_locations]
    found = [
        (path.relative_to(root).as_posix(), path)
        for root in roots
        for path in root.rglob("*")
        if path.suffix in SOURCES
    ]
    return sorted(found)
