"""Quantizers of QONNX and Brevitas, of any width."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import evaluate_all, imported
from quantized_models import (
    inputs_of,
    layers,
    qonnx,
)


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "ends"),
    [(4, 1, 0, (-8, 7)), (4, 1, 1, (-7, 7)), (3, 0, 0, (0, 7)), (8, 1, 0, (-128, 127))],
)
@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_quantizers_of_any_width(bits, signed, narrow, ends, domain):
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    made, w = qonnx(bits, domain, **attributes)
    step = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1)
    wd = np.clip(np.rint(w / step), *ends) * step
    x = inputs_of(made)
    c = np.einsum("nihw,oi->nohw", x, wd[:, :, 0, 0])
    expected = np.clip(np.rint(c / 0.25), *ends) * 0.25
    found = imported(made)
    (actual,) = evaluate_all(found, x)
    assert np.abs(actual - expected).max() < 0.26
    assert (np.abs(actual - expected) > 0.01).mean() < 0.01
    (conv,) = layers(found.ann.graph)
    np.testing.assert_allclose(conv.step, step.ravel(), rtol=1e-6)


def test_bipolar_quantizer():
    made, w = qonnx(op="BipolarQuant")
    step = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1)
    wd = np.where(w >= 0, step, -step)
    x = inputs_of(made)
    c = np.einsum("nihw,oi->nohw", x, wd[:, :, 0, 0])
    expected = np.where(c >= 0, 0.25, -0.25)
    near = np.abs(c) < 1e-5
    (actual,) = evaluate_all(imported(made), x)
    assert ((actual == expected) | near).all()
