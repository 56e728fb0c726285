"""Golden messages within a budget: fewer stimuli, engine and reference, the same files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.errors import VerificationError
from snn_compile.hil import golden
from snn_compile.pipeline.driver import compile_model
from snn_compile.sim import engine


@pytest.fixture(scope="module")
def compiled(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    made = compile_model(
        examples / "digits_cnn.onnx", calibrate=calibrate, emit=(), coding="sigma-delta"
    )
    return replace(made, stimulus=made.stimulus[:20])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_small_network_has_all_stimuli_and_the_reference_computes_them(compiled):
    assert golden.n_stimuli(compiled.program) == golden.MOST
    found = golden.record(compiled.program, compiled.stimulus)
    assert found.n_checked == len(compiled.stimulus)
    assert found.mode == "reference simulator, hashes of all messages"
    assert not golden.is_sampled(compiled.program, golden.MOST)


def test_within_a_smaller_budget_the_files_are_the_same(compiled, tmp_path, monkeypatch):
    if engine.no_engine(compiled.program):
        pytest.skip("needs the engine")
    compiled.save(tmp_path / "whole")
    monkeypatch.setattr(golden, "REFERENCE_WORK", 1)
    calls = []
    compiled.save(tmp_path / "sampled", advance=calls.append)
    assert sum(calls) == len(compiled.stimulus) + golden.FEWEST
    assert contents(tmp_path / "whole" / "golden") == contents(tmp_path / "sampled" / "golden")
    again = CompiledModel.load(tmp_path / "sampled")
    outcome = again.verify_golden(again.stimulus)
    assert outcome.equal
    assert "reference simulator on 4 of them" in outcome.mode


def test_the_reference_finds_what_the_engine_does_wrong(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "REFERENCE_WORK", 1)
    monkeypatch.setattr(engine, "no_engine", lambda program: "")
    simulate = golden.reference.run

    def wrong(*args, **options):
        run = simulate(*args, **options)
        next(iter(run.messages.values()))[-1] += 1
        return run

    monkeypatch.setattr(golden.engine, "run", wrong)
    with pytest.raises(VerificationError, match="engine and reference differ"):
        compiled.save(tmp_path / "wrong")


@pytest.mark.parametrize("budget", ["MESSAGE_BYTES", "STIMULUS_BYTES", "ENGINE_WORK"])
def test_each_budget_bounds_the_number_of_stimuli(compiled, monkeypatch, budget):
    monkeypatch.setattr(golden, budget, 1)
    assert golden.n_stimuli(compiled.program) == golden.FEWEST
    assert golden.is_sampled(compiled.program, golden.FEWEST)
    assert f"{golden.FEWEST} of {golden.MOST} stimuli" in golden.summary(
        compiled.program, golden.FEWEST
    )
