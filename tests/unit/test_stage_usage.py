"""Peak memory of stages, also of stages within each other."""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.report import stage_usage
from snn_compile.report.journal import Journal
from snn_compile.report.observer import SilentObserver
from snn_compile.report.stage_usage import StageUsage

LARGE_MB = 200


def touch(megabytes):
    return int(np.ones(megabytes << 20, np.uint8)[:: 1 << 12].sum())


@pytest.fixture
def before():
    """The peak of a stage that takes nothing."""
    found = StageUsage().entry("before")["peak_mb"]
    if found is None:
        pytest.skip("this system does not let a process set its mark back")
    return found


def test_the_peak_is_that_of_the_stage_alone(before):
    first = StageUsage()
    touch(LARGE_MB)
    large = first.entry("large")
    small = StageUsage().entry("small")
    assert large["peak_mb"] > before + 0.9 * LARGE_MB
    assert small["peak_mb"] < before + 0.5 * LARGE_MB
    assert large["seconds"] >= 0 <= large["cpu_seconds"]


def test_a_stage_around_another_has_its_peak_too(before):
    journal = Journal(SilentObserver())
    with journal.timed("outer"):
        with journal.timed("inner"):
            touch(LARGE_MB)
        with journal.timed("next"):
            pass
    peaks = {entry["stage"]: entry["peak_mb"] for entry in journal.timing}
    assert min(peaks["inner"], peaks["outer"]) > before + 0.9 * LARGE_MB
    assert peaks["next"] < before + 0.5 * LARGE_MB


def test_where_the_mark_cannot_be_set_back_the_peak_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(stage_usage, "_CLEAR", tmp_path / "missing" / "clear_refs")
    assert StageUsage().entry("some")["peak_mb"] is None
