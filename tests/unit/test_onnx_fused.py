"""Operators that the optimizer of onnxruntime has fused."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import assert_same, node
from quantized_models import (
    MICROSOFT,
    quantized_model,
    rng,
)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [0.0, 0.7]),
        ("HardSigmoid", [0.3, 0.4]),
        ("Sigmoid", []),
        ("Tanh", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("opset", [9, 13])
def test_fused_convolution(activation, parameters, opset):
    stated = {"activation": activation} if activation else {}
    stated |= {"activation_params": parameters} if parameters else {}
    w = rng().normal(size=(3, 3, 3, 3)).astype(np.float32)
    b = rng(1).normal(size=3).astype(np.float32)
    fused = node("FusedConv", "x w b", "y", domain=MICROSOFT, pads=[1, 1, 1, 1], **stated)
    constants = {"w": (w, "float32"), "b": (b, "float32")}
    assert_same(quantized_model([fused], constants, opset=opset), rtol=1e-3)
    summed = node("FusedConv", "x w b x", "y", domain=MICROSOFT, pads=[1, 1, 1, 1], **stated)
    assert_same(quantized_model([summed], constants, opset=opset), rtol=1e-3)


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Sigmoid"])
def test_fused_gemm(activation):
    stated = {"activation": activation} if activation else {}
    stated |= {"activation_alpha": 0.3} if activation == "LeakyRelu" else {}
    constants = {
        "w": (rng().normal(size=(4, 6)), "float32"),
        "b": (rng().normal(size=4), "float32"),
    }
    fused = node("FusedGemm", "x w b", "y", domain=MICROSOFT, transB=1, alpha=0.5, **stated)
    assert_same(quantized_model([fused], constants, ("N", 6), 13))


def test_fused_mat_mul():
    constants = {"w": (rng().normal(size=(4, 6)), "float32")}
    fused = node("FusedMatMul", "x w", "y", domain=MICROSOFT, transB=1, alpha=0.25)
    assert_same(quantized_model([fused], constants, ("N", 6), 13))
