"""Advice that would follow from a wrong cause is withheld."""

import pytest

from snn_compile.cli.compile import check_accuracy
from snn_compile.errors import AccuracyError
from snn_compile.report import advice


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
    with pytest.raises(AccuracyError) as caught:
        check_accuracy(report("not-calibrated", "distribution-shift"), 1.0, "net.onnx")
    assert caught.value.hint == "first heed the warnings: not-calibrated, distribution-shift"
    with pytest.raises(AccuracyError) as caught:
        check_accuracy(report(), 1.0, "net.onnx")
    assert caught.value.hint.startswith("more bits")
