"""A real scheduler with real workers, one of which is killed; and what an interrupt leaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from snn_compile import compile_model, workers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DIGITS = EXAMPLES / "digits_cnn.onnx"
RUN = [sys.executable, "-c", "import sys; from snn_compile.cli import main; sys.exit(main())"]

pytestmark = pytest.mark.slow


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def data(tmp_path):
    with np.load(EXAMPLES / "digits_evaluate.npz") as file:
        x, y = (np.concatenate([file[key]] * 20) for key in ("x", "y"))
    np.savez(tmp_path / "many.npz", x=x, y=y)
    return tmp_path / "many.npz"


@pytest.fixture
def processes():
    """Started programs, which are killed at the end."""
    started = []

    def start(*words, **options):
        null = subprocess.DEVNULL
        options = {"stdout": null, "stderr": null, "start_new_session": True, **options}
        started.append(subprocess.Popen(words, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_worker_changes_nothing(processes, data, tmp_path):
    scheduler = tmp_path / "scheduler.json"
    dask = (sys.executable, "-m", "dask")
    processes(*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", scheduler)
    wait_for(lambda: scheduler.is_file() and scheduler.read_text().strip())
    common = ("--scheduler-file", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    folders = [tmp_path / "one", tmp_path / "two"]
    two = [processes(*dask, "worker", *common, "--local-directory", f) for f in folders]
    given = {"calibrate": EXAMPLES / "digits_calibrate.npz", "evaluate": data}
    killed = []

    with workers.dask(str(scheduler)) as cluster:
        wait_for(lambda: cluster.n == 2)
        run = cluster.run

        def running(jobs):
            for done in run(jobs):
                if not killed:
                    killed.append(two[1].kill())
                yield done

        cluster.run = running
        there = compile_model(DIGITS, workers=cluster, **given)
        assert killed
        assert cluster.n == 1
    here = compile_model(DIGITS, **given)
    assert here.sealed_bytes() == there.sealed_bytes()
    for key, value in here.report.items():
        if key != "timing":
            assert there.report[key] == value, key
    assert not list(folders[0].rglob("shard-*")), "shards are removed when they are done"
    assert not list(folders[0].rglob("*.onnx")), "the rest at the end"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_leaves_no_process(processes, data, tmp_path, number):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = ("--evaluate", data, "--coding", "rate", "-T", "64", "--cluster", "local:2")
    process = processes(
        *RUN, DIGITS, *words, "-o", tmp_path / "x.snn", env={**os.environ, "TMPDIR": str(temporary)}
    )

    def of_cluster():
        return [entry for entry in list_processes() if str(temporary) in entry]

    wait_for(lambda: list(temporary.rglob("shard-*")))
    assert of_cluster()
    os.killpg(process.pid, number)
    assert process.wait(60) == (130 if number == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not of_cluster(), 30)
    wait_for(lambda: not list(temporary.glob("snn-compile-cluster-*")), 30)


def list_processes():
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
