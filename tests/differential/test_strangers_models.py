"""Models whose numbers nobody trained: what ``check`` accepts, ``compile`` compiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from model_mutants import onnx_seeds
from snn_compile.cli import main


def written(folder: Path, tensor: str, value: float, *, whole: bool) -> Path:
    """A small network with another number in a tensor, or in all of it."""
    model = onnx.ModelProto.FromString(onnx_seeds()[0])
    (stored,) = [t for t in model.graph.initializer if t.name == tensor]
    array = numpy_helper.to_array(stored).astype(np.float64)
    array.reshape(-1)[slice(None) if whole else 1] = value
    stored.raw_data, stored.data_type = array.tobytes(), TensorProto.DOUBLE
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("value", [3e38, 1e300, 1e29, 1e-310])
def test_extreme_weights(tmp_path, capsys, value, whole):
    """Warnings are errors here, too."""
    for tensor in ("w", "g", "v", "k"):
        path = written(tmp_path, tensor, value, whole=whole)
        code = main(["check", str(path), "--coding", "rate", "-T", "3"])
        err = capsys.readouterr().err
        if value > 1e30:
            assert (tensor, code) == (tensor, 3)
            assert "error[out-of-range]" in err or "error[not-finite]" in err
        assert code in (0, 3), (tensor, err)
    if not code:
        out = ["-o", str(tmp_path / "out.snn"), "--no-emit", "-q"]
        assert main(["compile", str(path), *out, "--coding", "rate", "-T", "3"]) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tensor", ["w", "b", "v", "h"])
def test_what_is_no_number(tmp_path, capsys, tensor, value):
    path = written(tmp_path, tensor, value, whole=False)
    assert main(["check", str(path)]) == 3
    assert f"'{tensor}'" in capsys.readouterr().err
