"""Random networks on random targets: what a core is said to hold, counted synapse by synapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from effort import cases
from mapping_networks import UNLIMITED, networks, targets
from snn_compile.errors import CapacityError, CompileError, CompileErrors
from snn_compile.ir.quantized import (
    DenseSynapses,
    IFNeurons,
)
from snn_compile.ir.spiking import Reset
from snn_compile.mapping import MappedProgram, map_program
from snn_compile.mapping.block import capacity
from snn_compile.mapping.core_rules import core_demands
from snn_compile.mapping.cost import events, exact_synops, fan_outs, synops


def matrix(synapses, source):
    """(targets, sources) whether there is a synapse."""
    out = np.zeros((int(np.prod(synapses.shape)), int(np.prod(source))), dtype=int)
    if isinstance(synapses, DenseSynapses):
        return (synapses.weight.values != 0).astype(int)
    g, weight = synapses.geometry, synapses.weight.values
    out_per_group = weight.shape[0] // g.groups
    for o, i, ky, kx in zip(*np.nonzero(weight), strict=True):
        for y, x in np.ndindex(*synapses.shape[1:]):
            sy, sx = y * g.stride[0] + ky - 1, x * g.stride[1] + kx - 1
            if 0 <= sy < source[1] and 0 <= sx < source[2]:
                at = o // out_per_group * weight.shape[1] + i, sy, sx
                target = np.ravel_multi_index((o, y, x), synapses.shape)
                out[target, np.ravel_multi_index(at, source)] += 1
    return out


@settings(max_examples=cases(80), deadline=None)
@given(networks(), targets())
def test_cores_hold_what_is_said_and_no_more(program, target):
    refused: CompileError | None = None
    try:
        mapped = map_program(program, target).graph
    except CompileError as error:
        refused = error
    event("refused" if refused else f"cores: {min(mapped.cores, 4)}")
    if refused:
        errors = refused.errors if isinstance(refused, CompileErrors) else [refused]
        assert all(isinstance(e, CapacityError) and "over" in e.message for e in errors)
        return
    assert mapped.program is program
    assert map_program(program, target).graph.placements == mapped.placements
    soft = target.neurons_per_soft_reset_neuron.value
    unrolled = {
        s.id: matrix(s, program.graph[s.inputs[0]].shape)
        for p in program.populations
        for s in program.synapses_into(p)
    }
    for placement in mapped.placements:
        node = program.graph[placement.population]
        mine = placement.block.flat(node.shape)
        onto = [unrolled[s][mine] for s in node.inputs]
        assert placement.n_synapses == sum(m.sum() for m in onto)
        axons = sum(np.count_nonzero(m.sum(axis=0)) for m in onto)
        assert placement.demand.input_axons == axons
        sent = 0
        for other in mapped.placements:
            reader = program.graph[other.population]
            rows = other.block.flat(reader.shape)
            for s in program.synapses_into(reader):
                if s.inputs[0] == node.id:
                    sent += np.count_nonzero(unrolled[s.id][rows].sum(axis=0)[mine])
        assert placement.demand.output_axons == sent
        resets = isinstance(node, IFNeurons) and node.reset is Reset.SUBTRACT
        assert placement.demand.neurons == len(mine) * (soft if resets else 1)
    for demand in core_demands(mapped.placements).values():
        assert not demand.exceeds(capacity(target))


@settings(max_examples=cases(40), deadline=None)
@given(networks(), st.integers(0, 99))
def test_synops_from_fan_outs_equal_those_counted_one_by_one(program, seed):
    rng = np.random.default_rng(seed)
    spikes = {
        name: rng.integers(0, 5, reached.shape) for name, reached in fan_outs(program).items()
    }
    expected = sum(
        (matrix(s, spikes[s.inputs[0]].shape) @ spikes[s.inputs[0]].ravel()).sum()
        for p in program.populations
        for s in program.synapses_into(p)
    )
    assert exact_synops(program, spikes) == expected
    even = {name: np.full(reached.shape, 2) for name, reached in fan_outs(program).items()}
    totals = {name: float(each.sum()) for name, each in even.items()}
    assert np.isclose(synops(program, totals), exact_synops(program, even))


@settings(max_examples=12, deadline=None)
@given(networks(), targets(), st.integers(0, 99))
def test_events_equal_those_counted_one_by_one(program, target, seed):
    rng = np.random.default_rng(seed)
    sent = {name: rng.integers(0, 5, each.shape) for name, each in fan_outs(program).items()}
    try:
        mapped = map_program(program, target).graph
    except CompileError:
        return
    n_cores = mapped.cores
    synops, received = np.zeros(n_cores), np.zeros(n_cores)
    read = {name: np.zeros((n_cores, each.size), np.bool_) for name, each in sent.items()}
    for placement in mapped.placements:
        node = program.graph[placement.population]
        for group in program.synapses_into(node):
            (source,) = group.inputs
            onto = matrix(group, sent[source].shape)[placement.block.flat(node.shape)].sum(axis=0)
            synops[placement.core] += onto @ sent[source].ravel()
            read[source][placement.core] |= onto > 0
    for name, cores in read.items():
        received += cores @ sent[name].ravel()
    found = events(mapped, sent)
    cores, per_core = found.per_core()
    np.testing.assert_array_equal(per_core[:, 0], synops[cores])
    np.testing.assert_array_equal(per_core[:, 4], received[cores])
    sends = {name: (read[name].sum(axis=0) * sent[name].ravel()).sum() for name in read}
    assert found.input_messages == sends.pop(program.input.id)
    assert found.total[3] == sum(sends.values())


@settings(max_examples=12, deadline=None)
@given(networks(), targets(), st.integers(0, 99), st.data())
def test_a_cut_never_makes_messages_cheaper(program, target, seed, data):
    rng = np.random.default_rng(seed)
    sent = {name: rng.integers(0, 5, each.shape) for name, each in fan_outs(program).items()}
    try:
        placements = map_program(program, target).graph.placements
    except CompileError:
        return
    whole = MappedProgram(program, UNLIMITED, placements)
    index = data.draw(st.integers(0, len(placements) - 1))
    (first, last), core = placements[index].block.channels, whole.cores
    cut = data.draw(st.integers(first, last))
    halves = [
        replace(placements[index], block=placements[index].block._replace(channels=span), core=at)
        for span, at in (((first, cut), placements[index].core), ((cut, last), core))
        if span[0] < span[1]
    ]
    pieces = (*placements[:index], *halves, *placements[index + 1 :])
    if {piece.core for piece in pieces} != set(range(core + len(halves) - 1)):
        return  # the last core is empty, or the first one is
    before, after = events(whole, sent), events(MappedProgram(program, UNLIMITED, pieces), sent)
    assert before.total[0] == after.total[0]
    assert before.input_messages + before.total[3] <= after.input_messages + after.total[3]
    assert before.total[4] <= after.total[4]


@settings(max_examples=cases(30), deadline=None)
@given(networks())
def test_unlimited_holds_every_network_on_one_core(program):
    mapped = map_program(program, UNLIMITED).graph
    assert (mapped.cores, mapped.chips) == (1, 1)
