"""Mapping: each limit at its boundary, the memory model by hand, and what is reported."""

from __future__ import annotations

import itertools
import json
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import spread_networks
from mapping_networks import (
    LOIHI1,
    LOIHI2,
    UNLIMITED,
    conv,
    dense,
    graded,
    maps,
    network,
    one_layer,
    origin,
    readout,
    source,
    spiking,
    with_values,
)
from snn_compile.errors import CapacityError, CompileErrors, exit_code
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.ir.stages import StageError
from snn_compile.mapping import (
    Block,
    MappedProgram,
    MapToCores,
    energy,
    fan_out,
    map_program,
    neuron_updates,
    resources,
    violations_without_placement,
)


def layer(mapped, name):
    return next(each for each in resources(mapped).layers if each.name == name)


# ---------------------------------------------------------------- the four limits of a core


def test_neurons_fit_at_the_limit_and_are_cut_one_over():
    program = one_layer(10, 3)
    assert map_program(program, with_values(UNLIMITED, neurons_per_core=10)).graph.cores == 1
    mapped = map_program(program, with_values(UNLIMITED, neurons_per_core=9)).graph
    assert mapped.cores == 2
    assert [p.n_neurons for p in mapped.placements] == [5, 5]


def test_input_axons_fit_at_the_limit_and_are_refused_one_over():
    program = one_layer(2, 10)
    assert map_program(program, with_values(UNLIMITED, input_axons_per_core=10)).graph.cores == 1
    with pytest.raises(CapacityError, match="10 of 9 input axons") as caught:
        map_program(program, with_values(UNLIMITED, input_axons_per_core=9))
    assert caught.value.code == "input-axons-per-core"
    assert caught.value.origin == origin("out")
    assert caught.value.hint
    assert exit_code(caught.value) == 5


def test_input_axons_of_a_map_cut_it_into_bands():
    program = maps()  # 8 x 8, kernel 3: r rows of it read (r + 2) * 8, the border row less
    target = with_values(UNLIMITED, input_axons_per_core=5 * 8)
    refused = "128 of 40 input axons"  # the dense readout reads all 128 neurons
    with pytest.raises(CapacityError, match=refused):
        map_program(program, target)
    x = program.input
    c = program.graph[NodeId("c")]
    mapped = map_program(network(x, c, readout("a", c)), target).graph
    assert [p.block.rows for p in mapped.placements] == [(0, 4), (4, 8)]
    assert [p.demand.input_axons for p in mapped.placements] == [40, 40]
    mapped = map_program(
        network(x, c, readout("a", c)), with_values(UNLIMITED, input_axons_per_core=39)
    ).graph
    assert [p.block.rows for p in mapped.placements] == [(0, 3), (3, 5), (5, 8)]
    assert [p.demand.input_axons for p in mapped.placements] == [32, 32, 32]


def test_a_map_too_wide_for_a_band_is_cut_into_columns():
    x = source((4, 3, 50))
    c = conv("c", x, np.ones((1, 4, 3, 3), dtype=np.int64), Geometry((1, 1), (1, 1, 1, 1)))
    mapped = map_program(
        network(x, c, readout("out", c)), with_values(UNLIMITED, input_axons_per_core=100)
    ).graph
    assert all(p.demand.input_axons <= 100 for p in mapped.placements)
    assert any(p.block.columns != (0, 50) for p in mapped.placements)


def test_output_axons_fit_at_the_limit_and_are_cut_one_over():
    program = maps()  # 128 neurons, read by one block
    assert map_program(program, with_values(UNLIMITED, output_axons_per_core=128)).graph.cores == 1
    mapped = map_program(program, with_values(UNLIMITED, output_axons_per_core=127)).graph
    assert [p.demand.output_axons for p in mapped.placements] == [64, 64, 0]


def test_output_axons_count_each_block_that_is_reached():
    target = with_values(UNLIMITED, neurons_per_core=1)
    mapped = map_program(maps(1, 2), target).graph
    of_a = [p.demand.output_axons for p in mapped.placements if p.population == "a"]
    assert of_a == [2, 2, 2, 2]  # two readouts on two cores
    with pytest.raises(CapacityError, match="2 of 1 output axons"):
        map_program(maps(1, 2), with_values(target, output_axons_per_core=1))


def test_synapse_memory_fits_at_the_limit_and_is_cut_one_bit_over():
    program = one_layer(4, 10)
    bits = 4 * 10 * 8
    fits = with_values(UNLIMITED, synapse_memory_per_core=bits)
    mapped = map_program(program, fits).graph
    assert mapped.cores == 1
    assert resources(mapped).binding_limit.percent == 100.0
    over = with_values(UNLIMITED, synapse_memory_per_core=bits - 1)
    assert map_program(program, over).graph.cores == 2
    with pytest.raises(
        CapacityError,
        match=r"^net.*: 1 neuron of 'out' on core 0: 80 of 79 bits \(synapse memory, over by 1\)",
    ):
        map_program(program, with_values(UNLIMITED, synapse_memory_per_core=79))


def test_cores_of_the_board_are_the_limit():
    program = one_layer(10, 3)
    target = with_values(UNLIMITED, neurons_per_core=2, chips=1, cores_per_chip=5)
    assert map_program(program, target).graph.cores == 5
    with pytest.raises(CapacityError) as caught:
        map_program(program, with_values(target, cores_per_chip=4))
    assert caught.value.message == (
        "needs 5 cores; unlimited has 4 on 1 chip x 4:"
        " the binding limit is neurons (1.2 times over)"
    )
    assert caught.value.code == "cores-per-board"
    assert caught.value.hint == "--chips 2 would do, or a smaller network"


def test_cores_are_spread_over_chips():
    target = with_values(UNLIMITED, neurons_per_core=2, chips=3, cores_per_chip=2)
    mapped = map_program(one_layer(10, 3), target).graph
    assert [p.chip for p in mapped.placements] == [0, 0, 1, 1, 2]
    assert mapped.chips == 3


# ---------------------------------------------------------------- the memory model


def test_shared_kernels_are_stored_once():
    program = maps(n_channels=2, size=8)
    mapped = map_program(program, UNLIMITED).graph
    assert layer(mapped, "a").synapse_memory_bits == 2 * 9 * 8
    two = map_program(program, with_values(UNLIMITED, neurons_per_core=64)).graph
    by_channel = [p for p in two.placements if p.population == "a"]
    assert len({p.core for p in by_channel}) == 2
    # two channels of 64: each core stores the kernels it needs
    expected = {(0, 2): 144, (0, 1): 72, (1, 2): 72}
    assert all(p.demand.synapse_memory_bits == expected[p.block.channels] for p in by_channel)


def test_unrolled_convolutions_pay_per_synapse_axon_and_entry():
    mapped = map_program(maps(n_channels=8, size=8), LOIHI1).graph
    n_synapses = 8 * (6 * 6 * 9 + 4 * 6 * 6 + 4 * 4)  # inside, edges, corners
    taken = layer(mapped, "a")
    assert taken.synapses == n_synapses
    assert taken.blocks == 1
    entries = 64 + n_synapses // 60
    assert taken.synapse_memory_bits == n_synapses * (8 + 10) + entries * 73


def test_only_weights_that_are_not_zero_are_synapses():
    weight = np.ones((4, 10), dtype=np.int64)
    weight[:, :7] = 0
    weight[0, 7] = 0
    mapped = map_program(one_layer(4, 10, weight=weight), LOIHI1).graph
    taken = layer(mapped, "out")
    assert taken.synapses == 11
    assert mapped.placements[0].demand.input_axons == 3
    # three axons: 11 listed with an index are smaller than 40 in order
    assert taken.synapse_memory_bits == 11 * 18 + 3 * 73
    assert taken.weight_memory_bits == 40 * 8


def test_soft_reset_on_loihi1_takes_two_compartments_and_a_recurrent_synapse():
    hard = map_program(maps(2, 8, Reset.ZERO), LOIHI1).graph
    soft = map_program(maps(2, 8, Reset.SUBTRACT), LOIHI1).graph
    one, two = (next(p for p in m.placements if p.population == "a") for m in (hard, soft))
    assert (one.demand.neurons, two.demand.neurons) == (128, 256)
    assert two.n_neurons == 128
    assert two.demand.input_axons == one.demand.input_axons + 128
    assert two.demand.output_axons == one.demand.output_axons + 128
    extra = two.demand.synapse_memory_bits - one.demand.synapse_memory_bits
    assert extra == 128 * (8 + 10 + 73)
    assert map_program(maps(2, 8, Reset.SUBTRACT), LOIHI2).graph.placements[0].demand.neurons == 128


@pytest.mark.parametrize(
    ("coding", "compartments"), [("sync", 2), ("signed", 2), ("sigma-delta", 1)]
)
def test_who_pays_for_a_soft_reset_in_other_codings(coding, compartments):
    """Whoever takes a threshold off; sigma-delta neurons have no threshold."""
    program, _ = spread_networks.structures(0, coding, dict(spread_networks.CODINGS)[coding])
    target = with_values(UNLIMITED, neurons_per_soft_reset_neuron=2)
    found = map_program(program, target).graph.placements
    readouts = {node.id for node in program.readouts}
    for placement in found:
        each = 1 if placement.population in readouts else compartments
        assert placement.demand.neurons == each * placement.n_neurons


# ---------------------------------------------------------------- rules on the network itself


def test_seven_bit_weights_do_not_exist_on_loihi1():
    with pytest.raises(CapacityError, match="7 bits; loihi1 has 1, 2, 3, 4, 5, 6, 8") as caught:
        map_program(one_layer(2, 3, bits=7), LOIHI1)
    assert caught.value.hint == "--weight-bits 6 or 8"
    assert caught.value.code == "weight-bits-exist"
    map_program(one_layer(2, 3, bits=6), LOIHI1)
    map_program(one_layer(2, 3, bits=7), LOIHI2)


def graded_network(payload=8):
    x = source((3,))
    first = dense("first", x, np.ones((4, 3), dtype=np.int64))
    a = graded("a", first, payload)
    fc = dense("fc", a, np.ones((2, 4), dtype=np.int64))
    return network(x, first, a, fc, readout("out", fc), coding="graded", n_steps=1)


def test_everything_about_a_network_that_a_chip_cannot_do_is_said_at_once():
    with pytest.raises(CompileErrors) as caught:
        map_program(graded_network(), LOIHI1)
    codes = [error.code for error in caught.value.errors]
    assert codes == ["coding-supported", "neuron-supported", "payload-bits"]
    assert caught.value.errors[1].origin == origin("a")
    assert exit_code(caught.value) == 5
    early = violations_without_placement(graded_network(), LOIHI1)
    assert [v.rule.replace("_", "-") for v in early] == codes


def test_payload_bits_at_the_limit_and_one_over():
    target = with_values(LOIHI2, payload_bits=8)
    map_program(graded_network(8), target)
    with pytest.raises(CapacityError, match="payloads 0 to 511, 9 bits; loihi2 has payloads of 8"):
        map_program(graded_network(9), target)


@pytest.mark.parametrize(
    ("coding", "broken"),
    [
        ("sync", ["coding_supported", "neuron_supported"]),
        ("signed", ["coding_supported", "neuron_supported", "payload_bits"]),
        ("sigma-delta", ["coding_supported", "neuron_supported", "payload_bits"]),
    ],
)
def test_loihi1_has_one_state_and_binary_spikes_of_one_sign(coding, broken):
    program, _ = spread_networks.structures(0, coding, dict(spread_networks.CODINGS)[coding])
    on_the_network = ("coding_supported", "neuron_supported", "payload_bits")
    found = [v.rule for v in violations_without_placement(program, LOIHI1)]
    assert sorted(r for r in set(found) if r in on_the_network) == broken
    found = [v.rule for v in violations_without_placement(program, LOIHI2)]
    assert not set(found) & set(on_the_network)


def test_changes_of_payloads_need_a_sign():
    program, _ = spread_networks.structures(0, "sigma-delta", 1)
    found = violations_without_placement(program, with_values(LOIHI2, payload_bits=8))
    assert {(v.rule, v.needed) for v in found if v.rule == "payload_bits"} == {("payload_bits", 9)}
    found = violations_without_placement(program, with_values(LOIHI2, payload_bits=9))
    assert "payload_bits" not in {v.rule for v in found}


def test_state_bits_at_the_limit_and_one_over():
    program = one_layer(2, 3)
    map_program(program, with_values(LOIHI2, state_bits=24))
    with pytest.raises(CapacityError, match=r"potentials of 24 bits, of which .* loihi2 has 23"):
        map_program(program, with_values(LOIHI2, state_bits=23))


def test_input_that_the_chip_cannot_receive():
    fc = dense("fc", source((3,)), np.ones((2, 3), dtype=np.int64))
    for coding in InputCoding:
        x = source((3,), low=-255, high=255, coding=coding)
        program = network(x, fc, readout("out", fc))
        assert not any(f.warning for f in map_program(program, LOIHI2).findings)
        if coding in (InputCoding.GRADED, InputCoding.CHANGES, InputCoding.EVENTS):
            with pytest.raises(CapacityError, match="binary spikes only"):
                map_program(program, LOIHI1)
            continue
        (_, finding) = map_program(program, LOIHI1).findings
        assert finding.warning
        assert finding.code == "input-not-spikes"
        assert ("first step of each window" in finding.message) == (coding is InputCoding.FRAME)
    spikes = network(source((3,), low=0, high=1, coding=InputCoding.EVENTS), fc, readout("out", fc))
    assert not any(f.warning for f in map_program(spikes, LOIHI1).findings)


# ---------------------------------------------------------------- packing and the stage


def test_small_populations_share_a_core_and_cores_follow_the_network():
    target = with_values(UNLIMITED, neurons_per_core=130)
    mapped = map_program(maps(), target).graph
    assert [(p.population, p.core) for p in mapped.placements] == [("a", 0), ("out", 0)]
    mapped = map_program(maps(), with_values(UNLIMITED, neurons_per_core=129)).graph
    assert [(p.population, p.core) for p in mapped.placements] == [("a", 0), ("out", 1)]


def test_the_program_is_the_same_object_and_mapping_is_deterministic():
    program = maps(6, 12, Reset.SUBTRACT)
    first = MapToCores(LOIHI1)(program).graph
    assert first.program is program
    assert first.placements == MapToCores(LOIHI1)(program).graph.placements
    assert MapToCores.name == "map-to-cores"


def test_a_mapped_program_places_every_neuron_once():
    mapped = map_program(maps(), UNLIMITED).graph
    a, out = mapped.placements
    with pytest.raises(StageError, match="exactly once"):
        MappedProgram(mapped.program, UNLIMITED, (a,))
    with pytest.raises(StageError, match="exactly once"):
        MappedProgram(mapped.program, UNLIMITED, (a, a, out))
    with pytest.raises(StageError, match="not a population"):
        MappedProgram(mapped.program, UNLIMITED, (a, out, replace(a, population=NodeId("x"))))
    with pytest.raises(StageError, match="neurons_per_core"):
        MappedProgram(mapped.program, with_values(UNLIMITED, neurons_per_core=5), (a, out))


def test_two_limits_broken_by_two_layers_are_both_reported():
    x = source((20,))
    first = dense("first", x, np.ones((30, 20), dtype=np.int64))
    a = spiking("a", first)
    fc = dense("fc", a, np.ones((2, 30), dtype=np.int64))
    program = network(x, first, a, fc, readout("out", fc))
    target = with_values(
        UNLIMITED, input_axons_per_core=10, neurons_per_core=10, chips=1, cores_per_chip=2
    )
    with pytest.raises(CompileErrors) as caught:
        map_program(program, target)
    found = [(e.code, e.origin.node if e.origin else "") for e in caught.value.errors]
    assert found == [
        ("input-axons-per-core", "a"),
        ("input-axons-per-core", "out"),
        ("cores-per-board", ""),
    ]
    assert "20 of 10" in caught.value.errors[0].message
    assert "2.0 times over" in caught.value.errors[0].message


# ---------------------------------------------------------------- what is reported


def test_resources_are_plain_json():
    mapped = map_program(maps(4, 8, Reset.SUBTRACT), LOIHI1).graph
    found = resources(mapped)
    plain = json.loads(json.dumps(found.as_dict()))
    assert {"cores", "chips", "per_core", "binding_limit", "layers"} <= set(plain)
    assert plain["cores"] == len(plain["per_core"]) == mapped.cores
    assert plain["binding_limit"]["percent"] == max(c["percent"] for c in plain["per_core"])
    assert sum(c["neurons"] for c in plain["per_core"]) == 2 * 4 * 64 + 2
    assert [each["neurons"] for each in plain["layers"]] == [256, 2]
    assert str(found.binding_limit).startswith(f"{found.binding_limit.limit}, core ")
    assert resources(map_program(maps(), UNLIMITED).graph).binding_limit is None


def test_the_finding_says_how_much_is_taken():
    (finding,) = map_program(maps(), with_values(LOIHI2, chips=1)).findings
    assert finding.message.startswith("1 of 128 cores on 1 chip · tightest: ")
    (finding,) = map_program(maps(), UNLIMITED).findings
    assert finding.message == "1 core on 1 chip"


def test_fan_out_knows_the_borders():
    x = source((1, 3, 3))
    c = conv("c", x, np.ones((2, 1, 3, 3), dtype=np.int64), Geometry((1, 1), (1, 1, 1, 1)))
    assert fan_out(c, x.shape).tolist() == [[[8, 12, 8], [12, 18, 12], [8, 12, 8]]]


def test_energy_is_counts_times_figures():
    found = energy(LOIHI1, synops=1000, neuron_updates=100, spikes=10)
    assert found["value"] == pytest.approx((23600 + 5200 + 157) * 1e-12)
    assert found["low"] == pytest.approx((23600 + 5120 + 17) * 1e-12)
    assert found["high"] == pytest.approx((35500 + 8100 + 1803) * 1e-12)
    assert found["unit"] == "J"
    assert found["confidence"] == "recalled"
    assert "loihi1.toml" in found["source"]
    assert energy(LOIHI2, synops=1)["confidence"] == "assumed"
    assert energy(UNLIMITED, synops=1) is None


def test_neuron_updates():
    assert neuron_updates(maps(2, 8)) == (128 + 2) * 4


def test_one_dimensional_maps_and_flat_populations():
    x = source((2, 6))
    fc = dense("fc", x, np.ones((4, 12), dtype=np.int64))
    program = network(x, fc, readout("out", fc))
    mapped = map_program(program, with_values(UNLIMITED, neurons_per_core=2)).graph
    assert [p.block for p in mapped.placements] == [
        Block((0, 2), (0, 1), (0, 1)),
        Block((2, 4), (0, 1), (0, 1)),
    ]
    assert mapped.placements[0].demand.input_axons == 12


def test_millions_of_synapses_are_counted_not_enumerated():
    rng = np.random.default_rng(0)
    x = source((16, 32, 32))
    nodes, read = [x], x
    for index in range(6):
        geometry = Geometry((1, 1), (1, 1, 1, 1))
        c = conv(f"c{index}", read, rng.integers(-100, 100, (16, 16, 3, 3)), geometry)
        read = spiking(f"a{index}", c, Reset.SUBTRACT)
        nodes += [c, read]
    last = conv("last", read, rng.integers(-100, 100, (4, 16, 1, 1)), Geometry())
    program = network(*nodes, last, readout("out", last))
    calls = itertools.count()
    tracemalloc.start()
    sys.setprofile(lambda *_: next(calls))
    try:
        mapped = map_program(program, LOIHI1).graph
    finally:
        sys.setprofile(None)
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    n_synapses = sum(each.synapses for each in resources(mapped).layers)
    assert n_synapses > 12_000_000
    assert most_bytes < n_synapses / 3  # a third of a byte for each
    assert next(calls) < n_synapses / 6  # one for every 9: cuts are tried, blocks split
