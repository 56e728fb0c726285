"""Equal ranges, what they are good for, and how ``auto`` chooses among all adjustments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.equalize import Equalize, rescale
from snn_compile.errors import UsageError
from snn_compile.ir import ann
from snn_compile.passes import Finding
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.choose_equalization import least_error_of
from snn_compile.report.observer import SilentObserver
from snn_compile.sim.ann import evaluate
from snn_frontends.onnx import OnnxFrontend


def samples(network, n=24):
    return np.random.default_rng(1).uniform(0, 1, (n, *network.input.shape))


def peaks(network, x):
    return {key: a.peak for key, a in calibrate(network, x).activations.items()}


def equalized(network, x):
    ranges = balance_thresholds(network, calibrate(network, x), lambda _: "max", levels=255)
    return Equalize("range", ranges=ranges)(network).graph


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_any_network_keeps_its_function(seed):
    network = FOLDING(anns.random_chain(seed, 6)).graph
    x = samples(network)
    anns.assert_same_function(network, equalized(network, x), x, 1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_the_ranges_of_a_layer_become_equal(seed):
    network = FOLDING(anns.random_chain(seed, 5)).graph
    x = samples(network)
    before, after = peaks(network, x), peaks(equalized(network, x), x)
    for node in network.graph:
        if isinstance(node, ann.Relu) and node.like is None:
            alive = before[node.id] > 1e-3 * before[node.id].max()
            if node.cap is None and alive.any():
                np.testing.assert_allclose(
                    after[node.id][alive], after[node.id][alive].mean(), rtol=1e-3
                )
            if node.cap is not None:
                np.testing.assert_allclose(after[node.id], before[node.id], rtol=1e-4, atol=1e-6)


def test_ranges_must_be_given():
    with pytest.raises(ValueError, match="range"):
        Equalize("range")(uneven())


def plain():
    net = Net((2, 6, 6), seed=3)
    net.dense(net.flatten(net.relu(net.conv(net.relu(net.conv(INPUT, 6)), 5))), 4)
    return FOLDING(net.build()).graph


def uneven():
    """The same function by channels whose ranges lie powers of two apart."""
    network = plain()
    factors = {
        node.id: 2.0 ** np.random.default_rng(9).integers(-4, 5, node.shape[0])
        for node in network.graph
        if isinstance(node, ann.Relu)
    }
    return rescale(network, factors)


class Given:
    """A frontend that gives one network, whatever the file."""

    def __init__(self, network, monkeypatch, tmp_path):
        self.file = tmp_path / "given.onnx"
        self.file.write_bytes(b"")
        imported = replace(OnnxFrontend().read(EXAMPLE), ann=network)
        monkeypatch.setattr("snn_compile.pipeline.trained_models.read_model", lambda *_: imported)
        monkeypatch.setattr("snn_compile.pipeline.trained_models.source_runtime", lambda *_: None)

    def compiled(self, x, **options):
        return compile_model(self.file, calibrate=x, emit=(), **options)


EXAMPLE = "examples/digits_mlp.onnx"


@pytest.fixture
def given_network(monkeypatch, tmp_path, examples):
    monkeypatch.setattr(f"{__name__}.EXAMPLE", examples / "digits_mlp.onnx")
    return lambda network: Given(network, monkeypatch, tmp_path)


def relative_error(compiled, network, x):
    wanted = evaluate(network, x).astype(float)
    return ((compiled.run(x) - wanted) ** 2).mean() / wanted.var()


@pytest.mark.parametrize("options", [{"coding": "graded", "payload_bits": 4}, {"coding": "rate"}])
def test_one_threshold_a_layer_becomes_as_good_as_one_a_channel(given_network, options):
    """The channels differ by up to 256; without equal ranges most of them are all but lost."""
    network = uneven()
    x = samples(network, 64)
    model = given_network(network)
    shared, ranged, own = (
        relative_error(model.compiled(x, **options, **more), network, x)
        for more in ({"per_layer": True}, {"equalize": "range"}, {})
    )
    assert ranged < 0.1 * shared
    assert ranged < 1.5 * own


@pytest.mark.parametrize("coding", ["graded", "rate"])
def test_a_channel_with_a_threshold_of_its_own_is_the_same_channel(given_network, coding):
    """Why every adjustment implies one threshold a layer: otherwise not one integer changes.

    (The tails that ``mmse`` shrinks towards those of the layer do not scale with a channel.)
    """
    x = samples(plain(), 64)
    options = {"coding": coding, "thresholds": "max"}
    one, other = (given_network(each).compiled(x, **options) for each in (plain(), uneven()))
    np.testing.assert_array_equal(one.run(x), other.run(x))


# --------------------------------------------------------------------------------------------- auto


def test_the_smallest_error_on_samples_that_did_not_calibrate_wins():
    network = uneven()
    x = np.random.default_rng(0).uniform(size=(20, *network.input.shape))
    wanted = evaluate(network, x)
    seen: dict[str, int] = {}

    def compiled(mode, given_samples):
        seen[mode] = len(given_samples)
        error = {"none": 0.3, "range": 0.1, "l2": 0.2}[mode]

        def run(new):
            (at,) = np.nonzero((x[:, None] == new[None]).all(axis=(2, 3, 4)).any(axis=1))
            assert at.tolist() == [3, 7, 11, 15, 19]
            return [wanted[at] + error * wanted[at].std(axis=0)]

        return run

    mode, finding = least_error_of(["none", "range", "l2"], compiled, network, x)
    assert mode == "range"
    assert seen == {"none": 15, "range": 15, "l2": 15}
    assert finding.code == "equalize-auto"
    assert not finding.warning
    assert "auto took range" in finding.message
    figures = dict(part.split() for part in finding.message.split("outputs: ")[1].split(", "))
    assert float(figures["none"]) > float(figures["l2"]) > float(figures["range"])


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_samples_are_enough_to_choose(n):
    network = uneven()
    x = samples(network, n)

    def compiled(mode, given_samples):
        assert len(given_samples) == 1
        return lambda new: [evaluate(network, new) + (mode == "l4")]

    assert least_error_of(["l4", "l2"], compiled, network, x)[0] == "l2"


class Listening(SilentObserver):
    """Keeps what is found."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def finding(self, finding: Finding) -> None:
        self.found.append(finding)


def test_auto_compiles_what_it_chose(given_network):
    """One threshold for the channels of a layer is wanted: equal ranges must be found best."""
    network = uneven()
    x = samples(network, 64)
    model, listening = given_network(network), Listening()
    options = {"coding": "graded", "payload_bits": 4, "per_layer": True}
    chosen = model.compiled(x, equalize="auto", observer=listening, **options)
    (finding,) = [f for f in listening.found if f.code == "equalize-auto"]
    assert "auto took range" in finding.message
    assert all(f" {mode} " in finding.message for mode in ("none", "l2", "l4", "data"))
    named = model.compiled(x, equalize="range", **options)
    np.testing.assert_array_equal(chosen.run(x), named.run(x))
    assert chosen.report["options"]["equalize"] == {"value": "range", "origin": finding.message}


@pytest.mark.parametrize("mode", ["auto", "data"])
def test_measuring_needs_samples(examples, mode):
    with pytest.raises(UsageError) as error:
        compile_model(examples / "digits_mlp.onnx", equalize=mode, emit=())
    assert error.value.code == "missing-data"
    assert mode in str(error.value)


def test_ranges_come_from_the_weights_without_samples(examples):
    compiled = compile_model(examples / "digits_mlp.onnx", equalize="range", emit=())
    assert [w["code"] for w in compiled.report["warnings"]].count("not-calibrated") == 1
