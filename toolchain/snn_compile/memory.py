"""How much memory a file may make this process take: the one limit that every reader asks.

A file says how large it is before anything of it is read. What it says is held against this limit,
so that a few bytes cannot claim gigabytes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from snn_compile.errors import UsageError

VARIABLE = "SNN_COMPILE_MAX_MEMORY"
SHARE = 0.5
"""Share of the available memory that is used by default."""
FALLBACK = 4 << 30
"""Where the system does not say what it has."""
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
_limit: int | None = None


def limit_to(size: int | None) -> None:
    """Set the limit in bytes for this process; None: by the environment, or by the machine."""
    global _limit
    _limit = size


def budget() -> int:
    """Bytes that the content of one file may take.

    Raises:
        UsageError: the environment variable holds no size.
    """
    if _limit is not None:
        return _limit
    said = os.environ.get(VARIABLE)
    if not said:
        return int(SHARE * _available())
    try:
        return parse_size(said)
    except ValueError as error:
        raise UsageError(
            f"{VARIABLE}: {error}", code="bad-option", hint="like 500M or 4G"
        ) from error


def parse_size(text: str) -> int:
    """A size as people write it, in bytes: 500M, 4G.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is not a size")
    return int(found[1]) << _UNITS[found[2].upper()]


def format_size(size: int) -> str:
    """A size for people: 4 GiB, or its order of magnitude where that says more."""
    if size >= 1 << 50:
        return f"2^{size.bit_length() - 1} bytes"
    for bits, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << bits:
            return f"{size / (1 << bits):.3g} {unit}"
    return f"{size} bytes"


def _available() -> int:
    """Bytes that new work can take without swapping, and that its control group allows."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
        free = int(found[1]) << 10 if found else FALLBACK
    except OSError:
        free = _installed()
    try:
        return min(free, int(_CONTROL_GROUP.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no control group, or one without a limit
        return free


def _installed() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return FALLBACK
