"""A NIR file of a stranger: nothing of another file, nothing larger than it says."""

from __future__ import annotations

import tracemalloc
import zlib

import h5py
import nir
import numpy as np
import pytest

from nir_graphs import GRAPHS, chain, dense, integrate, port
from snn_compile import memory
from snn_compile.cli import main
from snn_compile.errors import CompileError, CompileErrors, ModelError, UnsupportedError
from snn_compile.options import CompileOptions
from snn_frontends.nir import NirFrontend

OPTIONS = CompileOptions(nir_producer="other", nir_reset="subtract", nir_dt=1e-3)
BUDGET = 4 << 20


@pytest.fixture
def path(tmp_path):
    graph = chain(port(nir.Input, 5), dense(5, 3), integrate(3), port(nir.Output, 3))
    (tmp_path / "sent").mkdir()
    path = tmp_path / "sent" / "net.nir"
    nir.write(path, graph)
    nir.write(tmp_path / "secret.nir", graph)
    (tmp_path / "secret.bin").write_bytes(np.ones((3, 5)).tobytes())
    return path


def refused(path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        NirFrontend().read_spiking(path, OPTIONS)
    return caught.value


def test_untouched(path):
    assert NirFrontend().read_spiking(path, OPTIONS).n_nodes == 4


def elsewhere_linked(nodes, outside):
    del nodes["n1"]
    nodes["n1"] = h5py.ExternalLink(str(outside / "secret.nir"), "/node/nodes/n1")


def softly_linked(nodes, outside):
    nodes.move("n1", "n9")
    nodes["n1"] = h5py.SoftLink("/node/nodes/n9")


def weights_elsewhere(nodes, outside):
    del nodes["n1/weight"]
    place = [(str(outside / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
    nodes.create_dataset("n1/weight", (3, 5), "f8", external=place)


def virtual_weights(nodes, outside):
    del nodes["n1/weight"]
    layout = h5py.VirtualLayout((3, 5), "f8")
    layout[:] = h5py.VirtualSource(str(outside / "secret.nir"), "node/nodes/n1/weight", (3, 5))
    nodes.create_virtual_dataset("n1/weight", layout)


def circle(nodes, outside):
    nodes["n1/nodes"] = nodes


def referred(nodes, outside):
    del nodes["n1/weight"]
    nodes.create_dataset("n1/weight", data=nodes["n1/bias"].ref)


def compound(nodes, outside):
    del nodes["n1/weight"]
    nodes.create_dataset("n1/weight", (3,), np.dtype([("a", "f4"), ("b", "i4")]))


def other_filter(nodes, outside):
    del nodes["n1/weight"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 5))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((3, 5))
    name = nodes["n1"].name.encode() + b"/weight"
    h5py.h5d.create(nodes.file.id, name, h5py.h5t.NATIVE_DOUBLE, space, plist)


def stored_by(nodes, *filters):
    """Through the library: h5py writes each filter once, and compresses last."""
    del nodes["n1/weight"]
    storing = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storing.set_chunk((3, 5))
    for name in filters:
        getattr(storing, f"set_{name}")(*([9] if name == "deflate" else []))
    space = h5py.h5s.create_simple((3, 5))
    h5py.h5d.create(nodes["n1"].id, b"weight", h5py.h5t.NATIVE_DOUBLE, space, storing)


def deflated_twice(nodes, outside):
    stored_by(nodes, "deflate", "deflate")


def deflated_and_shuffled(nodes, outside):
    stored_by(nodes, "deflate", "shuffle")


@pytest.mark.parametrize(
    "change",
    [
        elsewhere_linked,
        softly_linked,
        weights_elsewhere,
        virtual_weights,
        circle,
        referred,
        compound,
        other_filter,
        deflated_twice,
        deflated_and_shuffled,
    ],
)
def test_nothing_but_numbers_of_this_file(path, change):
    with h5py.File(path, "r+") as file:
        change(file["node/nodes"], path.parent.parent)
    error = refused(path)
    assert (type(error), error.code) == (ModelError, "unreadable-model")
    assert "n1" in error.message


def claimed(nodes):
    nodes.create_dataset("n1/weight", (1 << 20, 1 << 20), "f8", chunks=(1 << 10, 1 << 10))


def chunked(nodes):
    """A piece may be larger than the array."""
    plist = {"chunks": (1 << 12, 1 << 12), "maxshape": (None, None)}
    nodes.create_dataset("n1/weight", (3, 5), "f8", **plist)


def in_pieces(nodes):
    nodes.create_dataset("n1/weight", (1 << 18,), "i1", chunks=(1,))


def inflating(nodes):
    """The library inflates a stream to its end, whatever the piece says of its size."""
    made = nodes.create_dataset("n1/weight", (3, 5), "f8", chunks=(3, 5), compression="gzip")
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(64 << 20)))


def one_text(nodes):
    """Many references to a text that the file has once."""
    made = nodes.create_dataset("n1/weight", data=["x" * (BUDGET // 8), *"y" * 31])
    place = made.id.get_offset()
    name = nodes.file.filename
    nodes.file.close()
    with open(name, "r+b") as file:
        file.seek(place)
        first = file.read(16)
        file.seek(place)
        file.write(first * 32)


@pytest.mark.parametrize("change", [claimed, chunked, in_pieces, inflating, one_text])
def test_no_more_than_memory_allows(path, monkeypatch, change):
    with h5py.File(path, "r+") as file:
        del file["node/nodes/n1/weight"]
        change(file["node/nodes"])
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    tracemalloc.start()
    error = refused(path)
    assert tracemalloc.get_traced_memory()[1] < 2 * BUDGET
    tracemalloc.stop()
    assert (type(error), error.code) == (ModelError, "too-large")
    assert "n1/weight" in error.message
    assert error.exit_code == 3


def test_input_that_is_only_claimed(path, monkeypatch):
    with h5py.File(path, "r+") as file:
        file["node/nodes/n0/shape"][()] = 1 << 40
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    assert refused(path).code == "too-large"


@pytest.mark.parametrize("field", ["n0/shape", "n1/kernel_size", "n1/groups"])
def test_a_shape_of_thousands_of_axes(path, field):
    """The library would take them one by one."""
    with h5py.File(path, "r+") as file:
        if field in file["node/nodes"]:
            del file["node/nodes"][field]
        file["node/nodes"][field] = np.ones(10_000, np.int8)
    error = refused(path)
    assert error.code == "unreadable-model"
    assert "10,000 numbers" in error.message


def test_fields_that_nir_does_not_know(path):
    with h5py.File(path, "r+") as file:
        file["node/nodes/n1/bias_gain"] = 2.0
        file["node/nodes/n2/refractory"] = np.ones(3)
    error = refused(path)
    assert isinstance(error, CompileErrors)
    assert {(type(e), e.code) for e in error.errors} == {(UnsupportedError, "nir-field")}
    found = {(e.origin.node, e.origin.op, e.message.split("'")[1]) for e in error.errors}
    assert found == {("n1", "Affine", "bias_gain"), ("n2", "IF", "refractory")}


def test_a_gain_that_sinabs_does_not_write(tmp_path):
    graph = GRAPHS["dense"]()
    nir.write(tmp_path / "net.nir", graph)
    options = CompileOptions(nir_producer="sinabs", nir_reset="subtract", nir_dt=1e-3)
    with pytest.raises(CompileError) as caught:
        NirFrontend().read_spiking(tmp_path / "net.nir", options)
    assert "r is not 1" in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["n1/weight", "n1/bias"])
def test_weights_that_are_no_numbers(path, place, value):
    with h5py.File(path, "r+") as file:
        file["node/nodes"][place][0] = value
    error = refused(path)
    assert (type(error), error.code, error.origin.node) == (ModelError, "not-finite", "n1")


def test_a_file_larger_than_it_may_be(path):
    words = ["--nir-producer", "other", "--nir-reset", "subtract", "--nir-dt", "1"]
    assert main(["check", str(path), *words]) == 0
    assert main(["check", str(path), *words, "--max-memory", "2K"]) == 3
