"""Folders written atomically."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_compile.errors import Origin, UsageError
from snn_compile.files import claims
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.writing import sync

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)
"""Error numbers of a kernel or file system that cannot exchange two names."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to write into, which then replaces it.

    On failure, an existing folder is unchanged and nothing else is left.

    Raises:
        UsageError: another process is writing it.
    """
    with exclusive_claim(target, make_parents=True):
        new, old = claims.beside(target), claims.beside(target, claims.OLD)
        try:
            new.mkdir()
            yield new
            _sync_all(new)
            _put(new, target, old)
            sync(new.parent)
        finally:
            claims.remove(new)  # by now the old one, if names have been exchanged
            if os.path.lexists(target):
                claims.remove(old)


def require_replaceable(folder: Path, mark: str, ours: Callable[[Path], bool]) -> None:
    """Check that a folder can be replaced without data loss.

    Args:
        folder: to be written; it need not exist.
        mark: a file that every older folder of this kind has.
        ours: whether this program wrote an entry of a folder.

    Raises:
        UsageError: the path has other content, or the folder cannot be moved.
    """
    what = ""
    if folder.is_symlink():
        what = "the path is a link"
    elif not folder.exists():
        return
    elif not folder.is_dir():
        what = "the path is a file"
    elif os.path.ismount(folder):
        what = "a mount point cannot be replaced"
    elif _working_folder().is_relative_to(folder.resolve()):
        what = "the working folder cannot be replaced"
    else:
        entries = [entry for entry in folder.iterdir() if not claims.claimed_by(entry.name)]
        foreign = sorted(entry.name for entry in entries if not ours(entry))
        if foreign or (entries and not (folder / mark).is_file()):
            listed = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
            what = "the folder exists and was not written by snn-compile"
            what += f" (it holds {listed})" if foreign else ""
    if what:
        raise UsageError(
            what,
            code="output-exists",
            origin=Origin(str(folder)),
            hint="name another folder with -o, or remove this one",
        )


def require_empty(folder: Path) -> None:
    """Check that a folder is empty, for a backend to write into.

    Raises:
        UsageError: it does not exist, or is not empty.
    """
    if not folder.is_dir() or any(folder.iterdir()):
        raise UsageError(f"{folder} is not an empty folder")


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it has been removed
        return Path(os.devnull)


def _sync_all(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            sync(Path(path, name))
        sync(Path(path))


def _put(new: Path, target: Path, old: Path) -> None:
    """Move a finished folder to its target, replacing an older one.

    If the system cannot exchange two names, neither folder has the name for a moment. The
    next claim of the target restores the old one.
    """
    if not os.path.lexists(target):
        os.rename(new, target)
    elif not _exchanged(new, target):
        try:
            os.rename(target, old)
            os.rename(new, target)
        except BaseException:
            if os.path.lexists(old) and not os.path.lexists(target):
                os.rename(old, target)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders atomically; False if not supported."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)):
        code = ctypes.get_errno()
        if code in _CANNOT:
            return False
        raise OSError(code, os.strerror(code), str(other))
    return True
