"""Payload widths of single layers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anns import INPUT, Net
from engine_equality import assert_equal
from snn_compile import compile_model
from snn_compile.codings.graded import Graded
from snn_compile.codings.sync import Sync
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import GradedNeurons
from snn_compile.lowering import lower
from snn_compile.options import CompileOptions
from snn_compile.pipeline.folding import fold
from snn_compile.report.evaluation import levels_of
from snn_compile.samples.arrays import Samples
from snn_compile.sim.ann import evaluate


def joined():
    """A rectifier that a max pool and a residual join read, and one in a branch."""
    net = Net((2, 6, 6), seed=3)
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.max_pool(net.relu(net.conv(INPUT, 4, geometry=same)), (2, 2))
    second = net.relu(net.conv(first, 4, geometry=same))
    net.dense(net.flatten(net.sum(first, second)), 3)
    return net.build()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(48, 2, 6, 6)).astype(np.float32)


def compiled(network, x, layers, coding=None):
    coding = coding or Graded()
    options = CompileOptions(coding=coding.name, layers=layers)
    folded = fold(network, coding, widths=options.of_layers("payload_bits")).graph
    return lower(folded, calibrate(folded, x), Samples(x), options, coding)


def owners(folded):
    """The rectifiers whose scales others may share, in order."""
    return [n.id for n in folded.graph if isinstance(n, ann.Relu) and n.like is None]


def widths(found):
    """Largest payload of each rectifier, by the rectifier whose scale it has."""
    payloads = {}
    for node in found.folded.graph:
        if isinstance(node, ann.Relu):
            sent = found.program.graph[node.id]
            assert isinstance(sent, GradedNeurons)
            payloads.setdefault(node.like or node.id, set()).add(sent.payload.bits)
    return payloads


def test_who_carries_values_has_their_width_and_the_last_pattern_counts(x):
    network = joined()
    first, second = owners(fold(network, Graded()).graph)
    layers = {"*": {"payload_bits": 6}, first: {"payload_bits": 12}, "nothing*": {"weight_bits": 3}}
    found = compiled(network, x, layers)
    assert widths(found) == {first: {12}, second: {6}}
    assert set(levels_of(found.folded, Graded()).values()) == {4095, 63}
    assert_equal(found.program, found.encoding(x[:4]))


def test_an_error_grows_where_the_payload_is_narrow_and_shrinks_where_it_is_wide(x):
    network = joined()
    first, second = owners(fold(network, Graded()).graph)
    wanted = evaluate(network, x, dtype=np.float64).reshape(len(x), -1)

    def error(**bits):
        layers = {name: {"payload_bits": n} for name, n in bits.items()}
        answers = compiled(network, x, layers).outputs(x)[0].reshape(len(x), -1)
        return np.square(answers - wanted).mean()

    usual = error()
    assert error(**{first: 3}) > 10 * usual
    assert error(**{first: 3, second: 3}) > error(**{second: 3}) > 4 * usual
    assert error(**{first: 8, second: 8}) == usual


def test_without_payloads_it_is_ignored_and_says_so(x, tmp_path, examples):
    network = joined()
    layers = {"*": {"payload_bits": 6}}
    plain, asked = (compiled(network, x, some, Sync(8)) for some in ({}, layers))
    np.testing.assert_array_equal(plain.outputs(x)[0], asked.outputs(x)[0])
    options = {"coding": "rate", "timesteps": 4, "emit": (), "layers": layers}
    report = compile_model(examples / "digits_mlp.onnx", **options).report
    (said,) = [w["message"] for w in report["warnings"] if w["code"] == "option-ignored"]
    assert said.startswith("ignored: layers.*.payload-bits; ")
    assert [layer["payload_bits"] for layer in report["layers"]] == [0, 0, None]


def test_the_report_says_how_wide_the_messages_of_a_layer_are(examples):
    options = {"coding": "graded", "emit": (), "layers": {"*": {"payload_bits": 6}}}
    layers = compile_model(examples / "digits_mlp.onnx", **options).report["layers"]
    assert [layer["payload_bits"] for layer in layers] == [6, 6, None]


def test_networks_without_it_record_options_as_before():
    options = CompileOptions(layers={"a": {"weight_bits": 4}, "b": {"payload_bits": 5}})
    recorded = json.loads(json.dumps(options.effective()["layers"]["value"]))
    assert recorded == [
        {"pattern": "a", "weight_bits": 4, "thresholds": None},
        {"pattern": "b", "weight_bits": None, "thresholds": None, "payload_bits": 5},
    ]
    values = {name: entry["value"] for name, entry in options.effective().items()}
    assert CompileOptions.stated(values).layers == options.layers
