"""No file makes a command fail in a way that nobody has written down, or take what it likes."""

from __future__ import annotations

import pytest

import effort
from fuzzing import MEMORY, outcome
from mutant_kinds import KINDS, Seeds
from snn_compile import memory

COUNTS = {
    **{"folder": 40, "trace": 30, "calibration": 15, "hil": 5, "remote": 8, "checkpoint": 25},
    **{"provenance": 15, "nir": 40},
}
"""Of mutants with ``--slow``, 70 of any other kind. ``tests/bench/fuzz.py`` takes any number."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return Seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_end_as_they_should(seeds, kind, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, MEMORY)
    monkeypatch.setenv("PYTHONWARNINGS", "error")  # for the processes of devices
    codes, n = set(), COUNTS.get(kind, 70)
    for number in range(effort.cases(n) if n > 10 else n):  # of few, some do no harm only in all
        found = outcome(seeds, kind, number)
        assert not found.fault, (number, found)
        codes.add(found.code)
    assert {0} < codes  # some do no harm, and some are refused
