"""Files of many samples: npy, CSV, HDF5 and parquet give what an npz file gives."""

from __future__ import annotations

import io
import os
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from image_sets import pixels
from snn_compile import memory
from snn_compile.errors import CompileError, UsageError
from snn_compile.samples.readers import Request, open_samples

SHAPE = (2, 3)
X = np.random.default_rng(0).normal(size=(7, *SHAPE)).astype(np.float32)
Y = np.array([0, 2, 1, 1, 0, 2, 2])


def opened(path, shapes=None, **request):
    return open_samples(path, Request(shapes or {"in": SHAPE}, **request))


def assert_given(content, x=X, y=Y):
    (rows,) = content.arrays.values()
    assert rows.shape == x.shape
    assert (rows[:] == x).all()
    assert (rows[np.array([3, 0, 6])] == x[[3, 0, 6]]).all()
    if y is not None:
        assert (content.labels["y"][:] == y).all()


def test_npy(tmp_path):
    np.save(tmp_path / "d.npy", X)
    os.rename(tmp_path / "d.npy", tmp_path / "d")  # its content tells what it is
    assert_given(opened(tmp_path / "d"), y=None)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UsageError, match="pickled"):
        opened(tmp_path / "o.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "d").read_bytes()[:-4])
    with pytest.raises(UsageError, match="claims an array"):
        opened(tmp_path / "cut.npy")
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    with pytest.raises(UsageError, match="column by column"):
        opened(tmp_path / "f.npy")


def test_a_folder_of_arrays(tmp_path):
    for name, values in {"a": X, "b": X[:, 0], "y": Y}.items():
        np.save(tmp_path / f"{name}.npy", values)
    content = opened(tmp_path, {"a": SHAPE, "b": (3,)})
    assert {*content.arrays} == {"a", "b"}
    assert (content.arrays["b"][:] == X[:, 0]).all()
    assert (content.labels["y"][:] == Y).all()


def csv_of(path, header, x=X, labels=Y, delimiter=","):
    rows = [[f"{v!r}" for v in row.ravel().tolist()] for row in x]
    rows = [[*row, str(label)] for row, label in zip(rows, labels, strict=True)]
    path.write_text("\n".join(delimiter.join(row) for row in [header, *rows]))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path, delimiter):
    header = [*"abcdef", "label"]
    assert_given(opened(csv_of(tmp_path / "d.csv", header, delimiter=delimiter)))
    named = csv_of(tmp_path / "n.csv", header, labels=["x", "z", "y", "y", "x", "z", "z"])
    content = opened(named)
    assert content.classes == ("x", "y", "z")
    assert (content.labels["y"] == Y).all()
    assert (opened(named, classes=("z", "y", "x")).labels["y"] == 2 - Y).all()


def test_csv_of_whole_numbers_has_integers(tmp_path):
    whole = np.arange(42).reshape(7, *SHAPE)
    content = opened(csv_of(tmp_path / "d.csv", [*"abcdef", "y"], whole))
    assert content.arrays["x"].dtype == np.int32
    assert_given(content, whole)


def test_csv_of_several_inputs(tmp_path):
    header = ["a.0", "a.1", "a.2", "b_0", "b_1", "b_2", "y"]
    content = opened(csv_of(tmp_path / "d.csv", header), {"a": (3,), "b": (3,)})
    assert (content.arrays["a"][:] == X[:, 0]).all()
    assert (content.arrays["b"][:] == X[:, 1]).all()


def test_csv_targets_are_real_values(tmp_path):
    path = csv_of(tmp_path / "d.csv", [*"abcdef", "y"], labels=["0.5", "1"] * 3 + ["2"])
    assert opened(path).labels["y"][:].tolist() == [0.5, 1, 0.5, 1, 0.5, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,3\n", "line 3 has 3 values"),
        ("a,b,c,d,e,f\n1,2,3,4,5,six\n", "line 2: 'six' is no number"),
        ("a,b,c,d,e,f\n", "no samples"),
        ("1,2,3,4,5,6,7\n1,2,3,4,5,6,7\n", "one more than a sample has"),
        ("a,b\n1,\xff\n".encode("latin-1"), "no table"),
        ('a,b,c,d,e,f\n"1,2,3,4,5,6\n1,2,3,4,5,6\n', "no table"),
        (f"a,{'b' * 200_000}\n1,2\n", "no table"),
        ("a,b,c,d,e,f,y\n1,2,3,4,5,6\n", "7 values, and its second 6"),
        ("y\n1\n", "no columns of values"),
        ("p1,p0,p2,p3,p4,p5\n1,2,3,4,5,6\n", "out of order"),
        ("p0,p0,p2,p3,p4,p5\n1,2,3,4,5,6\n", "out of order"),
    ],
)
def test_csv_that_is_wrong_says_where(tmp_path, text, message):
    (tmp_path / "d.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message):
        opened(tmp_path / "d.csv")


@pytest.mark.parametrize("chunks", [None, True])
def test_hdf5(tmp_path, chunks):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("in", data=X, chunks=chunks, compression="gzip" if chunks else None)
        file["label"] = Y
        file["other"] = np.zeros(3)
    assert_given(opened(tmp_path / "d.h5"))


def test_hdf5_reads_no_other_file(tmp_path):
    with h5py.File(tmp_path / "o.h5", "w") as file:
        file["x"] = X
    for name, make in {
        "link": lambda f: f.__setitem__("x", h5py.ExternalLink("o.h5", "x")),
        "soft": lambda f: f.__setitem__("x", h5py.SoftLink("/y")),
        "raw": lambda f: f.create_dataset("x", (7, 2), "f4", external=[(b"o.h5", 0, 56)]),
        "virtual": lambda f: f.create_virtual_dataset("x", layout_of(tmp_path / "o.h5")),
    }.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(UsageError, match=r"link|other files"):
            opened(path)


def layout_of(path):
    layout = h5py.VirtualLayout((7, *SHAPE), np.float32)
    layout[:] = h5py.VirtualSource(str(path), "x", (7, *SHAPE))
    return layout


def test_hdf5_chunks_are_bounded(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("x", (4096, 1024), "f8", chunks=(4096, 1024), compression="gzip")
    memory.limit_to(1 << 20)
    try:
        with pytest.raises(UsageError) as caught:
            opened(tmp_path / "d.h5", {"x": (1024,)})
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


def test_hdf5_chunks_do_not_inflate_beyond_what_they_say(tmp_path):
    """The library inflates a stream to its end: 64 MiB for these 56 bytes."""
    with h5py.File(tmp_path / "d.h5", "w") as file:
        made = file.create_dataset("x", X.shape, "f4", chunks=X.shape, compression="gzip")
        made.id.write_direct_chunk((0,) * X.ndim, zlib.compress(bytes(64 << 20)))
    memory.limit_to(32 << 20)
    try:
        with pytest.raises(UsageError, match="inflates beyond its stated size") as caught:
            opened(tmp_path / "d.h5")
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("shape", [(10**7, 64), (10**13, 64), (10**7,)])
def test_hdf5_that_claims_what_it_does_not_have_is_refused(tmp_path, shape):
    """A data set of any size takes no room until it is written."""
    with h5py.File(tmp_path / "d.h5", "w") as file:
        data = file.create_dataset("x", shape, "f4", chunks=(16, *shape[1:]), compression="gzip")
        data[:16] = 1
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "d.h5", {"x": shape[1:] or (1,)})
    assert caught.value.code in ("unreadable-data", "too-large")
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((100_000, 6), "f4"), chunks=True, compression="gzip")
    assert len(opened(tmp_path / "zeros.h5")) == 100_000


def parquet(path, columns, metadata=None):
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=3)
    return path


def test_parquet_of_lists_and_of_columns(tmp_path):
    flat = X.reshape(7, 6)
    assert_given(opened(parquet(tmp_path / "l", {"in": flat.tolist(), "label": Y})))
    assert_given(opened(parquet(tmp_path / "n", {"in": X.tolist(), "label": Y})))
    columns = {f"c{k}": flat[:, k] for k in range(6)}
    assert_given(opened(parquet(tmp_path / "c", {**columns, "y": Y})))
    content = opened(
        parquet(tmp_path / "s", {"a": X[:, 0].tolist(), "b": X[:, 1].tolist()}),
        {"a": (3,), "b": (3,)},
    )
    assert (content.arrays["a"][:] == X[:, 0]).all()
    assert (content.arrays["b"][:] == X[:, 1]).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"in": [[[1, 2, 3], [4, 5]]] * 2}, "different lengths"),
        ({"in": [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5]]]}, "different lengths"),
        ({"in": [{"a": 1}] * 2}, "no numbers"),
        ({"in": [[0] * 6] * 2, "y": [[0, 1], [1]]}, "different lengths"),
        ({"in": [[0] * 6] * 2, "y": [b"a", b"b"]}, "no numbers"),
        ({f"c{5 - k}": [0, 1] for k in range(6)}, "out of order"),
    ],
)
def test_parquet_of_other_things_is_refused(tmp_path, columns, message):
    with pytest.raises(UsageError, match=message):
        opened(parquet(tmp_path / "p", columns)).arrays["in"][:]


@pytest.mark.parametrize("wrapped", [True, False])
def test_parquet_of_images(tmp_path, wrapped):
    images, column = pixels(7), []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        column.append({"bytes": stream.getvalue(), "path": ""} if wrapped else stream.getvalue())
    names = b'{"info": {"features": {"label": {"names": ["a", "b", "c"]}}}}'
    path = parquet(tmp_path / "i", {"image": column, "label": Y}, {b"huggingface": names})
    content = opened(path, {"in": (3, 6, 5)})
    assert content.classes == ("a", "b", "c")
    assert_given(content, images.transpose(0, 3, 1, 2))


def test_parquet_is_not_larger_in_memory_than_it_may_be(tmp_path):
    """Equal values are stored as one."""
    few = pa.array(np.zeros(1_000_000, np.float32)).dictionary_encode()
    same = pa.table({f"in.{k}": few for k in range(6)})
    pq.write_table(same, tmp_path / "numbers", store_schema=False)
    stream = io.BytesIO()
    Image.fromarray(pixels(1)[0]).save(stream, "PNG")
    image = stream.getvalue() + bytes(100_000)
    images = pa.array([image] * 100).dictionary_encode()
    pq.write_table(pa.table({"image": images}), tmp_path / "images", store_schema=False)
    memory.limit_to(4 << 20)
    try:
        with pytest.raises(UsageError) as caught:
            opened(tmp_path / "numbers").arrays["in"][:1]
        content = opened(tmp_path / "images", {"in": (3, 6, 5)})
        pool = pa.total_allocated_bytes()
        assert (content.arrays["x"][:] == pixels(1).transpose(0, 3, 1, 2)).all()
        assert pa.total_allocated_bytes() - pool < 1 << 20
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("start", [b"\x89HDF\r\n\x1a\n", b"PAR1", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(tmp_path, start):
    (tmp_path / "d").write_bytes(start + bytes(100))
    with pytest.raises(CompileError) as caught:
        opened(tmp_path / "d")
    assert str(caught.value.origin) == str(tmp_path / "d")
    assert caught.value.code == "unreadable-data"
