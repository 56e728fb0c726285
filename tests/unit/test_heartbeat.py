"""Lines about a long stage: when they come, what they say, and what keeps them away."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from snn_compile.report import heartbeat
from snn_compile.report.heartbeat import Heartbeat
from snn_compile.report.journal import Journal
from snn_compile.report.progress import TerminalObserver


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(seconds: int, total: int | None = None, per_second: int = 1) -> list[str]:
    """What a step of so many seconds says, looked at each second."""
    clock, lines = Clock(), list[str]()
    beating = Heartbeat(lambda name, text: lines.append(f"{name}: {text}"), clock)
    with beating.step("compile"), beating.step("evaluate", "500 samples", total) as step:
        for _ in range(seconds):
            clock.now += 1
            step.advance(per_second)
            beating.beat()
    return lines


def test_no_silence_is_longer_than_ten_seconds_at_first() -> None:
    assert lines_of(9) == []
    assert len(lines_of(60)) == 6


def test_an_hour_gives_a_few_dozen_lines() -> None:
    assert 12 <= len(lines_of(3600)) <= 36


def test_a_line_says_how_much_is_done_and_how_long_the_rest_will_take() -> None:
    assert lines_of(10, 40) == [
        "evaluate: 500 samples · 10 of 40 (25 %) · 0:00:10 · about 0:00:30 left"
    ]
    assert lines_of(10, 40, per_second=0) == ["evaluate: 500 samples · 0 of 40 (0 %) · 0:00:10"]


def test_without_a_stage_the_last_one_is_named() -> None:
    clock, lines = Clock(), list[str]()
    beating = Heartbeat(lambda name, text: lines.append(f"{name}: {text}"), clock)
    with beating.step("compile"):
        beating.finished("fold-batch-norm")
        clock.now = 12
        beating.beat()
        beating.wrote()
        clock.now = 21
        beating.beat()
    clock.now = 100
    beating.beat()
    assert lines == ["compile: 0:00:12 · after fold-batch-norm"]


def watched(monkeypatch: pytest.MonkeyPatch, *, tty: bool = False, **options: bool) -> str:
    """What an observer writes while a stage without a count and one with a count take a while."""
    monkeypatch.setattr(heartbeat, "SILENCE", 0.02)
    monkeypatch.setattr(heartbeat, "_POLL", 0.005)
    file = io.StringIO()
    console = Console(file=file, force_terminal=tty, width=120, color_system=None)
    observer = TerminalObserver(console, **options)
    with observer.watched("compile"):
        with Journal(observer).timed("map"):
            wait_for(file, "map" if not options else "")
        with observer.progress("evaluate", "4 samples", 4) as advance:
            advance(1)
            wait_for(file, "1 of 4" if not (options or tty) else "")
    return file.getvalue()


def wait_for(file: io.StringIO, text: str) -> None:
    """Work until the text is there; a short while where nothing is to come."""
    give_up = time.monotonic() + (60 if text else 0.1)
    while time.monotonic() < give_up and not (text and text in file.getvalue()):
        time.sleep(0.005)


def test_stages_with_and_without_a_count_tell_of_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = watched(monkeypatch)
    assert "\n  map           0:00:0" in "\n" + text
    assert "  evaluate      4 samples · 1 of 4 (25 %) · 0:00:0" in text


def test_a_bar_tells_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    text = watched(monkeypatch, tty=True)
    assert "━" in text
    assert "1 of 4" not in text


@pytest.mark.parametrize("option", [{"quiet": True}, {"bars": False}])
def test_quiet_and_no_progress_hold(
    monkeypatch: pytest.MonkeyPatch, option: dict[str, bool]
) -> None:
    text = watched(monkeypatch, **option)
    assert "map" not in text
    assert " of 4" not in text


def test_a_closed_stream_ends_the_lines_and_not_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SILENCE", 0.0)
    monkeypatch.setattr(heartbeat, "_POLL", 0.001)

    def write(name: str, text: str) -> None:
        raise BrokenPipeError

    beating = Heartbeat(write)
    with beating.step("compile"), beating.running():
        time.sleep(0.05)
