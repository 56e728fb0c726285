"""The pieces of the benchmark of exported networks, on networks that take no time."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.lowering import lower
from snn_compile.options import CompileOptions
from snn_compile.pipeline.folding import FOLDING
from snn_compile.report.layer_bounds import worst_errors
from snn_compile.samples.arrays import Samples
from snn_compile.sim import reference
from snn_frontends.onnx import OnnxFrontend
from tailed_networks import NETWORKS

# Behind all others: some of its modules have the names of modules in tests/support.
sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
wild = pytest.importorskip("wild")

RNG = np.random.default_rng(5)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def saved(path, last):
    nodes = [
        node("Conv", "x w", "a", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("GlobalAveragePool", "b", "c"),
        node("Flatten", "c", "d"),
        node("Gemm", "d v", "e"),
        last,
    ]
    constants = {"w": real(4, 3, 3, 3), "v": real(4, 5), "k": np.array([2])}
    onnx.save(model(nodes, constants=constants), path)
    return path


def test_rows(tmp_path):
    accepted = wild.check(saved(tmp_path / "f_net.legacy.onnx", node("Relu", "e", "y")), 60)
    assert (accepted.name, accepted.exporter, accepted.outcome) == ("f_net", "legacy", "accepted")
    assert accepted.is_form
    assert accepted.megabytes > 10
    refused = wild.check(
        saved(tmp_path / "net.dynamo.onnx", node("RandomNormalLike", "e", "y")), 60
    )
    assert (refused.outcome, refused.is_form) == ("refused", False)
    assert refused.reason.startswith("RandomNormalLike x1: ")
    (tmp_path / "none.legacy.onnx").write_bytes(b"no model")
    broken = wild.check(tmp_path / "none.legacy.onnx", 60)
    assert broken.reason.startswith("exit code 3: error[unreadable-model]")


def test_a_process_over_its_time():
    ended = wild.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    assert ended.code is None


def test_integers_are_judged(tmp_path):
    path = saved(tmp_path / "net.legacy.onnx", node("Relu", "e", "y"))
    found = wild.judged(path)
    assert found["equal"]
    assert found["over"] == {}
    assert found["float_error"] < 1e-5
    assert found["layers"] >= 3
    options = CompileOptions().override({"target": "unlimited", "rounding": "nearest"})
    folded = FOLDING(OnnxFrontend().read(path).ann).graph
    x = RNG.random((4, 3, 8, 8), np.float32)
    coding = coding_of(options, "graded")
    lowered = lower(folded, calibrate(folded, x), Samples(x), options, coding)
    frames = lowered.encoding(x[:2])
    run = reference.run(lowered.program, frames, record=True)
    first = lowered.program.populations[0].id
    moved = {**run.messages, first: run.messages[first] + 6}
    over = dict(worst_errors(lowered, frames, dataclasses.replace(run, messages=moved)))
    assert over[first].share > 1


@pytest.mark.parametrize("name", ["ssd", "actor_critic"])
def test_a_tail_is_judged_end_to_end(tmp_path, name):
    onnx.save(NETWORKS[name]().made, tmp_path / "net.onnx")
    found = wild.judged(tmp_path / "net.onnx")
    on_floats, on_integers = found["host"]
    assert on_floats <= wild.FLOAT_ERROR < on_integers < 0.1
