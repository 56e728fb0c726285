"""``snn-compile doctor``: check of the installation and its optional parts."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata

import click

from snn_compile import __version__
from snn_compile.cli.console import as_json, common, results, show_table

CORE = ("numpy", "scipy", "onnx", "click", "rich", "jinja2", "threadpoolctl")
OPTIONAL = {
    "onnxruntime": "runs the model file itself for the first rung of the ladder; not needed",
    "nir": "reads and writes NIR files (extra nir)",
    "networkx": "reads NIR files (extra nir)",
    "h5py": "reads .net files, writes netx files (extra netx)",
    "torch": "trains networks (extra tune)",
    "neurobench": "NeuroBench's harness (extra neurobench)",
    "cryptography": "signs compiled folders and checks them (extra sign)",
    "starlette": "the page of snn-compile ui (extra ui)",
    "uvicorn": "serves it (extra ui)",
    "sklearn": "only for examples/make_digits.py",
}


@dataclass(frozen=True)
class Check:
    """The check of one component.

    Attributes:
        name: name of the component.
        found: version or state.
        ok: whether it is installed and works.
        needed: whether the compiler requires it.
        note: its purpose, or the action to take.
    """

    name: str
    found: str
    ok: bool
    needed: bool
    note: str = ""


@click.command("doctor", short_help="Check the installation.")
@as_json
@common
def command(as_json: bool) -> int:
    """Check the installation. Exit code 0 unless the compiler itself cannot work."""
    checks = [
        *_core(),
        *_plugins(),
        *_codings(),
        *_neurons(),
        _engine(),
        _lava(),
        _threads(),
        *_optional(),
    ]
    broken = any(check.needed and not check.ok for check in checks)
    if as_json:
        import json

        click.echo(json.dumps([vars(check) for check in checks], indent=2))
    else:
        _show(checks)
    return 1 if broken else 0


def _core() -> Iterator[Check]:
    system = f"{platform.system()} {platform.machine()}"
    yield Check("snn-compile", __version__, ok=True, needed=True, note=system)
    supported = sys.version_info >= (3, 11)
    yield Check("python", platform.python_version(), supported, needed=True, note="3.11 or newer")
    for name in CORE:
        yield _package(name, needed=True)


def _optional() -> Iterator[Check]:
    for name, purpose in OPTIONAL.items():
        yield _package(name, needed=False, note=purpose)


def _package(name: str, *, needed: bool, note: str = "") -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "missing", ok=False, needed=needed, note=note or f"pip install {name}")
    if needed:
        return _guarded(name, lambda: _imports(name, version), needed=True)
    return Check(name, version, ok=True, needed=False, note=note)


def _imports(name: str, version: str) -> Check:
    import_module(name)
    return Check(name, version, ok=True, needed=True)


def _plugins() -> Iterator[Check]:
    for kind in ("frontend", "backend"):
        try:
            yield from _plugins_of(kind)
        except Exception as error:  # noqa: BLE001  (a doctor looks at broken things)
            yield _broken(f"{kind}s", error, needed=True)


def _plugins_of(kind: str) -> Iterator[Check]:
    from snn_compile.plugins import BACKENDS, FRONTENDS

    plugins = FRONTENDS if kind == "frontend" else BACKENDS
    wanted = {"onnx"} if kind == "frontend" else set[str]()
    for name in sorted({*plugins.names(), *wanted}):

        def load(name: str = name) -> Check:
            plugins.load(name)
            return Check(f"{kind} {name}", "ok", ok=True, needed=name in wanted)

        yield _guarded(f"{kind} {name}", load, needed=name in wanted)


def _codings() -> Iterator[Check]:
    """Codings of other packages."""
    from snn_compile import coding_registry
    from snn_compile.installed import distribution

    for entry in coding_registry.of_other_packages():

        def load(entry: metadata.EntryPoint = entry) -> Check:
            coding = coding_registry.load_coding(entry)
            note = f"{coding.summary} ({distribution(entry)})"
            return Check(f"coding {entry.name}", "ok", ok=True, needed=False, note=note)

        yield _guarded(f"coding {entry.name}", load, needed=False)


def _neurons() -> Iterator[Check]:
    """Neuron models of other packages."""
    from snn_compile.installed import distribution
    from snn_compile.ir.models import registry

    for entry, model in registry.of_other_packages():
        name = f"neurons {entry.name}"
        if isinstance(model, Exception):
            yield _broken(name, model, needed=False)
        else:
            note = f"{model.__name__} ({distribution(entry)})"
            yield Check(name, "ok", ok=True, needed=False, note=note)


def _engine() -> Check:
    def probe() -> Check:
        from snn_compile.sim import native

        found = native.status()
        others = [build for build in found.runnable if build != found.build]
        note = f"{found.why}; there is also {', '.join(others)}" if others else found.why
        return Check("engine", found.build or "none", bool(found.build), needed=False, note=note)

    return _guarded("engine", probe, needed=False)


def _lava() -> Check:
    def probe() -> Check:
        from snn_compile.plugins import BACKENDS, NeedsEnvironment

        backend = BACKENDS.load("lava")
        found = backend.environment_status() if isinstance(backend, NeedsEnvironment) else None
        note = "" if found else "make it with: snn-compile lava-env"
        return Check("lava environment", str(found or "none"), bool(found), needed=False, note=note)

    return _guarded("lava environment", probe, needed=False)


def _threads() -> Check:
    def probe() -> Check:
        import numpy as np  # noqa: F401  (only its BLAS is queried)
        from threadpoolctl import threadpool_info

        pools = {f"{p['internal_api']} x{p['num_threads']}" for p in threadpool_info()}
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        found = ", ".join(sorted(pools)) or "unknown"
        return Check("blas threads", found, ok=True, needed=False, note=f"{cpus} processors")

    return _guarded("blas threads", probe, needed=False)


def _guarded(name: str, probe: Callable[[], Check], *, needed: bool) -> Check:
    """A check that fails rather than ends the program, whatever is broken."""
    try:
        return probe()
    except Exception as error:  # noqa: BLE001  (a doctor looks at broken things)
        return _broken(name, error, needed=needed)


def _broken(name: str, error: Exception, *, needed: bool) -> Check:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Check(name, "broken", ok=False, needed=needed, note=text)


def _show(checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 3))
    for check in checks:
        state, colour = ("ok", "green") if check.ok else ("–", "dim")
        if check.needed and not check.ok:
            state, colour = "broken", "bold red"
        table.add_row(Text(f"  {state}", colour), check.name, check.found, Text(check.note, "dim"))
    show_table(results(), table)
