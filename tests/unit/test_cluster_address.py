"""``--cluster``: what is refused before anything is done, and which workers are."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from snn_compile import extras, workers
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.workers import dask_cluster
from snn_compile.workers.address import check_address
from snn_compile.workers.machine import this_machine

MACHINE = this_machine()


@pytest.mark.parametrize(
    "address",
    [
        *("", "here", "local:0", "local:two", "127.0.0.1:80", "a b://c", "x" * 300),
        *("tcp://a", "tcp://[::1", "tcp://a:65536", "foo://a:1"),
    ],
)
def test_what_cannot_be_an_address(address):
    with pytest.raises(UsageError, match="no address of a cluster") as refused:
        check_address(address)
    assert refused.value.code == "bad-address"
    assert "tcp://HOST:PORT" in refused.value.hint


@pytest.mark.parametrize("address", ["local", "local:3", "tcp://a:1", "tls://[::1]:8786"])
def test_what_can_be_one(address, tmp_path):
    check_address(address)
    (tmp_path / "scheduler.json").write_text('{"address": "tcp://a:1"}')
    check_address(str(tmp_path / "scheduler.json"))


@pytest.mark.parametrize("text", ["{}", "[1]", '{"address": 5}', '{"address": "here"}', "not JSON"])
def test_a_file_that_is_not_a_schedulers(text, tmp_path):
    (tmp_path / "scheduler.json").write_text(text)
    with pytest.raises(UsageError, match="no file of a scheduler") as refused:
        check_address(str(tmp_path / "scheduler.json"))
    assert refused.value.code == "bad-address"


def test_missing_dask_is_named_with_what_else_is_wrong(monkeypatch):
    def absent(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(extras, "import_module", absent)
    with pytest.raises(UsageError) as refused:
        check_address("local")
    assert (refused.value.code, refused.value.hint) == (
        "missing-package",
        "pip install 'snn-compile[cluster]'",
    )
    with pytest.raises(CompileErrors) as both:
        check_address("nowhere")
    assert [error.code for error in both.value.errors] == ["missing-package", "bad-address"]


class Client:
    """What workers say of themselves."""

    def __init__(self, found):
        self.found = found

    def nthreads(self):
        return dict.fromkeys(self.found, 1)

    def run(self, function, *arguments, workers, on_error="raise"):
        assert (function, on_error) == (dask_cluster.dask_worker.machine, "return")
        return {address: self.found[address] for address in workers}


def other_version(**versions):
    return replace(MACHINE, host="old", versions={**MACHINE.versions, **versions})


def test_workers_of_another_version_are_refused_by_name():
    found = {
        "tcp://a:1": MACHINE,
        "tcp://b:2": other_version(**{"snn-compile": "0.0.9"}),
        "tcp://c:3": ModuleNotFoundError("No module named 'snn_compile'"),
    }
    with pytest.raises(CompileErrors) as refused:
        dask_cluster.DaskWorkers(Client(found), ExitStack())
    version, absent = refused.value.errors
    assert "tcp://b:2 (old) has snn-compile 0.0.9" in version.message
    assert "tcp://c:3 cannot import snn-compile: No module" in absent.message
    assert version.code == absent.code == "worker-version"


def test_other_packages_are_recorded():
    found = {"tcp://a:1": MACHINE, "tcp://b:2": other_version(numpy="1.26.0")}
    cluster = dask_cluster.DaskWorkers(Client(found), ExitStack())
    assert cluster.n == 2
    numpy = MACHINE.versions["numpy"]
    assert workers.differences(cluster.machines) == [f"numpy: {numpy}, 1.26.0"]


def test_a_late_worker_of_another_version_gets_no_jobs():
    client = Client({"tcp://a:1": MACHINE})
    cluster = dask_cluster.DaskWorkers(client, ExitStack())
    client.found["tcp://b:2"] = other_version(**{"snn-compile": "0.0.9"})
    assert cluster.n == 1
