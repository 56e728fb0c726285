"""Termination signals as exceptions: every ``finally`` runs, children are ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Terminated(BaseException):
    """A termination signal.

    Attributes:
        exit_code: 128 plus the signal's number, as in a shell.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Raise ``Ended`` at the current point of execution on the first of these signals.

    Further signals are ignored, so that clean-up completes. Signals that the process was started
    to ignore (``nohup``) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_printed = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_printed
        del frame
        if not is_printed:
            is_printed = True
            raise Terminated(number)

    before = {number: signal.getsignal(number) for number in ENDING}
    changed = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in changed:
            signal.signal(number, end)
        yield
    finally:
        is_printed = True
        for number, old in changed.items():
            signal.signal(number, old)
