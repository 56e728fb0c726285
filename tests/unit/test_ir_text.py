"""The text of a stage and the file form of a program."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
import networks
from anns import INPUT, Net
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.serialize import array_hashes, dump_program, load_program
from snn_compile.ir.spiking import Window
from snn_compile.ir.text import to_text
from snn_compile.sim import reference

SEEDS = st.integers(0, 2**32 - 1)


def through_json(program):
    description, arrays = dump_program(program)
    copies = {name: array.copy() for name, array in arrays.items()}
    return load_program(json.loads(json.dumps(description)), copies)


def assert_same_program(program, frames):
    again = through_json(program)
    assert to_text(again) == to_text(program)
    one, other = (reference.run(p, frames, record=True) for p in (program, again))
    for name, messages in one.messages.items():
        np.testing.assert_array_equal(other.messages[name], messages)
    assert dump_program(again)[0] == dump_program(program)[0]
    assert array_hashes(dump_program(again)[1]) == array_hashes(dump_program(program)[1])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(SEEDS, st.integers(1, 4), st.booleans())
def test_programs_survive_a_round_trip(seed, n_steps, poisson):
    assert_same_program(*networks.branches(seed, n_steps, 2, poisson=poisson))


@pytest.mark.parametrize("kind", networks.NEURONS)
def test_every_structure_survives_a_round_trip(kind):
    assert_same_program(*networks.structures(1, kind, 1 if kind == "graded" else 2))


def test_every_parameter_is_in_the_file():
    """Changing any one parameter of any node changes the description or a hash."""
    program, _ = networks.structures(1, "subtract", 2)

    def fingerprint(p):
        description, arrays = dump_program(p)
        return json.dumps(description), array_hashes(arrays)

    before = fingerprint(program)
    for node in program.graph:
        for name, value in vars(node).items():
            if isinstance(value, QTensor):
                values = value.values.copy()
                values.flat[0] = value.format.max if values.flat[0] != value.format.max else 0
                changed = replace(node, **{name: QTensor(values, value.format)})
            elif name in ("exponent", "low", "high", "seed"):
                changed = replace(node, **{name: value + 1})
            else:
                continue
            other = QuantizedGraph(program.graph.edit(replaced=[changed]), program.window)
            assert fingerprint(other) != before, (node.id, name)
            assert to_text(other) != to_text(program), (node.id, name)


def test_damaged_descriptions():
    program, _ = networks.mlp()
    description, arrays = dump_program(program)
    with pytest.raises(KeyError):
        load_program(description, {})
    strange = json.loads(json.dumps(description))
    strange["nodes"][0]["$type"] = "Exec"
    with pytest.raises(KeyError):
        load_program(strange, arrays)
    with pytest.raises(ValueError, match="at least one Readout"):
        load_program({**description, "nodes": description["nodes"][:-1]}, arrays)


def test_hashes_see_type_shape_and_content():
    a = np.arange(6)
    variants = [a, a.astype(np.int32), a.reshape(2, 3), a[::-1], a.reshape(2, 3).T]
    hashes = {array_hashes({"a": v})["a"] for v in variants}
    assert len(hashes) == len(variants)
    copy = array_hashes({"a": a[::2]})
    assert copy == array_hashes({"a": a[::2].copy()})


def test_text_is_stable_and_one_line_a_node():
    network = anns.random_chain(3)
    text = to_text(network)
    assert text == to_text(anns.random_chain(3))
    assert len(text.splitlines()) == 1 + len(network.graph)
    assert text.endswith("\n")


def test_text_says_what_matters():
    net = Net((2, 4, 4))
    layer = net.conv(INPUT, 2, (1, 1), weight=np.ones((2, 2, 1, 1)), bias=np.array([0.5, -1]))
    net.relu(layer, 6.0)
    assert to_text(net.build()) == (
        "ANNGraph\n"
        "  x: Input 2x4x4\n"
        "  conv1: Conv 2x4x4 <- x weight=float64[1,1,1,1] bias=float64[0.5,-1]"
        " geometry=s1,1/p0,0,0,0/d1,1/g1\n"
        "  relu2: Relu 2x4x4 <- conv1 cap=6\n"
        "  output3: Output 2x4x4 <- relu2\n"
    )


def test_text_of_a_program_starts_with_its_window():
    program, _ = networks.mlp(kind="zero", n_steps=5)
    assert to_text(program).startswith("QuantizedGraph rate 5\n")
    other = QuantizedGraph(program.graph, Window("rate", 6))
    assert to_text(other) != to_text(program)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS)
def test_text_changes_with_one_weight(seed):
    program, _ = networks.branches(seed, 2, 1)
    node = next(n for n in program.graph if hasattr(n, "weight") and n.weight.values.size)
    values = node.weight.values.copy()
    place = np.random.default_rng(seed).integers(values.size)
    values.flat[place] += 1 if values.flat[place] < 0 else -1
    changed = replace(node, weight=QTensor(values, node.weight.format))
    other = QuantizedGraph(program.graph.edit(replaced=[changed]), program.window)
    lines = zip(to_text(program).splitlines(), to_text(other).splitlines(), strict=True)
    assert [line.split(":")[0].strip() for line, new in lines if line != new] == [node.id]


def test_text_shows_every_digit_of_an_integer():
    net = networks.Builder(0, (3,))
    net.neurons("readout", net.dense(networks.INPUT, 2))
    out = net.nodes[-1]
    texts = []
    for bias in ([1234567, 0], [1234568, 0]):
        net.nodes[-1] = replace(out, bias=QTensor.of(bias))
        texts.append(to_text(net.build()))
    assert "bias=u21[1234567,0]" in texts[0]
    assert texts[0] != texts[1]


def test_text_of_float_weights_ignores_the_last_digits_only():
    net = Net((5,))
    net.dense(INPUT, 5)
    layer = net["dense1"]
    near = replace(layer, weight=layer.weight * (1 + 1e-12))
    far = replace(layer, weight=layer.weight * (1 + 1e-4))
    texts = []
    for node in (layer, near, far):
        net.nodes["dense1"] = node
        texts.append(to_text(net.build()))
    assert texts[0] == texts[1] != texts[2]
    assert Graph(net.nodes.values())[NodeId("dense1")] is far
