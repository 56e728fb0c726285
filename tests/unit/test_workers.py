"""Workers of every kind: order, errors, crashes, files, cancellation."""

import os
import time
from contextlib import contextmanager

import pytest

from snn_compile import workers
from snn_compile.errors import CompileErrors, DeviceError, UsageError
from snn_compile.workers import ATTEMPTS, File, Job, Machine
from worker_jobs import HERE


@pytest.fixture(scope="module", params=["local", "dask"])
def two(request):
    """Two workers of a kind, used by all tests of this module."""
    if request.param == "local":
        with workers.local(2) as found:
            yield found
        return
    if not os.environ.get("CI"):
        pytest.importorskip("distributed", reason="Dask is not installed (extra: cluster)")
    with workers.dask("local:2") as found:
        yield found


def job(name, key="one", **arguments):
    return Job(key, f"{HERE}:{name}", arguments)


def only(found, *jobs):
    (done,) = found.run(jobs)
    return done


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_job_is_done_once_and_named(two):
    done = list(two.run(job("square", str(k), x=k) for k in range(20)))
    assert {d.key: d.result() for d in done} == {str(k): k * k for k in range(20)}
    assert all(d.seconds >= 0 and d.attempts == 1 and d.worker.versions["numpy"] for d in done)
    assert len({d.worker.process for d in done}) <= two.n == 2


def test_jobs_are_taken_when_a_worker_is_free(two):
    taken = []

    def jobs():
        for k in range(50):
            taken.append(k)
            yield job("square", str(k), x=k)

    found = two.run(jobs())
    next(found)
    assert len(taken) <= 1 + 2 * two.n
    found.close()
    assert only(two, job("square", x=3)).result() == 9


def test_errors_arrive_whole(two, tmp_path):
    model = tmp_path / "net.onnx"
    model.write_text("x")
    done = only(two, job("refuse", file=File.of(model)))
    assert type(done.error) is CompileErrors
    first, second = done.error.errors
    assert str(first) == (f"{model}: node 'n' (Conv): error[odd]: no network\nhint: train"), (
        "the origin is the user's file, not its copy"
    )
    assert (second.needed, second.nearest, second.exit_code) == (12, "--chips 2", 5)
    with pytest.raises(CompileErrors):
        done.result()


def test_what_a_job_did_not_foresee_is_named(two):
    error = only(two, job("fail", "odd one")).error
    assert error.code == "internal"
    assert "'odd one' failed in worker_jobs.py, line " in error.message
    assert error.message.endswith("ZeroDivisionError: as asked")
    assert "unheard_of" in only(two, job("unheard_of")).error.message


def test_a_killed_worker_loses_only_its_job(two, tmp_path):
    jobs = [job("square", str(k), x=k) for k in range(8)]
    dies = job("die_at_first", "dies", log=str(tmp_path / "log"), lives=ATTEMPTS)
    done = {d.key: d for d in two.run([*jobs[:3], dies, *jobs[3:]])}
    assert [done[str(k)].result() for k in range(8)] == [k * k for k in range(8)]
    assert all(done[str(k)].attempts == 1 for k in range(8))
    assert (done["dies"].result(), done["dies"].attempts) == (ATTEMPTS, ATTEMPTS)
    processes = (tmp_path / "log").read_text().split()
    assert len(set(processes)) == ATTEMPTS


def test_a_job_that_kills_every_worker_is_given_up(two, tmp_path):
    log = tmp_path / "log"
    jobs = [job("die_at_first", "deadly", log=str(log), lives=99), job("square", x=2)]
    done = {d.key: d for d in two.run(jobs)}
    assert done["one"].result() == 4
    error = done["deadly"].error
    assert isinstance(error, DeviceError)
    assert (error.code, error.exit_code) == ("worker-lost", 8)
    assert "'deadly': 3 workers died over it" in error.message
    assert len(log.read_text().split()) == done["deadly"].attempts == ATTEMPTS


def test_a_file_arrives_with_those_beside_it(two, tmp_path):
    model, weights = tmp_path / "net.onnx", tmp_path / "net.weights"
    model.write_text("layers")
    weights.write_text("numbers")
    file = File.of(model, weights)
    done = list(two.run(job("content", str(k), file=file) for k in range(6)))
    assert {d.result()[1] for d in done} == {"layers"}
    copies = {(d.worker.process, d.result()[::2]) for d in done}
    assert len(copies) == len({d.worker.process for d in done}), "once for each worker"
    assert set(only(two, job("siblings", file=file)).result()) >= {"net.onnx", "net.weights"}


def test_a_file_within_lists_and_mappings(two, tmp_path):
    (tmp_path / "data").write_text("x")
    file = File.of(tmp_path / "data")
    assert Job("one", "m:f", {"a": [{"b": (file,)}], "c": file}).files == (file,)


def test_a_file_that_has_changed_is_refused(two, tmp_path):
    path = tmp_path / "data.npz"
    path.write_text("before")
    file = File.of(path)
    path.write_text("after!")
    error = only(two, job("content", file=file)).error
    assert isinstance(error, UsageError)
    assert error.code == "file-changed"
    assert str(path) in error.message


def test_closing_ends_what_runs(two, tmp_path):
    log = tmp_path / "log"
    found = two.run([job("sleep", str(k), log=str(log), seconds=600) for k in range(2)] * 2)
    with pytest.raises(KeyboardInterrupt), closing_when(found, log):
        pass
    assert len(log.read_text().split()) <= 2
    assert only(two, job("square", x=5)).result() == 25


@contextmanager
def closing_when(found, log):
    """The iterator, closed once a job has begun; as Ctrl-C does it."""
    from threading import Timer

    def interrupt():
        wait_for(lambda: log.exists() and log.read_text())
        os.kill(os.getpid(), 2)

    timer = Timer(0, interrupt)
    timer.start()
    try:
        next(found)
    finally:
        timer.join()
        begin = time.monotonic()
        found.close()
        assert time.monotonic() - begin < 60
    yield


def test_local_processes_share_the_processors_and_end(tmp_path):
    from snn_compile import threads

    with workers.local(2) as found:
        done = list(found.run(job("share_of_threads", str(k)) for k in range(2)))
        assert {d.result() for d in done} == {max(1, threads.allowed() // 2)}
        processes = {d.worker.process for d in done}
        assert all(map(is_alive, processes))
    assert not any(map(is_alive, processes))


def test_what_machines_do_not_have_in_common():
    one = Machine("a", 1, "EPYC", "openblas Zen", {"numpy": "2.4.6", "python": "3.11"})
    other = Machine("b", 2, "Xeon", "openblas Zen", {"numpy": "2.3.0", "python": "3.11"})
    assert workers.differences([one, one]) == []
    assert workers.differences([one, other]) == ["cpu: EPYC, Xeon", "numpy: 2.4.6, 2.3.0"]
