"""Nothing survives a supervised command, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snn_backends.lava import supervisor

SHARED = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="looks into /dev/shm and /proc")

SCRIPT = """
import multiprocessing.shared_memory as m, os, sys, time
from multiprocessing import resource_tracker
segment = m.SharedMemory(create=True, size=16)
resource_tracker.unregister(segment._name, "shared_memory")
if os.fork() == 0:
    time.sleep(600)
open(sys.argv[1], "w").write(segment.name)
time.sleep(float(sys.argv[2]))
os._exit(int(sys.argv[3]))
"""


class Case:
    def __init__(self, folder: Path):
        self.script = folder / "script.py"
        self.script.write_text(SCRIPT)
        self.told = folder / "told"
        self.token = f"test{os.getpid()}{time.monotonic_ns() % 100000}"

    def command(self, limit: float, seconds: float, status: int = 0) -> list[str]:
        inner = [sys.executable, "-B", str(self.script), str(self.told), str(seconds), str(status)]
        return [sys.executable, "-S", "-I", supervisor.__file__, str(limit), self.token, *inner]

    def wait_until_running(self):
        self.until(lambda: self.told.exists() and self.told.read_text())
        assert self.told.read_text().startswith(f"psm_{self.token}_")

    def until(self, condition):
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def clean(self) -> bool:
        return not self.processes() and not list(SHARED.glob(f"psm_{self.token}_*"))

    def processes(self) -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes().decode()
            except OSError:
                continue
            if self.token in text:
                found.append(text)
        return found


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_is_passed_on_and_children_are_ended(case, status):
    done = subprocess.run(case.command(300, 0, status), check=False)
    assert done.returncode == status
    assert case.clean()


def test_the_time_limit_ends_everything(case):
    limit = 0.75
    while not case.told.exists():  # on a busy machine it takes its time to start
        limit *= 2
        done = subprocess.run(case.command(limit, 600), check=False)
        assert done.returncode == supervisor.TIMED_OUT
        assert case.clean()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(case, number):
    with subprocess.Popen(case.command(590, 600)) as child:
        case.wait_until_running()
        child.send_signal(number)
        assert child.wait(300) == supervisor.INTERRUPTED
    assert case.clean()


def test_a_killed_parent_ends_everything(case):
    parent = f"import subprocess; subprocess.run({case.command(590, 600)!r})"
    with subprocess.Popen([sys.executable, "-c", parent]) as child:
        case.wait_until_running()
        child.kill()
    case.until(case.clean)
