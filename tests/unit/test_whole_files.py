"""Files and folders are there as a whole or as they were, whoever else writes and whoever dies."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import faulty_files
from faulty_files import DEAD, DIE, FAIL, FULL, Shim
from snn_compile.errors import UsageError
from snn_compile.files import claims, folders
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.folders import replacing, require_replaceable
from snn_compile.files.writing import NewFile, replace_text, replacing_file, require_file

OLD, NEW = "old content", "new content"


def write_file(place: Path) -> None:
    replace_text(place / "out", NEW)


def write_folder(place: Path) -> None:
    with replacing(place / "out") as new:
        (new / "one").write_text(NEW)
        (new / "in").mkdir()
        (new / "in" / "two").write_text(NEW)


def write_folder_in_steps(place: Path) -> None:
    folders._exchanged = lambda one, other: False
    write_folder(place)


def content(path: Path) -> dict[str, str]:
    if path.is_file():
        return {"": path.read_text()}
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def child(work, place: Path, number: int, how: str, log=lambda kind: None) -> int:
    """Exit status of a process that does the work: 0, 2 for an OSError, or ``DEAD``."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            if number:
                Shim(place, number, how, log).install()
            work(place)
            status = 0
        except OSError:
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def operations(work, place: Path, log: Path) -> list[str]:
    """The kinds of the operations of the work, in their order."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    assert not child(work, place, 10**6, FAIL, lambda kind: os.write(written, f"{kind}\n".encode()))
    os.close(written)
    return [line.split()[0] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("before", [False, True], ids=["nothing", "older"])
@pytest.mark.parametrize("work", [write_file, write_folder, write_folder_in_steps])
def test_a_fault_at_any_operation_leaves_the_old_or_the_new_one(tmp_path, work, before):
    """In a small process: to fork one as large as pytest's takes longer than all that is tested."""
    code = (
        "import runpy, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        " module = runpy.run_path(sys.argv[2]);"
        " module['with_faults'](Path(sys.argv[3]), module[sys.argv[4]], sys.argv[5] == 'True')"
    )
    words = [Path(faulty_files.__file__).parent, __file__, tmp_path, work.__name__, str(before)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def with_faults(tmp_path: Path, work, before: bool) -> None:
    """Put a fault at every operation of the work, in each way."""

    def fresh(name: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        if before:
            work_before = write_file if work is write_file else write_folder
            work_before(place)
            for path in (p for p in place.rglob("*") if p.is_file()):
                path.write_text(OLD)
        return place

    old = content(fresh("old") / "out")
    reference = fresh("new")
    kinds = operations(work, reference, tmp_path / "log")
    new = content(reference / "out")
    assert set(new.values()) == {NEW}
    assert {"open", "write", "fsync", "close", "lock"} <= set(kinds)
    assert ("exchange" in kinds) is (before and work is write_folder)
    seen = set()
    for number, kind in enumerate(kinds, 1):
        for how in (FAIL, FULL, DIE):
            place = fresh(f"{how}-{number}")
            status = child(work, place, number, how)
            now = content(place / "out")
            gone = how == DIE and not os.path.lexists(place / "out")
            assert now in (old, new) or (gone and work is write_folder_in_steps), (how, number)
            seen.add((how, now == new))
            if how == DIE:
                assert status == DEAD
            elif kind != "remove":
                assert {p.name for p in place.iterdir()} <= {"out"}, (how, number, kind)
                # Some file systems have no locks.
                assert status == 2 or kind == "lock" or how == FULL
            with exclusive_claim(place / "out"):  # the next start
                pass
            assert {p.name for p in place.iterdir()} <= {"out"}, (how, number, kind)
            assert content(place / "out") in (old, new), (how, number, kind)
            assert not child(work, place, 0, FAIL)
            assert content(place / "out") == new
    assert {(FAIL, False), (FULL, False), (DIE, False), (DIE, True)} <= seen


def test_a_second_process_is_told_that_somebody_writes_there(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.05)
    with (tmp_path / ".out.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # on a file opened here: as another process does
        for write in (write_file, write_folder):
            with pytest.raises(UsageError, match="another process") as error:
                write(tmp_path)
            assert error.value.code == "busy"
        assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    write_file(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_who_waits_gets_its_turn(tmp_path):
    begun, order = threading.Event(), []

    def first() -> None:
        with (tmp_path / ".out.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            begun.set()
            order.append("first")
            (tmp_path / ".out.lock").unlink()

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait()
    write_file(tmp_path)
    order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_claim_within_a_claim_removes_nothing(tmp_path):
    with exclusive_claim(tmp_path / "out"):
        new = NewFile(tmp_path / "out")
        new.stream.write(b"x")
        write_file(tmp_path)
        new.keep()
    assert content(tmp_path / "out") == {"": "x"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_others_call_alike_is_left_alone(tmp_path):
    theirs = [".out.new", ".out.1234.new", ".outer.12345678.new", ".out.12345678.newer", "out.old"]
    for name in theirs:
        (tmp_path / name).write_text("x")
    (tmp_path / ".out.12345678.new").write_text("a leftover")
    write_file(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*theirs, "out"])


def test_links_are_never_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("dear")
    for name in ("out", ".out.12345678.new"):
        (tmp_path / name).symlink_to(victim)
    write_file(tmp_path)
    assert victim.read_text() == "dear"
    assert not (tmp_path / "out").is_symlink()
    (tmp_path / ".out.lock").symlink_to(victim)
    with pytest.raises(OSError, match="out"):
        write_file(tmp_path)
    assert victim.read_text() == "dear"


def test_a_link_that_is_planted_at_the_last_moment_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("dear")
    monkeypatch.setattr(claims.secrets, "token_hex", lambda n: "ab" * n)
    with exclusive_claim(tmp_path / "out"):  # leftovers have been removed by now
        (tmp_path / ".out.abababab.new").symlink_to(victim)
        with pytest.raises(FileExistsError):
            write_file(tmp_path)
    assert victim.read_text() == "dear"


def test_folders_that_were_made_for_nothing_are_removed(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a" / "b" / "out"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    write_folder(Path(tmp_path / "c"))
    assert content(tmp_path / "c" / "out")["one"] == NEW


def test_files_have_the_permissions_that_others_have(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path)
        write_folder(tmp_path / "f")
    finally:
        os.umask(before)
    modes = [p.stat().st_mode & 0o777 for p in (tmp_path / "out", tmp_path / "f" / "out")]
    assert modes == [0o640, 0o750]


def test_more_than_a_file_may_hold_leaves_the_old_one(tmp_path):
    """The limit is the system's, and so is the error."""
    (tmp_path / "out").write_text(OLD)
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        " from snn_compile.files.writing import replace_text;"
        " signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        " replace_text(Path(sys.argv[1]), 'x' * 2000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stderr
    assert content(tmp_path / "out") == {"": OLD}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo"])
def test_only_files_are_replaced_by_files(tmp_path, kind):
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        (tmp_path / "there").write_text("x")
        target.symlink_to("there" if kind == "link" else "nothing")
    with pytest.raises(UsageError) as error:
        require_file(target)
    assert error.value.code == "output-exists"


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "foreign", "unmarked", "here"])
def test_only_folders_of_our_own_are_replaced(tmp_path, kind, monkeypatch):
    target, there = tmp_path / "out", tmp_path / "there"
    there.mkdir()
    (there / "mark").write_text("x")
    if kind in ("link", "dangling"):
        target.symlink_to("there" if kind == "link" else "nothing")
    elif kind == "file":
        target.write_text("x")
    else:
        there.rename(target)
        require_replaceable(target, "mark", lambda entry: entry.name == "mark")
        if kind == "foreign":
            (target / "thesis.tex").write_text("x")
        elif kind == "unmarked":
            (target / "mark").rename(target / "known")
        else:
            monkeypatch.chdir(target)
    with pytest.raises(UsageError) as error:
        require_replaceable(target, "mark", lambda entry: entry.name in ("mark", "known"))
    assert error.value.code == "output-exists"
    assert ("thesis.tex" in error.value.message) is (kind == "foreign")


def test_a_stream_that_cannot_be_closed_is_discarded_all_the_same(tmp_path):
    with pytest.raises(ValueError, match="closed"), replacing_file(tmp_path / "out") as stream:
        stream.close()
    assert not list(tmp_path.iterdir())
