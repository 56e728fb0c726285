"""Lines that say, now and then, what a long command is doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

SILENCE = 10.0
"""Seconds without output after which a line is due."""
SHARE = 1 / 6
"""A step that has taken long is mentioned less often: after this share of its time so far. An hour
gives some thirty lines."""
_POLL = 0.5


@dataclass(eq=False)
class Step:
    """A step that is running.

    Attributes:
        name: its label.
        text: what it works on.
        total: number of its items; None if they are not counted.
        done: items finished.
        start: when it began, by the heartbeat's clock.
    """

    name: str
    text: str
    total: int | None
    start: float
    done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, n: int) -> None:
        """Count finished items; from any thread."""
        with self._lock:
            self.done += n

    def describe(self, now: float) -> str:
        """What is done, how long it has taken, and about how long the rest will take."""
        elapsed = now - self.start
        parts = [self.text] if self.text else []
        if self.total:
            parts.append(f"{self.done:,} of {self.total:,} ({100 * self.done // self.total} %)")
        parts.append(clock(elapsed))
        if self.total and 0 < self.done < self.total:
            parts.append(f"about {clock(elapsed * (self.total - self.done) / self.done)} left")
        return " · ".join(parts)


class Heartbeat:
    """Writes a line whenever there has been no output for a while.

    Attributes:
        write: takes the label and the text of a line.
        clock: seconds.
    """

    def __init__(
        self, write: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.write = write
        self.clock = clock
        self._steps: list[Step] = []
        self._after = ""
        self._last = clock()

    @contextmanager
    def step(self, name: str, text: str = "", total: int | None = None) -> Iterator[Step]:
        """A step; of nested ones, lines tell of the innermost."""
        step = Step(name, text, total, self.clock())
        self._steps.append(step)
        try:
            yield step
        finally:
            self._steps.remove(step)
            self._after = name

    def finished(self, name: str) -> None:
        """A short step has ended; an uncounted one around it mentions that."""
        self._after = name

    def wrote(self) -> None:
        """There has been output."""
        self._last = self.clock()

    def beat(self) -> None:
        """Write a line if one is due."""
        now, steps = self.clock(), list(self._steps)
        if not steps:
            return
        step = steps[-1]
        if now - self._last < max(SILENCE, SHARE * (now - step.start)):
            return
        self._last = now
        after = f" · after {self._after}" if step is steps[0] and self._after else ""
        self.write(step.name, step.describe(now) + after)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Beat in a thread of its own."""
        ended = threading.Event()

        def beat_until_ended() -> None:
            with suppress(OSError, ValueError):  # a stream that is closed needs no more lines
                while not ended.wait(_POLL):
                    self.beat()

        thread = threading.Thread(target=beat_until_ended, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
