"""Neuron models: each answers everything, and a new one is one file."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from refractory_neurons import RefractoryIFNeurons

from diagnoses import changed, diagnosed
from network_builder import Builder
from snn_backends.lava.backend import LavaBackend
from snn_backends.netx.layers import layers_of
from snn_backends.nir.refusals import refusals
from snn_compile.cli import main
from snn_compile.conformance import files, network_file
from snn_compile.conformance.features import exercised_features
from snn_compile.conformance.net import INPUT, Net
from snn_compile.errors import CapacityError, CompileError, CompileErrors, UnsupportedError
from snn_compile.files.documents import DamagedError
from snn_compile.hil.devices.faulty import faulty_messages
from snn_compile.ir import serialize, spiking
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.models import registry
from snn_compile.ir.quantized import (
    STATE,
    DenseSynapses,
    IFNeurons,
    Neurons,
    PiecewiseLinearNeurons,
    Readout,
)
from snn_compile.ir.reading import load_text
from snn_compile.ir.schedule import integer_network
from snn_compile.ir.stages import SpikingGraph, StageError
from snn_compile.ir.text import dump_text, to_text
from snn_compile.mapping import map_program, violations_without_placement
from snn_compile.quantize.neurons import RULES
from snn_compile.quantize.quantize import LayerNumbers, Quantization, quantize
from snn_compile.quantize.to_fixed_point import Prove
from snn_compile.report.layers import layer_table
from snn_compile.sim import bounds, engine, reference
from snn_compile.sim import spiking as simulation
from snn_compile.sim.portability import portability
from snn_compile.targets import load_target

NAMES = {
    "GradedNeurons": "graded",
    "ProductNeurons": "product",
    "ProductDeltaNeurons": "product-delta",
    "PiecewiseLinearNeurons": "piecewise-linear",
    "ClipFloorNeurons": "clip-floor",
    "IFNeurons": "if",
    "SignedIFNeurons": "signed-if",
    "SyncIFNeurons": "sync-if",
    "RadixIFNeurons": "radix-if",
    "SigmaDeltaNeurons": "sigma-delta",
    "PiecewiseLinearDeltaNeurons": "piecewise-linear-delta",
    "PiecewiseLinearWindowNeurons": "piecewise-linear-window",
    "CubaLIFNeurons": "cuba-lif",
    "Readout": "readout",
    "ProbedReadout": "probed-readout",
    "DelayNeurons": "delay",
    "LeakyReadout": "leaky-readout",
    "StartedReadout": "started-readout",
    "ThresholdDeltaNeurons": "threshold-delta",
    "SyncReadout": "sync-readout",
    "SigmaDeltaReadout": "sigma-delta-readout",
}
"""In files that exist: sealed networks and conformance vectors."""
ANSWERS = sorted({*registry.open_questions(Neurons), *registry.open_questions(Readout)})


@pytest.mark.parametrize("model", registry.BUILT_IN, ids=lambda model: model.__name__)
def test_a_built_in_model_answers_everything(model):
    assert registry.complaints(model) == ()


def test_the_names_in_files_stay():
    assert {model.__name__: model.conformance for model in registry.BUILT_IN} == NAMES


@pytest.mark.parametrize("name", ANSWERS)
def test_a_model_that_lacks_an_answer_is_refused(name):
    stated = vars(RefractoryIFNeurons)
    kept = {k: v for k, v in stated.items() if k != name and not k.startswith("__")}
    types = {k: v for k, v in stated["__annotations__"].items() if k != name}
    kept |= {"__annotations__": types, "__module__": RefractoryIFNeurons.__module__}
    lacking = dataclass(frozen=True, eq=False, kw_only=True)(type("Lacking", (Neurons,), kept))
    assert registry.complaints(lacking) == (f"it does not state '{name}'",)


def test_equations_of_its_own_are_no_other_models():
    """It would be taken for that one by whoever knows it: the engine, calibration, Lava."""

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Derived(IFNeurons):
        def respond(self, a, n_steps):
            return super().respond(a, n_steps) // 2

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Late(Readout):
        def respond(self, a, n_steps):
            return super().respond(a, n_steps) // 2

    assert "derives from IFNeurons" in registry.complaints(Derived)[0]
    assert any("'in_engine'" in complaint for complaint in registry.complaints(Late))
    del Derived, Late
    registry.complaints.cache_clear()
    gc.collect()
    assert len(Readout.__subclasses__()) == 5  # other tests count them


def test_no_network_has_a_model_that_lacks_an_answer():
    @dataclass(frozen=True, eq=False, kw_only=True)
    class Silent(Neurons):
        bias: QTensor
        state: QFormat = STATE

        respond = IFNeurons.respond

    net = Net("silent", (3,), n_steps=2)
    net.readout("out", net.dense(net.add(Silent, "first", net.dense(INPUT, 3)), 2))
    with pytest.raises(StageError, match="'first' does not fit: it does not state"):
        net.vector("", net.frames(1))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install models as packages do, by an entry point: ``install(NAME="module:Class")``."""

    def installed(**entries):
        folder = tmp_path / "site" / "neurons_of_tests-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: neurons-of-tests\n")
        listed = "".join(f"{name} = {where}\n" for name, where in entries.items())
        (folder / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{listed}")
        monkeypatch.syspath_prepend(str(folder.parent))
        registry.of_other_packages.cache_clear()

    yield installed
    registry.of_other_packages.cache_clear()


@pytest.fixture
def refractory(install):
    install(refractory="refractory_neurons:RefractoryIFNeurons")


def test_an_installed_model_is_in_the_registry(refractory):
    assert registry.model_of("RefractoryIFNeurons") is RefractoryIFNeurons
    assert registry.of_conformance_file("refractory-if") is RefractoryIFNeurons


def test_broken_models_are_refused_together(install):
    """And what is built in works all the same."""
    install(
        gone="refractory_neurons:Gone",
        absent="no_such_module:Model",
        odd="refractory_neurons:QTensor",
        twice="snn_compile.ir.quantized:IFNeurons",
    )
    with pytest.raises(CompileErrors) as refused:
        registry.models()
    errors = refused.value.errors
    assert {error.code for error in errors} == {"broken-neurons"}
    assert all(error.origin and error.hint for error in errors)
    assert len(errors) == 4
    assert all("(neurons-of-tests " in error.message for error in errors)
    assert registry.model_of("IFNeurons") is IFNeurons


def test_a_model_may_raise_whatever_it_likes_when_it_is_loaded(install, tmp_path):
    install(odd="model_that_divides:Model", list="refractory_neurons:__builtins__")
    (tmp_path / "site" / "model_that_divides.py").write_text("1 / 0")
    with pytest.raises(CompileErrors) as refused:
        registry.models()
    assert "cannot be loaded: ZeroDivisionError" in refused.value.errors[0].message
    assert "no dataclass" in refused.value.errors[1].message


def test_a_broken_model_is_in_the_way_of_no_other(install, capsys):
    install(refractory="refractory_neurons:RefractoryIFNeurons", gone="refractory_neurons:Gone")
    assert registry.model_of("RefractoryIFNeurons") is RefractoryIFNeurons
    with pytest.raises(CompileError, match="'gone'"):
        registry.model_of("Gone")
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["neurons refractory"]["ok"]
    assert not checks["neurons gone"]["ok"]


def test_texts_without_a_broken_model_are_read(install):
    net = Net("plain", (3,), n_steps=2)
    net.readout("out", net.dense(net.add_active("subtract", "first", net.dense(INPUT, 3)), 2))
    text = dump_text(net.vector("", net.frames(1)).program)
    install(gone="refractory_neurons:Gone")
    assert dump_text(load_text(text)) == text
    with pytest.raises(CompileErrors) as refused:
        load_text(text.replace("IFNeurons", "Gone"))
    assert [error.code for error in refused.value.errors] == ["bad-text", "broken-neurons"]


NET = Net("refractory", (2, 3, 3), n_steps=6)
_FIRST = NET.add(
    RefractoryIFNeurons,
    "first",
    NET.conv(INPUT, 3, (2, 2)),
    threshold=NET.draw(20, 60, 3),
    bias=NET.draw(-4, 4, 3),
    refractory=2,
)
_SECOND = NET.add_active("subtract", "second", NET.dense(_FIRST, 5))
NET.readout("out", NET.dense(_SECOND, 2))
VECTOR = NET.vector("Neurons that rest.", NET.frames(60))
PROGRAM, FRAMES = VECTOR.program, VECTOR.frames


def test_the_reference_runs_it():
    """Against the equations in plain Python, one neuron at a time."""
    run = reference.run(PROGRAM, FRAMES, record=True)
    node = PROGRAM.populations[0]
    simulator = reference.Simulator(PROGRAM)
    a = simulator.current(node, simulator.encode_inputs(FRAMES))
    fired = 0
    for c, y, x, b in np.ndindex(*node.shape, len(FRAMES)):
        v = rests = 0
        for t in range(6):
            s = 0
            if rests == 0:
                v += int(a[c, y, x, 0, b]) + int(node.bias.values[c])
                s = int(v >= node.threshold.values[c])
            v, rests = (0, 2) if s else (v, max(rests - 1, 0))
            assert run.messages[node.id][b, t, c, y, x] == s
            fired += s
    assert 0 < fired < run.messages[node.id].size // 3


def test_it_goes_into_sealed_networks_and_back(refractory):
    description, arrays = serialize.dump_program(PROGRAM)
    again = serialize.load_program(json.loads(json.dumps(description)), arrays)
    assert type(again.populations[0]) is RefractoryIFNeurons
    assert serialize.dump_program(again)[0] == description
    assert to_text(again) == to_text(PROGRAM)
    assert "first: RefractoryIFNeurons 3x2x2 <- " in to_text(PROGRAM)
    assert " refractory=2 " in to_text(PROGRAM)


def test_a_file_with_neurons_that_nobody_has_is_refused_by_name():
    description, arrays = serialize.dump_program(PROGRAM)
    with pytest.raises(DamagedError, match="'RefractoryIFNeurons'"):
        serialize.load_program(description, arrays)
    with pytest.raises(DamagedError, match="'refractory-if'"):
        network_file.decode(*network_file.encode(PROGRAM))


def test_it_goes_into_conformance_files_and_back(refractory, tmp_path):
    files.write(tmp_path / "set", [VECTOR])
    (case,) = files.read(tmp_path / "set")
    assert to_text(case.program) == to_text(PROGRAM)
    assert "neurons:refractory-if" in case.exercises
    recorded = reference.run(PROGRAM, FRAMES, record=True).messages
    assert exercised_features(VECTOR, recorded) == list(case.exercises)


def test_its_numbers_are_checked(refractory):
    description, arrays = serialize.dump_program(PROGRAM)
    next(n for n in description["nodes"] if n["id"] == "first")["refractory"] = 0
    with pytest.raises(StageError, match="its refractory is 0"):
        serialize.load_program(description, arrays)


def test_its_potential_is_bounded():
    node = PROGRAM.populations[0]
    proof = bounds.potential(PROGRAM.graph, node, 6)
    simulator = reference.Simulator(PROGRAM)
    random = np.random.default_rng(1)
    frames = random.integers(0, 16, (200, 2, 3, 3))
    drive = simulator.current(node, simulator.encode_inputs(frames))[..., 0, :]
    drive = drive + node.bias.values[:, None, None, None]
    assert (drive.max(axis=(1, 2, 3)) <= proof.high).all()
    assert (6 * np.minimum(drive, 0).min(axis=(1, 2, 3)) >= proof.low).all()


def quantization(program):
    numbers = {
        node.id: LayerNumbers(np.ones(node.shape[0]), 5, 0, 0.0, 0, np.zeros(1))
        for node in program.populations
    }
    return Quantization(program, numbers, None)  # nothing here looks at the float network


def test_an_overflow_is_proven_impossible_or_refused():
    done = Prove()(quantization(PROGRAM)).graph
    assert (
        done.numbers["first"].largest
        == bounds.states(PROGRAM.graph, PROGRAM.populations[0], 6).magnitude
    )
    narrow = PROGRAM.populations[0].changed(state=QFormat(8))
    with pytest.raises(CapacityError) as refused:
        Prove()(quantization(changed(PROGRAM, narrow)))
    assert refused.value.code == "state-overflow"


def test_the_engine_leaves_it_to_the_reference():
    if engine.native.find() is not None:
        assert engine.no_engine(PROGRAM) == "the engine has no RefractoryIF neurons"
    run = engine.run(PROGRAM, FRAMES)
    expected = reference.run(PROGRAM, FRAMES)
    assert np.array_equal(run.outputs["out"], expected.outputs["out"])


def test_it_is_mapped_and_a_target_names_it():
    mapped = map_program(PROGRAM, load_target("unlimited")).graph
    assert {p.population for p in mapped.placements} == {"first", "second", "out"}
    strict = load_target("unlimited")
    strict = replace(strict, neurons=replace(strict.neurons, value=("IF-subtract", "Readout")))
    (wrong,) = violations_without_placement(PROGRAM, strict)
    assert (wrong.rule, "'first': neurons of kind RefractoryIF" in wrong.message) == (
        "neuron_supported",
        True,
    )


def test_the_report_has_its_layer():
    table = layer_table(PROGRAM, quantization(PROGRAM).numbers, {}, None, {})
    threshold = PROGRAM.populations[0].threshold.values
    assert table[0]["threshold"] == [threshold.min(), threshold.max()]
    assert table[0]["op"] == "conv"


def test_a_fault_in_it_is_found_and_named(tmp_path):
    for kind in ("threshold", "no-bias"):
        messages = faulty_messages(PROGRAM, FRAMES, kind, "first")
        first, *_ = diagnosed(tmp_path, PROGRAM, FRAMES, messages)
        assert (first.layer, first.causes[0].kind) == ("first", kind)


def test_a_network_that_is_spread_over_time_has_no_form_of_it():
    net = Net("spread", (4,), "sync", 4)
    first = net.add(RefractoryIFNeurons, "first", net.dense(INPUT, 3), threshold=9, refractory=1)
    net.readout("out", net.dense(first, 2))
    program = net.vector("", net.frames(2)).program
    assert reference.run(program, net.frames(2)).outputs["out"].shape == (2, 2)
    with pytest.raises(StageError, match="'first' is a RefractoryIFNeurons"):
        integer_network(program)


def test_other_systems_refuse_it_by_name():
    assert "RefractoryIF neurons" in portability(PROGRAM, FRAMES).obstacle
    for errors in (LavaBackend().check(PROGRAM), refusals(PROGRAM), layers_of(PROGRAM)[1]):
        (own,) = (e for e in errors if "'first'" in e.message)
        assert isinstance(own, UnsupportedError)
        assert own.code
        assert own.hint


def test_training_refuses_it_by_name():
    pytest.importorskip("torch")
    from snn_compile.tune.network import Network

    with pytest.raises(UnsupportedError, match="RefractoryIF") as refused:
        Network(PROGRAM, {"out": np.ones(2)})
    assert refused.value.code == "tune-neurons"


@dataclass(frozen=True, eq=False, kw_only=True)
class RefractoryFloat(spiking.Neurons):
    """The model in floating point."""

    threshold: spiking.Float
    bias: spiking.Float
    refractory: int
    relay: bool = False


def float_network():
    place = {"origin": VECTOR.program.input.origin, "shape": (2, 1, 1)}
    x = spiking.Input(
        id="x",
        inputs=(),
        unit=np.ones(2),
        low=0,
        high=7,
        coding=spiking.InputCoding.CURRENT,
        **place,
    )
    a = spiking.DenseSynapses(
        id="a", inputs=("x",), weight=np.array([[1.0, 0.5], [0.25, 1.5]]), **place
    )
    n = RefractoryFloat(
        id="n",
        inputs=("a",),
        threshold=np.full(2, 9.0),
        bias=np.zeros((2, 1, 1)),
        refractory=1,
        **place,
    )
    b = spiking.DenseSynapses(
        id="b", inputs=("n",), weight=np.array([[1.0, -1.0], [0.5, 1.0]]), **place
    )
    out = spiking.Readout(id="out", inputs=("b",), bias=np.zeros((2, 1, 1)), **place)
    graph = serialize.Graph([x, a, n, b, out])
    return SpikingGraph(graph, spiking.Window("rate", 5))


def test_the_float_side_refuses_what_it_has_no_rule_for():
    network = float_network()
    for asked in (
        lambda: quantize(network, lambda _: 6),
        lambda: simulation.evaluate(network, np.ones((1, 2, 1, 1), np.int64)),
    ):
        with pytest.raises(UnsupportedError, match="RefractoryFloat") as refused:
            asked()
        assert refused.value.code == "unknown-neurons"
        assert refused.value.hint


def test_a_rule_of_the_float_side_is_registered(monkeypatch):
    def rule(node, bias, step):
        return RefractoryIFNeurons(
            **node.common_fields,
            threshold=QTensor.of(np.maximum(np.rint(node.threshold / step), 1).astype(np.int64)),
            bias=QTensor.of(np.rint(bias).astype(np.int64)),
            refractory=node.refractory,
            relay=node.relay,
        )

    monkeypatch.setitem(RULES, RefractoryFloat, rule)
    program = quantize(float_network(), lambda _: 6).program
    assert type(program.populations[0]) is RefractoryIFNeurons
    assert reference.run(program, np.full((3, 2, 1, 1), 7)).outputs["out"].any()


def lines_into_a_readout(high, exponent):
    """A payload of 24 bits or so, and synapses that shift it."""
    net = Builder(0, (4,))
    first = net.dense("input", 4)
    column = {"multiplier": 4095, "offset": 1 << 46, "shift": 0}
    table = {name: QTensor.of(np.full((4, 1), value)) for name, value in column.items()}
    table["breakpoints"] = QTensor.of(np.zeros((4, 0), np.int64))
    bias = QTensor.of(np.zeros(4, np.int64))
    lines = net._add_population(
        PiecewiseLinearNeurons, (first,), bias=bias, low=0, high=high, **table
    )
    weight = QTensor(np.full((4, 4), 64), QFormat(8))
    second = net._add_synapses(DenseSynapses, lines, (4,), weight=weight, exponent=exponent)
    net._add_population(Readout, (second,), bias=bias)
    return net.build()


@pytest.mark.parametrize("high", [1 << 31, 1 << 55, 1 << 62])
def test_messages_have_32_bits_as_in_the_engine(high):
    with pytest.raises(StageError, match="32 bits"):
        lines_into_a_readout(high, 0)


def test_bounds_of_sums_do_not_wrap():
    """Payloads of 24 bits, four weights of 64 and an exponent of 32: 2**64, which is no 0."""
    program = lines_into_a_readout(1 << 24, 32)
    readout = program.populations[-1]
    assert bounds.potential(program.graph, readout, 1).magnitude > 1 << 53
    assert bounds.largest_sum(program.graph, readout) > 1 << 53
