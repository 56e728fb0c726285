"""Whole after any fault: each command that writes, with faults at its file operations.

``python tests/faults.py`` prints the table of all of them.
"""

from __future__ import annotations

import sys

import pytest

import faults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shim reads /proc")
CHEAP = ("compile, over an older folder", "hil --record, over an older trace", "conformance")


@pytest.mark.parametrize("scenario", faults.SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize(
    "every", [pytest.param(1, id="all", marks=pytest.mark.slow), pytest.param(60, id="some")]
)
def test_outputs_are_old_or_new_and_whole(scenario, every, tmp_path):
    if every > 1 and scenario.name not in CHEAP:
        pytest.skip("one of the slow ones")
    if scenario.words[0] == "tune":
        pytest.importorskip("torch", reason="torch is not installed (extra: tune)")
    hows = faults.HOWS if every == 1 else (faults.FAIL, faults.DIE)
    row = faults.Bench(scenario, tmp_path).run(every, hows)
    assert row.wrong == []
    for how in hows:
        assert row.found[how]
        assert row.found[how]["old"] or row.found[how]["new and old"]
