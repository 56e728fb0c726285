"""The command line: ``snn-compile``. One file per command; parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``snn-compile``.

    Args:
        argv: the arguments without the program's name; None for those of the process.

    Returns:
        The exit code, as ``docs/reference/cli.md`` lists them.
    """
    from snn_compile.cli.group import run

    return run(argv)
