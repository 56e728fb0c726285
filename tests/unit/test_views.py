"""What a compiled network shows of itself in Python."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import snn_compile
from output_networks import segmenter, two_heads
from snn_compile import CompiledModel, compile_model
from snn_compile.report.views import ReportViews, ShownRows

EVIL = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> CompiledModel:
    folder = tmp_path_factory.mktemp("views")
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    return compile_model(two_heads(folder), calibrate=x, evaluate=(x + 1, None))


def test_a_line_and_tables(compiled, tmp_path):
    assert repr(compiled).startswith("<CompiledModel two_heads.onnx · graded on loihi2 · 3 layers")
    assert len(repr(compiled)) < 200
    assert list(compiled.layers) == compiled.report["layers"]
    assert list(compiled.ladder) == compiled.report["ladder"]
    text = repr(compiled.ladder)
    assert "policy" not in text.splitlines()[0]
    assert all(rung["stage"] in text for rung in compiled.ladder)
    assert [line.split()[0] for line in repr(compiled.layers).splitlines()[1:]] == [
        layer["name"] for layer in compiled.layers
    ]
    page = compiled._repr_html_()
    assert "two_heads.onnx" in page
    assert page.count("<table>") == page.count("</table>") == 3  # two outputs and the cost
    compiled.save(tmp_path / "net.snn")
    assert repr(snn_compile.load(tmp_path / "net.snn")) == repr(compiled)


def test_without_samples_there_is_nothing_to_show(tmp_path):
    bare = compile_model(segmenter(tmp_path))
    assert repr(bare.ladder) == "(nothing)"
    assert bare.ladder == []
    assert "maps.onnx" in repr(bare) or "CompiledModel" in repr(bare)
    assert isinstance(bare.layers, ShownRows)


def test_what_a_file_says_is_escaped():
    shown = ReportViews()
    shown.report = {
        "model": {"path": EVIL},
        "layers": [{"name": EVIL, "op": EVIL, "shape": [1]}],
        "ladder": [{"stage": EVIL, "top1": 1.0, "agreement": 1.0, "n": 1, "note": EVIL}],
        "warnings": [{"code": EVIL, "message": EVIL}],
    }
    for page in (shown._repr_html_(), shown.ladder._repr_html_(), shown.layers._repr_html_()):
        assert "<script" not in page
        assert "\x1b" not in page
    assert "\x1b" not in repr(shown) + repr(shown.layers) + repr(shown.ladder)


def test_progress_is_plain_lines_where_nothing_can_be_drawn(capsys):
    with snn_compile.show_progress() as observer:
        observer.stage("map", "1 core")
        with observer.progress("calibrate", "3 samples", 3) as advance:
            advance(3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["map", "calibrate"]
    assert not any("\x1b" in line for line in lines)
    assert "jupyter" not in sys.modules
