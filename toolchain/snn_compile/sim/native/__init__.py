"""The compiled engine: which builds of it are installed, and which one runs on this CPU.

A build is a shared library with a C ABI, ``snn_engine_<build>``, made from ``toolchain/engine`` for
one instruction set. The libraries lie in this package, if a C++ compiler was there when the project
was installed. Nothing is loaded before it is asked for.

Two environment variables:
    ``SNN_COMPILE_ENGINE``: ``auto`` (the best build that the CPU can run, the default), ``off``, or
        the name of a build.
    ``SNN_COMPILE_ENGINE_PATH``: a folder to take the libraries from instead of this package.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snn_compile.errors import UsageError

if TYPE_CHECKING:
    import ctypes

ABI = 6
"""What ``SNN_ENGINE_ABI`` is in ``engine.h``; other libraries are refused."""

BUILDS = ("avx512", "avx2", "baseline")
"""Every build there can be, the fastest first."""

_SUFFIX = ".dll" if sys.platform == "win32" else ".so"
_REBUILD = "install the project again, or switch the engine off with SNN_COMPILE_ENGINE=off"
_loaded: dict[Path, ctypes.CDLL] = {}


@dataclass(frozen=True)
class Status:
    """What is known of the engine, for people.

    Attributes:
        build: the one in use, or None.
        why: what decided that, in a few words.
        installed: the builds that are there.
        runnable: those of them that this CPU can run.
    """

    build: str | None
    why: str
    installed: tuple[str, ...] = ()
    runnable: tuple[str, ...] = ()


def builds() -> tuple[str, ...]:
    """The builds that are installed and that this CPU can run, the fastest first."""
    found = _installed()
    if "baseline" not in found:
        return ()  # it is the one that knows what the CPU can do
    # Only called once the name is checked: these functions are the same in every ABI.
    baseline = _open("baseline")
    return tuple(build for build in found if _runs_here(baseline, build))


@functools.cache
def _runs_here(baseline: ctypes.CDLL, build: str) -> bool:
    """Whether this CPU can run a build. Asked once: in a virtual machine the question is slow."""
    return bool(baseline.snn_engine_cpu_supports(build.encode()))


def load(build: str | None = None) -> ctypes.CDLL:
    """The library of a build; the same object each time.

    Args:
        build: its name; None for the one that ``SNN_COMPILE_ENGINE`` asks for, by default the best.

    Raises:
        UsageError: it is not installed, does not run on this CPU or was built from other sources.
    """
    if build is not None:
        _require(build)
    chosen = build or _choose()
    if chosen is None:
        raise UsageError(
            f"there is no compiled engine to load: {status().why}",
            code="no-engine",
            hint="a C++17 compiler has to be there when the project is installed",
        )
    return _current(chosen)


def _current(build: str) -> ctypes.CDLL:
    """The library of a build that runs here, if it was built from these sources."""
    library = _open(build)
    abi = library.snn_engine_abi()
    if abi != ABI:
        raise UsageError(
            f"the {build} engine was built from other sources: ABI {abi} instead of {ABI}",
            code="stale-engine",
            hint=_REBUILD,
        )
    return library


def find() -> ctypes.CDLL | None:
    """``load()``, or None where the engine is switched off or was never built.

    A process keeps the answer for as long as the environment variables stay the same. A long run
    asks before every piece, and must not change its simulator, whose memory is bounded otherwise,
    because the project is installed again meanwhile.

    Raises:
        UsageError: there is an engine, but not the one asked for, or not one that works.
    """
    return _first_found(_wanted(), os.environ.get("SNN_COMPILE_ENGINE_PATH"))


@functools.cache
def _first_found(wanted: str, folder: str | None) -> ctypes.CDLL | None:
    """What ``find`` finds, by the variables that decide it."""
    del wanted, folder
    chosen = _choose()
    return _current(chosen) if chosen else None


def status() -> Status:
    """Which build is in use and why. Loads it to be sure; never raises."""
    installed = _installed()
    if _wanted() == "off":
        return Status(None, "switched off by SNN_COMPILE_ENGINE", installed)
    try:
        runnable = builds()
    except UsageError as error:
        return Status(None, error.message, installed)
    try:
        chosen = _choose()
        if chosen:
            _current(chosen)
    except UsageError as error:
        return Status(None, error.message, installed, runnable)
    if chosen is None:
        folder = os.environ.get("SNN_COMPILE_ENGINE_PATH")
        missing = f"none in {folder}" if folder else "not built when this was installed"
        return Status(None, missing, installed, runnable)
    asked = _wanted() == chosen
    why = "asked for by SNN_COMPILE_ENGINE" if asked else "the best that this CPU can run"
    return Status(chosen, why, installed, runnable)


def _wanted() -> str:
    return os.environ.get("SNN_COMPILE_ENGINE") or "auto"


def _choose() -> str | None:
    """The build to use: as the environment variable says, or the best; None for no engine."""
    wanted = _wanted()
    if wanted == "off":
        return None
    if wanted == "auto":
        return next(iter(builds()), None)
    if wanted not in BUILDS:
        raise UsageError(
            f"SNN_COMPILE_ENGINE={wanted}: there is no such engine",
            code="unknown-engine",
            hint=f"one of: auto, off, {', '.join(reversed(BUILDS))}",
        )
    _require(wanted)
    return wanted


def _require(build: str) -> None:
    """Complain about a build that was asked for and cannot be had."""
    installed, runnable = _installed(), builds()
    if build in runnable:
        return
    if build not in installed:
        reason = "it is not installed"
    elif "baseline" not in installed:
        reason = "the baseline one, which knows what this CPU can run, is not installed"
    else:
        reason = "this CPU cannot run it"
    raise UsageError(
        f"the {build} engine cannot be used: {reason}",
        code="no-engine",
        hint=f"here there is: {', '.join(('off', *reversed(runnable)))}",
    )


def _installed() -> tuple[str, ...]:
    return tuple(build for build in BUILDS if _path(build))


def _path(build: str) -> Path | None:
    folder = Path(os.environ.get("SNN_COMPILE_ENGINE_PATH") or Path(__file__).parent).absolute()
    path = folder / f"snn_engine_{build}{_SUFFIX}"
    return path if path.is_file() else None


def _open(build: str) -> ctypes.CDLL:
    """Load the library of an installed build and see that it is the one its name says."""
    import ctypes

    path = _path(build)
    if path is None:
        raise AssertionError(f"{build} is not installed")
    if path not in _loaded:
        try:
            library = ctypes.CDLL(str(path))
            library.snn_engine_build.restype = ctypes.c_char_p
            name = library.snn_engine_build().decode()
        except (OSError, AttributeError) as error:
            raise UsageError(
                f"the {build} engine cannot be loaded: {error}", code="broken-engine", hint=_REBUILD
            ) from error
        if name != build:
            raise UsageError(
                f"{path.name} is the {name} engine under another's name",
                code="broken-engine",
                hint=_REBUILD,
            )
        _loaded[path] = library
    return _loaded[path]
