"""Environment of a compilation, recorded to compare machines that disagree."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime")


def environment() -> dict[str, str]:
    """Python, the machine, and the versions of the installed numerical packages."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
