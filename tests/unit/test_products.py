"""Products of activations: carriers, wiring, scales, refusals, and what integers stand for."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from anns import INPUT, Net
from snn_compile.codings.graded import Graded
from snn_compile.codings.rate import Rate
from snn_compile.codings.sigma_delta import SigmaDelta
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.expand import expand
from snn_compile.convert.isolate_operands import IsolateOperands
from snn_compile.convert.linear import apply_map
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.errors import CapacityError, CompileErrors, UnsupportedError
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.quantized import ProductDeltaNeurons, ProductNeurons, QuantizedGraph
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import Reset, Window
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.quantize import quantize
from snn_compile.quantize.to_fixed_point import Prove
from snn_compile.sim import engine, reference
from snn_compile.sim.ann import evaluate

SHAPE = (3, 4, 6)
MAPS = (4, 2, 4)
RNG = np.random.default_rng(3)
X = RNG.normal(size=(24, *SHAPE))


def layer(net, channels=4):
    """A rectified layer: maps of 2 x 4."""
    return net.relu(net.conv(INPUT, channels))


def repeated(net, source, shape):
    """A value along the axes in which it has the length 1."""
    number = np.arange(prod(net.shape(source))).reshape(net.shape(source))
    index = np.broadcast_to(number, shape).ravel()
    return net.add(ann.Gather, (source,), shape, index=index)


def multiply(net, left, right):
    return net.add(ann.Product, (left, right), net.shape(left))


def plain(net):
    return layer(net), layer(net)


def gated(net):
    """A factor for each channel, as in squeeze-and-excitation."""
    return layer(net), repeated(net, net.relu(net.conv(INPUT, 4, (4, 6))), MAPS)


def attended(net):
    """A factor for each position."""
    return repeated(net, layer(net, 1), MAPS), layer(net)


def halves(net):
    """Both operands from one population."""
    value = layer(net, 8)
    return tuple(
        net.add(
            ann.Slice, (value,), MAPS, slices=(slice(k, k + 4, 1), slice(0, 2, 1), slice(0, 4, 1))
        )
        for k in (0, 4)
    )


def turned(net):
    """Rows become channels, so that scales meet in one."""
    moved = net.add(ann.Transpose, (layer(net, 2),), (4, 2, 2), permutation=(2, 1, 0))
    return moved, net.relu(net.conv(layer(net), 4, (1, 3)))


def added(net):
    """A sum is no payload."""
    return net.add(ann.Add, (layer(net), layer(net)), MAPS), layer(net)


FORMS = [plain, gated, attended, halves, turned, added]


def network(form):
    net = Net(SHAPE)
    product = multiply(net, *form(net))
    net.relu(net.conv(product, 3, (2, 2)))
    net.dense(net.flatten(product), 5)
    return FOLDING(net.build()).graph


def converted(folded, coding, x=X):
    """In fixed point, with scales of the largest values; the encoded samples and the scales."""
    statistics = calibrate(folded, x)
    shape = folded.input.shape
    encoding = InputEncoding.spanning(
        *next(iter(statistics.inputs.values())), 8, shape, maps_shape(shape)
    )
    scales = balance_thresholds(folded, statistics, lambda _: "max", levels=coding.levels)
    spiking = AlignPaths()(ToSpiking(coding, scales, encoding)(folded).graph).graph
    return Prove()(quantize(spiking, lambda _: 4)).graph, encoding(x), scales


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [3, 8, 11])
def test_payloads_are_the_product_of_payloads(form, bits):
    """Half a step, and the error of the multiplier, is all that a product costs."""
    folded = network(form)
    quantization, frames, scales = converted(folded, Graded(bits))
    run = engine.run(quantization.program, frames, record=True)
    drives = expand(folded)
    (node,) = (n for n in folded.graph if isinstance(n, ann.Product))
    factors = []
    for term in drives[node.id].terms:
        unit = scales[term.source] / folded.graph[term.source].finest((1 << bits) - 1)
        values = run.messages[term.source][:, 0] * unit[:, None, None]
        factors.append(np.stack([apply_map(term.map, v.ravel()) for v in values]))
    exact = factors[0] * factors[1]
    unit = np.repeat(
        scales[node.id] / ((1 << bits) - 1), exact.shape[1] // maps_shape(node.shape)[0]
    )
    sent = run.messages[node.id][:, 0].reshape(exact.shape)
    inside = np.abs(sent) < (1 << bits) - 1
    assert inside.mean() > 0.5
    error = np.abs(sent * unit - exact)
    assert (error <= unit / 2 + 2.0**-12 * np.abs(exact) + 1e-12)[inside].all()
    assert len(np.unique(sent)) > 3


@pytest.mark.parametrize("form", FORMS)
def test_every_executor_agrees(form):
    quantization, frames, _ = converted(network(form), SigmaDelta(8))
    for program in (quantization.program, schedule(quantization.program, Window("sigma-delta", 1))):
        expected = reference.run(program, frames, record=True)
        found = engine.run(program, frames, record=True)
        for name, messages in expected.messages.items():
            np.testing.assert_array_equal(found.messages[name], messages)


@pytest.mark.parametrize(
    ("form", "carriers"),
    [(plain, 0), (gated, 0), (attended, 0), (halves, 0), (turned, 1), (added, 1)],
)
def test_only_what_has_no_payload_gets_a_carrier(form, carriers):
    net = Net(SHAPE)
    multiply(net, *form(net))
    before = net.build()
    result = IsolateOperands()(before)
    found = [f for f in result.findings if f.code == "carriers-inserted"]
    assert len(found) == carriers
    np.testing.assert_allclose(evaluate(result.graph, X), evaluate(before, X), rtol=1e-6)


def test_several_products_share_a_carrier():
    net = Net(SHAPE)
    value, other = added(net)
    multiply(net, value, other)
    multiply(net, other, value)
    assert len(IsolateOperands()(net.build()).findings) == 1


def test_a_linear_operand_is_carried_with_its_sign():
    net = Net(SHAPE)
    multiply(net, net.conv(INPUT, 4), net.conv(INPUT, 4))
    after = IsolateOperands()(net.build()).graph
    assert sum(isinstance(node, ann.Function) for node in after.graph) == 2
    np.testing.assert_allclose(evaluate(after, X), evaluate(net.build(), X))


def test_operands_keep_their_scales_when_weights_are_equalized():
    folded = network(gated)
    operands = {s for n in folded.graph if isinstance(n, ann.Product) for s in n.inputs}
    after = Equalize("l4")(folded).graph
    np.testing.assert_allclose(evaluate(after, X), evaluate(folded, X), rtol=1e-5)
    product = next(n for n in after.graph if isinstance(n, ann.Product))
    assert set(product.inputs) == operands


def test_nothing_is_fitted_into_a_product():
    folded = network(plain)
    quantization, frames, _ = converted(folded, Graded(8))
    fitted = FitLayers(folded, X, frames)(quantization).graph
    (product,) = (p for p in fitted.program.populations if isinstance(p, ProductNeurons))
    assert not product.bias.values.any()
    for group in fitted.program.synapses_into(product):
        before = quantization.program.graph[group.id]
        np.testing.assert_array_equal(group.weight.values, before.weight.values)


def test_bounds_without_data_hold():
    folded = network(attended)
    x = RNG.random((50, *SHAPE))
    bounds, measured = weight_bounds(folded), calibrate(folded, x)
    for name, activations in measured.activations.items():
        assert (activations.peak <= bounds.activations[name].peak * (1 + 1e-6)).all()


def test_codings_of_spikes_refuse_all_products_at_once():
    net = Net(SHAPE)
    multiply(net, *plain(net))
    multiply(net, *gated(net))
    folded = net.build()
    with pytest.raises(CompileErrors) as caught:
        converted(folded, Rate(8, Reset.SUBTRACT, 0.5))
    assert {error.code for error in caught.value.errors} == {"no-product"}
    assert "graded" in caught.value.errors[0].hint


def test_wide_payloads_are_refused():
    with pytest.raises(UnsupportedError) as caught:
        converted(network(plain), Graded(12))
    assert caught.value.code == "wide-product"
    assert "11" in caught.value.hint


@pytest.mark.parametrize("coding", [Graded(8), SigmaDelta(8)])
def test_an_operand_that_could_reach_into_the_other_is_found(coding):
    quantization, _, _ = converted(network(plain), coding)
    program = quantization.program
    product = next(p for p in program.populations if isinstance(p, ProductNeurons))
    _, lower = program.synapses_into(product)
    nine = QTensor(lower.weight.values * 9, QFormat(8))
    wide = program.graph.edit(replaced=[lower.__class__(**{**vars(lower), "weight": nine})])
    quantization = type(quantization)(
        QuantizedGraph(wide, program.window), quantization.numbers, quantization.network
    )
    with pytest.raises(CapacityError) as caught:
        Prove()(quantization)
    assert caught.value.code == "wide-product"


def test_a_scheduled_product_is_one_of_changes():
    quantization, _, _ = converted(network(plain), SigmaDelta(8))
    spread = schedule(quantization.program, Window("sigma-delta", 1))
    assert sum(isinstance(p, ProductDeltaNeurons) for p in spread.populations) == 1
