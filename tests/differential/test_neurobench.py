"""NeuroBench's own harness on compiled networks: what it counts is what the report says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from snn_compile.cli import main

ROOT = Path(__file__).parents[2]
RUN = "import sys; from snn_compile.cli import main; sys.exit(main(sys.argv[1:]))"
SAME = (
    *("connection_sparsity", "activation_sparsity", "effective operations"),
    *("Dense", "classification_accuracy"),
)
CODINGS = {
    "graded": ["--coding", "graded"],
    "rate": ["--coding", "rate", "-T", "6"],
    "bursts": ["--coding", "rate", "-T", "6", "--burst", "3"],
    "poisson": ["--coding", "rate", "-T", "6", "--input", "poisson"],
    "signed": ["--coding", "signed", "-T", "6"],
    "sync": ["--coding", "sync", "-T", "6"],
    "radix": ["--coding", "radix"],
    "sigma-delta": ["--coding", "sigma-delta"],
}


def measured(python, folder, data, *options):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(ROOT / "toolchain")
    command = [str(python), "-c", RUN, "neurobench", str(folder), "--data", str(data), *options]
    done = subprocess.run(
        [*command, "--json", "-q"], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stderr
    return {row["metric"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_counted_as_in_the_report(coding, neurobench_python, examples, tmp_path):
    """The report counts on its own, at compile time; the batches do not divide the samples."""
    folder, data = tmp_path / "net.snn", examples / "digits_evaluate.npz"
    words = [str(examples / "digits_cnn.onnx"), "-o", str(folder), "--no-emit", "-q"]
    assert main([*words, *CODINGS[coding]]) == 0
    report = json.loads((folder / "report.json").read_text())["neurobench"]
    found = measured(neurobench_python, folder, data, "--batch-size", "33")
    assert [name for name in SAME if found[name]["equal"] is not True] == []
    assert found["classification_accuracy"]["theirs"] == pytest.approx(
        report["classification_accuracy"], abs=1e-6
    )
    counts = report["synaptic_operations"]
    effective = counts["Effective_MACs"] + counts["Effective_ACs"]
    assert found["effective operations"]["theirs"] == pytest.approx(effective, rel=1e-12)
    assert found["Dense"]["theirs"] == counts["Dense"]
    assert found["activation_sparsity"]["theirs"] == pytest.approx(
        report["activation_sparsity"], rel=1e-9
    )


def test_products_and_sparse_synapses(neurobench_python, examples, tmp_path):
    """Spoken digits by a GRU: neurons that multiply, and joins."""
    folder = tmp_path / "kws.snn"
    words = [str(examples / "kws_gru.onnx"), "-o", str(folder), "--no-emit", "-q"]
    assert main(words) == 0
    found = measured(neurobench_python, folder, examples / "kws_evaluate.npz")
    assert [name for name in SAME if found[name]["equal"] is not True] == []
    assert "for the places of sparse weights" in found["footprint"]["why"]
