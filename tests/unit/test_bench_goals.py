"""Tables of few levels: the most images count, sets are averaged, training has no goal."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"
MODEL = "cifar10_resnet20"


@pytest.fixture(scope="module")
def bench():
    """The modules of cells and tables."""
    sys.path.insert(0, str(BENCH))
    try:
        names = "accuracy_goals_cells", "accuracy_goals_tables"
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(BENCH))


def entry(cells, n_right, images=1000, **more):
    """900 right answers in floating point, the first ones; so many in fixed point."""
    exact, right = np.arange(images) < 0.9 * images, np.arange(images) < n_right
    costs = {"steps": 4, "spikes": 5.0, "microjoules": 6.0, "cores": 7, "cpu": 8.0}
    return {"float": cells.packed(exact), "fixed": cells.packed(right), **costs, **more}


def test_names_are_read_back(bench):
    cells, _ = bench
    for cell in (cells.Cell(MODEL, "sync 4", "default", 9), cells.Cell(MODEL, "a", "max", 9, 2)):
        assert cells.Cell.named(str(cell)) == cell


def test_arms_are_options(bench):
    cells, _ = bench
    assert cells.options_of("reconstructed:30") == {"rounding": "reconstructed:30"}
    assert cells.options_of("max") == {"thresholds": "max"}
    for arm in ("reconstructed:", "reconstructed:x", "max:3", "other"):
        with pytest.raises(ValueError, match="no such arm"):
            cells.options_of(arm)


def test_tables_have_mean_and_worst_of_sets(bench, tmp_path):
    cells, tables = bench

    def name(*others):
        return str(cells.Cell(MODEL, "sync 4", *others))

    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text(
        json.dumps(
            {
                name("default", 1000): entry(cells, 1),
                name("default", 1000, 1): entry(cells, 860, cpu=10.0),
                name("psg", 1000): entry(cells, 890),
                name("reconstructed:30", 80): entry(cells, 72, 80),
            }
        )
    )
    second.write_text(
        json.dumps(
            {name("default", 1000): entry(cells, 890), name("default", 90): entry(cells, 8, 90)}
        )
    )
    found = tables.losses(cells.known_of([first, tmp_path / "none", second]), [MODEL])
    titles, *rows = tables.table(found)
    rows = [dict(zip(titles, row, strict=True)) for row in rows]
    assert [row["arm"] for row in rows] == ["default", "reconstructed:30", "psg"]
    assert [row["setting"] for row in rows] == ["sync 4", "", ""]
    # Of 900 right answers 10 and 40 are lost: 25 of 1,000 on average.
    assert (rows[0]["lost"], rows[0]["worst"]) == ("2.50", "4.00 of 2")
    assert (rows[0]["goal"], rows[0]["verdict"], rows[0]["cpu"]) == ("2", "not met", "9")
    each = np.zeros(1000)
    each[860:890], each[890:900] = 0.5, 1
    half = 1.962341 * 100 * each.std(ddof=1) / np.sqrt(1000)  # Student's t
    assert rows[0]["interval"] == f"{2.5 - half:.2f} to {2.5 + half:.2f}"
    assert (rows[1]["lost"], rows[1]["verdict"], rows[1]["images"]) == ("0.00", "met, shown", "80")
    assert (rows[2]["lost"], rows[2]["worst"], rows[2]["verdict"]) == ("1.00", "", "")
