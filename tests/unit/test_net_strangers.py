"""A ``.net`` file of a stranger: nothing of another file, nothing larger than it says."""

from __future__ import annotations

import numpy as np
import pytest

import net_files
from net_files import conv, dense
from snn_compile import memory
from snn_compile.cli import main
from snn_compile.errors import CompileError, ModelError
from snn_compile.options import CompileOptions
from snn_compile.plugins import frontend_for

h5py = pytest.importorskip("h5py")
BUDGET = 4 << 20
WEIGHT = np.full((2, 3), 20, np.float32)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "sent").mkdir()
    net_files.write(tmp_path / "secret.net", dense(WEIGHT))
    return net_files.write(tmp_path / "sent" / "n.net", dense(WEIGHT))


@pytest.fixture
def small_budget():
    memory.limit_to(BUDGET)
    yield
    memory.limit_to(None)


def refused(path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        frontend_for(path).read_fixed(path, CompileOptions())
    return caught.value


def elsewhere(layer, outside):
    del layer["weight"]
    layer["weight"] = h5py.ExternalLink(str(outside / "secret.net"), "/layer/0/weight")


def circle(layer, outside):
    layer["neuron/again"] = layer


def external_data(layer, outside):
    del layer["weight"]
    place = [(str(outside / "secret.net"), 0, h5py.h5f.UNLIMITED)]
    layer.create_dataset("weight", (2, 3), "f8", external=place)


def compound(layer, outside):
    del layer["weight"]
    layer.create_dataset("weight", (3,), np.dtype([("a", "f4"), ("b", "i4")]))


@pytest.mark.parametrize("change", [elsewhere, circle, external_data, compound])
def test_nothing_but_numbers_of_this_file(path, change):
    with h5py.File(path, "r+") as file:
        change(file["layer/0"], path.parent.parent)
    error = refused(path)
    assert (type(error), error.code) == (ModelError, "unreadable-model")
    assert "/layer/0" in error.message


def test_a_claim_of_terabytes_takes_no_memory(path):
    with h5py.File(path, "r+") as file:
        del file["layer/0/weight"]
        file.create_dataset("layer/0/weight", (1 << 20, 1 << 20), "f8", chunks=(1 << 10, 1 << 10))
    assert refused(path).code == "too-large"


def test_maps_beyond_the_budget_take_no_memory(tmp_path, small_budget):
    """No array of the file is large: the sizes are."""
    kernel = np.full((1, 1, 1, 1), 2, np.float32)
    size = 1 << 14
    layers = {"type": "input", "shape": (1, size, size)}, conv(kernel, (1, size, size))
    path = net_files.write(tmp_path / "n.net", *layers)
    assert refused(path).code == "too-large"


def test_maps_that_grow_beyond_the_budget(tmp_path, small_budget):
    kernel = np.full((1, 1, 1, 1), 2, np.float32)
    size = 1 << 13
    layers = {"type": "input", "shape": (1, 2, 2)}, conv(kernel, (1, size, size), padding=(4095, 0))
    assert refused(net_files.write(tmp_path / "n.net", *layers)).code == "invalid-model"
    padded = conv(kernel, (1, 8192, 8192), padding=(4095, 4095))
    path = net_files.write(tmp_path / "n.net", layers[0], padded)
    assert refused(path).code == "too-large"


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [-1]},
        {"shape": np.zeros(0, int)},
        {"inFeatures": np.inf},
        {"weight": np.full((2, 3), np.nan)},
        {"weight": np.full((2, 3), 1e30)},
        {"weight": np.zeros((0, 3))},
        {"weight": 3},
        {"weight": "text"},
        {"bias": {"group": 1}},
        {"neuron": 3},
        {"neuron": net_files.CUBA | {"iDecay": 9999}},
        {"neuron": net_files.CUBA | {"type": "\x1b[2J"}},
        {"type": 7},
    ],
)
def test_impossible_fields_are_complaints_about_the_layer(tmp_path, fields):
    error = refused(
        net_files.write(
            tmp_path / "n.net",
            dense(WEIGHT, **fields)
            if "weight" not in fields and "neuron" not in fields
            else dense(WEIGHT) | fields,
        )
    )
    assert error.code in ("invalid-model", "net-neuron", "unsupported-op")
    assert "layer/0" in str(error.origin)
    assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(900), b"PK\3\4", bytes(99)]
)
def test_what_is_no_hdf5_file(tmp_path, content):
    path = tmp_path / "n.net"
    path.write_bytes(content)
    assert refused(path).code == "unreadable-model"


def test_layers_are_numbered_from_0(tmp_path):
    path = net_files.write(tmp_path / "n.net", dense(WEIGHT))
    with h5py.File(path, "r+") as file:
        file.move("layer/0", "layer/1")
    error = refused(path)
    assert (error.code, error.origin.node) == ("invalid-model", "layer/0")
    with h5py.File(path, "w") as file:
        file["layer"] = 3
    assert refused(path).code == "unreadable-model"


def test_nothing_is_written_for_a_bad_file(tmp_path, capsys):
    path = net_files.write(tmp_path / "n.net", dense(WEIGHT, delay=[0, 63]))
    assert main([str(path), "-o", str(tmp_path / "out"), "-q"]) == 4
    assert "error[net-delay]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path / "missing.net")]) == 2
