"""``network -> text -> network`` and ``text -> network -> text`` are the identity."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import anns
import networks
import scheduled_networks
import stage_values
from snn_compile.errors import Origin
from snn_compile.files.typed import fields_of
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.reading import load_text, operators
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.ir.text import dump_text

STAGES = (ANNGraph, SpikingGraph, QuantizedGraph)
KINDS = [(stage, name) for stage in STAGES for name in operators(stage)]
IDS = stage_values.TEXTS.filter(str.isprintable)
QUICK = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_identity(stage):
    """In both forms: everything in the text, and large arrays beside it."""
    for kept in (None, {}):
        text = dump_text(stage, kept)
        again = load_text(text, "some.snt", kept)
        assert dump_text(again, None if kept is None else {}) == text
        assert type(again) is type(stage)
        one, other = list(stage.graph), list(again.graph)
        assert len(one) == len(other)
        for before, after in zip(one, other, strict=True):
            assert stage_values.same(before, after), (before, after)
        for field in fields(stage):
            values = (getattr(s, field.name) for s in (stage, again))
            assert field.name == "graph" or stage_values.same(*values)


@pytest.mark.parametrize(("stage", "name"), KINDS, ids=lambda v: getattr(v, "__name__", v))
@QUICK
@given(st.data())
def test_every_operator_with_any_values(stage, name, monkeypatch, data):
    """Whatever the fields hold; what a stage promises of its numbers is not the text's business."""
    monkeypatch.setattr(stage, "__post_init__", lambda self: None)
    kind = operators(stage)[name]
    hints = fields_of(kind)
    values = {f.name: stage_values.of(hints[f.name]) for f in fields(kind)}
    source = Node(id=NodeId("before"), inputs=(), shape=(), origin=Origin("f"))
    first = operators(stage)["Input"]
    given_first = {f.name: stage_values.of(fields_of(first)[f.name]) for f in fields(first)}
    drawn = data.draw(st.fixed_dictionaries(given_first)) | {"id": source.id, "inputs": ()}
    drawn["shape"] = tuple(abs(n) >> 4 for n in drawn["shape"])
    node = data.draw(st.fixed_dictionaries(values))
    node |= {"id": NodeId(data.draw(IDS)), "inputs": (source.id,) * data.draw(st.integers(0, 3))}
    node["shape"] = tuple(abs(n) >> 4 for n in node["shape"])
    own = {
        f.name: data.draw(stage_values.of(fields_of(stage)[f.name]))
        for f in fields(stage)
        if f.name not in ("graph", "window")
    }
    if "window" in fields_of(stage):
        own["window"] = networks.structures(0, "graded", 1)[0].window
    assume(node["id"] != source.id)
    try:
        made = [first(**drawn), kind(**node)]
    except ValueError:  # a neuron with contradicting parameters
        assume(False)
    assert_identity(stage(Graph(made), **own))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
def test_programs(seed, n_steps, poisson):
    assert_identity(networks.branches(seed, n_steps, 2, poisson=poisson)[0])


@pytest.mark.parametrize("kind", networks.ALL_NEURONS)
def test_every_structure(kind):
    assert_identity(networks.structures(1, kind, 1 if kind in networks.SINGLE_STEP else 2)[0])


@pytest.mark.parametrize("coding", scheduled_networks.SCHEDULED)
def test_programs_that_are_spread_over_time(coding):
    assert_identity(scheduled_networks.scheduled(coding, "structures", 1, 4).program)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_float_networks(seed):
    assert_identity(anns.random_chain(seed))
