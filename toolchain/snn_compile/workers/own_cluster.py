"""A Dask cluster on this machine, for as long as a command runs.

Its processes are in a session of their own: an interrupt at the terminal reaches this process
alone, which then ends them. They also end when this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from snn_compile import memory, threads
from snn_compile.errors import DeviceError, Origin

START = "from snn_compile.workers.own_cluster import main; main()"

KEEP_MEMORY = {
    "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__MALLOC_TRIM_THRESHOLD_": str(1 << 27),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
}
"""Dask lets glibc return memory at once. Arrays of some hundred kilobytes are then mapped anew each
time: as much time in the system as in a small compilation itself (measured)."""


@contextmanager
def own_cluster(n: int) -> Iterator[str]:
    """The address of a scheduler with n worker processes.

    Raises:
        DeviceError: they cannot be started.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory(
        prefix="snn-compile-cluster-", ignore_cleanup_errors=True
    ) as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps({"n": n, "folder": folder})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **KEEP_MEMORY,
                **os.environ,
                **threads.share(n),
                "PYTHONPATH": paths,
                "DASK_LOGGING__DISTRIBUTED": "critical",
                memory.VARIABLE: str(memory.budget()),
            },
            start_new_session=True,
            text=True,
        )
        with process:
            try:
                address = "" if process.stdout is None else process.stdout.readline().strip()
                if not address:
                    raise DeviceError(
                        "the processes of a local cluster cannot be started",
                        code="no-scheduler",
                        origin=Origin("--cluster local"),
                        hint="try fewer: --cluster local:2",
                    )
                yield address
            finally:
                end_group(process)


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill a process and its descendants."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def main() -> None:
    """The cluster's end: start it, tell its address, and end with the input."""
    from distributed import LocalCluster

    asked = json.loads(sys.argv[1])
    cluster = LocalCluster(
        n_workers=asked["n"],
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        local_directory=asked["folder"],
    )
    print(cluster.scheduler_address, flush=True)  # noqa: T201  (the parent reads it)
    sys.stdin.read()
    shutil.rmtree(asked["folder"], ignore_errors=True)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    cluster.close()
