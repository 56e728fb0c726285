"""Data sets, loaders and iterators of Python."""

from __future__ import annotations

import numpy as np
import pytest

from image_sets import network
from snn_compile import compile_model
from snn_compile.errors import UsageError
from snn_compile.files.npy import npy_region
from snn_compile.ir.text import to_text
from snn_compile.samples.readers.python_objects import collected, is_iterable
from snn_compile.samples.stored import StoredRows

X = np.random.default_rng(0).random((12, 3, 6, 5)).astype(np.float32)
Y = np.arange(12) % 3


class Dataset:
    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        return X[k], int(Y[k])


class Loader:
    batch_size = 5

    def __init__(self, labels=True):
        self.labels = labels

    def __iter__(self):
        for k in range(0, 12, 5):
            yield [X[k : k + 5], Y[k : k + 5]] if self.labels else X[k : k + 5]


@pytest.mark.parametrize("data", [Dataset(), Loader(), iter(Loader()), zip(X, Y, strict=True)])
def test_samples_and_labels_are_those_of_the_items(data):
    assert is_iterable(data)
    x, y = collected(data)
    assert (x[:] == X).all()
    assert (y[:] == Y).all()


def test_a_loader_without_labels():
    x, y = collected(Loader(labels=False))
    assert (x[:] == X).all()
    assert y is None


@pytest.mark.parametrize("data", [None, X, X.tolist(), {"x": X}, (X, Y), "file.npz"])
def test_what_is_known_is_left_alone(data):
    assert not is_iterable(data)


@pytest.mark.parametrize(
    "data",
    [
        iter(X),
        iter([]),
        zip(X, [Y[:2]] * 12, strict=True),
        iter([(X[0], 1), (X[0, 0], 1)]),
        iter(["a"]),
    ],
)
def test_what_is_unclear_is_refused(data):
    with pytest.raises(UsageError) as caught:
        collected(data)
    assert "iterable of (x, y)" in caught.value.hint


class Tensor:
    """An array of another library, with types of its own."""

    dtype = "float32"
    shape = X.shape

    def __array__(self, dtype=None, copy=None):
        return X

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        raise AssertionError("it is taken as an array")


def test_a_network_is_compiled_from_them(tmp_path):
    model = network(tmp_path / "net.onnx")
    one = compile_model(model, calibrate=X, evaluate=(X, Y), emit=())
    spooled = StoredRows(npy_region(saved(tmp_path / "x.npy")), "x")  # as if they were many
    for calibrate in (Dataset(), Tensor(), spooled):
        other = compile_model(model, calibrate=calibrate, evaluate=iter(Loader()), emit=())
        assert to_text(one.program) == to_text(other.program)
        assert one.report["ladder"] == other.report["ladder"]
        assert dict(one.provenance) == dict(other.provenance)


def saved(path):
    np.save(path, X)
    return path
