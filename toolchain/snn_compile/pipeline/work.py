"""The folder of a running compilation: its record of progress, and results to resume from.

It is ``.NAME.work`` beside the output ``NAME``, whose claim its process holds. It appears once a
compilation has run for ``WORTH`` seconds, and is removed when the output is complete. What an
interrupted compilation has kept is used by ``--resume`` only, and only if nothing has changed that
the result depends on: model, data, options, target, and the compiler itself.

The results are JSON and arrays of known classes; nothing in them is run. Whoever can write into the
folder could change a network, though, so one that others may write is left alone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from snn_compile.errors import CapacityError, CompileError, ModelError, UnsupportedError
from snn_compile.files import claims
from snn_compile.files.documents import DAMAGE, DamagedError
from snn_compile.files.typed import complaint
from snn_compile.files.writing import sync
from snn_compile.passes import Finding
from snn_compile.pipeline import progress_record, values
from snn_compile.pipeline.inputs import files_of
from snn_compile.pipeline.progress_record import ProgressRecord
from snn_compile.report.journal import Kept
from snn_compile.sealed.provenance import provenance
from snn_compile.workers.program import program_hash

WORTH = 2.0
"""Seconds from which on a compilation is worth keeping results of."""
MOST_BYTES = 4 << 30
"""Of all results kept."""
_DOCUMENT, _ENDING = "result.json", ".result"
_CODEC = values.ValueCodec(origins=True)


def folder_of(output: Path) -> Path:
    """The folder of a compilation that writes this output."""
    place = Path(os.path.realpath(output.parent), output.name)
    return place.with_name(f".{place.name}.work")


def identity_of(model: Path, options: Any, given: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of everything that the result of a compilation depends on."""
    found = provenance(model, options, given)
    try:
        found["model.files"] = files_of(model).group
    except CompileError:  # the compilation itself says what is wrong with the file
        found["model.files"] = ""
    return {**found, "code": program_hash()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two identities, in the user's words."""
    words = dict.fromkeys(("code", "tool"), "the compiler") | {
        "model": "model",
        "model.files": "the files of the model",
    }
    found = [
        words.get(key, f"--{key}")
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key) and key != "options" and not key.endswith(".name")
    ]
    if "model" in found:
        found = [one for one in found if one != words["model.files"]]  # it is one of them
    try:
        old, new = (json.loads(one.get("options", "{}")) for one in (before, now))
        names = sorted({*old, *new})
        found += [f"--{n.replace('_', '-')}" for n in names if old.get(n) != new.get(n)]
    except (ValueError, AttributeError):
        found.append("the options")
    return list(dict.fromkeys(found))


class WorkFolder:
    """Implements ``report.journal.Work`` in a folder.

    Args:
        output: the folder that is compiled; claimed by this process.
        model: the user's file.
        identity: gives hashes of everything that the result depends on; asked for once there is
            something to write or to resume.
        resume: whether to go on with what an interrupted compilation has kept.

    Attributes:
        findings: what there is to say of resuming.
        n_kept: results that an interrupted compilation has kept.
    """

    def __init__(
        self,
        output: Path,
        model: Path,
        identity: Callable[[], dict[str, str]],
        *,
        resume: bool,
    ) -> None:
        self.path = folder_of(output)
        self.findings: list[Finding] = []
        self.n_kept = 0
        self._identity = cache(identity)
        self._start = time.monotonic()
        self._sizes: dict[str, int] = {}  # of results kept here or used again, by file
        self._is_free = _is_ours(self.path)
        if not self._is_free:
            text = (
                f"{self.path} is no folder of a compilation; it is left alone, and nothing is kept"
            )
            self._warn("nothing-kept", text)
        if not (resume and self._is_free and self._can_resume()):
            self._remove()
        self.n_kept = self._n_results
        self._record = ProgressRecord(
            self.path, model.name, output.name, self._identity, self._make
        )

    def begin(self, stage: str, total: int | None = None) -> None:
        """As of ``Work``."""
        self._record.begin(stage, total)

    def advance(self, n: int) -> None:
        """As of ``Work``."""
        self._record.advance(n)

    def end(self, stage: str, seconds: float) -> None:
        """As of ``Work``."""
        self._record.end(stage, seconds)

    @property
    def has_results(self) -> bool:
        """Whether there is anything that a later compilation can resume from."""
        return self._n_results > 0

    def recall(self, name: str, expected: Any) -> Kept | None:
        """As of ``Work``; a damaged result is computed again."""
        path = self.path / _file(name)
        if not self.n_kept or not path.exists():
            return None
        try:
            document, arrays = values.read(path, _DOCUMENT)
            if document.get("name") != name or document.get("identity") != self._digest:
                raise DamagedError("it is of another compilation")
            kept = Kept(*_CODEC.decode(document["kept"], arrays))
            if not all(isinstance(one, Finding) for one in kept.findings):
                raise DamagedError("it has other findings than this tool's")
            if wrong := complaint(kept.value, expected, name):
                raise DamagedError(wrong)
        except DAMAGE as error:
            text = f"what was kept of '{name}' cannot be read ({error}); it is computed again"
            self._warn("kept-damaged", text)
            return None
        self._sizes[path.name] = path.stat().st_size
        return kept

    def keep(self, name: str, kept: Kept) -> None:
        """As of ``Work``. What cannot be written is not kept; the compilation goes on."""
        if time.monotonic() - self._start < WORTH or sum(self._sizes.values()) > MOST_BYTES:
            return
        arrays: dict[str, Any] = {}
        new = self.path / f"{_file(name)}.new"
        try:
            parts = (kept.value, kept.findings, kept.timing)
            document = {
                "name": name,
                "identity": self._digest,
                "kept": _CODEC.encode(parts, arrays, "kept"),
            }
            self._make()
            with new.open("wb") as stream:
                values.write(stream, _DOCUMENT, document, arrays, compress=False)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(new, self.path / _file(name))
            sync(self.path)
            self._sizes[_file(name)] = (self.path / _file(name)).stat().st_size
        except (OSError, KeyError, ValueError):  # a full disk; a plug-in's own class
            claims.remove(new)  # the disk may need its space

    def close(self, *, complete: bool) -> None:
        """Remove the folder, or leave it to a compilation that resumes."""
        if complete or not self.has_results:
            self._remove()
        else:
            self._record.close()

    @property
    def _n_results(self) -> int:
        return len(list(self.path.glob(f"*{_ENDING}"))) if self._is_free else 0

    @property
    def _digest(self) -> str:
        """Of all but names: a file may be called something else."""
        found = {k: v for k, v in self._identity().items() if not k.endswith(".name")}
        text = json.dumps(found, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _make(self) -> None:
        if not self._is_free:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
        self.path.mkdir(mode=0o700, exist_ok=True)

    def _remove(self) -> None:
        if self._is_free:
            claims.remove(self.path)

    def _can_resume(self) -> bool:
        """Whether what is there belongs to the same compilation; says why not."""
        if not os.path.lexists(self.path):
            self._warn(
                "nothing-to-resume",
                "no interrupted compilation has left anything here; it starts afresh",
            )
            return False
        try:
            reason = self._obstacle()
        except OSError:
            return False  # a file is missing: the compilation says which
        if reason:
            self._warn("not-resumed", reason)
        return not reason

    def _obstacle(self) -> str:
        """Why the results that are there cannot be used; empty if they can."""
        if not _is_own(self.path):
            return f"others can write into {self.path.name}: it is not used, and starts afresh"
        before = progress_record.read(self.path)
        if before is None:
            return "the record of the interrupted compilation cannot be read; it starts afresh"
        changed = ", ".join(changes(before["identity"], self._identity()))
        if changed:
            return f"changed since the interrupted compilation: {changed}; it starts afresh"
        return ""

    def _warn(self, code: str, text: str) -> None:
        self.findings.append(Finding(text, code=code, warning=True))


@contextmanager
def work_folder(
    output: Path, model: Path, options: Any, given: Mapping[str, Any], *, resume: bool
) -> Iterator[WorkFolder]:
    """The folder of a compilation; kept if the body is interrupted or fails by no fault of its own.

    An error of the model would come again: nothing is left for it.
    """
    identity = partial(identity_of, model, options, given)
    work = WorkFolder(output, model, identity, resume=resume)
    try:
        yield work
    except BaseException as error:
        work.close(complete=isinstance(error, ModelError | UnsupportedError | CapacityError))
        raise
    work.close(complete=True)


def _file(name: str) -> str:
    readable = re.sub(r"[^a-z0-9-]+", "-", name.lower())[:60]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}{_ENDING}"


def _is_ours(path: Path) -> bool:
    """Whether a path is free, a link, or a folder with nothing but what is written here."""
    if path.is_symlink() or not path.exists():
        return True
    try:
        names = [entry.name.removesuffix(".new") for entry in path.iterdir()]
    except OSError:  # no folder, or one of somebody else
        return False
    return all(name == progress_record.RECORD or name.endswith(_ENDING) for name in names)


def _is_own(path: Path) -> bool:
    """Whether a folder, and no link, is this user's alone to write."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
