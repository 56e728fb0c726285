"""Where a job ran: what could make results differ between machines."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from snn_compile.version import __version__

PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Machine:
    """A worker's process and what it computes with.

    Attributes:
        host: name of the machine.
        process: number of the process there.
        cpu: model of the processor.
        blas: builds of BLAS that are loaded, with the kernels that they chose.
        versions: of snn-compile, Python and the numerical packages.
    """

    host: str
    process: int
    cpu: str = ""
    blas: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def computes_with(self) -> tuple[tuple[str, str], ...]:
        """Everything that could decide a last bit of a sum in floating point."""
        return (("cpu", self.cpu), ("blas", self.blas), *sorted(self.versions.items()))

    def __str__(self) -> str:
        return f"{self.host}, process {self.process}"


@cache
def this_machine() -> Machine:
    """This process."""
    import numpy  # noqa: F401  (loads its BLAS, which is asked below)
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    versions = {"snn-compile": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    pools = {
        " ".join(str(pool.get(key) or "") for key in ("internal_api", "version", "architecture"))
        for pool in threadpool_info()
        if pool.get("user_api") == "blas"
    }
    return Machine(platform.node(), os.getpid(), _processor(), ", ".join(sorted(pools)), versions)


def differences(machines: Iterable[Machine]) -> list[str]:
    """What some machines do not have in common: "numpy: 2.4.6, 2.3.0"."""
    values: dict[str, dict[str, None]] = {}
    for machine in machines:
        for name, value in machine.computes_with:
            values.setdefault(name, {})[value] = None
    return [f"{name}: {', '.join(found)}" for name, found in values.items() if len(found) > 1]


def _processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
