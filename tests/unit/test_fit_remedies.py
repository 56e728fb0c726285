"""Remedies that leave every message what it was, and the one that does not and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import networks
import scheduled_networks
import spread_networks
from snn_compile.fit import fit_program
from snn_compile.fit.duplicate_sources import DuplicateSources
from snn_compile.fit.fan_in import fan_in
from snn_compile.fit.narrow_states import NarrowStates
from snn_compile.fit.prune_fan_in import PruneFanIn
from snn_compile.fit.split_weights import SplitWeights
from snn_compile.ir.quantized import Synapses
from snn_compile.mapping.place import place
from snn_compile.mapping.rules import violations
from snn_compile.sim import bounds, reference
from snn_compile.targets import load_target

LOIHI1, LOIHI2, UNLIMITED = (load_target(n) for n in ("loihi1", "loihi2", "unlimited"))


def with_values(target, **values):
    return replace(target, **{k: replace(getattr(target, k), value=v) for k, v in values.items()})


def of_codings(seed):
    """A small random network of each coding, and stimuli."""
    yield networks.structures(seed, "graded", 1)
    yield networks.structures(seed, "subtract", 4)
    yield networks.structures(seed, "zero", 4)
    yield networks.branches(seed, 3)
    yield networks.branches(seed, 1, kinds=("graded", "lines", "clip-floor"))
    for coding, n_steps in spread_networks.CODINGS:
        yield spread_networks.structures(seed, coding, n_steps)
    yield radix(seed)


def radix(seed):
    made = scheduled_networks.scheduled("radix", "structures", seed, 3)
    return made.program, made.frames


def assert_same_messages(before, after, frames):
    """Every population that was there sends what it sent."""
    first, second = (reference.run(program, frames, record=True) for program in (before, after))
    assert before.depth.items() <= after.depth.items()
    for name, sent in first.messages.items():
        np.testing.assert_array_equal(sent, second.messages[name], name)
    for name, output in first.outputs.items():
        np.testing.assert_array_equal(output, second.outputs[name], name)


def broken(program, target):
    return {v.rule for v in violations(program, target, place(program, target).blocks)}


@pytest.mark.parametrize(
    ("seed", "have"), [(0, (4,)), (1, (3, 5)), (0, (2,)), (1, (6, 8)), (2, (1, 4, 16))]
)
def test_split_weights_add_up(seed, have):
    n_split = 0
    for program, frames in of_codings(seed):
        found = SplitWeights(have).of_program(program)
        assert_same_messages(program, found.graph, frames)
        kept = {n.id: n for n in program.graph if isinstance(n, Synapses)}
        for node in found.graph.graph:
            if isinstance(node, Synapses) and node.weight.format.bits not in have:
                # only where several floors would not add up, or no exponent reaches the digits
                same = kept[node.id]
                assert same.exponent < 0 or same.exponent + 8 > 7
        for population in found.graph.populations:
            interval = bounds.states(found.graph.graph, population, program.window.n_steps)
            assert population.wraps or interval.magnitude < 1 << 23
        n_split += sum(f.code == "weights-split" for f in found.findings)
    assert n_split or max(have) == 8


@pytest.mark.parametrize(
    "coding",
    ["rate", pytest.param("radix", marks=pytest.mark.slow), *dict(spread_networks.CODINGS)],
)
def test_copies_of_sources_send_the_same(coding):
    """Cores of three neurons, each of which may reach four blocks."""
    program, frames = networks.branches(2, 3)
    if coding == "radix":
        program, frames = radix(2)
    elif coding != "rate":
        n_steps = dict(spread_networks.CODINGS)[coding]
        program, frames = spread_networks.structures(2, coding, n_steps)
    target = with_values(UNLIMITED, neurons_per_core=3, output_axons_per_core=12)
    assert broken(program, target) == {"output_axons_per_core"}
    found = DuplicateSources(target).of_program(program)
    assert {f.code for f in found.findings} == {"sources-duplicated"}
    assert_same_messages(program, found.graph, frames)
    assert found.graph.latency == program.latency
    assert not broken(found.graph, target)


def test_nothing_is_copied_where_everything_fits():
    program, _ = networks.mlp()
    for target in (UNLIMITED, LOIHI1, LOIHI2):
        assert DuplicateSources(target).of_program(program).graph is program


@pytest.mark.parametrize("limit", [3, 7, 20])
def test_pruned_neurons_keep_their_heaviest_synapses(limit):
    """Of dense synapses, which each neuron has its own of: those that weigh most remain."""
    program, _ = networks.mlp(3, "subtract", 4)
    target = with_values(UNLIMITED, input_axons_per_core=limit, payload_bits=0)
    found = PruneFanIn(target).of_program(program)
    n_before = n_after = 0
    for node in program.graph:
        if not isinstance(node, Synapses):
            continue
        before, after = node.weight.values, found.graph.graph[node.id].weight.values
        assert ((after == before) | (after == 0)).all()
        assert (np.count_nonzero(after, axis=1) <= limit).all()
        for old, new in zip(np.abs(before), np.abs(after), strict=True):
            np.testing.assert_array_equal(np.sort(new)[-limit:], np.sort(old)[-limit:])
        n_before, n_after = n_before + (before != 0).sum(), n_after + (after != 0).sum()
    assert (found.graph is program) == (limit == 20)
    dropped = sum(int(f.message.partition(" of ")[0].replace(",", "")) for f in found.findings)
    assert dropped == n_before - n_after
    assert all(f.code == "approximation" and f.warning for f in found.findings)


@pytest.mark.parametrize("limit", [4, 30])
def test_pruned_networks_of_all_structures_fit(limit):
    for program, _ in of_codings(1):
        target = with_values(UNLIMITED, input_axons_per_core=limit, payload_bits=0)
        found = PruneFanIn(target).of_program(program).graph
        for population in found.populations:
            groups = found.synapses_into(population)
            assert sum(fan_in(g, found.graph[g.inputs[0]].shape) for g in groups).max() <= limit
        assert "input_axons_per_core" not in broken(found, target)


def test_states_take_the_width_of_the_target_where_it_holds_them():
    for program, frames in of_codings(1):
        needed = {
            p.id: bounds.states(program.graph, p, program.window.n_steps).magnitude.bit_length() + 1
            for p in program.populations
            if not p.wraps
        }
        bits = sorted(needed.values())[len(needed) // 2]
        found = NarrowStates(bits).of_program(program).graph
        for population in found.populations:
            fits = needed.get(population.id, 64) <= bits
            assert population.state.bits == (bits if fits else 24), population.id
        assert_same_messages(program, found, frames)


def test_a_network_alone_gets_every_remedy():
    """What tuning leaves is a network without the scales of its integers."""
    target = with_values(LOIHI2, weight_bits=(4,), output_axons_per_core=200, state_bits=20)
    for seed in range(3):
        program, frames = networks.structures(seed, "graded", 1)
        fitted = fit_program(program, target, stock=False, approximate=False)
        assert "weights-split" in {finding.code for finding in fitted.findings}
        assert not broken(fitted.graph, target) - {"state_bits", "weight_bits_exist"}
        assert_same_messages(program, fitted.graph, frames)
        again = fit_program(fitted.graph, target, stock=False, approximate=False)
        assert again.graph is fitted.graph
        assert not again.findings
