"""How to go on after an interruption: the command, as the last line on standard error."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from snn_compile.errors import CompileError, is_passing
from snn_compile.printable import printable


@contextmanager
def naming_resumption(is_kept: Callable[[], bool], *options: str) -> Iterator[None]:
    """If what runs here is interrupted or crashes, name the command that goes on from there.

    Args:
        is_kept: whether there is work to go on from.
        options: what that command has besides the words of this one.
    """
    try:
        yield
    except BaseException as error:
        would_come_again = isinstance(error, CompileError) and not is_passing(error)
        if is_kept() and not would_come_again:
            error.add_note(f"resume with: {_again(options)}")
        raise


def _again(options: Sequence[str]) -> str:
    """The running command with further options."""
    words = click.get_current_context().find_root().obj
    if words is None:  # not started from a command line
        return " ".join(["the same command", *options])
    more = [option for option in options if option not in words]
    return printable(shlex.join(["snn-compile", *words, *more]))
