"""Copies of files in a worker of a cluster: whole, checked, and of bounded size."""

import hashlib
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from snn_compile.errors import DeviceError
from snn_compile.workers.job import File
from snn_compile.workers.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", limit=100)


def file(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def send(store, whole, pieces=1):
    store.expect(whole.group, sum(one.path.stat().st_size for one in whole.together.values()))
    for name, one in whole.together.items():
        content = one.path.read_bytes()
        size = -(-max(1, len(content)) // pieces)
        for start in range(0, max(1, len(content)), size):
            store.receive(whole.group, name, content[start : start + size])
        store.complete(whole.group, name, one.sha256)


def test_a_folder_arrives_with_all_its_files(store, tmp_path, monkeypatch):
    for name in ("set/a/1.png", "set/b/1.png"):
        file(tmp_path, name, name.encode())
    for place, named in (("set", "set"), ("set", "."), ("set/a", "..")):
        monkeypatch.chdir(tmp_path / place if named != "set" else tmp_path)
        folder = File.of_folder(Path(named), "hash", sorted(Path(named).glob("*/*.png")))
        send(store, folder)
        assert store.has([folder])
        copy = store.copy_of(folder)
        assert copy.name == "set"
        assert (copy / "b" / "1.png").read_bytes() == b"set/b/1.png"
        store.remove([folder.group])


def test_a_copy_is_there_once_all_of_it_has_arrived(store, tmp_path):
    weights = file(tmp_path, "model/parts/w.bin", b"12345")
    model = File.of(file(tmp_path, "model/net.onnx", b"net"), weights)
    assert not store.has([model])
    send(store, model, pieces=2)
    assert store.has([model])
    copy = store.copy_of(model)
    assert (copy.name, copy.read_bytes()) == ("net.onnx", b"net")
    assert (copy.parent / "parts" / "w.bin").read_bytes() == b"12345"


def test_an_empty_file_arrives(store, tmp_path):
    empty = File.of(file(tmp_path, "empty", b""))
    send(store, empty)
    assert store.copy_of(empty).read_bytes() == b""


def test_other_content_is_refused_and_removed(store, tmp_path):
    one = File.of(file(tmp_path, "one", b"right"))
    store.expect(one.group, 5)
    store.receive(one.group, "one", b"wrong")
    with pytest.raises(DeviceError, match="arrived with another content") as refused:
        store.complete(one.group, "one", one.sha256)
    assert refused.value.code == "damaged-copy"
    assert hashlib.sha256(b"wrong").hexdigest() in refused.value.message
    assert not store.has([one])
    assert not list(store.copy_of(one).parent.iterdir())


def test_a_transfer_that_broke_off_begins_anew(store, tmp_path):
    one = File.of(file(tmp_path, "one", b"content"))
    store.expect(one.group, 7)
    store.receive(one.group, "one", b"con")
    send(store, one)
    assert store.copy_of(one).read_bytes() == b"content"


def test_the_oldest_copies_that_nobody_uses_make_room(store, tmp_path):
    files = [File.of(file(tmp_path, f"f{k}", bytes([k]) * 30)) for k in range(5)]
    for one in files[:3]:
        send(store, one)
    with store.using([files[0]]):
        send(store, files[3])
        send(store, files[4])
    assert [store.has([one]) for one in files] == [True, False, False, True, True]


def test_what_does_not_fit_is_refused(store, tmp_path, monkeypatch):
    large = File.of(file(tmp_path, "large", b"x" * 101))
    used = File.of(file(tmp_path, "used", b"x" * 60))
    send(store, used)
    with store.using([used]), pytest.raises(DeviceError, match="101 bytes does not fit") as error:
        send(store, large)
    assert error.value.code == "worker-disk"
    assert store.has([used])
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(3))
    with pytest.raises(DeviceError, match="there is room for 3 bytes"):
        send(store, File.of(file(tmp_path, "four", b"1234")))


def test_removal_spares_what_a_job_uses(store, tmp_path):
    one, other = (File.of(file(tmp_path, name, name.encode())) for name in ("one", "other"))
    send(store, one)
    send(store, other)
    with store.using([one]):
        store.remove([one.group, other.group, "never seen"])
        assert [store.has([one]), store.has([other])] == [True, False]
    store.remove([one.group])
    assert not store.has([one])
