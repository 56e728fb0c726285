"""Whole layers in fixed point: against the float spiking network, and refused where they
overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net
from snn_compile.codings import Coding
from snn_compile.codings.graded import Graded
from snn_compile.codings.rate import Rate
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import CapacityError, CompileErrors
from snn_compile.ir import ann, quantized
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.quantize import EXPONENTS, quantize
from snn_compile.sim import bounds, reference, spiking

SAME = Geometry(padding=(1, 1, 1, 1))
SEEDS = st.integers(0, 2**32 - 1)
CODINGS = {
    "graded": Graded(8),
    "subtract": Rate(16),
    "zero": Rate(16, Reset.ZERO, 0.0),
}


def compiled(network, coding: Coding, weight_bits=8, arrival=None, n=24, seed=0):
    """Samples, the spiking network in float, its encoding and its quantization."""
    folded = FOLDING(network).graph
    x = np.random.default_rng(seed).uniform(-1, 1, (n, *folded.input.shape))
    statistics = calibrate(folded, x)
    scales = {key: np.where(a.peak > 0, a.peak, 1.0) for key, a in statistics.activations.items()}
    for node in folded.graph:
        if isinstance(node, ann.Relu) and node.like is not None:
            scales[node.id] = scales[node.like]
    shape = folded.input.shape
    encoding = InputEncoding.spanning(
        *next(iter(statistics.inputs.values())), 8, shape, maps_shape(shape)
    )
    network = ToSpiking(coding, scales, encoding, arrival, 7)(folded).graph
    network = AlignPaths()(network).graph
    return x, network, encoding, quantize(network, lambda _: weight_bits)


def scores(network, quantization, frames):
    """First output in float and in fixed point, as real values."""
    floats = spiking.evaluate(network, frames)
    program = quantization.program
    name = program.readouts[0].id
    unit = quantization.numbers[name].unit[:, None, None] / program.window.n_steps
    return floats, reference.run(program, frames).outputs[name] * unit


def residual_network():
    net = Net((2, 6, 6), seed=3)
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.conv(a, 4, geometry=SAME))
    b = net.relu(net.sum(net.conv(b, 4, geometry=SAME), a))
    c = net.relu(net.conv(b, 6, geometry=Geometry((2, 2), (1, 1, 1, 1))))
    net.dense(net.flatten(net.average_pool(c, (3, 3))), 5)
    return net.build()


@pytest.mark.parametrize("coding", CODINGS)
def test_fixed_point_is_close_to_float_spiking(coding):
    _, network, encoding, quantization = compiled(residual_network(), CODINGS[coding])
    x = np.random.default_rng(1).uniform(-1, 1, (40, 2, 6, 6))
    floats, fixed = scores(network, quantization, encoding(x))
    error = np.sqrt(((floats - fixed) ** 2).mean()) / floats.std()
    assert error < {"graded": 0.03, "subtract": 0.15, "zero": 0.25}[coding]


def test_fewer_weight_bits_lose_more():
    errors = []
    for bits in (2, 4, 6, 8):
        _, network, encoding, quantization = compiled(residual_network(), Graded(8), bits)
        x = np.random.default_rng(1).uniform(-1, 1, (40, 2, 6, 6))
        floats, fixed = scores(network, quantization, encoding(x))
        errors.append(float(((floats - fixed) ** 2).mean() / floats.var()))
        assert {
            n.weight.format.bits for n in quantization.program.graph if hasattr(n, "weight")
        } == {bits}
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


def assert_sound(quantization):
    """Bounds hold, exponents exist on the chip, thresholds are at least 1."""
    program = quantization.program
    for node in program.graph:
        if hasattr(node, "exponent"):
            assert node.exponent in EXPONENTS, node.id
        if isinstance(node, quantized.Population):
            interval = bounds.potential(program.graph, node, program.window.n_steps)
            assert interval.magnitude == quantization.numbers[node.id].largest
            assert interval.magnitude <= VOLTAGE_LIMIT
        if isinstance(node, quantized.IFNeurons):
            assert (node.threshold.values >= 1).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS, st.sampled_from(sorted(CODINGS)), st.integers(2, 8))
def test_any_network_becomes_sound(seed, coding, bits):
    network = anns.random_chain(seed, 7)
    _, floats, encoding, quantization = compiled(network, CODINGS[coding], bits, n=6)
    assert_sound(quantization)
    frames = encoding(np.random.default_rng(0).uniform(-1, 1, (3, *network.input.shape)))
    run = reference.run(quantization.program, frames)
    for node in quantization.program.readouts:
        assert run.outputs[node.id].shape == (3, *node.shape)
    assert len(floats.populations) == len(quantization.program.populations)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS)
def test_any_network_is_close_to_its_float_form(seed):
    """Graded payloads of 8 bits and weights of 8 bits: what is lost is lost to rounding."""
    network = anns.random_chain(seed, 5)
    _, floats, encoding, quantization = compiled(network, Graded(8), n=16)
    frames = encoding(np.random.default_rng(1).uniform(-1, 1, (16, *network.input.shape)))
    expected, actual = scores(floats, quantization, frames)
    scale = max(float(np.abs(expected).max()), 1e-9)
    assert np.abs(expected - actual).max() < 0.12 * scale + 1e-6


def test_relays_carry_every_message_unchanged():
    for coding in CODINGS.values():
        _, network, encoding, quantization = compiled(residual_network(), coding)
        program = quantization.program
        relays = [n for n in program.populations if getattr(n, "relay", False)]
        assert relays
        x = np.random.default_rng(1).uniform(-1, 1, (5, 2, 6, 6))
        run = reference.run(program, encoding(x), record=True)
        for relay in relays:
            source = NodeId(relay.id.rsplit("+", 1)[0])
            assert run.messages[source].any()
            np.testing.assert_array_equal(run.messages[relay.id], run.messages[source])
        assert len(network.populations) == len(program.populations)


def test_poisson_input_has_the_same_mean():
    net = Net((1, 4, 4), seed=1)
    net.dense(net.flatten(net.relu(net.conv(INPUT, 3, geometry=SAME))), 4)
    network = net.build()
    coding = Rate(512)
    _, _, encoding, current = compiled(network, coding)
    _, floats, _, poisson = compiled(network, coding, arrival=InputCoding.POISSON)
    frames = encoding(np.random.default_rng(1).uniform(-1, 1, (6, 1, 4, 4)))
    _, exact = scores(floats, current, frames)
    noisy, fixed = scores(floats, poisson, frames)
    # The same draws in float and in integers; the same mean as a constant current.
    assert np.abs(noisy - fixed).max() < 0.03 * np.abs(exact).max()
    assert np.abs(exact - fixed).max() < 0.2 * np.abs(exact).max()


# -------------------------------------------------------------------------------- what cannot fit


def wide(n, coding, names=("wide",), scale=4.0):
    """Dense layers of ones over n neurons, each with a rectifier; the spiking network."""
    net = Net((n,))
    relu = net.relu(INPUT)
    scales = {relu: np.ones(n)}
    for name in names:
        weight, bias = np.ones((2, n)), np.zeros(2)
        net.add(ann.Dense, (relu,), (2,), name, weight=weight, bias=bias)
        scales[net.relu(name)] = np.full(2, scale)
    encoding = InputEncoding(np.ones(1), 0, 255, (n,), (n, 1, 1))
    return ToSpiking(coding, scales, encoding)(net.build()).graph


def test_a_layer_of_small_integers_that_needs_more_room_gives_up_low_bits():
    """200 payloads of 16 bits do not fit 24 bits, but their sum without its low bits does."""
    network = wide(200, Graded(16))
    assert_sound(quantize(network, lambda _: 8))


# 130,000 synapses of 8 bits with payloads of 16 bits, or in 2**14 steps: 2**40 and more. Exponents
# take eight bits off, and a weight has only seven to give: what is left would be no weight at all.


def test_a_state_that_could_overflow_is_refused_with_its_number():
    with pytest.raises(CapacityError) as error:
        quantize(wide(130_000, Graded(16), scale=4.1), lambda _: 8)
    assert error.value.code == "state-overflow"
    assert "could reach" in error.value.message
    assert "8,388,607" in error.value.message
    assert error.value.origin.node.startswith("relu")


def test_all_layers_that_overflow_are_named_at_once():
    network = wide(130_000, Graded(16), ("one", "two"), scale=4.1)
    with pytest.raises(CompileErrors) as errors:
        quantize(network, lambda _: 8)
    assert [e.code for e in errors.value.errors] == ["state-overflow"] * 2


def test_a_wide_layer_that_fits_is_not_refused():
    quantization = quantize(wide(20_000, Graded(8), scale=4.1), lambda _: 8)
    assert_sound(quantization)
    groups = [n for n in quantization.program.graph if isinstance(n, quantized.DenseSynapses)]
    assert all(group.weight.values.any() for group in groups)


@pytest.mark.parametrize("size", [1e-6, 1e-12, 1e-30])
def test_a_dying_channel_keeps_its_bias_and_the_others_their_bits(size):
    """Weight decay leaves channels whose weights are almost 0 and whose bias is not."""
    net = Net((2, 5, 5), seed=2)
    weight = net.random.normal(size=(3, 2, 3, 3))
    weight[1] *= size
    layer = net.conv(INPUT, 3, weight=weight, bias=np.array([0.1, 0.5, -0.2]))
    net.dense(net.flatten(net.relu(layer)), 4)
    for coding in (Graded(8), Rate(32)):
        _, network, encoding, quantization = compiled(net.build(), coding)
        frames = encoding(np.random.default_rng(1).uniform(-1, 1, (10, 2, 5, 5)))
        expected, actual = scores(network, quantization, frames)
        assert np.abs(expected - actual).max() < 0.1 * np.abs(expected).max()
        assert_sound(quantization)


def test_a_layer_of_zeros_costs_no_memory():
    """A pruned convolution: no synapse, but still a population."""
    net = Net((8, 32, 32))
    net.conv(INPUT, 8, geometry=SAME, weight=np.zeros((8, 8, 3, 3)), bias=np.linspace(-1, 1, 8))
    net.relu("conv1")
    folded = FOLDING(net.build()).graph
    encoding = InputEncoding(np.ones(8), 0, 255, (8, 32, 32), (8, 32, 32))
    network = ToSpiking(Graded(8), {"relu2": np.ones(8)}, encoding)(folded).graph
    (group,) = network.synapses_into(network.populations[0])
    assert group.weight.nbytes < 1 << 20
    program = quantize(network, lambda _: 8).program
    frames = np.zeros((1, 8, 32, 32), np.int64)
    payloads = reference.run(program, frames, record=True).messages[NodeId("relu2")]
    expected = np.rint(np.clip(np.linspace(-1, 1, 8), 0, 1) * 255)
    assert np.abs(payloads[0, 0].mean(axis=(1, 2)) - expected).max() <= 1
