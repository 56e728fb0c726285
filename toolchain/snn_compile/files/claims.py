"""Exclusive claims on output paths: one writer at a time, which first cleans up after a dead one.

A file or folder ``NAME`` is written as ``.NAME.XXXXXXXX.new`` beside its target and then renamed.
During the write, ``.NAME.lock`` is locked; the system releases the lock whenever the process ends.
Hence, for the holder of the lock, every such name is a leftover.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from snn_compile.errors import Origin, UsageError

try:
    import fcntl
except ImportError:  # Windows: no locks, so leftovers cannot be identified
    fcntl = None  # type: ignore[assignment]

PATIENCE = 5.0
"""Seconds to wait for another process: longer than writing a report, shorter than a folder."""
POLL = 0.02
NEW, OLD = "new", "old"

_held: Counter[Path] = Counter()
"""Claims of this process, which may claim within a claim."""
_guard = threading.Lock()


@contextmanager
def exclusive_claim(target: Path, *, make_parents: bool = False) -> Iterator[None]:
    """Exclusive claim on a file or a folder. Claims may be nested.

    Args:
        target: its path.
        make_parents: create its parent folders; those left empty are removed.

    Raises:
        UsageError: another process is writing it.
        OSError: the path is not writable.
    """
    place = _place(target)
    if not place.name:
        raise UsageError(
            "this folder cannot be replaced", code="output-exists", origin=Origin(str(target))
        )
    with ExitStack() as stack:
        if make_parents:
            stack.enter_context(_parents(place))
        with _guard:
            unfinished = any(claimed_by(folder.name) for folder in place.parents)
            if not _held[place] and not unfinished:  # an unfinished folder is private
                stack.enter_context(_locked(place, target))
            _held[place] += 1
            stack.callback(_release, place)
        yield


def beside(target: Path, kind: str = NEW) -> Path:
    """An unused name beside a claimed target."""
    place = _place(target)
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}.{kind}")


def claimed_by(name: str) -> str:
    """The target of a temporary file or folder of this name; empty for other names."""
    found = re.fullmatch(r"\.(.+)\.([0-9a-f]{8}\.(new|old)|lock)", name, re.DOTALL)
    return found[1] if found else ""


def was_interrupted(target: Path) -> bool:
    """Whether a folder is missing because a process died between its two renames."""
    return not os.path.lexists(target) and bool(_leftovers(_place(target), OLD))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists, as far as possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _place(target: Path) -> Path:
    """The canonical path of the target; the target itself may be a link."""
    if target.name in ("", ".."):
        return Path(os.path.realpath(target))
    return Path(os.path.realpath(target.parent), target.name)


@contextmanager
def _parents(place: Path) -> Iterator[None]:
    missing = [folder for folder in place.parents if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _release(place: Path) -> None:
    with _guard:
        _held[place] -= 1


@contextmanager
def _locked(place: Path, target: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    path = place.with_name(f".{place.name}.lock")
    lock, alone = _wait_for(path, target)
    try:
        if alone:
            _put_back(place)
            for leftover in (*_leftovers(place, NEW), *_leftovers(place, OLD)):
                remove(leftover)
        yield
    finally:
        # No other process can hold a lock of this name: a waiting one detects the removal.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(lock)


def _wait_for(path: Path, target: Path) -> tuple[int, bool]:
    """The lock, and whether it is held: some file systems have no locks."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock, True
        except FileNotFoundError:
            pass  # its holder has removed it: the next one is another file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise _busy(target) from None
            time.sleep(POLL)
        except OSError:
            return lock, False
        os.close(lock)


def _busy(target: Path) -> UsageError:
    return UsageError(
        "another process is writing it",
        code="busy",
        origin=Origin(str(target)),
        hint="wait until it has ended, or choose another path",
    )


def _put_back(place: Path) -> None:
    """Undo the first of two renames if the second is missing."""
    old = _leftovers(place, OLD)
    if old and not os.path.lexists(place):
        old[-1].rename(place)


def _leftovers(place: Path, kind: str) -> list[Path]:
    """Temporary names beside a target, the oldest first."""
    name = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.{kind}")
    try:
        found = [path for path in place.parent.iterdir() if name.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.lstat().st_mtime_ns)
    except FileNotFoundError:
        return []
