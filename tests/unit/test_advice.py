"""Advice that would follow from a wrong cause is withheld."""

import pytest

from snn_compile.report import advice, limits


def report(*codes: str) -> dict:
    layer = {"name": "a", "output_share": 0.5, "sqnr_db": 10.0}
    rungs = [{"stage": "onnx", "top1": 90.0}, {"stage": "fixed", "top1": 50.0}]
    warnings = [{"code": code, "message": "", "origin": "", "hint": ""} for code in codes]
    return {"coding": "graded", "layers": [layer], "warnings": warnings, "ladder": rungs}


def test_the_costliest_layer_has_advice_without_warnings_about_data():
    assert "more --payload-bits" in advice.costliest(report("input-not-spikes"))


@pytest.mark.parametrize("code", sorted(advice.UNRELIABLE))
def test_and_none_beside_one(code):
    text = advice.costliest(report(code))
    assert text.startswith("a: adds 50.0 %")
    assert "--" not in text


def test_an_exceeded_limit_points_to_the_warnings():
    doubtful = report("not-calibrated", "distribution-shift")
    (error,) = limits.accuracy(doubtful, 1.0, "net.onnx")
    assert error.hint == "first heed the warnings: not-calibrated, distribution-shift"
    (error,) = limits.accuracy(report(), 1.0, "net.onnx")
    assert error.hint.startswith("more bits")
