"""What a sweep keeps and what it leaves alone, with workers that compile nothing."""

from __future__ import annotations

import errno
import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from snn_compile.cli import main
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.options import CompileOptions
from snn_compile.sweep import halving, run, schema
from snn_compile.sweep.axes import grid_of
from snn_compile.sweep.goal import Goal, parse_goal
from snn_compile.sweep.ownership import require_own
from snn_compile.sweep.page import render
from snn_compile.sweep.plan import Request, plan_of
from snn_compile.sweep.run import SilentSweepObserver, SweepRun
from snn_compile.sweep.standing import Standing
from snn_compile.workers import Done
from snn_compile.workers.machine import Machine

HERE = Machine("here", 1)
RATES = {"coding": ["rate"], "timesteps": [1, 2, 3, 4]}


class Answers:
    """Workers that answer at once: the first point is always right and the others never are."""

    n, machines = 1, (HERE,)

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def run(self, jobs):
        for job in jobs:
            self.jobs.append(job.key)
            if job.function == halving.SCREEN:
                n = job.arguments["n"]
                right = np.full(n, job.key.endswith("T1"))
                value = {"right": right, "costs": dict.fromkeys(halving.COSTS, 1.0)}
            else:
                value = {"archive": b"", "seal": "", "accuracy": 50.0, "drop": 0.0, "energy": 1.0}
            yield Done(job.key, HERE, 0.0, value)


@pytest.fixture
def sweep(examples, tmp_path, monkeypatch):
    """Runs a sweep over rate coding with some numbers of steps; returns who got a job."""
    monkeypatch.setattr(run, "unpack", lambda archive, folder: None)
    data = tmp_path / "evaluate.npz"
    np.savez(data, x=np.zeros((400, 64)), y=np.zeros(400, int))

    def swept(axes=RATES, **options) -> list[str]:
        base = CompileOptions(evaluate=data).override(options)
        request = Request(halving=True)
        plan = plan_of(examples / "digits_mlp.onnx", lambda: grid_of(axes), base.override, request)
        pool = Answers()
        swept.result = SweepRun(
            plan, tmp_path / "sweep", pool, SilentSweepObserver(), shares_files=False
        ).run()
        return pool.jobs

    return swept


def states(sweep: schema.Sweep) -> dict[str, str]:
    return {point["name"]: point["state"] for point in sweep["points"]}


def test_a_drop_is_kept_for_the_same_points_and_for_fewer(sweep, tmp_path):
    sweep()
    dropped = [name for name, state in states(sweep.result).items() if state == "dropped"]
    assert dropped == ["T2", "T3", "T4"]
    record = json.loads((tmp_path / "sweep" / "points" / "T3.json").read_text())
    kept = json.loads((tmp_path / "sweep" / "points" / "T1.json").read_text())
    assert record["screening"]["rival_key"] == kept["key"]
    assert sweep() == ["T1"]  # its folder is not there
    assert sweep({**RATES, "timesteps": [1, 3]}) == ["T1"]


def test_a_drop_whose_proof_is_too_weak_for_more_points_is_judged_again(sweep, monkeypatch):
    monkeypatch.setattr(halving, "rounds", lambda n: [14])  # 2**-14 is enough for four points only
    assert 0.05 / (15 * 14) > 2.0**-14 > 0.05 / (40 * 39)
    sweep()
    assert sweep() == ["T1"]
    assert sweep({**RATES, "timesteps": list(range(1, 16))})[:13] == [
        "T1", *(f"T{k}" for k in range(5, 16)), "T1",
    ]  # fmt: skip
    assert "T2" in sweep({**RATES, "timesteps": list(range(1, 41))})


def test_a_drop_for_a_point_that_has_changed_is_judged_again(sweep, tmp_path):
    sweep()
    path = tmp_path / "sweep" / "points" / "T3.json"
    record = json.loads(path.read_text())
    record["screening"]["rival_key"] = "of another target"
    path.write_text(json.dumps(record))
    assert sweep() == ["T1", "T3", "T1"]


@pytest.mark.parametrize("edit", [{"wins": 1000}, {"wins": -1}, {"discordant": 1000}])
def test_a_proof_that_counts_more_than_there_is_is_none(edit, sweep, tmp_path):
    sweep()
    path = tmp_path / "sweep" / "points" / "T3.json"
    record = json.loads(path.read_text())
    record["screening"] |= edit
    path.write_text(json.dumps(record))
    assert "T3" in sweep()


def test_a_full_disk_ends_a_sweep_that_can_be_resumed(sweep, tmp_path, monkeypatch):
    full = [False, True]

    def unpack(archive: bytes, folder: Path) -> None:
        if full.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "unpack", unpack)
    monkeypatch.setattr(halving, "dropped", lambda points, risk: {})
    with pytest.raises(UsageError, match="No space left") as caught:
        sweep()
    assert (caught.value.code, caught.value.origin.file) == ("file", str(tmp_path / "sweep"))
    assert "goes on from 1 finished point" in caught.value.hint
    written = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert states(written) == {"T1": "done", "T2": "not-run", "T3": "not-run", "T4": "not-run"}


def test_files_of_others_are_named_and_not_replaced(sweep, examples, tmp_path, capsys):
    folder = tmp_path / "sweep"
    theirs = [folder / "points" / "T1.json", folder / "sweep.html", folder / "sweep.json"]
    theirs[0].parent.mkdir(parents=True)
    for path in theirs:
        path.write_text('{"points": "mine"}')
    with pytest.raises(CompileErrors) as caught:
        require_own(folder, ["T1", "T2"])
    assert {one.code for one in caught.value.errors} == {"output-exists"}
    assert sorted(one.origin.file for one in caught.value.errors) == [str(path) for path in theirs]
    model = str(examples / "digits_mlp.onnx")
    assert main(["sweep", model, "--coding=rate", "-T1,2", "-o", str(folder), "-q"]) == 2
    assert "no sweep has written this file" in capsys.readouterr().err
    assert {path.read_text() for path in theirs} == {'{"points": "mine"}'}


def test_what_a_sweep_wrote_is_replaced_damaged_records_as_well(sweep, tmp_path):
    sweep()
    folder = tmp_path / "sweep"
    (folder / "points" / "T2.json").write_text("{")
    require_own(folder, ["T1", "T2"])
    (folder / "sweep.html").write_text(render({**sweep.result, "points": []}), encoding="utf-8")
    require_own(folder, [])


@pytest.mark.parametrize("seed", range(20))
def test_when_a_sweep_is_decided_in_whatever_order_points_end(seed):
    """By the definition: some point meets the goal, and all before it have ended."""
    draw = random.Random(seed)
    names = [str(k) for k in range(draw.randint(1, 12))]
    good = {name for name in names if draw.random() < 0.3}
    order = [SimpleNamespace(name=name) for name in names]
    standing, ended = Standing(order, parse_goal("drop<1")), []
    for name in draw.sample(names, len(names)):
        ended.append(name)
        standing.add({"name": name, "state": "done", "drop": 0.0 if name in good else 2.0})
        met = [k for k, one in enumerate(names) if one in ended and one in good]
        before = names[: met[0]] if met else names
        assert standing.is_decided == (bool(met) and set(before) <= set(ended))
        assert [point.name for point in standing.needed()] == [n for n in before if n not in ended]


def test_each_record_is_judged_once_however_many_points_there_are(monkeypatch):
    judged = []
    monkeypatch.setattr(Goal, "holds", lambda goal, record: judged.append(record))
    order = [SimpleNamespace(name=str(k)) for k in range(3000)]
    standing = Standing(order, parse_goal("drop<1"))
    for point in standing.needed():
        standing.add({"name": point.name, "state": "done"})
        assert not standing.is_decided
    assert len(judged) == 3000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cluster", "nowhere"], "no address of a cluster"),
        (["--cluster", "local:2", "--workers", "2"], "give one of them"),
    ],
)
def test_where_points_are_compiled_is_judged_first(more, said, tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "no model"), *more]) == 2
    assert said in capsys.readouterr().err
