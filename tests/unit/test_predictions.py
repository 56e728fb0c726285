"""Predictions as rows, and the figures of each class."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from output_networks import segmenter, two_heads
from snn_compile import CompiledModel, compile_model
from snn_compile.cli import main
from snn_compile.predictions import tables
from snn_compile.predictions.columns import Column, columns_of, ranked
from snn_compile.predictions.tally import Classes, errors_by_sample, tally_of
from snn_compile.report import metrics
from snn_compile.samples.outputs import Expected, OutputKind


def written(form: type, *pieces: list[Column]) -> bytes:
    stream = io.BytesIO()
    with form(stream) as rows:
        for piece in pieces:
            rows.append(piece)
    return stream.getvalue()


def csv_rows(*pieces: list[Column]) -> list[dict[str, str]]:
    text = written(tables.CsvFile, *pieces).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_scores_are_ranked_like_the_argmax():
    scores = np.array([[1.0, 3.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    assert ranked(scores, 3).tolist() == [[1, 2, 0], [0, 1, 2]]
    assert np.array_equal(ranked(scores, 1)[:, 0], scores.argmax(1))
    assert ranked(scores, 9).shape == (2, 4)


@pytest.mark.parametrize("pieces", [1, 3])
def test_figures_are_those_of_the_report(pieces):
    rng = np.random.default_rng(0)
    maps = rng.integers(-1, 4, size=(30, 3, 3))
    cases = [
        Expected("a", (7,), y=rng.integers(0, 7, size=30)),
        Expected("m", (4, 3, 3), OutputKind.SEGMENTATION, maps),
        Expected("r", (2, 5), OutputKind.REGRESSION, rng.normal(size=(30, 2, 5))),
    ]
    for expected in cases:
        values = rng.normal(size=(30, *expected.shape))
        tally = tally_of(expected)
        for part in np.array_split(values, pieces):
            tally.add(part, metrics.answers(expected, part))
        found, answers = tally.figures(), metrics.answers(expected, values)
        for key, value in metrics.compare(expected, answers, answers).items():
            if key not in metrics.AGAINST_FIRST:
                assert found[key] == (value if isinstance(value, str) else pytest.approx(value))


def test_each_class_is_counted():
    expected = Expected("a", (3,), y=np.array([0, 0, 1, 2, 2, 2]))
    tally = Classes(expected, ("zero", "one", "two"))
    answers = np.array([0, 1, 1, 2, 0, 1])
    tally.add(np.eye(3)[answers], answers)
    figures = tally.figures()
    assert tally.confusion.matrix().tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 1]]
    last = figures["classes"][2]
    assert (last["name"], last["labels"], last["answers"], last["correct"]) == ("two", 3, 1, 1)
    assert last["accuracy"] == pytest.approx(100 / 3, abs=1e-3)
    assert last["precision"] == 100.0
    assert figures["confusions"][0] == {"label": 0, "answer": 1, "n": 1}
    assert "top5" not in figures  # of three classes, any answer is among the five best


def test_the_label_among_the_five_best_agrees_with_the_ranks():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, size=(200, 9)).astype(float)  # many are equal
    labels = rng.integers(0, 9, size=200)
    tally = Classes(Expected("a", (9,), y=labels))
    tally.add(scores, scores.argmax(1))
    among = (ranked(scores, 5) == labels[:, None]).any(axis=1)
    assert 0.3 < among.mean() < 0.9
    assert tally.figures()["top5"] == pytest.approx(100 * among.mean())


@pytest.mark.parametrize(
    "name", ["=1+1", "+cmd", "-2", "@sum", "|calc", " =x", "\t=x", "\uff1dx", "=HYPERLINK(1)"]
)
def test_no_name_is_a_formula_for_a_spreadsheet(name):
    found = csv_rows([Column("top1_name", np.array([name, "cat"], object))])
    assert found[0]["top1_name"][0] in "'\\"
    assert found[1]["top1_name"] == "cat"
    assert tables.harmless("a=b") == "a=b"
    line = written(tables.JsonLines, [Column("n", np.array([name], object))])
    assert json.loads(line) == {"n": name}


def test_rows_hold_their_numbers_exactly():
    values = np.array([0.1, -1e-300, np.nan, 2.0**60])
    piece = [Column("a", values), Column("v", np.arange(8.0).reshape(4, 2))]
    piece.append(Column("map", np.zeros((4, 3, 3))))
    rows = csv_rows(piece, piece)
    assert len(rows) == 8
    assert list(rows[0]) == ["a", "v_0", "v_1"]
    assert [float(row["a"] or "nan") for row in rows[:4]] == pytest.approx(values, nan_ok=True)
    assert float(rows[5]["a"]) == -1e-300
    lines = [json.loads(line) for line in written(tables.JsonLines, piece).splitlines()]
    assert lines[2] == {"a": None, "v": [4.0, 5.0]}


def test_errors_of_a_sample():
    y = np.array([[[0, 1], [-1, 1]], [[-1, -1], [-1, -1]]])
    expected = Expected("m", (2, 2, 2), OutputKind.SEGMENTATION, y)
    found = errors_by_sample(expected, 0, np.zeros((2, 2, 2), int))
    assert found[0] == pytest.approx(2 / 3)
    assert np.isnan(found[1])
    assert errors_by_sample(Expected("m", (2,)), 0, np.zeros(2)) is None


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """A folder of two heads, with samples and names beside it."""
    place = tmp_path_factory.mktemp("heads")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8)).astype(np.float32)
    compile_model(two_heads(place), calibrate=x).save(place / "net.snn")
    labels = rng.integers(0, 4, size=40), rng.normal(size=(40, 1)).astype(np.float32)
    np.savez(place / "data.npz", x=x, y_policy=labels[0], y_value=labels[1])
    (place / "names.txt").write_text("left\nright\n=up\ndown\n")
    return place


def run(place: Path, out: str, *more: str) -> int:
    line = ["run", str(place / "net.snn"), "--data", str(place / "data.npz"), "-q"]
    return main([*line, "-o", str(place / out), *more])


def test_run_writes_rows(heads, capsys):
    names = ["--labels", str(heads / "names.txt")]
    assert run(heads, "out.csv", *names, "--top", "2") == 0
    assert "confusion of policy" in capsys.readouterr().out
    assert run(heads, "out.jsonl", *names) == 0
    compiled = CompiledModel.load(heads / "net.snn")
    with np.load(heads / "data.npz") as data:
        answers, labels = compiled.run(data["x"]), data["y_policy"]
    rows = list(csv.DictReader(io.StringIO((heads / "out.csv").read_text())))
    lines = [json.loads(line) for line in (heads / "out.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) == 40
    known = ("left", "right", "=up", "down")
    for k, (row, line) in enumerate(zip(rows, lines, strict=True)):
        best = ranked(answers["policy"][k : k + 1], 4)[0]
        assert int(row["sample"]) == line["sample"] == k
        assert int(row["policy.top2"]) == line["policy.top2"] == best[1]
        assert line["policy.top1_name"] == known[best[0]]
        assert row["policy.top1_name"].lstrip("'") == known[best[0]]
        assert float(row["policy.top1_score"]) == answers["policy"][k].max()
        assert line["policy.correct"] is bool(best[0] == labels[k])
        assert line["value.values"] == answers["value"][k].tolist()
        assert "policy.top3" not in row
        assert "policy.top4" in line
    assert {row["policy.top1_name"] for row in rows} <= {"left", "right", "'=up", "down"}


def test_run_writes_parquet(heads):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(heads, "out.parquet") == 0
    table = parquet.read_table(heads / "out.parquet")
    with np.load(heads / "data.npz") as data:
        answers = CompiledModel.load(heads / "net.snn").run(data["x"])
    assert table["policy.top1"].to_pylist() == answers["policy"].argmax(1).tolist()
    assert table["value.values"].to_pylist() == answers["value"].tolist()


def test_run_refuses_what_has_no_place_in_a_row(heads, tmp_path, capsys):
    assert run(heads, "out.xlsx") == 2
    assert run(heads, "out.csv", "--trace") == 2
    assert run(heads, "out.npz", "--top", "3") == 2
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert run(heads, "out.csv", "--labels", str(tmp_path / "names.txt")) == 2
    said = capsys.readouterr().err
    assert said.count("error[bad-option]") == 3
    assert "it has 3 names, and the network 4 classes" in said


def test_maps_are_for_arrays(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(6, 2, 8, 8)).astype(np.float32)
    compiled = compile_model(segmenter(tmp_path), calibrate=x)
    compiled.save(tmp_path / "net.snn")
    np.savez(tmp_path / "data.npz", x=x)
    assert run(tmp_path, "out.csv") == 2
    assert "maps have no place in rows of text" in capsys.readouterr().err
    answers = compiled.run(x).argmax(1)
    np.savez(tmp_path / "data.npz", x=x, y=np.where(answers, answers, 1))
    assert run(tmp_path, "out.csv") == 0
    wrong = [
        float(row["wrong"])
        for row in csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    ]
    assert wrong == pytest.approx((answers == 0).reshape(6, -1).mean(1).tolist())


def test_parquet_keeps_the_shape_of_a_map():
    parquet = pytest.importorskip("pyarrow.parquet")
    values = np.arange(24).reshape(2, 3, 4)
    content = written(tables.ParquetFile, [Column("map", values)])
    table = parquet.read_table(io.BytesIO(content))
    shape = json.loads(table.schema.field("map").metadata[b"shape"])
    assert np.array_equal(np.reshape(table["map"].to_pylist(), (2, *shape)), values)


def test_columns_of_a_single_value_have_the_class_of_the_threshold():
    (output,) = columns_of([Expected("p", (1,), threshold=0.5)], [("no", "yes")], 5)
    found = {c.name: c.values.tolist() for c in output.of(0, np.array([[0.2], [0.7]]))}
    assert found == {"top1": [0, 1], "top1_name": ["no", "yes"], "top1_score": [0.2, 0.7]}
