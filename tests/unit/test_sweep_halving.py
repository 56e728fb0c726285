"""Halving drops only what is surpassed, and keeps its promise about errors."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest

from snn_compile.cli import main
from snn_compile.sweep import halving
from snn_compile.sweep.halving import Screened, dropped, probability


def screened(name, right, **costs):
    return Screened(
        name, np.asarray(right, bool), {"energy": 1.0, "cores": 1.0, "steps": 1.0} | costs
    )


@pytest.mark.parametrize("discordant", [1, 2, 7, 20])
def test_the_bound_is_above_the_probability_in_every_population(discordant):
    """Exactly, for draws without replacement where both points win half of the samples."""
    for half in (discordant, 2 * discordant, 50 * discordant):
        whole = math.comb(2 * half, discordant)
        for wins in range(discordant + 1):
            exact = sum(
                math.comb(half, k) * math.comb(half, discordant - k)
                for k in range(wins, discordant + 1)
            )
            assert exact / whole <= probability(wins, discordant) + 1e-12
    assert probability(discordant, discordant) == pytest.approx(2.0**-discordant)
    assert probability(0, 0) == 1.0


def test_a_dearer_point_never_drops_another_and_neither_does_an_equal_one():
    good, bad = np.ones(64), np.zeros(64)
    for cost in halving.COSTS:
        for dearer in (2.0, math.nan):  # or nobody knows
            assert not dropped([screened("a", good, **{cost: dearer}), screened("b", bad)], 0.01)
    assert not dropped([screened("a", good), screened("b", good)], 0.01)
    proof = dropped([screened("a", good), screened("b", bad)], 0.01)
    assert proof == {
        "b": {"n": 64, "accuracy": 0.0, "worse_than": "a", "wins": 64, "discordant": 64}
    }
    few = [screened("a", good[:6]), screened("b", bad[:6])]
    assert not dropped(few, 0.01)  # 2**-6 is above it


def errors(n_populations: int, risk: float) -> int:
    """In how many random orders a point is dropped for one that is not more accurate at all."""
    random, wrong = np.random.default_rng(5), 0
    for _ in range(n_populations):
        n = 512
        right = random.random((4, n)) < random.choice([0.5, 0.7, 0.9])
        for row in right[1:]:  # as accurate as the first, on other samples
            row[:] = random.permutation(right[0])
        order = random.permutation(n)
        found = {}
        for size in (n // 16, n // 4):
            points = [screened(str(k), right[k][order[:size]]) for k in range(4)]
            found |= dropped(points, risk)
        wrong += bool(found)
    return wrong


def test_points_that_are_equally_accurate_are_dropped_in_less_than_5_percent_of_orders():
    n = 200
    assert errors(n, halving.risk_of_a_pair(4, 2)) <= 0.05 * n
    assert errors(n, 0.3) > 0.05 * n  # without the correction the promise would be broken


def test_a_point_that_is_far_worse_is_dropped_early():
    random = np.random.default_rng(1)
    good, bad = random.random(600) < 0.95, random.random(600) < 0.2
    assert list(dropped([screened("g", good[:37]), screened("b", bad[:37])], 1e-4)) == ["b"]


def test_who_is_dropped_does_not_depend_on_the_order_of_points():
    random = np.random.default_rng(2)
    points = [screened(str(k), random.random(100) < 0.3 + 0.3 * k) for k in range(3)]
    kept = {tuple(sorted(dropped(order, 1e-3))) for order in permutations(points)}
    assert kept == {("0", "1")} or kept == {("0",)}


def test_a_sweep_drops_and_says_for_whom(examples, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "sweep"
    line = ["sweep", str(examples / "digits_mlp.onnx"), "--no-emit", "--halving", "-o", str(folder)]
    more = ["--coding", "graded,rate", "-T", "1", "--workers=1", "--until=drop<50"]
    config = [f"--{n}={examples / f'digits_{n}.npz'}" for n in ("calibrate", "evaluate")]
    wide = ["--weight-bits=2,8", "--thresholds=percentile:50"]
    assert main([*line, *more, *config, *wide]) == 0
    sweep = json.loads((folder / "sweep.json").read_text())
    gone = [point for point in sweep["points"] if point["state"] == "dropped"]
    assert gone
    names = {point["name"]: point for point in sweep["points"]}
    for point in gone:
        assert names[point["screening"]["worse_than"]]["state"] != "failed"
        assert point["screening"]["wins"] > point["screening"]["discordant"] / 2
    assert "95 %" in sweep["guarantee"]
    out, err = capsys.readouterr()
    assert "dropped" in out
    assert "halving: 4 points on 31 samples" in err
    (folder / "points" / f"{gone[0]['name']}.json").unlink()  # as if it had been interrupted
    counts: list[tuple[int, ...]] = []
    monkeypatch.setattr(halving, "risk_of_a_pair", lambda *given: counts.append(given) or 0.0)
    assert main([*line, *more, *config, *wide]) == 0
    assert counts == [(4, 2)]


def test_halving_needs_labels(examples, tmp_path, capsys):
    with np.load(examples / "digits_evaluate.npz") as file:
        np.savez(tmp_path / "x.npz", x=file["x"])
    line = ["sweep", str(examples / "digits_mlp.onnx"), "--halving", "--coding=graded,rate"]
    assert main([*line, f"--evaluate={tmp_path / 'x.npz'}"]) == 2
    assert "--halving compares classes" in capsys.readouterr().err
    data = f"--evaluate={examples / 'digits_evaluate.npz'}"
    assert main([*line, data, "--weight-bits=auto", "--max-accuracy-drop=1"]) == 2
    assert "auto" in capsys.readouterr().err
