"""The benchmark of the L4 norm: its statistics by hand, its records, and a run of seconds."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(scope="module")
def bench():
    """Imports a module of the benchmarks by name."""
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module
    sys.path.remove(str(BENCH))


def test_a_paired_difference_by_hand(bench):
    """Four images; seeds of an image are averaged first: differences of 50, 0, 100 and -50."""
    difference = bench("paired").difference
    ours = np.array([[1, 1, 1, 0], [1, 0, 1, 0]], bool)
    theirs = np.array([[0, 0, 0, 1], [1, 1, 0, 0]], bool)
    found = difference(ours, theirs)
    assert found.mean == 25
    error = np.std([50, 0, 100, -50], ddof=1) / 2
    np.testing.assert_allclose(
        [found.low, found.high], 25 + 3.18245 * error * np.array([-1, 1]), rtol=1e-4
    )
    assert 0.4 < found.p < 0.6  # Student's t of 0.775 with 3 degrees of freedom
    assert difference(theirs, ours).mean == -25


def test_equality_has_to_be_shown(bench):
    """No image of ten differs: that shows nothing. None of 2,000 shows less than half a point."""
    paired = bench("paired")
    few, many = np.ones((1, 10), bool), np.ones((1, 2000), bool)
    differences = [paired.difference(few, few), paired.difference(many, many)]
    assert paired.verdicts(differences) == ["open", "equal"]


def test_better_worse_and_too_small_to_matter(bench):
    paired, random = bench("paired"), np.random.default_rng(0)
    base = random.random((5, 4000)) < 0.8
    better = base | (random.random(base.shape) < 0.2)
    slight = base.copy()
    slight[:, :12] = True  # at most .3 points
    found = [paired.difference(*both) for both in ((better, base), (base, better), (slight, base))]
    assert paired.verdicts(found) == ["better", "worse", "equal"]


def test_holm_by_hand(bench):
    assert bench("paired").holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_records_survive_a_line_that_was_cut(bench, tmp_path):
    l4, path = bench("l4"), tmp_path / "cells.jsonl"
    cells = [l4.Cell("a", 8, "none"), l4.Cell("a", 8, "equalize l4")]
    right = np.random.default_rng(0).random((3, 21)) < 0.5
    for cell in cells:
        l4.write(path, cell, right, 1.0)
    path.write_text(path.read_text()[:-20])
    found = l4.read(path)
    assert list(found) == cells[:1]
    np.testing.assert_array_equal(found[cells[0]], right)


def test_a_small_run_and_one_that_goes_on(bench, tmp_path, monkeypatch, examples):
    """The digits perceptron in place of the ten networks: all arms, resumed after some."""
    l4, networks = bench("l4"), bench("small_networks")
    with np.load(examples / "digits_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    with np.load(examples / "digits_calibrate.npz") as file:
        digits = networks.Labelled(examples / "digits_mlp.onnx", file["x"][:64], x, y)
    monkeypatch.setattr(networks, "load", lambda *_: digits)
    line = ["digits_mlp", "--steps", "8", "--seeds", "2", "--scale", "0.02"]
    line += ["--folder", str(tmp_path)]
    l4.main(line)
    cells = (tmp_path / "cells.jsonl").read_text()
    records = [json.loads(row) for row in cells.splitlines()]
    assert {record["cell"][2] for record in records} == set(l4.ARMS)
    assert {len(record["right"]) for record in records} == {1, 2}  # constant input is not drawn
    found = l4.read(tmp_path / "cells.jsonl")
    assert all(right.mean() > 0.6 for right in found.values())
    draws = found[l4.Cell("digits_mlp", 8, "none")]
    assert draws.shape == (2, 40)
    kept = cells.splitlines(keepends=True)[:4]
    (tmp_path / "cells.jsonl").write_text("".join(kept))
    l4.main(line)
    again = l4.read(tmp_path / "cells.jsonl")
    assert all(np.array_equal(again[cell], found[cell]) for cell in found)
    assert "better" in (tmp_path / "tables.md").read_text()
    numbers = json.loads((tmp_path / "tables.json").read_text())
    assert {one["verdict"] for one in numbers} <= {"better", "worse", "equal", "open"}


@pytest.mark.slow
def test_networks_are_written_without_an_exporter(bench):
    """Trained weights as ONNX answer as torch does."""
    torch = pytest.importorskip("torch")
    import onnxruntime as ort

    layers = [torch.nn.Conv2d(1, 2, 3, padding=1, bias=False), torch.nn.ReLU()]
    layers += [torch.nn.AvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 10)]
    network = torch.nn.Sequential(*layers)
    x = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    model = bench("small_networks").as_onnx(network, x.shape[1:])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)
