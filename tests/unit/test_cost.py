"""The bill of a network by hand: three layers, two cores, constants of one digit each."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mapping_networks import dense, network, origin, readout, spiking
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Input
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.mapping import Block, MappedProgram, bill, map_program, resources
from snn_compile.mapping.cost import KINDS, events, step_time, step_time_by_step
from snn_compile.report import schema
from snn_compile.report.bill import with_bill
from snn_compile.report.layers import Activity
from snn_compile.targets import Confidence, Constant, Times, load_target

UNLIMITED = load_target("unlimited")
PICO, NANO = 1e-12, 1e-9


def constant(value, unit):
    """Low is half and high is twice the value."""
    return Constant(value, value / 2, 2 * value, unit, "by hand", Confidence.ASSUMED)


TARGET = replace(
    UNLIMITED,
    synaptic_op=constant(1.0, "pJ"),
    neuron_update=constant(10.0, "pJ"),
    spike=constant(100.0, "pJ"),
    static_chip=constant(5.0, "mW"),
    times=Times(
        synaptic_op=constant(1.0, "ns"),
        neuron_update=constant(2.0, "ns"),
        spike_out=constant(3.0, "ns"),
        message_out=constant(4.0, "ns"),
        message_in=constant(5.0, "ns"),
        barrier=constant(6.0, "ns"),
    ),
)


def three_layers(reset=Reset.ZERO):
    """2 inputs, 3 neurons, 2 neurons, 1 readout; one weight of 0 onto the first neuron."""
    x = Input(
        id=NodeId("x"),
        inputs=(),
        shape=(2,),
        origin=origin("x"),
        format=QFormat(9),
        low=0,
        high=1,
        coding=InputCoding.CURRENT,
    )
    onto_a = dense("xa", x, [[0, 1], [1, 1], [1, 1]])
    a = spiking("a", onto_a, reset)
    onto_b = dense("ab", a, [[1, 1, 1], [1, 1, 1]])
    b = spiking("b", onto_b, reset)
    last = dense("bo", b, [[1, 1]])
    return network(x, onto_a, a, onto_b, b, last, readout("out", last))


MESSAGES = {"x": np.array([3, 1]), "a": np.array([2, 0, 1]), "b": np.array([1, 2])}


def placed(program, target, *where):
    """A placement in blocks of neurons: (population, first, last, core, chip)."""
    (whole, *_) = map_program(program, target).graph.placements
    blocks = tuple(
        replace(
            whole,
            population=NodeId(name),
            core=core,
            chip=chip,
            block=Block((first, last), (0, 1), (0, 1)),
            demand=whole.demand._replace(neurons=last - first),
        )
        for name, first, last, core, chip in where
    )
    return MappedProgram(program, target, blocks)


def two_cores(target=TARGET):
    """Core 0 has two neurons of a and one of b; core 1 the others."""
    return placed(
        three_layers(),
        target,
        ("a", 0, 2, 0, 0),
        ("a", 2, 3, 1, 0),
        ("b", 0, 1, 0, 0),
        ("b", 1, 2, 1, 0),
        ("out", 0, 1, 1, 0),
    )


def table(mapped):
    found = events(mapped, MESSAGES)
    rows = zip(found.layer, found.core.tolist(), found.counts.tolist(), strict=True)
    return {(layer, core): counts for layer, core, counts in rows}


def test_events_of_three_layers_on_two_cores():
    """Columns: synaptic operations, updates, spikes, messages out, messages in."""
    assert KINDS == ("synaptic operation", "neuron update", "spike", "message out", "message in")
    assert table(two_cores()) == {
        # x sends 3 and 1. a0 has a synapse from x1 only: 1; a1 from both: 3 + 1. Two neurons, four
        # steps: 8 updates. a0 sends 2, read on both cores: 4 messages. In: 3 + 1.
        ("a", 0): [5.0, 8.0, 2.0, 4.0, 4.0],
        # a2: 3 + 1 operations, 4 updates; it sends 1, read on both cores. In: 3 + 1.
        ("a", 1): [4.0, 4.0, 1.0, 2.0, 4.0],
        # b0 hears 2 + 0 + 1; it sends 1, to core 1 only. In: 2 + 0 + 1.
        ("b", 0): [3.0, 4.0, 1.0, 1.0, 3.0],
        ("b", 1): [3.0, 4.0, 2.0, 2.0, 3.0],
        # The readout hears 1 + 2 and sends nothing.
        ("out", 1): [3.0, 4.0, 0.0, 0.0, 3.0],
    }


def test_energy_by_hand():
    found = bill(two_cores(), MESSAGES)
    # 18 operations of 1 pJ, 24 updates of 10 pJ, 9 messages of 100 pJ among neurons; of the input
    # (3 + 1) messages on two cores: 8 of 100 pJ.
    assert found.dynamic.value == pytest.approx((18 + 240 + 900 + 800) * PICO)
    assert found.input.value == pytest.approx(800 * PICO)
    assert found.dynamic.low == pytest.approx(found.dynamic.value / 2)
    assert found.dynamic.high == pytest.approx(found.dynamic.value * 2)
    # Layer a: 9 operations, 12 updates, 6 messages. Core 1: 10, 12 and 4.
    assert found.layers["a"].energy.value == pytest.approx((9 + 120 + 600) * PICO)
    assert found.cores[1].energy.value == pytest.approx((10 + 120 + 400) * PICO)
    for shares in (found.layers, found.cores):
        whole = sum(share.energy.value for share in shares.values()) + found.input.value
        assert whole == pytest.approx(found.dynamic.value)


def test_time_by_hand():
    found = bill(two_cores(), MESSAGES)
    # Core 0: 8 operations, 12 updates, 3 spikes, 5 messages out, 7 in: 8 + 24 + 9 + 20 + 35 = 96.
    # Core 1: 10, 12, 3, 4, 10: 10 + 24 + 9 + 16 + 50 = 109 ns, in 4 steps; 6 ns of barrier each.
    step = 109 / 4 + 6
    assert found.step.value == pytest.approx(step * NANO)
    assert found.step.low == pytest.approx(step / 2 * NANO)
    assert found.latency.value == pytest.approx(step * NANO * three_layers().total_steps)
    assert found.period.value == pytest.approx(4 * step * NANO)
    assert found.static.value == pytest.approx(5e-3 * 4 * step * NANO)
    assert found.static.high == pytest.approx(4 * found.static.value)  # of power and of time
    assert found.cores[0].seconds.value == pytest.approx(96 / 4 * NANO)
    # Layer b takes longer on core 1: 3 + 8 + 6 + 8 + 15.
    assert found.layers["b"].seconds.value == pytest.approx(40 / 4 * NANO)
    binding = found.binding
    assert (binding.resource, binding.core, binding.operation) == ("core", 1, "message in")
    assert binding.populations == ("a", "b", "out")
    assert binding.share == pytest.approx(50 / 109)


def test_a_step_whose_messages_are_known_waits_for_its_own_slowest_core():
    """Each layer sends in a step of its own; evenly spread they take what ``step_time`` says."""
    mapped = two_cores()
    even = [{name: np.asarray(each) / 4 for name, each in MESSAGES.items()}] * 4
    in_turn = [*({name: each} for name, each in MESSAGES.items()), {}]
    spread, apart = (
        step_time_by_step(TARGET, [events(mapped, messages) for messages in steps])
        for steps in (even, in_turn)
    )
    assert spread.value == pytest.approx(step_time(TARGET, events(mapped, MESSAGES)).value)
    slowest = []
    for messages in in_turn:
        _, counts = events(mapped, messages).per_core()
        slowest.append((counts @ [1, 2 / 4, 3, 4, 5]).max())  # updates are those of four steps
    assert apart.value == pytest.approx((np.mean(slowest) + 6) * NANO)
    assert apart.value > spread.value


def test_a_message_is_counted_once_for_each_core_that_reads_it():
    """Not for each block: two blocks on a core have one message, on two cores two."""
    program = three_layers()
    rest = ("a", 0, 3, 0, 0), ("out", 0, 1, 0, 0)
    whole = placed(program, TARGET, *rest, ("b", 0, 2, 1, 0))
    beside = placed(program, TARGET, *rest, ("b", 0, 1, 1, 0), ("b", 1, 2, 1, 0))
    apart = placed(program, TARGET, *rest, ("b", 0, 1, 1, 0), ("b", 1, 2, 2, 0))
    messages = [float(events(each, MESSAGES).total[3]) for each in (whole, beside, apart)]
    # a sends 3 to one core, to one core, to two; b sends 3 to the readout's.
    assert messages == [3 + 3, 3 + 3, 6 + 3]
    received = [float(events(each, MESSAGES).total[4]) for each in (whole, beside, apart)]
    assert received == [4 + 3 + 3, 4 + 3 + 3, 4 + 6 + 3]
    spent = [bill(each, MESSAGES).dynamic.value for each in (whole, beside, apart)]
    assert spent[0] == spent[1] < spent[2]


def test_a_link_between_two_chips_can_bind():
    program = three_layers()
    where = ("a", 0, 3, 0, 0), ("b", 0, 2, 1, 1), ("out", 0, 1, 2, 1)
    link = replace(TARGET, times=replace(TARGET.times, link_message=constant(1000.0, "ns")))
    mapped = placed(program, link, *where)
    assert dict(events(mapped, MESSAGES).between_chips) == {(0, 1): 3.0}
    found = bill(mapped, MESSAGES)
    assert found.binding.resource == "link"
    assert found.period.value == pytest.approx(3000 * NANO)
    assert bill(placed(program, TARGET, *where), MESSAGES).binding.resource == "core"


def test_the_hosts_input_can_bind():
    slow = replace(TARGET, times=replace(TARGET.times, input_value=constant(1000.0, "ns")))
    mapped = two_cores(slow)
    found = bill(mapped, MESSAGES)
    assert found.binding.resource == "host input"
    assert found.period.value == pytest.approx(2 * 1000 * NANO)  # a frame of 2 values, sent once
    assert found.latency == bill(two_cores(), MESSAGES).latency
    assert bill(mapped, MESSAGES, host=False).binding.resource == "core"


def test_sums_of_messages_are_spread_evenly():
    even = {name: np.full(len(each), each.mean()) for name, each in MESSAGES.items()}
    sums = {name: float(each.sum()) for name, each in MESSAGES.items()}
    known, guessed = events(two_cores(), even), events(two_cores(), sums)
    np.testing.assert_allclose(guessed.counts, known.counts)


def test_a_neuron_of_two_compartments_takes_two_updates_and_its_recurrent_synapse():
    soft = load_target("loihi1")
    mapped = map_program(three_layers(Reset.SUBTRACT), soft).graph
    found = events(mapped, MESSAGES)
    assert found.total[1] == (2 * (3 + 2) + 1) * 4
    assert found.total[0] == 18 + (3 + 3)  # one operation for each spike


def reported(target=TARGET):
    mapped = two_cores(target)
    two_samples = Activity({NodeId(name): 2 * each for name, each in MESSAGES.items()}, 2)
    taken = resources(mapped).as_dict()
    rows = [{"name": node.id} for node in mapped.program.populations]
    ladder = [{"stage": "fixed", "top1": 75.0, "agreement": None, "n": 2}]
    report = {"layers": rows, "resources": taken, "ladder": ladder}
    return with_bill(report, mapped, two_samples), bill(mapped, MESSAGES)


def test_the_report_keeps_its_keys_and_gains_the_bill():
    report, found = reported()
    cost = report["cost"]
    assert cost["spikes_per_inference"] == 6  # a sends 3 and b 3, whoever reads them
    assert cost["synops_per_inference"] == 18
    assert (cost["energy"]["unit"], cost["latency"]["unit"]) == ("J", "us")
    assert cost["energy"]["value"] == pytest.approx(found.dynamic.value)
    assert cost["energy"]["dynamic"]["value"] == pytest.approx(found.dynamic.value)
    assert cost["energy"]["static"]["high"] == pytest.approx(found.static.high)
    assert cost["latency"]["value"] == pytest.approx(found.latency.value * 1e6)
    assert cost["latency"]["steps"] == three_layers().total_steps
    assert cost["latency"]["low"] < cost["latency"]["value"] < cost["latency"]["high"]
    assert cost["throughput"]["value"] == pytest.approx(1 / found.period.value)
    assert cost["throughput"]["low"] == pytest.approx(1 / found.period.high)
    assert cost["energy"]["interval"] == cost["latency"]["interval"] == "range of cited constants"
    assert (cost["binding"]["resource"], cost["binding"]["core"]) == ("core", 1)
    assert [row["name"] for row in report["layers"]] == ["a", "b", "out"]
    for row, share in zip(report["layers"], found.layers.values(), strict=True):
        assert row["energy"]["value"] == share.energy.value
        assert row["time"]["value"] == pytest.approx(share.seconds.value * 1e6)
    assert [row["core"] for row in report["resources"]["per_core"]] == [0, 1]
    written = json.loads(schema.dumps(report))
    assert schema.complaint(written) == ""
    assert written["cost"]["events"]["message_in"] == 17


def test_without_times_the_latency_is_in_steps():
    report, _ = reported(UNLIMITED)
    latency = report["cost"]["latency"]
    assert (latency["value"], latency["unit"]) == (three_layers().total_steps, "time steps")
    assert report["cost"]["energy"] is report["cost"]["throughput"] is None
    assert all(row["energy"] is row["time"] is None for row in report["layers"])


def test_without_messages_nothing_older_stays():
    report, _ = reported()
    found = with_bill(report, two_cores(), None)
    assert "neurobench" not in found
    assert (found["cost"]["energy"], found["cost"]["latency"]["unit"]) == (None, "time steps")


def test_neurobench_by_hand():
    report, _ = reported()
    found = report["neurobench"]
    # 14 weights of 8 bits; 5 thresholds, biases and initial potentials, and 1 bias of the readout.
    program = three_layers()
    others = sum(
        tensor.values.size * tensor.format.bits
        for node in program.populations
        for tensor in vars(node).values()
        if isinstance(tensor, QTensor)
    )
    assert found["footprint"] == 14 + others / 8
    assert found["connection_sparsity"] == 1 / 14
    assert found["activation_sparsity"] == 1 - 6 / (5 * 4)  # of five neurons in four steps
    operations = found["synaptic_operations"]
    assert operations == {"Effective_MACs": 0.0, "Effective_ACs": 18.0, "Dense": 14.0 * 4}
    assert found["membrane_updates"] == 6 * 4
    assert found["classification_accuracy"] == 0.75


def test_a_target_without_times_or_energies_has_no_bill():
    found = bill(two_cores(UNLIMITED), MESSAGES)
    assert found.step is found.latency is found.period is found.binding is found.static is None
    assert found.dynamic.value == 0
