"""Networks that were refused for their fan-in, from the file to the report."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile.cli import main
from snn_compile.pipeline.driver import compile_model
from snn_compile.sim import engine

CHIP = """inherits = "loihi2"
name = "few axons"
description = "a chip whose cores receive little"
[core.input_axons]
value = {axons}
unit = "axons"
source = "a test"
confidence = "assumed"
"""


def weights(random, *shape):
    return (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(kind, size, channels):
    """A layer of convolutions, what is said, and dense layers after it."""
    random = np.random.default_rng(3)
    side = size // 2 if kind in ("AveragePool", "MaxPool") else size
    pools = {"kernel_shape": [2, 2], "strides": [2, 2]}
    n_flat = channels if kind == "GlobalAveragePool" else channels * side * side
    middle = {
        "AveragePool": [node("AveragePool", "r1", "p", "pool", **pools)],
        "MaxPool": [node("MaxPool", "r1", "p", "pool", **pools)],
        "GlobalAveragePool": [node("GlobalAveragePool", "r1", "p", "pool")],
        "Flatten": [node("Identity", "r1", "p", "same")],
        "Conv": [
            node("Conv", "r1 w4", "c4", "deep", pads=[1, 1, 1, 1]),
            node("Relu", "c4", "p", "relu4"),
        ],
    }[kind]
    constants = {
        "w1": weights(random, channels, 1, 3, 3),
        "w2": weights(random, 6, n_flat),
        "w3": weights(random, 4, 6),
    }
    if kind == "Conv":
        constants["w4"] = weights(random, channels, channels, 3, 3)
    made = model(
        [
            node("Conv", "x w1", "c1", "conv1", pads=[1, 1, 1, 1]),
            node("Relu", "c1", "r1", "relu1"),
            *middle,
            node("Flatten", "p", "f", "flat"),
            node("Gemm", "f w2", "g", "fc1", transB=1),
            node("Relu", "g", "r2", "relu2"),
            node("Gemm", "r2 w3", "y", "fc2", transB=1),
        ],
        ("N", 1, size, size),
        constants,
    )
    return made, random.random((40, 1, size, size)).astype(np.float32)


def assert_same_layers(path, x, target, **options):
    """Compile for a target and for none, and compare all layers of the latter.

    With payloads a pool may be kept as neurons for the target, which rounds once more: then the
    layers behind it are those of another network, and only the network's fit is compared.
    """
    split, whole = (
        compile_model(path, calibrate=x, target=str(name), **options)
        for name in (target, "unlimited")
    )
    frames = whole.encoding(x[:4])
    one, other = (engine.run(m.program, frames, record=True) for m in (whole, split))
    if any(finding["code"] == "kept-pool" for finding in split.report["fit"]):
        assert options["coding"] == "graded"
        return split
    for name, messages in one.messages.items():
        assert np.array_equal(messages, other.messages[name]), name
    assert split.program.latency > whole.program.latency
    return split


@pytest.mark.parametrize(
    ("kind", "coding"),
    [
        ("AveragePool", "sync"),  # with payloads the pool is kept: another rounding
        ("Flatten", "graded"),
        ("Conv", "rate"),
        ("MaxPool", "sigma-delta"),
        ("GlobalAveragePool", "radix"),
    ],
)
def test_what_a_core_cannot_receive_is_split(tmp_path, kind, coding):
    made, x = network(kind, 6, 8)
    onnx.save(made, tmp_path / "a.onnx")
    (tmp_path / "chip.toml").write_text(CHIP.format(axons=60))
    steps = {"timesteps": 6} if coding in ("sync", "rate", "radix") else {}
    split = assert_same_layers(
        tmp_path / "a.onnx", x, tmp_path / "chip.toml", coding=coding, **steps
    )
    relays = [row["name"] for row in split.report["layers"] if row["relay"]]
    assert any("/sums" in name for name in relays)
    assert {one["code"] for one in split.report["fit"]} == {"split-fan-in"}


def test_a_check_says_what_would_be_split(tmp_path, capsys):
    made, _ = network("Flatten", 6, 8)
    onnx.save(made, tmp_path / "a.onnx")
    (tmp_path / "chip.toml").write_text(CHIP.format(axons=60))
    line = ["check", str(tmp_path / "a.onnx"), "--target", str(tmp_path / "chip.toml")]
    line += ["--coding", "graded"]
    assert main([*line, "--verify-each"]) == 0
    assert "split-fan-in: layer 'relu2': fan-in 285, split into " in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert "split-fan-in" in [finding["code"] for finding in found]
    assert main([*line[:3], "loihi1"]) == 0  # few enough for a core of Loihi
    (tmp_path / "chip.toml").write_text(CHIP.format(axons=60).replace("loihi2", "loihi1"))
    assert main(line[:-2]) == 5
    assert "at most 59 sources fit" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["graded", "sync", "rate"])
@pytest.mark.parametrize(
    ("kind", "size", "channels"),
    [
        ("AveragePool", 28, 16),
        ("Flatten", 13, 64),
        ("Conv", 4, 512),
        ("MaxPool", 28, 32),
        ("GlobalAveragePool", 13, 64),
    ],
)
def test_networks_of_full_size_fit_loihi2(tmp_path, kind, size, channels, coding):
    made, x = network(kind, size, channels)
    onnx.save(made, tmp_path / "a.onnx")
    steps = {"timesteps": 8} if coding != "graded" else {}
    assert_same_layers(tmp_path / "a.onnx", x, "loihi2", coding=coding, **steps)
