"""Data files: what is accepted, and each thing that can be wrong with one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_compile.errors import UsageError
from snn_compile.samples.arrays import check_samples, load_samples
from snn_compile.samples.outputs import OutputShapes

SHAPE = (3, 4, 5)
OUTPUTS = OutputShapes({"y": (6,)}, {})
X = np.random.default_rng(0).random((6, *SHAPE)).astype(np.float32)


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


def refusal(path: Path, **settings: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_samples(path, SHAPE, **settings)
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") == 1  # the error in one line, the hint in another
    return caught.value


def test_samples_with_labels(tmp_path: Path) -> None:
    path = save(tmp_path, x=X, y=np.arange(6, dtype=np.uint8))
    samples = load_samples(path, SHAPE, outputs=OUTPUTS)
    assert np.array_equal(samples.x, X)
    assert samples.y is not None
    assert samples.y.dtype == np.int64


def test_without_labels_there_is_agreement_only(tmp_path: Path) -> None:
    path = save(tmp_path, x=X)
    assert load_samples(path, SHAPE).y is None
    assert refusal(path, need_labels=True).code == "missing-labels"


def test_integers_need_preprocessing_and_stay_integers(tmp_path: Path) -> None:
    path = save(tmp_path, x=(255 * X).astype(np.uint8))
    assert load_samples(path, SHAPE, raw=True).x.dtype == np.uint8
    error = refusal(path)
    assert error.code == "wrong-dtype"
    assert "--mean-values" in error.hint


def test_channels_last_are_turned(tmp_path: Path) -> None:
    path = save(tmp_path, x=np.moveaxis(X, 1, -1))
    assert np.array_equal(load_samples(path, SHAPE, layout="nhwc").x, X)
    error = refusal(path)
    assert error.code == "wrong-shape"
    assert "--layout nhwc" in error.hint
    assert "--layout nchw" in refusal(save(tmp_path, x=X), layout="nhwc").hint


def test_double_precision_becomes_single() -> None:
    assert check_samples(X.astype(np.float64), None, SHAPE).x.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({"images": X}, "missing-key", "it holds images"),
        ({"x": X[:, :2]}, "wrong-shape", "(6, 2, 4, 5), but the network takes (N, 3, 4, 5)"),
        ({"x": X[0]}, "wrong-shape", "(3, 4, 5), but"),
        ({"x": np.float32(1)}, "wrong-shape", "()"),
        ({"x": X.reshape(6, 60)}, "wrong-shape", "(6, 60), but"),
        ({"x": X[:0]}, "empty-data", "no samples"),
        ({"x": X.astype(complex)}, "wrong-dtype", "complex128"),
        ({"x": X > 0}, "wrong-dtype", "bool"),
        ({"x": X.astype(str)}, "wrong-dtype", "<U"),
        ({"x": np.where(X == X[4, 0, 0, 0], np.nan, X)}, "not-finite", "sample 4"),
        ({"x": X.astype(np.float64) * 1e300}, "not-finite", "sample 0"),
        ({"x": X, "y": np.arange(5)}, "bad-labels", "(5,)"),
        ({"x": X, "y": np.eye(6)}, "bad-labels", "(6, 6)"),
        ({"x": X, "y": np.arange(6.0)}, "bad-labels", "float64"),
        ({"x": X, "y": np.arange(6) - 1}, "bad-labels", "from -1 to 4"),
        ({"x": X, "y": np.arange(6) + 1}, "bad-labels", "0 to 5"),
        ({"x": np.array([{"a": 1}], object)}, "pickled-data", "pickled"),
    ],
)
def test_what_is_wrong_with_the_arrays(
    tmp_path: Path, arrays: dict[str, Any], code: str, words: str
) -> None:
    error = refusal(save(tmp_path, **arrays), outputs=OUTPUTS)
    assert error.code == code
    assert words in error.message


def test_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    whole = save(tmp_path, x=X).read_bytes()
    contents = {
        "pickled-data": [pickle.dumps({"x": X})],
        "unreadable-data": [
            b"",
            b"hello",
            whole[: len(whole) // 2],
            whole[:100],
            b"PK\x03\x04junk",
        ],
    }
    broken = bytearray(whole)
    broken[400:420] = bytes(20)
    contents["unreadable-data"].append(bytes(broken))
    for code, files in contents.items():
        for content in files:
            path = tmp_path / "bad.npz"
            path.write_bytes(content)
            assert refusal(path).code == code
    assert refusal(tmp_path / "missing.npz").code == "unreadable-data"
    assert refusal(tmp_path).code == "unreadable-data"
