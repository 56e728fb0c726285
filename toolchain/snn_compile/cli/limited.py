"""A command in a child process with limits; ``ui/jobs.py`` starts it."""

from __future__ import annotations

import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows: the clock alone limits it
    resource = None  # type: ignore[assignment]


def main() -> None:
    """Run the command line that follows two limits: seconds, and bytes of data."""
    seconds, most, *words = sys.argv[1:]
    if resource is not None:
        for limit, value in (
            (resource.RLIMIT_DATA, int(most)),
            (resource.RLIMIT_CPU, 2 * int(seconds)),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(OSError, ValueError):  # a stricter limit is in force
                resource.setrlimit(limit, (value, value))
    from snn_compile.cli import main as command

    raise SystemExit(command(words))
