"""What else took part in a compilation: named, so that machines that disagree can be compared."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime")


def environment() -> dict[str, str]:
    """Python, the machine, and the versions of the packages that compute; those that are there."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
