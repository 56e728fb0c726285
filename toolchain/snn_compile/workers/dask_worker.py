"""What a worker of a Dask cluster does for us; these functions are called there by name."""

from __future__ import annotations

import ctypes
import pickle
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from snn_compile import threads
from snn_compile.workers.job import Job, perform
from snn_compile.workers.machine import Machine, this_machine
from snn_compile.workers.store import Store

NOT_HERE = b""
"""Answer to a job whose files are not here (any more)."""
_ONE = threading.Lock()
"""One job at a time in a process: it uses all threads that the worker has."""
_RUNNING: dict[str, int] = {}


class _Ended(BaseException):
    """Nobody waits for the job any more."""


@cache
def _store(folder: str) -> Store:
    return Store(Path(folder))


def machine() -> Machine:
    """This worker."""
    return this_machine()


def do(content: bytes, name: str) -> bytes:
    """Do a pickled job; ``name`` is what ``end`` calls it."""
    from distributed import get_worker

    worker = get_worker()
    store = _store(_folder_of(worker))
    with _ONE:
        job: Job = pickle.loads(content)
        if not store.has(job.files):
            return NOT_HERE
        threads.limit_to(threads.from_environment() or worker.state.nthreads)
        _RUNNING[name] = threading.get_ident()
        try:
            with store.using(job.files):
                return perform(job, this_machine(), store.copy_of)
        finally:
            _RUNNING.pop(name, None)
            store.remove(file.group for file in job.files if not file.kept)


def end(name: str) -> None:
    """End a job that runs, at its next instruction in Python."""
    if (thread := _RUNNING.pop(name, None)) is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Ended))


def stored(method: str, *arguments: Any, dask_worker: Any) -> None:
    """Call a method of the worker's store."""
    call: Callable[..., None] = getattr(_store(_folder_of(dask_worker)), method)
    call(*arguments)


def _folder_of(worker: Any) -> str:
    return str(Path(worker.local_directory) / "snn-compile-files")
