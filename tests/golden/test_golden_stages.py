"""Every stage of one small network as text, compared with what was reviewed.

The text has one line a node; a difference shows which node changed and in what. After a change that
is meant, write the files anew and read the difference before committing it::

    SNN_COMPILE_UPDATE_GOLDEN=1 python -m pytest tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import onnx_models
from snn_compile.codings.graded import Graded
from snn_compile.codings.radix import Radix
from snn_compile.codings.rate import Rate
from snn_compile.codings.sigma_delta import SigmaDelta
from snn_compile.codings.signed import Signed
from snn_compile.codings.sync import Sync
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.ir.text import to_text
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.quantize import quantize

HERE = Path(__file__).parent
UPDATE = bool(os.environ.get("SNN_COMPILE_UPDATE_GOLDEN"))

CODINGS = {
    "graded": (Graded(6), None),
    "rate": (Rate(8), None),
    "zero": (Rate(8, Reset.ZERO, 0.0), InputCoding.POISSON),
    "sync": (Sync(8), None),
    "radix": (Radix(4), None),
    "signed": (Signed(8), None),
    "sigma-delta": (SigmaDelta(6), None),
}


def network():
    """Two convolutions with batch norm, a max pool, a residual join, a pool and a classifier."""
    random = np.random.default_rng(2026)

    def rounded(*shape):
        return np.round(random.normal(size=shape) / 2, 2).astype(np.float32)

    constants = {"w1": rounded(3, 2, 3, 3), "w2": rounded(3, 3, 3, 3), "w3": rounded(3, 3, 3, 3)}
    constants |= {"b3": rounded(3), "w4": rounded(4, 3), "b4": rounded(4)}
    for name in ("gamma", "beta", "mean"):
        constants[name] = rounded(3)
    constants["var"] = np.array([0.5, 1.0, 2.0], np.float32)
    node = onnx_models.node
    nodes = [
        node("Conv", "x w1", "c1", "stem", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 gamma beta mean var", "n1", "norm"),
        node("Relu", "n1", "r1", "act1"),
        node("MaxPool", "r1", "p1", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2", "c2", "inner", pads=[1, 1, 1, 1]),
        node("Clip", "c2 zero six", "r2", "act2"),
        node("Conv", "r2 w3 b3", "c3", "outer", pads=[1, 1, 1, 1]),
        node("Add", "c3 p1", "a3", "join"),
        node("Relu", "a3", "r3", "act3"),
        node("GlobalAveragePool", "r3", "g", "mean"),
        node("Flatten", "g", "f", "flat"),
        node("Gemm", "f w4 b4", "y", "classify", transB=1),
    ]
    constants |= {"zero": np.float32(0), "six": np.float32(6)}
    made = onnx_models.model(nodes, ("N", 2, 6, 6), constants)
    imported = onnx_models.imported(made).ann
    return FoldPreprocessing((0.5,), (0.25, 0.5))(imported).graph


def stages():
    """The text of each stage by name."""
    imported = network()
    folded = FOLDING(imported).graph
    # Scales and encoding are stated, so that the text depends on no calibration.
    scales = {}
    for node in folded.graph:
        if isinstance(node, ann.Relu):
            own = 2.0 + np.arange(node.shape[0]) / 4
            scales[node.id] = scales[node.like] if node.like else own
    encoding = InputEncoding(np.full(2, 1 / 64), 0, 63, (2, 6, 6), (2, 6, 6))
    found = {"imported": to_text(imported), "folded": to_text(folded)}
    for name, (coding, arrival) in CODINGS.items():
        spiking = ToSpiking(coding, scales, encoding, arrival, 5)(folded).graph
        spiking = AlignPaths()(spiking).graph
        found[f"spiking-{name}"] = to_text(spiking)
        program = quantize(spiking, lambda layer: 5 if "act2" in layer else 8).program
        found[f"quantized-{name}"] = to_text(schedule(program, coding.window))
    return found


NAMES = ["imported", "folded"]
NAMES += [f"{stage}-{name}" for name in CODINGS for stage in ("spiking", "quantized")]


@pytest.fixture(scope="module")
def texts():
    return stages()


@pytest.mark.parametrize("name", NAMES)
def test_stage(texts, name):
    path = HERE / f"{name}.txt"
    if UPDATE:
        path.write_text(texts[name], encoding="utf-8")
    expected = path.read_text(encoding="utf-8").splitlines()
    assert texts[name].splitlines() == expected


def test_every_file_belongs_to_a_stage():
    assert {path.stem for path in HERE.glob("*.txt")} == set(NAMES)


def test_the_text_is_the_same_again(texts):
    assert stages() == texts
