"""Limits of cost, and what build servers read: written also where a command fails."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from output_networks import two_heads
from snn_compile import CompileOptions, compile_model
from snn_compile.cli import main
from snn_compile.errors import CompileError, LimitError, Origin, VerificationError
from snn_compile.report import ci_files, limits
from snn_compile.report.outcome import Check, Outcome
from snn_compile.report.tables import Row, Table, html, markdown

EVIL = "</failure><x> & | `a` *b* %0A ::error:: \n::stop-commands::x \x1b[31m \x00 ]]> \ud800"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ci")
    two_heads(folder)
    x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    np.savez(folder / "more.npz", x=x + 0.5)
    return folder


def compiled(place: Path, out: Path, *more: object) -> int:
    given = ["--calibrate", place / "data.npz", "--evaluate", place / "more.npz", "--no-emit"]
    line = [place / "two_heads.onnx", *given, "-o", out / "net.snn", "-q", *more]
    return main([*map(str, line)])


def outputs(folder: Path) -> list[object]:
    return ["--summary", folder / "s.md", "--junit", folder / "j.xml", "--github"]


def test_every_broken_limit_is_named_and_everything_written(place, tmp_path, capsys):
    broken = ["--max-energy", 1e-6, "--max-latency", 0.5, "--max-cores", 100]
    assert compiled(place, tmp_path, *broken, *outputs(tmp_path)) == 6
    said = capsys.readouterr().err
    assert said.count("]: the dynamic energy of an inference is") == 1
    assert said.count("]: the latency of an inference is") == 1
    assert "number of cores" not in said
    assert [line.split(" ")[0] for line in said.splitlines() if line.startswith("::")] == [
        "::error",
        "::error",
    ]
    report = json.loads((tmp_path / "net.snn" / "report.json").read_text())
    assert report["options"]["max_latency"]["value"] == 0.5
    suite = ET.parse(tmp_path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    names = {case.get("name").partition(":")[0]: [one.tag for one in case] for case in suite}
    assert names["max-energy"] == names["max-latency"] == ["failure"]
    assert names["max-cores"] == names["compile"] == []
    assert "| max-latency | failed |" in (tmp_path / "s.md").read_text()


def test_limits_that_are_kept_change_nothing(place, tmp_path, capsys):
    kept = ["--max-energy", 1e6, "--max-latency", 1e9, "--max-cores", 100]
    assert compiled(place, tmp_path, *kept, *outputs(tmp_path)) == 0
    assert "::" not in capsys.readouterr().err
    (tmp_path / "plain").mkdir()
    assert compiled(place, tmp_path / "plain") == 0
    model = [folder / "net.snn" / "model.snn" for folder in (tmp_path, tmp_path / "plain")]
    assert model[0].read_bytes() == model[1].read_bytes()
    assert "checks" in (tmp_path / "s.md").read_text()


def test_a_limit_is_not_kept_by_what_is_not_known(place):
    given = {"calibrate": np.load(place / "data.npz")["x"], "target": "unlimited"}
    report = compile_model(place / "two_heads.onnx", **given).report
    (error,) = limits.broken(report, CompileOptions(max_energy=1.0), "net.onnx")["max_energy"]
    assert isinstance(error, LimitError)
    assert error.code == "unmeasurable"


def test_limits_without_samples_are_refused_at_once(place, tmp_path, capsys):
    words = [str(place / "two_heads.onnx"), "-o", str(tmp_path / "net.snn"), "--max-energy", "1"]
    assert main([*words, "--max-accuracy-drop", "1", "--max-latency", "1"]) == 2
    assert capsys.readouterr().err.count("error[missing-data]") == 3
    assert not (tmp_path / "net.snn").exists()


def test_files_are_written_where_nothing_compiles(place, tmp_path, capsys):
    assert main([str(tmp_path / "none.onnx"), *map(str, outputs(tmp_path))]) == 2
    suite = ET.parse(tmp_path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    assert suite[0][0].get("type") == "no-such-file"
    assert "failed" in (tmp_path / "s.md").read_text().splitlines()[0]
    (tmp_path / "folder").mkdir()
    for files in (["--junit", tmp_path / "folder"], ["--junit", tmp_path / "no" / "j.xml"]):
        assert main([str(place / "two_heads.onnx"), *map(str, files)]) == 2
    same = ["--junit", tmp_path / "a", "--summary", tmp_path / "a"]
    assert main([str(place / "two_heads.onnx"), *map(str, same)]) == 2
    assert capsys.readouterr().err.count("error[") == 4


def test_each_comparison_of_verify_is_a_test(place, tmp_path, capsys):
    assert compiled(place, tmp_path) == 0
    golden = tmp_path / "net.snn" / "golden" / "messages.json"
    hashes = json.loads(golden.read_text())
    hashes["r"][0] = "0" * len(hashes["r"][0])
    golden.write_text(json.dumps(hashes))
    line = ["verify", tmp_path / "net.snn", "--against", "golden,engine", "-q"]
    assert main([*map(str, [*line, *outputs(tmp_path)])]) == 7
    suite = ET.parse(tmp_path / "j.xml").getroot()[0]
    tags = {case.get("name").partition(":")[0]: [one.tag for one in case] for case in suite}
    assert tags["golden"] == ["failure"]
    assert tags["verify"] == []
    assert tags["engine"] in ([], ["skipped"])


def evil() -> Outcome:
    errors: list[CompileError] = [VerificationError(EVIL, origin=Origin(EVIL, EVIL), hint=EVIL)]
    warning = {"code": EVIL, "message": EVIL, "hint": EVIL}
    table = Table(EVIL, (EVIL, EVIL), (Row((EVIL, EVIL), frozenset({1})),), EVIL)
    outcome = Outcome("verify", EVIL, warnings=[warning], tables=[table], notes=[EVIL])
    outcome.checks.append(Check(EVIL, errors))
    outcome.checks.append(Check(EVIL, skipped=EVIL))
    outcome.end([CompileError(EVIL)])
    return outcome


def test_whatever_files_say_stays_text():
    outcome = evil()
    suite = ET.fromstring(ci_files.junit(outcome).encode("utf-8"))[0]
    assert [case[0].tag for case in suite.iter("testcase")] == ["error", "failure", "skipped"]
    lines = list(ci_files.workflow_commands(outcome))
    assert [line[:8] for line in lines] == ["::error ", "::error ", "::warnin"]
    for line in lines:
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        properties = line.split("::")[1].split(" ", 1)[1]
        assert {one.split("=")[0] for one in properties.split(",")} <= {"file", "title"}
    page = ci_files.summary(outcome)
    page.encode("utf-8")
    assert "</failure>" not in page
    assert "\x1b" not in page
    text = markdown(Table("t", ("a", "b"), (Row(("x|y", "`z` <b>")),)))
    assert text.splitlines()[4] == "| x\\|y | \\`z\\` &lt;b&gt; |"
    assert "<x>" not in html(outcome.tables[0])


def test_a_sweep_is_a_test_for_each_point():
    from snn_compile.sweep.outcome import checks_of

    error = {"code": "does-not-fit", "message": "too large", "hint": "", "exit_code": 5}
    points = [
        {"name": "a", "state": "done", "seconds": 1.0},
        {"name": "b", "state": "over-limit"},
        {"name": "c", "state": "failed", "error": error},
        {"name": "d", "state": "skipped", "note": "does not apply"},
    ]
    checks = checks_of({"points": points})
    assert [check.verdict for check in checks] == ["passed", "failed", "error", "skipped"]
    assert checks[2].complaints[0].code == "does-not-fit"
