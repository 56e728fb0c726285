"""What other packages add by entry points: whose it is, and what to say when it fails."""

from __future__ import annotations

from importlib.metadata import EntryPoint

OURS = "snn-compile"
"""The distribution whose plug-ins are part of this program: their mistakes are its own."""


def distribution(entry: EntryPoint) -> str:
    """Name and version of the distribution that an entry point is of."""
    if entry.dist is None:
        return "an unknown distribution"
    return f"{entry.dist.name} {entry.dist.version}"
