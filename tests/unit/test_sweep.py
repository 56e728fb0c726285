"""Sweeps: records, seals that depend on nothing but the point, death in the middle, conditions."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from snn_compile import compile_model, sealed
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.options import CompileOptions
from snn_compile.sweep import schema
from snn_compile.sweep.axes import grid_of
from snn_compile.sweep.plan import Request, plan_of
from snn_compile.sweep.records import Records
from snn_compile.sweep.run import SilentSweepObserver, SweepRun
from snn_compile.workers.local import LocalWorkers

AXES = {"coding": ["rate", "graded", "radix"], "timesteps": [4, 8]}
WORDS = ["--coding", "rate,graded,radix", "-T", "4,8", "--no-emit", "-q"]


@pytest.fixture(scope="module")
def place(examples, tmp_path_factory) -> Path:
    """A small model, and a few samples for it."""
    place = tmp_path_factory.mktemp("sweep")
    (place / "mlp.onnx").write_bytes((examples / "digits_mlp.onnx").read_bytes())
    for name in ("calibrate", "evaluate"):
        with np.load(examples / f"digits_{name}.npz") as file:
            np.savez(place / f"{name}.npz", **{key: values[:60] for key, values in file.items()})
    return place


@pytest.fixture(scope="module")
def options(place) -> CompileOptions:
    return CompileOptions(
        calibrate=place / "calibrate.npz", evaluate=place / "evaluate.npz", emit=()
    )


@pytest.fixture(scope="module")
def serial(place, options) -> dict[str, str]:
    """The seals of the points, each compiled by itself."""
    seals = {}
    for name, changes in {
        "graded": {"coding": "graded"},
        **{f"{c}-T{t}": {"coding": c, "timesteps": t} for c in ("rate", "radix") for t in (4, 8)},
    }.items():
        compile_model(place / "mlp.onnx", options=options.override(changes)).save(place / name)
        seals[name] = sealed.read_seal(place / name)
    return seals


def words(place: Path, folder: Path, *more: str) -> list[str]:
    data = [f"--{name}={place / name}.npz" for name in ("calibrate", "evaluate")]
    return ["sweep", str(place / "mlp.onnx"), *data, *WORDS, "-o", str(folder), *more]


def read(folder: Path) -> dict[str, dict]:
    sweep = json.loads((folder / schema.SWEEP).read_text())
    return {point["name"]: point for point in sweep["points"]}


def seals(folder: Path) -> dict[str, str]:
    return {name: p["seal"] for name, p in read(folder).items() if p["state"] == "done"}


class KillsAWorker(SilentSweepObserver):
    """After the first point, a process that compiles another one dies."""

    def __init__(self, pool: LocalWorkers) -> None:
        self.pool, self.killed = pool, 0

    def finished(self, record) -> None:
        if not self.killed:
            child = next(iter(self.pool._running))
            os.kill(child.process, signal.SIGKILL)
            self.killed = child.process


@pytest.fixture(scope="module")
def swept(place, options, tmp_path_factory) -> Path:
    """The grid over two workers of which one is killed in the middle."""
    folder = tmp_path_factory.mktemp("swept")
    plan = plan_of(place / "mlp.onnx", lambda: grid_of(AXES), options.override, Request())
    with LocalWorkers(2) as pool:
        observer = KillsAWorker(pool)
        SweepRun(plan, folder, pool, observer).run()
    assert observer.killed
    return folder


def test_seals_are_those_of_single_compilations_though_a_worker_was_killed(swept, serial):
    assert seals(swept) == serial


def test_a_record_and_a_folder_for_each_point(swept, serial):
    points = read(swept)
    for name in serial:
        record = json.loads((swept / "points" / f"{name}.json").read_text())
        compiled = CompiledModel.load(swept / record["folder"])
        ladder = {rung["stage"]: rung["top1"] for rung in compiled.report["ladder"]}
        assert record["accuracy"] == ladder["fixed"]
        assert record["drop"] == pytest.approx(ladder["onnx"] - ladder["fixed"])
        energy = compiled.report["cost"]["energy"]["value"]
        assert record["energy"] == pytest.approx(1e6 * energy)
        assert record["steps"] == compiled.report["total_steps"]
        assert {"host", "cpu", "blas", "versions"} == set(record["machine"])
        assert {**record, "front": points[name]["front"]} == points[name]
    assert points["graded-T8"]["state"] == "skipped"


def test_run_again_only_what_has_changed_is_compiled(place, swept, tmp_path):
    folder = shutil.copytree(swept, tmp_path / "sweep")

    def written() -> dict[str, int]:
        networks = (folder / "points").glob("*/model.snn")
        return {path.parent.name: path.stat().st_mtime_ns for path in networks}

    before, seal = written(), seals(folder)["graded"]
    assert main(words(place, folder, "--workers=1")) == 0
    assert written() == before
    changed = tmp_path / "evaluate.npz"
    with np.load(place / "evaluate.npz") as file:
        np.savez(changed, **{key: values[:40] for key, values in file.items()})
    line = words(place, folder, f"--evaluate={changed}", "--until=cores<9", "--workers=1")
    assert main(line) == 0
    assert {name for name, when in written().items() if when != before[name]} == {"graded"}
    assert seals(folder).keys() == {"graded"}
    assert seals(folder)["graded"] != seal
    shutil.rmtree(folder / "points" / "graded")
    assert main(line) == 0
    assert "graded" in written()


def test_what_the_surroundings_refused_is_compiled_again(place, swept, tmp_path):
    folder = shutil.copytree(swept, tmp_path / "sweep")
    points = folder / "points"
    shutil.rmtree(points / "graded")
    (points / "graded").mkdir()
    (points / "graded" / "mine").touch()
    assert main(words(place, folder, "--workers=1")) == 0
    assert read(folder)["graded"]["error"]["code"] == "output-exists"
    shutil.rmtree(points / "graded")
    assert main(words(place, folder, "--workers=1")) == 0
    assert read(folder)["graded"]["state"] == "done"


@pytest.mark.parametrize(
    "edit",
    [
        {"folder": "javascript:alert(1)//"},
        {"name": "other"},
        {"state": "nonsense"},
        {"state": "failed"},
        {"state": "dropped"},
        {"energy": 1e300},
    ],
)
def test_a_record_that_no_sweep_writes_is_none(edit, swept, tmp_path):
    folder = shutil.copytree(swept, tmp_path / "sweep")
    file = folder / "points" / "graded.json"
    record = json.loads(file.read_text())
    assert Records(folder).find("graded", record["key"]) == record
    file.write_text(json.dumps({**record, **edit}))
    assert Records(folder).find("graded", record["key"]) is None


def test_the_page_stands_alone_and_links_each_point(swept):
    page = (swept / schema.SWEEP_PAGE).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count('<svg class="front"') == 3
    for name in ("graded", "rate-T4", "radix-T8"):
        assert f'href="points/{name}/report.html"' in page
        assert (swept / "points" / name / "report.html").is_file()
    assert not re.search(r'(?:src|href)="(?!points/|#)', page)


def test_kill_9_of_the_sweep_loses_at_most_the_points_that_ran(place, serial, tmp_path):
    folder = tmp_path / "sweep"
    call = [sys.executable, "-c", "from snn_compile.cli import main; raise SystemExit(main())"]
    process = subprocess.Popen([*call, *words(place, folder, "--workers", "2")])
    deadline = time.monotonic() + 120
    while not (done := list((folder / "points").glob("*.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in done}
    assert kept
    assert not (folder / schema.SWEEP).exists()
    assert main(words(place, folder, "--workers", "1")) == 0
    assert seals(folder) == serial
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not [path for path in folder.rglob(".*") if path.suffix in (".new", ".old")]


def test_until_ends_with_the_cheapest_and_says_what_was_not_run(place, tmp_path, capsys):
    folder = tmp_path / "sweep"
    line = words(place, folder, "--until", "steps>4 and drop<=100", "--workers", "1")
    assert main(line) == 0
    states = {name: point["state"] for name, point in read(folder).items()}
    assert states["graded"] == "done"  # cheaper, but of 3 steps
    assert [n for n, state in states.items() if state == "done"] == ["rate-T4", "graded"]
    assert states["radix-T8"] == states["rate-T8"] == "not-run"
    out = capsys.readouterr().out
    assert "rate-T4 takes the least energy of the compiled points that meet steps > 4" in out
    assert "predicted to take more energy not run" in out


def test_a_condition_that_no_point_meets_has_exit_code_6(place, swept, capsys):
    assert main(words(place, swept, "--until", "accuracy>100.5", "--workers", "1")) == 6
    assert "error[condition-not-met]" in capsys.readouterr().err


def test_what_does_not_fit_is_a_record_that_is_not_compiled_again(place, tmp_path, capsys):
    chip = tmp_path / "chip.toml"
    chip.write_text(
        'inherits = "loihi2"\nname = "chip"\n[core.synapse_memory]\nvalue = 64\n'
        'unit = "bits"\nsource = "none"\nconfidence = "published"\n'
    )
    folder = tmp_path / "sweep"
    line = words(place, folder, "--coding=graded", f"--target={chip},unlimited", "--workers=1")
    assert main(line) == 0
    failed = [p for p in read(folder).values() if p["state"] == "failed"]
    assert [point["error"]["exit_code"] for point in failed] == [5]
    record = folder / "points" / f"{failed[0]['name']}.json"
    before = record.stat().st_mtime_ns
    assert main(line) == 0
    assert record.stat().st_mtime_ns == before
    assert main([*line, "--retry-failed"]) == 0
    assert record.stat().st_mtime_ns != before
    assert f"error[{failed[0]['error']['code']}]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        (["--until", "drop<"], ["--until cannot read"]),
        (["--until", "foo<1", "-T", "0,x"], ["no figure 'foo'", "'x'", "be 0"]),
        (["--evaluate", "nowhere.npz"], ["nowhere.npz: error[no-such-file]"]),
        (["--target", "loihi2,loihi7"], ["no target named 'loihi7'"]),
        (["--coding", "radix", "-T", "20"], ["at most 16 steps"]),
    ],
)
def test_what_is_wrong_with_a_grid_is_said_before_any_work(more, messages, place, tmp_path, capsys):
    assert main(words(place, tmp_path / "sweep", *more)) == 2
    err = capsys.readouterr().err
    assert all(message in err for message in messages), err
    assert not (tmp_path / "sweep").exists()


def test_a_second_sweep_of_a_folder_is_told_so(place, swept):
    from snn_compile.files.claims import exclusive_claim

    code = (
        "import sys; from snn_compile.files import claims; claims.PATIENCE = 0;"
        "from snn_compile.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with exclusive_claim(swept / schema.SWEEP):
        line = [sys.executable, "-c", code, *words(place, swept, "--workers", "1")]
        ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "error[busy]" in ended.stderr


def test_a_model_that_is_no_model_is_refused_at_once(place, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="no such file"):
        plan_of(tmp_path / "none.onnx", lambda: grid_of(AXES), CompileOptions().override, Request())
    assert main(["sweep", str(tmp_path / "bad.onnx"), "--coding", "graded,rate"]) == 3
