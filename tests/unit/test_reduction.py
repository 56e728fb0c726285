"""Networks made smaller: what is left does what it did, and a fault is found in little of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import anns
import networks
import scheduled_networks
import several_inputs
from snn_compile.errors import UsageError
from snn_compile.hil import engine as verification
from snn_compile.ir import ann
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import ConvSynapses, GradedNeurons, IFNeurons, QuantizedGraph, Readout
from snn_compile.ir.reading import load_text
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import StageError
from snn_compile.ir.text import dump_text
from snn_compile.reduction import cut, floats, restrict
from snn_compile.reduction.case import Case
from snn_compile.reduction.checks import Device, engine_differs
from snn_compile.reduction.search import reduce_case
from snn_compile.reduction.strategies import strategies
from snn_compile.sim import reference

LIMIT = 300
CODINGS = (*networks.ALL_NEURONS, *scheduled_networks.SCHEDULED)


def case_of(kind, name="structures", n_steps=4):
    """A network of a kind of neurons or of a coding that is spread over time."""
    if kind in scheduled_networks.SCHEDULED:
        made = scheduled_networks.scheduled(kind, name, 1, n_steps)
        return Case(made.program, made.frames)
    generator = getattr(networks, name)
    n_steps = 1 if kind in networks.SINGLE_STEP else n_steps
    more = {"n_steps": n_steps} if name == "mlp" else {}
    arguments = (1, kind) if name == "mlp" else (1, kind, n_steps)
    return Case(*generator(*arguments, **more))


def messages(case):
    return reference.run(case.program, case.frames, record=True).messages


def strided(case):
    """A fault that shows where a convolution of stride 2 makes anything fire."""
    sent = messages(case)
    return any(
        isinstance(group, ConvSynapses) and group.geometry.stride[0] == 2 and sent[p.id].any()
        for p in case.program.populations
        for group in case.program.synapses_into(p)
    )


def joined(case):
    """A fault that shows where two groups of synapses meet in neurons that fire."""
    sent = messages(case)
    return any(
        len(p.inputs) > 1 and not isinstance(p, Readout) and sent[p.id].any()
        for p in case.program.populations
    )


@pytest.mark.parametrize("kind", CODINGS)
def test_a_fault_of_one_layer_is_found_in_three_nodes(kind):
    case = case_of(kind)
    outcome = reduce_case(case, strided, strategies, LIMIT)
    assert outcome.complete
    assert strided(outcome.case)
    assert outcome.case.size[:5] <= (3, 3, 2, 1, 1)
    assert outcome.checks < 100


@pytest.mark.parametrize("kind", ["subtract", "sync"])
def test_a_fault_of_a_join_keeps_both_arms(kind):
    case = case_of(kind)
    outcome = reduce_case(case, joined, strategies, LIMIT)
    assert joined(outcome.case)
    assert outcome.case.size.nodes <= 7
    assert outcome.case.size.neurons <= 4


def two_sources(case):
    """A fault that shows where two inputs meet in a population that fires."""
    inputs, sent = {node.id for node in case.program.inputs}, messages(case)
    return any(
        len(inputs & {group.inputs[0] for group in case.program.synapses_into(p)}) >= 2
        and sent[p.id].any()
        for p in case.program.populations
    )


@pytest.mark.parametrize("coding", [InputCoding.CURRENT, InputCoding.EVENTS])
def test_several_inputs_are_reduced_each_by_itself(coding):
    case = Case(*several_inputs.random_network(7, "subtract", 5, coding))
    outcome = reduce_case(case, two_sources, strategies, LIMIT)
    assert two_sources(outcome.case)
    program = outcome.case.program
    assert len(program.inputs) == 2
    assert [node.shape for node in program.inputs if np.prod(node.shape) > 1] == []
    assert outcome.case.frames.shape[outcome.case.axes :] == program.inputs.shape
    outcome = reduce_case(case, joined, strategies, LIMIT)
    assert joined(outcome.case)
    assert outcome.case.size.nodes <= 7


@pytest.mark.parametrize("kind", ["subtract", "graded"])
def test_without_an_input_and_from_a_layer_on_the_rest_is_what_it_was(kind):
    """A removed input is as silent; a layer that becomes the input sends what it sent."""
    steps = 1 if kind == "graded" else 5
    coding = InputCoding.GRADED if steps == 1 else InputCoding.CURRENT
    case = Case(*several_inputs.random_network(3, kind, steps, coding))
    first, *rest = (node.id for node in case.program.inputs)
    less = cut.without(case, [first])
    assert [node.id for node in less.program.inputs] == rest
    values = case.values | {first: np.zeros_like(case.values[first])}
    silent = Case(case.program, case.program.inputs.join(values))
    wanted, found = messages(silent), messages(less)
    for name, sent in found.items():
        np.testing.assert_array_equal(sent, wanted[name], name)
    hidden = next(p.id for p in case.program.populations if not isinstance(p, Readout))
    begun = cut.beginning_at(case, hidden)
    assert [node.id for node in begun.program.inputs] == [hidden]


def test_the_same_again():
    texts = [
        dump_text(reduce_case(case_of("sync"), joined, strategies, LIMIT).case.program)
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("kind", CODINGS)
def test_a_network_begun_later_goes_on_as_before(kind):
    """What was sent to the layers behind the cut is what they are shown."""
    case = case_of(kind, "mlp")
    before = messages(case)
    first = case.program.populations[0]
    begun = cut.beginning_at(case, first.id)
    assert begun.program.input.id == first.id
    after = messages(begun)
    assert list(after) == [p.id for p in case.program.populations[1:]]
    for name, sent in after.items():
        np.testing.assert_array_equal(sent, before[name])


@pytest.mark.parametrize("kind", CODINGS)
def test_a_network_ended_earlier_begins_as_before(kind):
    case = case_of(kind)
    before = messages(case)
    for population in case.program.populations[:3]:
        ended = cut.ending_at(case, population.id)
        assert ended.program.readouts[0].shape == (1, 1, 1)[: len(ended.program.readouts[0].shape)]
        after = messages(ended)
        assert population.id in after
        for name in set(after) & set(before):
            np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize("kind", CODINGS)
def test_channels_that_are_left_send_what_they_did(kind):
    case = case_of(kind)
    before = messages(case)
    done = 0
    for population in case.program.populations:
        kept = list(range(0, population.shape[0], 2))
        try:
            fewer = restrict.of_channels(case, population.id, kept)
        except StageError:  # grouped convolutions
            continue
        after = messages(fewer)[population.id]
        np.testing.assert_array_equal(after, before[population.id][:, :, kept])
        done += 1
    assert done > 4


def convolutions(groups=1):
    """Three convolutions without padding below and on the right."""
    net = networks.Builder(3, (2, 9, 8), n_steps=3, coding=InputCoding.CURRENT)
    geometry = Geometry(padding=(1, 1, 0, 0))
    first = net.neurons("subtract", net.conv(networks.INPUT, 4, geometry=geometry))
    geometry = Geometry(stride=(2, 1), groups=groups)
    second = net.neurons("subtract", net.conv(first, 4, geometry=geometry), per_element_bias=True)
    net.neurons("readout", net.dense(second, 3))
    return Case(net.build(), net.frames(4))


def test_the_corner_that_is_left_of_maps_sends_what_it_did():
    case = convolutions()
    before = messages(case)
    smaller = restrict.of_maps(case, (6, 5), [case.program.input.id])
    after = messages(smaller)
    for population in smaller.program.populations[:2]:
        _, height, width = population.shape
        assert (height, width) != case.program.graph[population.id].shape[1:]
        corner = before[population.id][..., :height, :width]
        np.testing.assert_array_equal(after[population.id], corner)
    with pytest.raises(StageError, match="nothing is left"):
        restrict.of_maps(case, (1, 1), [case.program.input.id])


def test_groups_that_are_left_send_what_they_did():
    case = convolutions(groups=2)
    before = messages(case)
    node = next(n for n in case.program.graph if getattr(n, "geometry", Geometry()).groups == 2)
    fewer = restrict.of_groups(case, node.id, [1])
    after = messages(fewer)
    assert fewer.program.graph[node.id].geometry.groups == 1
    for population in case.program.populations[:2]:
        half = population.shape[0] // 2
        np.testing.assert_array_equal(after[population.id], before[population.id][:, :, half:])


def test_a_silent_layer_takes_its_synapses_with_it():
    case = case_of("subtract", "mlp")
    hidden = case.program.populations[1].id
    with pytest.raises(StageError, match="no output is left"):
        cut.without(case, {hidden})
    case = case_of("subtract")
    left = cut.without(case, {NodeId("layer2")}).program.graph
    assert NodeId("layer2") not in left
    assert not any("layer2" in node.inputs for node in left)


HIGHEST = 1000


class NarrowEngine:
    """An engine whose threshold register is too narrow: it holds numbers up to ``HIGHEST``."""

    def __init__(self, program, build=None):
        del build
        nodes = [self._narrowed(node) for node in program.graph]
        self._program = QuantizedGraph(Graph(nodes), program.window)

    @staticmethod
    def _narrowed(node):
        if not isinstance(node, IFNeurons):
            return node
        return replace(node, threshold=QTensor.of(np.minimum(node.threshold.values, HIGHEST)))

    def run(self, frames, **options):
        return reference.run(self._program, frames, **options)


def test_a_fault_in_the_engine_is_found_in_one_neuron(monkeypatch, compiled_engine):
    case = case_of("subtract")
    assert not engine_differs(case)
    monkeypatch.setattr(verification, "Engine", NarrowEngine)
    outcome = reduce_case(case, engine_differs, strategies, LIMIT)
    program = outcome.case.program
    (neurons,) = (p for p in program.populations if isinstance(p, IFNeurons))
    assert neurons.threshold.values.max() > HIGHEST
    assert outcome.case.size[:5] <= (5, 3, 2, 2, 1)


def test_a_sound_engine_leaves_nothing_to_reduce(compiled_engine):
    with pytest.raises(UsageError) as caught:
        reduce_case(case_of("subtract"), engine_differs, strategies, LIMIT)
    assert caught.value.code == "nothing-to-reduce"


def test_a_device_that_is_wrong():
    outcome = reduce_case(
        case_of("graded"), Device("faulty:flipped-kernel", {}, LIMIT), strategies, LIMIT
    )
    assert outcome.case.size[:5] <= (3, 8, 2, 1, 1)
    assert any(isinstance(node, ConvSynapses) for node in outcome.case.program.graph)


def test_a_device_that_is_right():
    with pytest.raises(UsageError, match="the fault is not present"):
        reduce_case(case_of("graded"), Device("reference", {}, LIMIT), strategies, LIMIT)


def test_parameters_stay_where_they_are_defined():
    """No threshold becomes 0 and no multiplier leaves its twelve bits, however small it gets."""
    seen = []

    def looked_at(case):
        seen.append(case.program)
        return any(isinstance(p, GradedNeurons | IFNeurons) for p in case.program.populations)

    for kind in ("graded", "subtract"):
        reduce_case(case_of(kind, "mlp"), looked_at, strategies, LIMIT)
    for program in seen:
        for node in program.populations:
            if isinstance(node, IFNeurons):
                assert node.threshold.values.min() >= 1
            if isinstance(node, GradedNeurons):
                assert node.multiplier.values.min() >= 1 << 11


def test_the_time_is_bounded():
    outcome = reduce_case(case_of("subtract"), strided, strategies, 1e-9)
    assert not outcome.complete
    assert outcome.checks == 1
    assert outcome.case.size == case_of("subtract").size


def residual():
    """A float network with two convolutions, a batch norm and a join."""
    net = anns.Net((2, 4, 4))
    stem = net.relu(net.batch_norm(net.conv(anns.INPUT, 3)))
    same = Geometry(padding=(1, 1, 1, 1))
    inner = net.relu(net.conv(stem, 3, geometry=same))
    net.relu(net.add(ann.Add, (inner, stem), net.shape(stem)))
    return net.build()


@pytest.mark.parametrize(
    ("interesting", "left"),
    [
        (lambda graph: any(isinstance(n, ann.BatchNorm) for n in graph), 3),
        (lambda graph: any(len(n.inputs) > 1 and n.inputs[0] != n.inputs[1] for n in graph), 4),
        (lambda graph: sum(isinstance(n, ann.Conv) for n in graph) > 1, 4),
        (lambda graph: any((getattr(n, "bias", np.zeros(1)) > 0).any() for n in graph), 3),
    ],
    ids=["batch norm", "join", "two convolutions", "a positive bias"],
)
def test_float_networks(interesting, left):
    case = floats.FloatCase(residual())
    outcome = reduce_case(case, lambda c: interesting(c.stage.graph), floats.strategies, LIMIT)
    assert outcome.complete
    assert interesting(outcome.case.stage.graph)
    assert outcome.case.size.nodes <= left
    assert outcome.case.size < case.size


def test_spiking_networks_in_floating_point():
    """A population that two groups feed keeps both of them; thresholds stay positive."""
    text = 'snn-text 1 SpikingGraph window=("rate",3)\n'
    text += "  x: Input 1x1x1 unit=float64[0.5] low=0 high=3 coding=current\n"
    layers = [("a", ["x"]), ("b", ["a"]), ("c", ["a", "b"]), ("d", ["c"])]
    for name, sources in layers:
        for k, source in enumerate(sources):
            text += f"  {name}{k}: DenseSynapses 1x1x1 <- {source} weight=float64[1x1: 2.5]\n"
        joined_ids = ", ".join(f"{name}{k}" for k in range(len(sources)))
        kind = "Readout" if name == "d" else "IFNeurons"
        text += f"  {name}: {kind} 1x1x1 <- {joined_ids} bias=float64[0.5]"
        text += (
            "\n" if name == "d" else " threshold=float64[3.0] initial_potential=0.5 reset=zero\n"
        )

    def interesting(case):
        return any(len(node.inputs) > 1 for node in case.stage.graph)

    outcome = reduce_case(floats.FloatCase(load_text(text)), interesting, floats.strategies, LIMIT)
    graph = outcome.case.stage.graph
    assert [type(node).__name__ for node in graph].count("IFNeurons") <= 2
    assert len(graph) <= 8
    assert all(node.threshold == 1 for node in graph if hasattr(node, "threshold"))
    assert not any(node.weight.any() for node in graph if hasattr(node, "weight"))
