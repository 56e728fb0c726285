"""The graph, the stages and what each of them refuses."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from anns import INPUT, Net
from snn_compile.errors import Origin
from snn_compile.ir import ann, quantized, spiking
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.quantized import QuantizedGraph, along_channels
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.ir.stages import ANNGraph, SpikingGraph, StageError
from snn_compile.passes import Finding, PassResult, Pipeline


def n(name, *inputs):
    return Node(
        id=NodeId(name), inputs=tuple(NodeId(i) for i in inputs), shape=(1,), origin=Origin("t")
    )


def ids(graph):
    return [node.id for node in graph]


# ------------------------------------------------------------------------------------------ Graph


def test_nodes_come_in_topological_order_and_otherwise_as_given():
    graph = Graph([n("d", "b", "c"), n("c", "a"), n("b", "a"), n("a"), n("z")])
    assert ids(graph) == ["a", "c", "b", "d", "z"]
    assert len(graph) == 5
    assert "a" in graph
    assert "x" not in graph
    assert graph[NodeId("b")].inputs == ("a",)


def test_consumers_are_each_named_once_in_the_order_given():
    graph = Graph([n("a"), n("c", "a"), n("b", "a", "a"), n("d", "b", "a")])
    assert ids(graph.consumers(NodeId("a"))) == ["c", "b", "d"]
    assert graph.consumers(NodeId("d")) == ()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([n("a"), n("b", "a"), n("a")], r"used twice: \['a'\]"),
        ([n("a"), n("b", "x")], "node 'b' reads 'x', which does not exist"),
        ([n("a", "b"), n("b", "a")], "cycle"),
        ([n("a", "a")], "cycle"),
    ],
)
def test_impossible_graphs(nodes, message):
    with pytest.raises(ValueError, match=message):
        Graph(nodes)


def test_edit_replaces_bypasses_and_adds():
    graph = Graph([n("a"), n("b", "a"), n("c", "b"), n("d", "c", "b")])
    edited = graph.edit(
        replaced=[n("c", "b", "a")],
        bypassed={NodeId("b"): NodeId("a")},
        added=[n("e", "d")],
    )
    assert ids(edited) == ["a", "c", "d", "e"]
    assert edited[NodeId("c")].inputs == ("a", "a")
    assert edited[NodeId("d")].inputs == ("c", "a")
    assert ids(graph) == ["a", "b", "c", "d"]
    assert graph[NodeId("c")].inputs == ("b",)


def test_edit_follows_chains_of_bypasses():
    graph = Graph([n("a"), n("b", "a"), n("c", "b"), n("d", "c")])
    edited = graph.edit(bypassed={NodeId("c"): NodeId("b"), NodeId("b"): NodeId("a")})
    assert ids(edited) == ["a", "d"]
    assert edited[NodeId("d")].inputs == ("a",)


def test_edit_that_leaves_a_reader_without_source():
    with pytest.raises(ValueError, match="reads 'x'"):
        Graph([n("a"), n("b", "a")]).edit(bypassed={NodeId("a"): NodeId("x")})


def test_pruned_keeps_what_outputs_need():
    graph = Graph([n("a"), n("b", "a"), n("c", "a"), n("d", "c")])
    assert ids(graph.prune([NodeId("d")])) == ["a", "c", "d"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_any_order_of_the_same_nodes_is_topological(seed):
    random = np.random.default_rng(seed)
    nodes = [
        n(str(k), *{str(i) for i in random.integers(0, k, random.integers(0, 3))} if k else ())
        for k in range(12)
    ]
    graph = Graph([nodes[k] for k in random.permutation(12)])
    seen = set()
    for node in graph:
        assert seen.issuperset(node.inputs)
        seen.add(node.id)


def test_nodes_and_their_arrays_cannot_be_changed():
    net = Net((2, 4, 4))
    layer = net[net.conv(INPUT, 3)]
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        layer.bias += 1
    with pytest.raises(FrozenInstanceError):
        layer.shape = (1,)
    program, _ = networks.structures(0, "subtract", 2)
    for node in program.graph:
        for value in vars(node).values():
            array = value.values if isinstance(value, QTensor) else value
            assert not (isinstance(array, np.ndarray) and array.flags.writeable), node.id


# ----------------------------------------------------------------------------------------- stages


def ann_graph(*nodes):
    source = ann.Input(id=INPUT, inputs=(), shape=(2, 3, 3), origin=Origin("t"))
    return ANNGraph(Graph([source, *nodes]))


def ann_output(source=INPUT, shape=(2, 3, 3)):
    return ann.Output(id=NodeId("y"), inputs=(source,), shape=shape, origin=Origin("t"))


def test_ann_graph_has_inputs_and_outputs():
    second = ann.Input(id=NodeId("z"), inputs=(), shape=(1,), origin=Origin("t"))
    assert [node.id for node in ann_graph(second, ann_output()).inputs] == [INPUT, "z"]
    with pytest.raises(StageError, match="at least one Output"):
        ann_graph()
    with pytest.raises(StageError, match="at least one Input"):
        ANNGraph(Graph([]), "t", 13)


def test_ann_graph_has_no_empty_shapes():
    with pytest.raises(StageError, match="empty shape"):
        ann_graph(ann_output(shape=(2, 0, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["weight", "bias"])
def test_ann_graph_has_finite_parameters(field, value):
    net = Net((2, 3, 3))
    layer = net[net.conv(INPUT, 2, geometry=Geometry(padding=(1, 1, 1, 1)))]
    array = getattr(layer, field).copy()
    array.flat[0] = value
    with pytest.raises(StageError, match="not finite"):
        ann_graph(replace(layer, **{field: array}), ann_output(layer.id))


def spiking_nodes():
    common = {"origin": Origin("t"), "shape": (2, 1, 1)}
    source = spiking.Input(
        id=INPUT,
        inputs=(),
        unit=np.ones(2),
        low=0,
        high=1,
        coding=InputCoding.CURRENT,
        **common,
    )
    group = spiking.DenseSynapses(id=NodeId("s"), inputs=(INPUT,), weight=np.ones((2, 2)), **common)
    out = spiking.Readout(id=NodeId("y"), inputs=(group.id,), bias=np.zeros((2, 1, 1)), **common)
    neurons = spiking.GradedNeurons(
        id=NodeId("n"),
        inputs=(group.id,),
        threshold=np.ones(2),
        bias=np.zeros((2, 1, 1)),
        levels=3,
        **common,
    )
    return source, group, out, neurons


def test_spiking_graph_checks_its_wiring():
    source, group, out, neurons = spiking_nodes()
    window = Window("rate", 2)
    network = SpikingGraph(Graph([source, group, out]), window)
    assert network.synapses_into(out) == (group,)
    assert network.populations == (out,)
    cases = [
        ([source, group, out, neurons], Window("rate", 0), "at least one step"),
        ([source, group, replace(out, inputs=(INPUT,))], window, "fed by synapses"),
        ([source, group, replace(out, inputs=())], window, "fed by synapses"),
        ([source, group, replace(out, shape=(1, 1, 2))], window, "other shapes"),
        ([source, replace(group, inputs=(INPUT, INPUT)), out], window, "need one source"),
        (
            [source, group, out, replace(group, id=NodeId("t"), inputs=(out.id,))],
            window,
            "one source",
        ),
        ([source, group, replace(neurons, threshold=np.zeros(2))], window, "not positive"),
        ([source, group, replace(neurons, threshold=np.full(2, np.nan))], window, "not positive"),
    ]
    for nodes, of, message in cases:
        with pytest.raises(StageError, match=message):
            SpikingGraph(Graph(nodes), of)


def test_a_frame_of_a_stream_is_one_step():
    """Sigma-delta neurons answer a frame at once: a longer window would mean nothing."""
    assert Window("sigma-delta").n_steps == 1
    with pytest.raises(ValueError, match="is one step, not 2"):
        Window("sigma-delta", 2)


def test_quantized_graph_checks_its_wiring():
    program, _ = networks.mlp()
    nodes = list(program.graph)
    source, first = nodes[0], nodes[1]
    out = program.readouts[0]

    def build(*changed, without=(), more=()):
        new = {node.id: node for node in changed}
        kept = [new.get(node.id, node) for node in nodes if node.id not in without]
        return QuantizedGraph(Graph([*kept, *more]), program.window)

    assert build().latency == 3
    assert len(build(more=[replace(source, id=NodeId("other"))]).inputs) == 2
    with pytest.raises(StageError, match="at least one Readout"):
        build(without=[out.id])
    with pytest.raises(StageError, match="one source that sends messages"):
        build(more=[replace(first, id=NodeId("x"), inputs=(out.id,))])
    with pytest.raises(StageError, match="fed by synapses"):
        build(replace(out, inputs=(source.id,)))
    with pytest.raises(StageError, match="other shapes"):
        build(replace(out, shape=(4,)))
    for bad in (QFormat(9), QFormat(1), QFormat(8, signed=False)):
        weight = QTensor(np.zeros_like(first.weight.values), bad)
        with pytest.raises(StageError, match="not s2 to s8"):
            build(replace(first, weight=weight))


def test_quantized_graph_demands_relays():
    net = networks.Builder(0, (4,))
    first = net.neurons("graded", net.dense(networks.INPUT, 4))
    second = net.neurons("graded", net.dense(first, 4))
    net.neurons("readout", net.dense(second, 3), net.dense(first, 3))
    with pytest.raises(StageError, match="a relay is missing"):
        net.build()
    # The input may feed any depth.
    net = networks.Builder(0, (4,))
    first = net.neurons("graded", net.dense(networks.INPUT, 4))
    net.neurons("readout", net.dense(first, 3), net.dense(networks.INPUT, 3))
    assert net.build().latency == 2


def test_messages_include_silence():
    net = networks.Builder(0, (4,), low=-3, high=9)
    assert net.nodes[0].messages == (-3, 9)
    net = networks.Builder(0, (4,), low=-3, high=9, coding=InputCoding.POISSON)
    assert net.nodes[0].messages == (-1, 1)
    assert replace(net.nodes[0], low=0).messages == (0, 1)
    assert replace(net.nodes[0], low=2, coding=InputCoding.CURRENT).messages == (0, 9)
    assert (net.nodes[0].full_scale, replace(net.nodes[0], low=-12).full_scale) == (9, 12)


def test_along_channels():
    assert along_channels(np.array([1, 2]), (2, 1, 2)).tolist() == [[[1, 1]], [[2, 2]]]
    full = np.arange(4).reshape(2, 1, 2)
    np.testing.assert_array_equal(along_channels(full, (2, 1, 2)), full)
    assert along_channels(np.array([3, 4]), (2,)).tolist() == [3, 4]


def test_every_quantized_node_is_final_but_readouts():
    for kind in (quantized.Input, quantized.ConvSynapses, quantized.SyncReadout):
        assert not kind.__subclasses__()
    assert set(quantized.Readout.__subclasses__()) == {
        quantized.SyncReadout,
        quantized.SigmaDeltaReadout,
        quantized.ProbedReadout,
        quantized.StartedReadout,
        quantized.LeakyReadout,
    }


# ----------------------------------------------------------------------------------------- passes


def test_a_pipeline_runs_its_passes_in_order_and_shows_each_graph():
    class Append:
        def __init__(self, name):
            self.name = name

        def __call__(self, graph, /):
            return PassResult(graph + self.name, (Finding(f"{self.name} ran"),))

    seen = []
    result = Pipeline.of(Append("a")).then(Append("b"))(
        "", lambda name, graph, findings, seconds: seen.append((name, graph, seconds >= 0))
    )
    assert result.graph == "ab"
    assert [f.message for f in result.findings] == ["a ran", "b ran"]
    assert seen == [("a", "a", True), ("b", "ab", True)]


def test_geometry_of_a_convolution():
    geometry = Geometry((2, 3), (1, 2, 0, 1), (2, 1))
    assert geometry.output_size((8, 9), (3, 4)) == ((8 + 1 - 4 - 1) // 2 + 1, (9 + 3 - 4) // 3 + 1)


def test_a_spiking_network_has_an_input():
    with pytest.raises(StageError, match="has an input"):
        SpikingGraph(Graph([]), Window("rate", 1))
