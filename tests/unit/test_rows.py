"""Samples that are read by parts: equal to the arrays that they stand for, in any order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from snn_compile.errors import CompileError, Origin
from snn_compile.files import scratch
from snn_compile.ir.ann import Input
from snn_compile.ir.graph import NodeId
from snn_compile.ir.inputs import Inputs
from snn_compile.samples import npz, rows, stored
from snn_compile.samples.arrays import load_samples
from snn_compile.samples.stored import Spool

SHAPE = (2, 3, 4)


@pytest.fixture(autouse=True)
def nothing_is_held(monkeypatch):
    """Every array is large, and blocks are of few rows."""
    monkeypatch.setattr(npz, "HELD_BYTES", 0)
    monkeypatch.setattr(stored, "HELD_BYTES", 200)
    monkeypatch.setattr(rows, "BLOCK_BYTES", 200)


def drawn(n=37, dtype=np.float32):
    return np.random.default_rng(0).uniform(0, 200, (n, *SHAPE)).astype(dtype)


def saved(path: Path, compress: bool, **content) -> Path:
    (np.savez_compressed if compress else np.savez)(path, **content)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.float16])
def test_rows_of_a_file_are_those_of_the_array(tmp_path, compress, dtype):
    x = drawn(dtype=dtype)
    found = load_samples(saved(tmp_path / "x.npz", compress, x=x), SHAPE).x
    assert not isinstance(found, np.ndarray)
    expected = x.astype(np.float32)
    assert (found.shape, found.dtype, len(found)) == (x.shape, np.float32, len(x))
    for index in (
        slice(None),
        slice(3, 9),
        slice(-5, 99),
        slice(30, 2, -7),
        slice(9, 9),
        np.array([4, 5, 6, 1, -1, 1]),
        np.zeros(0, np.intp),
    ):
        np.testing.assert_array_equal(found[index], expected[index])
    np.testing.assert_array_equal(np.concatenate([*rows.blocks(found)]), expected)
    np.testing.assert_array_equal(rows.head(found, 5)[2:9], expected[:5][2:9])
    some = np.array([8, 3, 30])
    np.testing.assert_array_equal(rows.chosen(found, some)[1:], expected[some][1:])


def test_layout_and_bytes_are_those_of_the_array(tmp_path):
    x = drawn(dtype=np.uint8).reshape(37, 3, 4, 2)
    path = saved(tmp_path / "x.npz", True, x=x)
    found = load_samples(path, SHAPE, layout="nhwc", raw=True).x
    np.testing.assert_array_equal(found[5:7], np.moveaxis(x, -1, 1)[5:7])


def test_an_array_in_columns_is_read_whole(tmp_path):
    x = np.asfortranarray(drawn())
    found = load_samples(saved(tmp_path / "x.npz", False, x=x), SHAPE).x
    np.testing.assert_array_equal(found[:], x)


def test_rows_of_several_inputs_are_split(tmp_path):
    x = drawn().reshape(37, -1)
    whole = load_samples(saved(tmp_path / "x.npz", False, x=x), x.shape[1:]).x
    origin, shapes = Origin("net.onnx"), {"a": (4,), "b": (20,)}
    inputs = Inputs(
        Input(id=NodeId(name), inputs=(), shape=shape, origin=origin)
        for name, shape in shapes.items()
    )
    parts = rows.split(inputs, whole)
    np.testing.assert_array_equal(parts[NodeId("b")][3:5], x[3:5, 4:])


def test_the_first_sample_that_is_not_finite_is_named(tmp_path):
    x = drawn()
    x[[23, 31], 1, 0, 0] = np.nan
    with pytest.raises(CompileError, match="first in sample 23"):
        load_samples(saved(tmp_path / "x.npz", True, x=x), SHAPE)


def test_a_damaged_stored_array_is_refused_at_once(tmp_path):
    path = saved(tmp_path / "x.npz", False, x=drawn())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CompileError, match=r"damaged one \(BadZipFile: Bad CRC-32"):
        load_samples(path, SHAPE)


@pytest.mark.parametrize("size", [0, 500])
def test_a_file_that_changes_meanwhile_is_noticed(tmp_path, size):
    path = saved(tmp_path / "x.npz", False, x=drawn())
    found = load_samples(path, SHAPE).x
    with path.open("r+b") as stream:
        stream.truncate(size)
    with pytest.raises(CompileError, match="changed while it was read"):
        found[:]


def test_a_disk_without_room_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.npz", True, x=drawn())
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(CompileError) as caught:
        load_samples(path, SHAPE)
    assert caught.value.code == "disk-space"
    assert "has 100 bytes free" in str(caught.value)
    assert "TMPDIR" in caught.value.hint


def test_a_spool_gives_what_was_appended():
    x, spool = drawn(), Spool("numbers")
    for start in range(0, len(x), 5):
        spool.append(x[start : start + 5])
    found = spool.rows()
    assert not isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found[:], x)
    few = Spool("numbers")
    few.append(x[:1])
    assert isinstance(few.rows(), np.ndarray)
