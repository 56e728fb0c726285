"""Every fault is found, in its layer, and called by its name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from diagnoses import changed, diagnosed
from hil_networks import CODINGS, network, with_quiet_neurons
from network_builder import INPUT, Builder
from networks import structures
from snn_compile.hil import evidence as evidence_module
from snn_compile.hil import variants
from snn_compile.hil.devices.faulty import ENDINGS, KINDS, faulty_messages, simulate
from snn_compile.hil.fan_in import fan_in
from snn_compile.hil.hypotheses import shifted
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.quantized import Synapses
from snn_compile.ir.spiking import Reset
from snn_compile.sim import reference
from snn_compile.sim.reference import SynapseOperator

FAULTS = [kind for kind in KINDS if kind not in ENDINGS]
MEANINGLESS = {(coding, "threshold") for coding in ("graded", "sigma-delta")}
"""Payloads have no threshold."""


def without_bias(population):
    return next(v.part for v in population.variants() if v.kind == "no-bias")


@pytest.fixture
def found(tmp_path):
    """What a diagnosis makes of messages: ``found(program, frames, messages, layers)``."""
    return partial(diagnosed, tmp_path)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_fakes_are_the_reference_but_for_their_fault(coding):
    program, frames = network(coding)
    expected = reference.run(program, frames, record=True).messages
    for layer, messages in simulate(program, frames).items():
        np.testing.assert_array_equal(messages, expected[layer])
        if coding == "signed" and layer == "layer4":
            assert (messages < 0).any()


NAMES = {"silent-channel": "silent", "silent-layer": "silent"}
CASES = [
    (coding, kind, layer)
    for coding in CODINGS
    for kind in FAULTS
    for layer in ("", "layer4")
    if (coding, kind) not in MEANINGLESS
    # Its thresholds are large and its sums are few: one more changes no count of these stimuli.
    and (coding, kind, layer) != ("sync", "threshold", "layer4")
]


@pytest.mark.parametrize(("coding", "kind", "layer"), CASES)
def test_every_fault_is_called_by_its_name(found, coding, kind, layer):
    program, frames = network(coding)
    messages = faulty_messages(program, frames, kind, layer)
    first, *others = found(program, frames, messages)
    assert not others  # what follows from it is no fault
    assert first.layer == (layer or _first_wrong(program, frames, messages))
    assert first.causes[0].kind == NAMES.get(kind, kind)
    assert first.examined == messages[first.layer].size
    assert first.differing[0] > 0


@pytest.mark.parametrize(
    ("coding", "kind", "layer"),
    # One more changes no spike of those that are left.
    [case for case in CASES if case != ("rate", "threshold", "layer4")],
)
def test_every_fault_is_called_by_its_name_where_some_neurons_never_fire(
    found, coding, kind, layer
):
    healthy, frames = network(coding)
    program = with_quiet_neurons(healthy, frames)
    sent = simulate(program, frames)
    assert all((sent[p.id] == 0).all(axis=(0, 1)).any() for p in program.populations[:-1])
    messages = faulty_messages(program, frames, kind, layer)
    first, *others = found(program, frames, messages)
    assert not others
    assert first.layer == (layer or _first_wrong(program, frames, messages))
    assert first.causes[0].kind == NAMES.get(kind, kind)


def _first_wrong(program, frames, messages):
    expected = reference.run(program, frames, record=True).messages
    return next(k for k in expected if (expected[k] != messages[k]).any())


def flips(program, random):
    """Networks with one bit of one weight flipped: group, weight, bit, network; in any layer."""
    for _ in range(200):
        population = program.populations[int(random.integers(3))]
        (group,) = program.synapses_into(population)
        values = group.weight.values.copy()
        place = tuple(int(random.integers(n)) for n in values.shape)
        bit = int(random.integers(4, 8))
        values[place] = variants.flipped_bit(values[place], bit, 8)
        yield group, place, bit, changed(program, variants.with_weight(group, values))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_flipped_bit_is_named_by_weight_and_bit(found, coding, seed):
    program, frames = network(coding, seed=seed, n_stimuli=48)
    expected = simulate(program, frames)
    tested = 0
    for group, place, bit, wrong in flips(program, np.random.default_rng(seed)):
        messages = simulate(wrong, frames)
        layer = next(p.id for p in program.populations if group.id in p.inputs)
        shows = np.count_nonzero(messages[layer] != expected[layer])
        if shows < 10:
            continue  # a few messages say too little: there are too many ways to explain them
        (diagnosis,) = found(program, frames, messages)
        assert diagnosis.layer == layer
        if shows > 30:  # less may also be one bit of a parameter, which is fewer bits to say
            assert diagnosis.causes[0].kind == "weight-bit"
        named = {(tuple(c.where["weight"]), c.where.get("bit")): c.where for c in diagnosis.causes}
        where = named[place, bit]
        assert where["expected"] == group.weight.values[place]
        assert where["actual"] == wrong.graph[group.id].weight.values[place]
        tested += 1
        if tested == 3:
            return
    pytest.fail("no weight of this network shows")


@pytest.mark.parametrize("coding", ["rate", "graded", "sync"])
def test_a_flipped_bit_of_a_threshold_or_a_bias_is_named(found, coding):
    program, frames = network(coding)
    population = program.populations[0]
    name = "bias" if coding == "graded" else "threshold"
    tensor = getattr(population, name)
    values = tensor.values.copy()
    values[1] ^= 1 << 6
    part = replace(population, **{name: QTensor.of(values)})
    (diagnosis,) = found(program, frames, simulate(changed(program, part), frames))
    cause = diagnosis.causes[0]
    assert cause.kind == "parameter-bit"
    assert cause.where["parameter"] == name
    assert (cause.where["index"], cause.where["bit"]) == ([1], 6)


def test_a_missing_synapse_is_named(found):
    program, frames = network("graded")
    (group,) = program.synapses_into(program.populations[1])
    values = group.weight.values.copy()
    place = next(tuple(i) for i in np.argwhere(np.abs(values) == 93))
    values[place] = 0
    messages = simulate(changed(program, variants.with_weight(group, values)), frames)
    (diagnosis,) = found(program, frames, messages)
    assert diagnosis.causes[0].kind == "lost-synapse"
    assert diagnosis.causes[0].where["weight"] == [int(i) for i in place]


def test_a_message_that_is_lost_on_its_way_is_named(found):
    """The sender sent it, and no neuron of the next layer got it."""
    program, frames = network("rate")
    population = program.populations[1]
    lost = (7, 2, 1, 2, 3)  # stimulus, step, neuron

    def meddle(messages):
        got = messages.copy()
        assert got[lost]
        got[lost] = 0
        return got

    healthy = simulate(program, frames)
    source, later = program.populations[0].id, program.populations[1:]
    values = {source: meddle(healthy[source])}
    simulator = reference.Simulator(program)
    arriving = np.moveaxis(values[source], (0, 1), (-1, -2))
    current = simulator.current(population, {source: arriving})
    answer = population.respond(current, program.window.n_steps)
    messages = dict(healthy)
    messages[population.id] = np.moveaxis(answer, (-1, -2), (0, 1))
    following = {population.id: answer}
    for node in later[1:]:
        current = simulator.current(node, following)
        following[node.id] = node.respond(current, program.window.n_steps)
        messages[node.id] = np.moveaxis(following[node.id], (-1, -2), (0, 1))
    diagnosis, *others = found(program, frames, messages)
    assert not others
    named = [c for c in diagnosis.causes if c.kind == "lost-input"]
    expected = {"source": str(source), "neuron": [1, 2, 3], "step": 2, "stimulus": 7}
    assert expected in [dict(cause.where) for cause in named]


@pytest.mark.parametrize("coding", ["rate", "signed"])
def test_states_that_are_not_reset_are_named(found, coding):
    program, frames = network(coding)
    healthy = simulate(program, frames)
    readout = program.readouts[0]
    messages = dict(healthy)
    n, n_steps = len(frames), program.window.n_steps
    sums = np.diff(healthy[readout.id], axis=1, prepend=0)
    stream = np.cumsum(sums.reshape(n * n_steps, -1), axis=0)
    messages[readout.id] = stream.reshape(healthy[readout.id].shape)
    (diagnosis,) = found(program, frames, messages)
    assert diagnosis.causes[0].kind == "no-window-reset"


def test_late_arrival_and_other_models_are_named(found):
    program, frames = network("rate")
    population = program.populations[1]
    (group,) = program.synapses_into(population)
    healthy = simulate(program, frames)
    source = np.moveaxis(healthy[group.inputs[0]], (0, 1), (-1, -2)).astype(np.int64)
    late = SynapseOperator(group, (0, 1))(shifted(source, 1))
    answer = population.respond(late, program.window.n_steps)
    layers = [program.populations[0].id, population.id]
    messages = {layers[0]: healthy[layers[0]], population.id: np.moveaxis(answer, (-1, -2), (0, 1))}
    (diagnosis,) = found(program, frames, messages, layers)
    assert diagnosis.causes[0].kind == "late-input"
    parts = {
        "reset": replace(population, reset=Reset.ZERO),
        "no-initial-potential": replace(
            population, initial_potential=QTensor.of(np.zeros(population.shape[0], int))
        ),
        "exponent": replace(group, exponent=1),
    }
    for kind, part in parts.items():
        (diagnosis,) = found(program, frames, simulate(changed(program, part), frames))
        assert (diagnosis.layer, diagnosis.causes[0].kind) == (population.id, kind)


@pytest.mark.parametrize("coding", ["rate", "sync"])
def test_a_strict_comparison_is_named(found, coding):
    program, frames = network(coding)
    population = program.populations[0]
    # Thresholds that potentials hit exactly: weights and biases are multiples of them.
    (group,) = program.synapses_into(population)
    small = variants.with_weight(group, np.sign(group.weight.values))
    easy = replace(
        population,
        bias=QTensor.of(np.zeros(population.shape[0], int)),
        threshold=QTensor.of(np.full(population.shape[0], 3)),
    )
    if coding == "rate":
        easy = replace(easy, initial_potential=QTensor.of(np.zeros(population.shape[0], int)))
    program = changed(changed(program, small), easy)
    by_name = {v.kind: v.part for v in easy.variants()}
    messages = simulate(changed(program, by_name["strict-comparison"]), frames)
    diagnosis, *_ = found(program, frames, messages)
    assert diagnosis.causes[0].kind == "strict-comparison"


def test_two_faults_in_two_layers_are_two_diagnoses(found):
    program, frames = network("graded")
    one, other = program.populations[0], program.populations[2]
    twice = changed(
        changed(program, without_bias(one)),
        replace(other, shift=QTensor.of(other.shift.values + 1)),
    )
    first, second = found(program, frames, simulate(twice, frames))
    assert (first.layer, first.causes[0].kind) == (one.id, "no-bias")
    assert (second.layer, second.causes[0].kind) == (other.id, "shift")


def test_what_nothing_explains_has_no_cause(found):
    program, frames = network("rate")
    layer = program.populations[1].id
    random = np.random.default_rng(0)

    def noise(population, messages):
        return random.integers(0, 2, messages.shape) if population.id == layer else messages

    messages = simulate(program, frames, noise)
    diagnosis, *_ = found(program, frames, messages)
    assert diagnosis.layer == layer
    assert diagnosis.causes == ()


def test_layers_that_are_not_recorded_are_assumed_to_be_right(found):
    program, frames = network("rate")
    messages = faulty_messages(program, frames, "no-bias", "layer4")
    recorded = ["layer4", "layer8"]
    (diagnosis,) = found(program, frames, {n: messages[n] for n in recorded}, recorded)[:1]
    assert diagnosis.assumed == ("layer2",)
    assert diagnosis.causes[0].kind == "no-bias"


@pytest.mark.parametrize("coding", ["rate", "sigma-delta", "sync"])
def test_little_memory_looks_at_fewer_stimuli(found, coding, monkeypatch):
    """Late stimuli are looked at with what came before them, where that matters."""
    program, frames = network(coding)
    part = without_bias(program.populations[1])
    messages = dict(simulate(program, frames))
    wrong = simulate(changed(program, part), frames)
    # The fault sets in late: before that, the device is right.
    for layer in messages:
        if coding != "sigma-delta":
            messages[layer] = np.concatenate([messages[layer][:15], wrong[layer][15:]])
    if coding == "sigma-delta":
        messages = wrong
    monkeypatch.setattr(evidence_module, "BUDGET_BYTES", 1 << 16)
    diagnosis, *_ = found(program, frames, messages)
    first, stop = diagnosis.stimuli
    assert stop - first < len(frames)
    if coding != "sigma-delta":
        assert first == diagnosis.divergence.stimulus - 1
        healthy = simulate(program, frames)[diagnosis.layer]
        assert first >= 14
        assert (messages[diagnosis.layer][:first] == healthy[:first]).all()


def test_a_late_fault_in_a_stream_is_seen_with_what_came_before(found, monkeypatch):
    program, frames = network("sigma-delta")
    layer = program.populations[1].id
    place = tuple(np.argwhere(simulate(program, frames)[layer][20:])[3])
    where = (20 + place[0], *place[1:])

    def lose(population, messages):
        if population.id == layer:
            messages = messages.copy()
            messages[(*where[2:], where[1], where[0])] = 0
        return messages

    messages = simulate(program, frames, lose)
    monkeypatch.setattr(evidence_module, "BUDGET_BYTES", 1 << 15)
    diagnosis, *_ = found(program, frames, {**messages})
    assert diagnosis.stimuli[0] == where[0] - 1
    assert diagnosis.causes[0].kind == "lost-message"
    assert diagnosis.causes[0].where["stimulus"] == where[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "n_steps"), [("graded", 1), ("subtract", 4)])
def test_fan_in_is_what_the_synapses_sum(seed, kind, n_steps):
    """For every kind of synapse group and geometry, at random neurons."""
    program, _ = structures(seed, kind, n_steps)
    random = np.random.default_rng(seed)
    for group in program.graph:
        if not isinstance(group, Synapses):
            continue
        source = program.graph[group.inputs[0]].shape
        messages = random.integers(-3, 4, (*source, 1, 1))
        plain = replace(group, exponent=0)
        expected = SynapseOperator(plain, (-3, 3))(messages).reshape(-1)
        for neuron in random.integers(0, len(expected), 12):
            synapses = fan_in(group, source, int(neuron))
            sent = messages.reshape(-1)[synapses.sources]
            assert (synapses.weights * sent).sum() == expected[neuron]
            flat = group.weight.values.reshape(-1)
            np.testing.assert_array_equal(flat[synapses.places], synapses.weights)


def test_the_synapses_shown_are_those_that_carried_most(found):
    program, frames = network("graded")
    (diagnosis,) = found(program, frames, faulty_messages(program, frames, "no-bias", "layer4"))
    shown = diagnosis.synapses
    assert len(shown) == 10
    assert diagnosis.n_synapses == 36
    strengths = [abs(s.weight * s.message) for s in shown]
    assert strengths == sorted(strengths, reverse=True)
    run = reference.run(program, frames, record=True)
    at = diagnosis.divergence
    for synapse in shown:
        sent = run.messages["layer2"][(at.stimulus, 0, *synapse.neuron)]
        assert (synapse.source, synapse.message) == ("layer2", sent)


def test_flipped_bits_are_those_of_twos_complement():
    values = np.arange(-8, 8)
    for bit in range(4):
        flipped = variants.flipped_bit(values, bit, 4)
        assert ((flipped & 15) ^ (values & 15) == 1 << bit).all()
        assert (flipped >= QFormat(4).min).all()
        assert (flipped <= QFormat(4).max).all()
        np.testing.assert_array_equal(variants.flipped_bit(flipped, bit, 4), values)


def test_neurons_with_tables_are_asked_one_by_one():
    """A table has a row for each channel, whatever the shape of its maps."""
    net = Builder(4, (2, 3, 3))
    hidden = net.neurons("lines", net.conv(INPUT, 3, (2, 2)))
    net.neurons("readout", net.dense(hidden, 3))
    program, frames = net.build(), net.frames(3)
    sent = reference.run(program, frames, record=True).messages[hidden]
    some = np.array([1, 5, 11])
    a = reference.Simulator(program)
    current = a.current(program.graph[hidden], a.encode_inputs(frames))
    answers = evidence_module._some(program.graph[hidden], some).respond(
        current.reshape(12, 1, 3)[some], 1
    )
    assert np.array_equal(answers[:, 0], sent.reshape(3, 12)[:, some].T)


@pytest.mark.parametrize(
    ("table", "bit"), [("breakpoints", 8), ("multiplier", 5), ("offset", 12), ("shift", 1)]
)
@pytest.mark.parametrize("seed", [1, 4])
def test_a_flipped_bit_of_a_table_is_called_by_its_place(found, table, bit, seed):
    net = Builder(seed, (2, 3, 3))
    hidden = net.neurons("lines", net.conv(INPUT, 3, (2, 2)))
    net.neurons("readout", net.dense(hidden, 3))
    program, frames = net.build(), net.frames(40)
    layer = program.graph[hidden]
    right = reference.run(program, frames, record=True).messages
    n_found = 0
    for index in np.ndindex(getattr(layer, table).shape):
        values = getattr(layer, table).values.copy()
        values[index] ^= 1 << bit
        if table == "breakpoints" and (np.diff(values, axis=1) < 0).any():
            continue
        other = layer.changed(**{table: QTensor.of(values)})
        faulty = replace(program, graph=program.graph.edit(replaced=[other]))
        messages = reference.run(faulty, frames, record=True).messages
        if np.array_equal(messages[hidden], right[hidden]):
            continue  # these stimuli do not reach it
        n_found += 1
        (diagnosis,) = found(program, frames, messages)
        places = [
            (cause.where["parameter"], tuple(cause.where["index"]))
            for cause in diagnosis.causes
            if cause.kind == "parameter-bit"
        ]
        assert (table, index) in places, index
    assert n_found
