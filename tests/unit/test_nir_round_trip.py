"""The input that our own NIR files state is what the import goes by; counts are not cut unsaid."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest

from snn_compile import compile_model
from snn_compile.errors import UsageError
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.spiking import InputCoding
from snn_compile.pipeline.spiking_input import counts_cut
from snn_compile.samples.arrays import Samples

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def compiled():
    calibrate = np.load(EXAMPLES / "digits_calibrate.npz")["x"][:64]
    options = {"coding": "rate", "timesteps": 4, "emit": (), "equalize": "none"}
    return compile_model(EXAMPLES / "digits_cnn.onnx", calibrate=calibrate, **options)


def samples():
    with np.load(EXAMPLES / "digits_evaluate.npz") as file:
        return file["x"][:60], file["y"][:60]


def test_real_values_are_encoded_as_before_the_export(compiled, tmp_path):
    compiled.emit("nir", tmp_path)
    x, y = samples()
    again = compile_model(tmp_path / "network.nir", timesteps=4, emit=(), evaluate=(x, y))
    assert not again.report["warnings"]
    assert (again.encoding(x) == compiled.encoding(x)).all()
    assert (again.run(x).argmax(1) == compiled.run(x).argmax(1)).all()


def test_a_file_without_the_unit_says_what_is_assumed(compiled, tmp_path):
    compiled.emit("nir", tmp_path)
    graph = nir.read(tmp_path / "network.nir")
    del graph.metadata["input_unit"]
    nir.write(tmp_path / "older.nir", graph)
    x, y = samples()
    again = compile_model(tmp_path / "older.nir", timesteps=4, emit=(), evaluate=(x, y))
    assert [warning["code"] for warning in again.report["warnings"]] == ["input-rescaled"]
    assert (again.run(x).argmax(1) == compiled.run(x).argmax(1)).mean() > 0.9


def test_integers_are_refused_where_real_values_are_taken(compiled, tmp_path):
    compiled.emit("nir", tmp_path)
    x, y = samples()
    with pytest.raises(UsageError) as caught:
        compile_model(tmp_path / "network.nir", emit=(), evaluate=((255 * x).astype(np.int32), y))
    assert caught.value.code == "wrong-dtype"
    assert "from 0 to 1" in caught.value.message


def test_counts_beyond_the_input_are_said():
    x = np.zeros((2, 3, 4), np.uint8)
    x[0, 0] = (0, 1, 2, 5)
    binary = InputEncoding(np.ones(1), 0, 1, (3, 4), (3, 4, 1))
    (finding,) = counts_cut(Samples(x), binary, InputCoding.EVENTS)
    assert finding.code == "counts-cut"
    assert "2 of 3 event counts exceed 1" in finding.message
    wide = InputEncoding(np.ones(1), 0, 5, (3, 4), (3, 4, 1))
    assert not counts_cut(Samples(x), wide, InputCoding.EVENTS)
    assert not counts_cut(Samples(x), binary, InputCoding.CURRENT)
    assert not counts_cut(None, binary, InputCoding.EVENTS)
