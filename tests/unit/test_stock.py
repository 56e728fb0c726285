"""Stock neurons: what fits the chip's registers, what is refused, and what a restriction costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anns import INPUT, Net
from calibration_cases import NETWORKS
from snn_backends.lava import LavaBackend
from snn_backends.lava.neurons import split_bias
from snn_backends.lava.plan import make_plan
from snn_compile import CompileOptions, compile_model
from snn_compile.codings import coding_of
from snn_compile.convert import calibrate as calibration
from snn_compile.errors import CapacityError, CompileErrors, Origin, UsageError
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons, ProbedReadout, QuantizedGraph
from snn_compile.ir.spiking import Reset
from snn_compile.lowering import lower
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize import stock
from snn_compile.samples.arrays import Samples
from snn_compile.sim import bounds, engine, reference

N_STEPS = 12


def lowered(network, **options):
    folded = FOLDING(network).graph
    x = np.random.default_rng(1).normal(size=(120, *folded.input.shape))
    given = CompileOptions(coding="rate", timesteps=N_STEPS, reset="zero", **options)
    given = stock.with_stock_defaults(given)
    statistics = calibration.calibrate(folded, x)
    return lower(folded, statistics, Samples(x), given, coding_of(given, "graded")), x


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("arrival", ["current", "poisson"])
def test_every_population_is_stock_and_inside_its_registers(name, arrival):
    found, _ = lowered(NETWORKS[name](), neurons="stock", input=arrival)
    program = found.program
    for node in program.populations:
        assert isinstance(node, CubaLIFNeurons | ProbedReadout)
        assert bounds.current(program.graph, node).magnitude < 1 << 17
        assert all(-8 < group.exponent < 8 for group in program.synapses_into(node))
        fine = node.bias.values << (6 if isinstance(node, ProbedReadout) else 0)
        split = split_bias(fine, 0)
        assert split is not None
        assert split[1] <= 7
        assert -4096 <= split[0].min()
        assert split[0].max() <= 4095
        if isinstance(node, CubaLIFNeurons):
            assert node.integrates
            assert node.is_stock
            assert 0 <= node.threshold.values.min()
            assert node.threshold.values.max() < 1 << 17
        else:
            potential = bounds.potential(program.graph, node, N_STEPS)
            assert potential.magnitude < 1 << 17
    assert LavaBackend().check(program) == []
    assert all(plan.stock for plan in make_plan(program).populations)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_computes_what_the_reference_does(name):
    found, x = lowered(NETWORKS[name](), neurons="stock")
    frames = found.encoding(x[:20])
    one = reference.run(found.program, frames, record=True)
    other = engine.run(found.program, frames, record=True)
    for key, messages in one.messages.items():
        assert np.array_equal(messages, other.messages[key])


@given(
    threshold=st.integers(1, 1 << 12),
    bias=st.integers(-(1 << 11), 1 << 11),
    seed=st.integers(0, 1 << 30),
)
def test_a_stock_neuron_is_integrate_and_fire_with_reset_to_zero(threshold, bias, seed):
    place = {"id": NodeId("n"), "inputs": (NodeId("s"),), "shape": (1, 1, 1), "origin": Origin("t")}
    plain = IFNeurons(
        **place,
        threshold=QTensor.of(np.array([threshold])),
        bias=QTensor.of(np.full((1, 1, 1), bias)),
        initial_potential=QTensor.of(np.zeros(1, np.int64)),
        reset=Reset.ZERO,
    )
    lif = CubaLIFNeurons(
        **place,
        threshold=QTensor.of(np.array([threshold - 1])),
        bias=QTensor.of(np.full((1, 1, 1), bias << 6)),
        current_decay=4095,
        voltage_decay=0,
    )
    a = np.random.default_rng(seed).integers(-threshold, 2 * threshold, (1, 1, 1, 9, 5))
    assert np.array_equal(plain.respond(a, 9), lif.respond(a, 9))


@given(st.lists(st.integers(-stock.MAX_BIAS, stock.MAX_BIAS), min_size=1, max_size=8))
def test_biases_share_one_exponent_and_are_nearest(values):
    bias = np.array(values)
    rounded = stock.rounded_bias(bias)
    mantissa, exponent = split_bias(rounded, 0)
    assert exponent <= 7
    assert abs(mantissa).max() <= 4096
    assert np.abs(rounded - bias).max() <= 1 << stock.bias_exponent(bias) >> 1
    if np.abs(bias).max() <= 4095:
        assert np.array_equal(rounded, bias)


def test_a_bias_beyond_the_register_is_an_error():
    with pytest.raises(ValueError, match="13 bits"):
        stock.rounded_bias(np.array([stock.MAX_BIAS + 1]))


def test_contradicting_options_are_refused_all_at_once():
    options = CompileOptions(
        neurons="stock",
        coding="signed",
        reset="subtract",
        initial_potential=0.5,
        origins={"reset": "net.toml:reset"},
    )
    with pytest.raises(CompileErrors) as caught:
        stock.with_stock_defaults(options)
    errors = caught.value.errors
    assert [error.code for error in errors] == ["not-stock"] * 3
    assert [str(error.origin) for error in errors if error.origin] == ["net.toml:reset"]
    assert all(error.hint for error in errors)


@pytest.mark.parametrize("coding", ["graded", "sync", "radix", "signed", "sigma-delta"])
def test_codings_without_stock_neurons_are_refused_with_the_reason(coding):
    with pytest.raises(UsageError, match=f"--coding {coding}: .*stock") as caught:
        stock.with_stock_defaults(CompileOptions(neurons="stock", coding=coding))
    assert "--coding rate" in caught.value.hint


def test_what_is_left_open_is_chosen():
    found = stock.with_stock_defaults(CompileOptions(neurons="stock"))
    assert (found.coding, found.reset) == ("rate", "zero")
    assert found.effective()["coding"]["origin"] == "--neurons stock"
    untouched = CompileOptions(coding="sync")
    assert stock.with_stock_defaults(untouched) is untouched


def test_layers_that_no_unit_makes_room_for_are_refused_all_at_once():
    net = Net((2000, 1, 1))
    alike = np.full((4, 2000, 1, 1), 0.01)  # the last bit of all weights goes at once
    one, other = (net.relu(net.conv(INPUT, 4, (1, 1), weight=alike)) for _ in range(2))
    net.dense(net.flatten(net.sum(one, other)), 3)
    with pytest.raises(CompileErrors) as caught:
        lowered(net.build(), neurons="stock", input_bits=16)
    errors = caught.value.errors
    assert len(errors) == 2
    assert all(isinstance(error, CapacityError) and error.code == "not-stock" for error in errors)
    assert all(error.origin is not None and "--input-bits" in error.hint for error in errors)


def test_the_report_says_what_the_restriction_costs(examples):
    with np.load(examples / "digits_calibrate.npz") as data:
        x = data["x"]
    with np.load(examples / "digits_evaluate.npz") as data:
        evaluate = data["x"][:200], data["y"][:200]
    model, given = examples / "digits_mlp.onnx", {"calibrate": x, "emit": (), "timesteps": 8}
    restricted = compile_model(model, neurons="stock", evaluate=evaluate, **given)
    entry = restricted.report["neurons"]

    def top1(compiled):
        answers = compiled.run(evaluate[0]).argmax(axis=1)
        return 100 * float((answers == evaluate[1]).mean())

    free = compile_model(model, **given)
    assert entry["top1"] == top1(restricted)
    assert entry["against"]["top1"] == top1(free)
    assert entry["against"]["network"] == "graded, 8 bit"
    assert entry["points"] == pytest.approx(top1(restricted) - top1(free))
    assert "neurons" not in free.report
    assert np.array_equal(
        compile_model(model, neurons="stock", **given).run(evaluate[0]), restricted.run(evaluate[0])
    )


def test_a_readout_that_could_saturate_has_no_room_for_its_bias():
    found, _ = lowered(NETWORKS["mlp"](), neurons="stock")
    (readout,) = found.program.readouts
    assert readout.state.max == (1 << 17) - 1
    wide = replace(readout, bias=QTensor.of(readout.bias.values + (1 << 16)))
    graph = found.program.graph.edit(replaced=[wide])
    assert bounds.potential(graph, wide, N_STEPS).magnitude > readout.state.max
    (error,) = LavaBackend().check(QuantizedGraph(graph, found.program.window))
    assert error.code == "not-stock"
    assert LavaBackend().check(found.program) == []
