"""A quantized ONNX file in Lava: the integers of its weights run there, message for message."""

from __future__ import annotations

import numpy as np
import pytest

from lava_examples import assert_equal_on_lava
from onnx_models import session
from quantized_models import inputs_of, qdq
from snn_compile import compile_model

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]
FORMS = {
    "int8 per channel": {"axis": 0},
    "uint8 with a zero point": {"weight_kind": "uint8", "weight_zero": 97},
    "int4 per channel": {"weight_kind": "int4", "axis": 0},
    "int8 activations": {"kind": "int8", "zero": -128},
}


@pytest.mark.parametrize(
    "name",
    [
        "int8 per channel",
        *(pytest.param(name, marks=pytest.mark.slow) for name in [*FORMS][1:]),
    ],
)
def test_lava_runs_the_integers_of_the_file(name, tmp_path):
    """The output differs from onnxruntime's by a step of its grid at most, as all values do."""
    made = qdq(**FORMS[name])
    path = tmp_path / "quantized.onnx"
    path.write_bytes(made.SerializeToString())
    x = inputs_of(made)
    compiled = compile_model(path, calibrate=x, emit=("lava",))
    kept = [
        layer["integers_kept"] for layer in compiled.report["layers"] if "integers_kept" in layer
    ]
    assert kept == [1, 1]
    (expected,) = session(made).run(None, {"x": x})
    step = 0.2
    assert np.abs(compiled.run(x) - expected).max() <= 1.001 * step
    assert_equal_on_lava(compiled, tmp_path / "out")
