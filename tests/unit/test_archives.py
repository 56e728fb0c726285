"""What a stranger's archive may do: be read as it is, or be refused before it takes anything."""

from __future__ import annotations

import os
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from mutants import BOMB, members_of, with_bomb, zipped
from snn_compile import memory
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import (
    DamagedError,
    TooLargeError,
    open_regular,
    parse_json,
    parse_toml,
)
from snn_compile.files.npy import PickledError


def npy(array, **claims):
    """An npy file, with a header that claims something else."""
    array = np.asarray(array)
    head = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **claims}
    text = (repr(head) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()


def opened(tmp_path, members):
    path = tmp_path / "file.npz"
    path.write_bytes(members if isinstance(members, bytes) else zipped(members))
    return Archive(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.zeros((0, 3), np.int8),
        np.float32(2.5),
        np.array(["ab", "c"]),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read_as_numpy_reads_it(tmp_path, array, save):
    path = tmp_path / "file.npz"
    save(path, x=array)
    with Archive(path) as archive, np.load(path) as expected:
        found = Arrays(archive)["x"]
        assert found.dtype == expected["x"].dtype
        assert found.shape == expected["x"].shape
        assert (found == expected["x"]).all()


@pytest.mark.parametrize(
    ("claims", "what"),
    [
        ({"shape": (1 << 60,)}, r"takes 2\^6\d bytes, more than the"),
        ({"shape": (1 << 32, 1 << 32)}, r"takes 2\^6\d bytes, more than the"),
        ({"shape": (10**40,)}, r"takes 2\^"),
        ({"shape": (4,)}, "claims an array of 32 bytes, and has 24 bytes"),
        ({"shape": (2,)}, "claims an array of 16 bytes, and has 24 bytes"),
        ({"shape": (-3,)}, "has the shape"),
        ({"shape": (True, 3)}, "has the shape"),
        ({"shape": (1,) * 40}, "has the shape"),
        ({"descr": "|O"}, "pickled"),
        ({"descr": [("a", "<i8")]}, "is of type"),
        ({"descr": "|V8"}, "is of type"),
        ({"descr": "<U0"}, "is of type"),
        ({"descr": "nonsense"}, "is not an array"),
        ({"fortran_order": "yes"}, "is not an array"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, claims, what):
    with opened(tmp_path, {"x.npy": npy([1, 2, 3], **claims)}) as archive:
        tracemalloc.start()
        with pytest.raises(DamagedError, match=what):
            archive.array("x.npy")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20


@pytest.mark.parametrize("text", ["(" * 3000, "1" * 9000, "__import__('os')", "{" * 90, "\\d"])
def test_headers_that_are_none_are_refused(tmp_path, text):
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"
    with (
        opened(tmp_path, {"x.npy": content}) as archive,
        pytest.raises(DamagedError, match="is not an array"),
    ):
        archive.array("x.npy")


def test_a_bomb_is_refused_by_what_it_states_and_left_alone_if_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "64M")
    with opened(tmp_path, with_bomb(zipped({"y.npy": npy([7])}), "x.npy")) as archive:
        tracemalloc.start()
        assert Arrays(archive)["y"] == [7]
        with pytest.raises(TooLargeError, match=r"'x\.npy' takes 256 MiB, more than the 64 MiB"):
            archive.array("x.npy")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 << 20 < BOMB


def test_several_arrays_have_to_fit_together(tmp_path, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "3M")
    with opened(tmp_path, {f"{k}.npy": npy(np.zeros(1 << 18)) for k in range(2)}) as archive:
        assert archive.array("0.npy").nbytes == archive.array("1.npy").nbytes
        arrays = Arrays(archive)
        assert len(arrays["0"])
        with pytest.raises(TooLargeError, match="with 2 MiB before it"):
            len(arrays["1"])


def changed(data, signature, at, value):
    """An archive with some bytes of all its headers of a kind changed."""
    data = bytearray(data)
    for found in re.finditer(re.escape(signature), bytes(data)):
        data[found.start() + at : found.start() + at + len(value)] = value
    return bytes(data)


GOOD = zipped({"x.npy": npy([1, 2, 3])})
LYING = {
    "encrypted": changed(changed(GOOD, b"PK\1\2", 8, b"\1\0"), b"PK\3\4", 6, b"\1\0"),
    "compressed by method 12": changed(GOOD, b"PK\1\2", 10, b"\x0c\0"),
    "claims 4 GiB": changed(GOOD, b"PK\1\2", 24, b"\xfe\xff\xff\xff"),
    "occurs twice": zipped({"x.npy": npy([1, 2, 3])}, doubled="x.npy"),
}


@pytest.mark.parametrize("what", LYING)
def test_archives_that_lie_are_refused_when_they_are_opened(tmp_path, what):
    with pytest.raises(DamagedError, match=what):
        opened(tmp_path, LYING[what])


def test_a_member_longer_than_it_says_is_not_read_on(tmp_path):
    longer = changed(GOOD, b"PK\1\2", 24, struct.pack("<I", 60))
    with opened(tmp_path, longer) as archive, pytest.raises((DamagedError, zipfile.BadZipFile)):
        archive.array("x.npy")


@pytest.mark.parametrize("name", ["pipe", "folder", "/dev/zero"])
def test_only_regular_files_are_opened(tmp_path, name):
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    with pytest.raises(OSError, match=r"not a regular file|directory"):
        open_regular(path)


def test_pickles_are_told_apart(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([{}], object))
    with Archive(tmp_path / "o.npz") as archive, pytest.raises(PickledError):
        archive.array("x.npy")
    assert list(members_of(tmp_path / "o.npz")) == ["x.npy"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 70 + "]" * 70,
        "1" * 5000,
        str(1 << 64),
        "NaN",
        "[1e999]",
        "{",
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_json_that_nobody_writes_is_refused(text):
    with pytest.raises(DamagedError):
        parse_json(text if isinstance(text, bytes) else text.encode(), "it")


def test_json_is_read_exactly():
    assert parse_json(b'{"a": [1, -2.5, null, 18446744073709551615]}', "it") == {
        "a": [1, -2.5, None, (1 << 64) - 1]
    }


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a." * 30_000 + "b = 1", "a = 0x" + "f" * 40, "a = 1" + "0" * 30]
)
def test_toml_that_nobody_writes_is_refused(text):
    with pytest.raises(DamagedError):
        parse_toml(text.encode())


def test_json_takes_a_share_of_the_memory(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "1M")
    with pytest.raises(TooLargeError, match="it takes 97"):
        parse_json(b"[" + b"0," * 50_000 + b"0]", "it")


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("2K", 2048), ("3 MiB", 3 << 20), ("4g", 4 << 30), ("1TB", 1 << 40)],
)
def test_sizes(text, size):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "many", "9" * 99, "1P"])
def test_what_is_no_size(text, monkeypatch, capsys):
    with pytest.raises(ValueError, match="is not a size"):
        memory.parse_size(text)
    assert main(["targets", f"--max-memory={text}"]) == 2
    capsys.readouterr()
    if text:
        monkeypatch.setenv(memory.VARIABLE, text)
        with pytest.raises(UsageError):
            memory.budget()


def test_the_limit_is_the_options_then_the_variables_then_the_machines(monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    assert memory.budget() > 1 << 20
    monkeypatch.setenv(memory.VARIABLE, "5M")
    assert memory.budget() == 5 << 20
    memory.limit_to(7)
    assert memory.budget() == 7
    memory.limit_to(None)
    assert memory.budget() == 5 << 20


def test_a_small_archive_takes_little_memory_whatever_one_may_take(tmp_path):
    """Address space included: a buffer as large as the limit was asked for, and hardly used."""
    with opened(tmp_path, {"x.npy": npy([1, 2])}) as first:
        first.array("x.npy")
    tracemalloc.start()
    try:
        with opened(tmp_path, {"x.npy": npy([1, 2])}) as archive:
            archive.array("x.npy")
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 8 << 20
