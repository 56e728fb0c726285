"""``snn-compile ui``: its address, its limits, and what it finds in a folder."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from importlib import import_module

import pytest

from snn_compile.cli import main
from snn_compile.ui import jobs, scan
from snn_compile.ui.jobs import Jobs, Limits, run
from snn_compile.ui.library import Library
from snn_compile.ui.places import Places
from snn_compile.ui.rows import Cell, NetworkRow, in_order


def test_it_prints_its_address_and_ends_when_nobody_asks(tmp_path, capsys):
    assert main(["ui", str(tmp_path), "--idle", "0.1"]) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}\n", printed.out)
    assert printed.err == ""


def test_each_start_has_a_token_of_its_own(tmp_path, capsys):
    for _ in range(2):
        main(["ui", str(tmp_path), "--idle", "0.1"])
    first, second = (line.partition("=")[2] for line in capsys.readouterr().out.splitlines())
    assert first != second


def test_what_cannot_be_shown_is_said(tmp_path, capsys):
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, code in (
            ([str(tmp_path / "none")], "no-such-file"),
            ([str(tmp_path / "file")], "not-a-folder"),
            ([str(tmp_path), "--port", str(port)], "port-in-use"),
            ([str(tmp_path), "--port", "70000"], "usage"),
        ):
            assert main(["ui", *words]) == 2
            assert f"error[{code}]" in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    def without(name):
        if name in ("starlette", "uvicorn"):
            raise ImportError(f"No module named '{name}'")
        return import_module(name)

    monkeypatch.setattr("snn_compile.extras.import_module", without)
    assert main(["ui", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("error[missing-package]") == 2
    assert "pip install 'snn-compile[ui]'" in said


def test_commands_are_ended_that_take_too_much(monkeypatch):
    assert asyncio.run(run(("targets",), Limits(seconds=0.01)))[0] == -1
    code, out, _ = asyncio.run(run(("targets",), Limits(memory=1 << 20)))
    assert (code != 0, out) == (True, "")
    monkeypatch.setattr(jobs, "MAX_OUTPUT", 10)
    assert asyncio.run(run(("--help",), Limits())) == (-1, "", "it was ended: it writes too much")


def test_nothing_runs_on_after_the_server(monkeypatch):
    code = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
    monkeypatch.setattr(jobs, "START", code)

    async def ask():
        pool = Jobs()
        job = await pool.ask("a", (), Limits(), patience=0)
        while not job.err:
            await asyncio.sleep(0.01)
        os.kill(int(job.err), 0)
        await pool.close()
        return int(job.err)

    pid = asyncio.run(ask())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_job_is_run_once_and_the_oldest_are_forgotten(monkeypatch):
    asked = []

    async def fake(words, limits, tell):
        asked.append(words)
        tell("half ")
        await asyncio.sleep(0.05 if words == ("slow",) else 0)
        return 0, words[0], "whole"

    monkeypatch.setattr(jobs, "run", fake)
    monkeypatch.setattr(jobs, "KEPT", 3)

    async def ask():
        pool = Jobs()
        first = await pool.ask("a", ("slow",), Limits(), patience=0.01)
        assert (first.code, first.err) == (None, "half ")
        assert await pool.ask("a", ("slow",), Limits()) is first
        assert (first.code, first.out, first.err) == (0, "slow", "whole")
        for name in "bcde":
            await pool.ask(name, (name,), Limits())
        assert pool.find("a") is None
        assert pool.find("e").out == "e"
        await pool.ask("z", ("slow",), Limits(), patience=0)
        await pool.close()

    asyncio.run(ask())
    assert asked == [("slow",), ("b",), ("c",), ("d",), ("e",), ("slow",)]


def test_a_folder_is_looked_through_within_limits(tmp_path, monkeypatch):
    for name in ("b.snn", "a/c.snn", "a/c.snn/inside.snn", ".hidden/d.snn"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.snn").touch()
    (tmp_path / "x.npz").touch()
    (tmp_path / "pipe.npz").symlink_to(tmp_path / "x.npz")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo.npz")
    found = scan.scan(tmp_path)
    assert found.networks == [tmp_path / "a" / "c.snn", tmp_path / "b.snn"]
    assert found.archives == [tmp_path / "x.npz"]
    assert found.whole
    monkeypatch.setattr(scan, "MAX_DEPTH", 1)
    assert scan.scan(tmp_path).networks == [tmp_path / "b.snn"]
    assert not scan.scan(tmp_path).whole
    monkeypatch.setattr(scan, "MAX_ENTRIES", 3)
    assert not scan.scan(tmp_path).whole


def test_files_are_read_again_only_when_they_change(tmp_path, monkeypatch):
    folder = tmp_path / "a.snn"
    folder.mkdir()
    (folder / "model.snn").write_bytes(b"-")
    monkeypatch.setattr("snn_compile.ui.library.FRESH", -1.0)
    n_read = []
    library = Library(Places(tmp_path))
    compute = library._networks.compute
    library._networks.compute = lambda path: n_read.append(path) or compute(path)
    for size, expected in ((1, 1), (1, 1), (2, 2)):
        (folder / "model.snn").write_bytes(b"-" * size) if size == 2 else None
        assert [row.name for row in library.overview().networks] == ["a.snn"]
        assert len(n_read) == expected
    (folder / "model.snn").unlink()
    assert library.overview().networks == ()
    assert library._networks.known == {}


def test_rows_without_a_value_come_last_in_either_order():
    rows = [
        NetworkRow("b", cells={"drop": Cell("", None)}),
        NetworkRow("broken", error="why"),
        NetworkRow("c", cells={"drop": Cell("-1", -1.0)}),
        NetworkRow("A", cells={"drop": Cell("2", 2.0)}),
    ]
    for falling, names in ((False, "c A b broken"), (True, "A c b broken")):
        assert [row.name for row in in_order(rows, "drop", falling=falling)] == names.split()
    assert [row.name for row in in_order(rows, "name", falling=False)] == "A b broken c".split()
