"""Instructions of the engine: what counts as worse, and the count itself."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(scope="module")
def bench():
    """The program."""
    sys.path.insert(0, str(BENCH))
    try:
        yield importlib.import_module("instructions")
    finally:
        sys.path.remove(str(BENCH))


def counts(avx2: int, baseline: int = 1000, operations: int = 100):
    return {"one": {"synaptic_operations": operations, "avx2": avx2, "baseline": baseline}}


def test_five_percent_are_worse(bench):
    assert bench.worse(counts(1000), counts(1050)) == []
    assert bench.worse(counts(1000), counts(900)) == []
    assert bench.worse(counts(1000), counts(1051)) == ["one, avx2: +5.1% instructions"]
    assert bench.worse(counts(1000), counts(1000, 2000)) == ["one, baseline: +100.0% instructions"]


def test_other_networks_are_not_compared_in_silence(bench):
    assert bench.worse(counts(1), counts(1, operations=99)) == [
        "one: another network than the stored one"
    ]
    assert bench.worse(counts(1), {}) == ["one: not counted any more"]
    assert bench.worse({}, counts(1)) == ["one: nothing is stored of it"]


def test_every_network_is_stored(bench):
    stored = json.loads(bench.STORED.read_text(encoding="utf-8"))
    assert list(stored["networks"]) == [one.name for one in bench.networks()]


@pytest.mark.slow
def test_no_kernel_takes_more_instructions(bench, monkeypatch, capsys):
    if lacking := bench.missing():
        pytest.skip(f"no {lacking}")
    monkeypatch.setattr(sys, "argv", ["instructions.py"])
    assert bench.main() == 0, capsys.readouterr().out
