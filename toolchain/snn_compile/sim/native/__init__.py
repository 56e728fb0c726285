"""The compiled engine: its installed builds, and the choice of one for this CPU.

A build is a shared library with a C ABI, ``snn_engine_<build>``, made from ``toolchain/engine`` for
one instruction set. The libraries lie in this package, if a C++ compiler was there when the project
was installed. Libraries are loaded on demand.

Two environment variables:
    ``SNN_COMPILE_ENGINE``: ``auto`` (the best build that the CPU can run, the default), ``off``, or
        the name of a build.
    ``SNN_COMPILE_ENGINE_PATH``: a folder with the libraries, instead of this package.
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

ABI = 10
"""Value of ``SNN_ENGINE_ABI`` in ``engine.h``; other libraries are refused."""

BUILDS = ("avx512", "avx2", "baseline")
"""All builds, the fastest first."""

_SUFFIX = ".dll" if sys.platform == "win32" else ".so"
_REBUILD = "install the project again, or switch the engine off with SNN_COMPILE_ENGINE=off"
_loaded: dict[Path, ctypes.CDLL] = {}


@dataclass(frozen=True)
class Status:
    """Status of the engine, for display.

    Attributes:
        build: the build in use, or None.
        why: the reason, in a few words.
        installed: the installed builds.
        runnable: the installed builds that this CPU supports.
    """

    build: str | None
    why: str
    installed: tuple[str, ...] = ()
    runnable: tuple[str, ...] = ()


def builds() -> tuple[str, ...]:
    """The installed builds that this CPU supports, the fastest first."""
    found = _installed()
    if "baseline" not in found:
        return ()  # this build detects the CPU's features
    # Called only after the check of the name: these functions are equal in every ABI.
    baseline = _open("baseline")
    return tuple(build for build in found if _runs_here(baseline, build))


@functools.cache
def _runs_here(baseline: ctypes.CDLL, build: str) -> bool:
    """Whether this CPU supports a build. Cached: the detection is slow in a virtual machine."""
    return bool(baseline.snn_engine_cpu_supports(build.encode()))


def load(build: str | None = None) -> ctypes.CDLL:
    """The library of a build; the same object each time.

    Args:
        build: its name; None for the one selected by ``SNN_COMPILE_ENGINE``, by default the best.

    Raises:
        UsageError: it is not installed, not supported by this CPU, or built from other sources.
    """
    if build is not None:
        _require(build)
    chosen = build or _choose()
    if chosen is None:
        raise UsageError(
            f"no compiled engine can be loaded: {status().why}",
            code="no-engine",
            hint="install the project again with a C++17 compiler available",
        )
    return _current(chosen)


def _current(build: str) -> ctypes.CDLL:
    """The library of a supported build, if it was built from these sources."""
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
    """``load()``, or None if the engine is switched off or was never built.

    The result is cached while the environment variables are unchanged. A long run calls this before
    every piece, and must not change its simulator, whose memory bounds differ, if the project is
    installed again in the meantime.

    Raises:
        UsageError: the engine is installed, but not the selected build, or it does not work.
    """
    return _first_found(_wanted(), os.environ.get("SNN_COMPILE_ENGINE_PATH"))


@functools.cache
def _first_found(wanted: str, folder: str | None) -> ctypes.CDLL | None:
    """The result of ``find`` for the variables that decide it."""
    del wanted, folder
    chosen = _choose()
    return _current(chosen) if chosen else None


def status() -> Status:
    """The build in use and the reason. Loads it as a check; never raises."""
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
        missing = f"none in {folder}" if folder else "not built at installation"
        return Status(None, missing, installed, runnable)
    asked = _wanted() == chosen
    why = "selected by SNN_COMPILE_ENGINE" if asked else "the best that this CPU supports"
    return Status(chosen, why, installed, runnable)


def _wanted() -> str:
    return os.environ.get("SNN_COMPILE_ENGINE") or "auto"


def _choose() -> str | None:
    """The build to use: from the environment variable, or the best; None for no engine."""
    wanted = _wanted()
    if wanted == "off":
        return None
    if wanted == "auto":
        return next(iter(builds()), None)
    if wanted not in BUILDS:
        raise UsageError(
            f"SNN_COMPILE_ENGINE={wanted}: unknown engine",
            code="unknown-engine",
            hint=f"one of: auto, off, {', '.join(reversed(BUILDS))}",
        )
    _require(wanted)
    return wanted


def _require(build: str) -> None:
    """Refuse a selected build that is unavailable."""
    installed, runnable = _installed(), builds()
    if build in runnable:
        return
    if build not in installed:
        reason = "it is not installed"
    elif "baseline" not in installed:
        reason = "the baseline build, which detects the CPU's features, is not installed"
    else:
        reason = "this CPU does not support it"
    raise UsageError(
        f"the {build} engine cannot be used: {reason}",
        code="no-engine",
        hint=f"available: {', '.join(('off', *reversed(runnable)))}",
    )


def _installed() -> tuple[str, ...]:
    return tuple(build for build in BUILDS if _path(build))


def _path(build: str) -> Path | None:
    folder = Path(os.environ.get("SNN_COMPILE_ENGINE_PATH") or Path(__file__).parent).absolute()
    path = folder / f"snn_engine_{build}{_SUFFIX}"
    return path if path.is_file() else None


def _open(build: str) -> ctypes.CDLL:
    """Load the library of an installed build and check that it matches its name."""
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
                f"{path.name} contains the {name} engine",
                code="broken-engine",
                hint=_REBUILD,
            )
        _loaded[path] = library
    return _loaded[path]
