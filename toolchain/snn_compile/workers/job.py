"""One unit of work, what it needs and what became of it."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from snn_compile.errors import CompileError, CompileErrors, Origin, UsageError
from snn_compile.files.documents import describe_error, first_line, sha256
from snn_compile.workers.machine import Machine


@dataclass(frozen=True)
class File:
    """A file that travels to a worker once, and arrives as the path of its copy.

    Attributes:
        path: here.
        sha256: of its content; a copy that has another is refused.
        beside: files that it refers to, in its folder or below; copies lie in the same way.
        kept: whether other jobs need it, too; else a copy is removed when the job is done.
        is_folder: whether it is a folder, whose files are those beside it.
    """

    path: Path
    sha256: str
    beside: tuple[File, ...] = ()
    kept: bool = True
    is_folder: bool = False

    @classmethod
    def of(cls, path: str | Path, *beside: str | Path) -> File:
        """A file as it is now, with those that it refers to."""
        return cls(Path(path), sha256(path), tuple(File.of(one) for one in beside))

    @classmethod
    def of_folder(cls, path: Path, content_hash: str, files: Iterable[Path]) -> File:
        """A folder as it is now, with its files."""
        if path.name in ("", ".."):  # a copy needs a name
            renamed = path.resolve()
            files, path = [renamed / file.relative_to(path) for file in files], renamed
        beside = tuple(File.of(one) for one in files)
        return cls(path, content_hash, beside, is_folder=True)

    @property
    def together(self) -> dict[str, File]:
        """It and the files beside it, by their paths from its folder."""
        folder = self.path.parent
        beside = {one.path.relative_to(folder).as_posix(): one for one in self.beside}
        return beside if self.is_folder else {self.path.name: self, **beside}

    @property
    def group(self) -> str:
        """A name for it with the files beside it, from all their contents."""
        names = "".join(f"{name}\0{one.sha256}\0" for name, one in self.together.items())
        return hashlib.sha256(names.encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """One unit of work: a pure function of plain, pickled values and files.

    Attributes:
        key: unique; names the result.
        function: ``package.module:name``, importable in the worker.
        arguments: by name, small. What is large is a ``File``, also within lists and mappings.
    """

    key: str
    function: str
    arguments: Mapping[str, Any]

    @property
    def files(self) -> tuple[File, ...]:
        """All files among the arguments, each once."""
        found: dict[str, File] = {}

        def note(file: File) -> File:
            found[file.group] = file
            return file

        _with_files(dict(self.arguments), note)
        return tuple(found.values())


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        key: of the job.
        worker: that did it, or that was the last to die over it.
        seconds: that it took there.
        value: what the function returned.
        error: what it raised, as the user is to see it; None if it returned.
        attempts: workers that began it.
    """

    key: str
    worker: Machine
    seconds: float
    value: Any = None
    error: CompileError | None = None
    attempts: int = 1

    def result(self) -> Any:
        """The value.

        Raises:
            CompileError: the job failed.
        """
        if self.error is not None:
            raise self.error
        return self.value


def perform(job: Job, machine: Machine, copy_of: Callable[[File], Path]) -> bytes:
    """Do a job in this process; what became of it, pickled.

    Args:
        job: the job.
        machine: this one.
        copy_of: the path of a file's copy here.
    """
    begin = time.perf_counter()
    copies: dict[str, str] = {}

    def here(file: File) -> Path:
        path = copy_of(file)
        copies[str(path)] = str(file.path)
        return path

    try:
        module, _, name = job.function.partition(":")
        function = getattr(import_module(module), name)
        value = function(**_with_files(dict(job.arguments), here))
        done = Done(job.key, machine, time.perf_counter() - begin, value)
        return pickle.dumps(done, pickle.HIGHEST_PROTOCOL)
    except CompileError as error:
        failure = _as_named_by_user(error, copies)
    except MemoryError:
        failure = CompileError(
            f"job '{job.key}': not enough memory",
            code="out-of-memory",
            hint="fewer workers on a machine leave more memory to each",
        )
    except OSError as error:  # a full disk, say
        name = str(error.filename or "")
        failure = UsageError(
            f"job '{job.key}': {describe_error(error)}",
            code="file",
            origin=Origin(copies.get(name, name)) if name else None,
            hint="check the path, its permissions and the space on the disk",
        )
    except Exception as error:  # noqa: BLE001  (whatever it is, the other jobs go on)
        last = extract_tb(error.__traceback__)[-1]
        failure = CompileError(
            f"job '{job.key}' failed in {Path(last.filename).name}, line {last.lineno}:"
            f" {type(error).__name__}: {first_line(error)}"
        )
    failure.__cause__ = failure.__context__ = None
    done = Done(job.key, machine, time.perf_counter() - begin, error=failure)
    return pickle.dumps(done, pickle.HIGHEST_PROTOCOL)


def changed(path: Path) -> UsageError:
    """The complaint that a file is no longer what it was when the job was made."""
    return UsageError(
        f"{path} has changed since the work began",
        code="file-changed",
        hint="leave the files alone while they are read, and start again",
    )


def _with_files(value: Any, change: Callable[[File], Any]) -> Any:
    """A value with another thing in place of each file."""
    if isinstance(value, File):
        return change(value)
    if isinstance(value, dict):
        return {key: _with_files(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_with_files(one, change) for one in value)
    return value


def _as_named_by_user(error: CompileError, copies: Mapping[str, str]) -> CompileError:
    """The error with origins in the user's files instead of their copies."""
    for one in (error, *(error.errors if isinstance(error, CompileErrors) else ())):
        if isinstance(one.origin, Origin) and one.origin.file in copies:
            one.origin = replace(one.origin, file=copies[one.origin.file])
    return error
