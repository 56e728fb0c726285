"""The simulator against a per-neuron transcription of the equations: every message, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import networks
from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    QuantizedGraph,
    Readout,
    SignedIFNeurons,
    SparseSynapses,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import reference
from transcription import Cells, assert_equal

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def assert_equal_to_transcription(program, frames):
    assert_equal(reference.run(program, frames, record=True), program, frames)


STEPPING = tuple(kind for kind in networks.ALL_NEURONS if kind not in networks.SINGLE_STEP)


def steps_of(kind, n_steps):
    return 1 if kind in networks.SINGLE_STEP else n_steps


@pytest.mark.parametrize(
    ("kind", "poisson"),
    [
        *((k, False) for k in networks.SINGLE_STEP),
        *((k, p) for k in STEPPING for p in (False, True)),
    ],
)
def test_every_structure(kind, poisson):
    program, frames = networks.structures(11, kind, steps_of(kind, 4), poisson=poisson)
    assert_equal_to_transcription(program, frames[:3])


@FEW
@given(SEEDS, st.integers(1, 5), st.booleans())
def test_random_branches(seed, n_steps, poisson):
    kinds = networks.ALL_NEURONS
    program, frames = networks.branches(seed, n_steps, 2, poisson=poisson, kinds=kinds)
    for node in program.populations:
        event(type(node).__name__)
    assert_equal_to_transcription(program, frames[:3])


@FEW
@given(SEEDS, st.sampled_from(networks.ALL_NEURONS))
def test_random_perceptrons(seed, kind):
    program, frames = networks.mlp(seed, kind, steps_of(kind, 5))
    assert_equal_to_transcription(program, frames[:4])


@pytest.mark.parametrize("kind", networks.ALL_NEURONS)
def test_the_test_networks_are_alive(kind):
    """Otherwise everything above would compare zeros."""
    program, frames = networks.structures(11, kind, steps_of(kind, 4))
    run = reference.run(program, frames, record=True)
    for node in program.populations:
        messages = run.messages[node.id]
        assert 0.005 < (messages != 0).mean(), node.id
        assert len(np.unique(messages)) > 1, node.id
        if kind == "clip-floor" and not isinstance(node, Readout):
            assert len(np.unique(messages)) > 8, node.id


def test_signed_spikes_have_both_signs():
    """Poisson input: what is the same at every step is seldom taken back."""
    program, frames = networks.structures(11, "signed", 16, poisson=True)
    run = reference.run(program, frames, record=True)
    for node in program.populations:
        if not isinstance(node, Readout):
            assert 0.001 < (run.messages[node.id] == -1).mean(), node.id


@FEW
@given(SEEDS, st.integers(1, 5), st.booleans())
def test_answers_do_not_depend_on_the_batch(seed, n_steps, poisson):
    program, _ = networks.branches(seed, n_steps, 2, poisson=poisson)
    high, low = program.input.high, program.input.low
    frames = np.random.default_rng(seed).integers(low, high + 1, (7, *program.input.shape))
    whole = reference.run(program, frames, record=True)
    pieces = [
        reference.run(program, frames[a:b], first=a, record=True)
        for a, b in [(0, 1), (1, 5), (5, 7)]
    ]
    for name, outputs in whole.outputs.items():
        np.testing.assert_array_equal(
            outputs, np.concatenate([piece.outputs[name] for piece in pieces])
        )
    for name, messages in whole.messages.items():
        np.testing.assert_array_equal(
            messages, np.concatenate([piece.messages[name] for piece in pieces])
        )
    for name, activity in whole.activity.items():
        np.testing.assert_array_equal(activity, sum(piece.activity[name] for piece in pieces))


def test_threads_and_small_pieces_change_nothing(monkeypatch):
    program, _ = networks.structures(3, "subtract", 4, poisson=True)
    frames = np.random.default_rng(0).integers(-15, 196, (23, *program.input.shape))
    whole = reference.run(program, frames, record=True)
    monkeypatch.setattr(reference, "batch_size", lambda _: 3)
    steps = []
    pieces = reference.run(program, frames, record=True, advance=steps.append)
    assert sorted(steps) == [2, *[3] * 7]
    for name, messages in whole.messages.items():
        np.testing.assert_array_equal(messages, pieces.messages[name])


def test_poisson_spikes_have_the_stated_probability_and_sign():
    program, _ = networks.structures(5, "subtract", 400, poisson=True)
    frames = np.zeros((2, *program.input.shape), np.int64)
    frames[:, 0, 0, :3] = 195, 97, -15
    sent = reference.input_messages(program, frames)
    assert sent.shape == (2, 400, *program.input.shape)
    assert set(np.unique(sent)) == {-1, 0, 1}
    assert (sent[:, :, 0, 0, 0] == 1).all()  # full scale: every step
    rates = sent.mean(axis=(0, 1))
    assert abs(rates[0, 0, 1] - 97 / 195) < 0.06
    assert abs(rates[0, 0, 2] + 15 / 195) < 0.04
    assert not sent[:, :, 1].any()
    assert (sent[0] != sent[1]).any()  # a draw of its own for every stimulus


def test_no_stimuli_at_all():
    program, frames = networks.mlp()
    run = reference.run(program, frames[:0])
    assert run.outputs[program.readouts[0].id].shape == (0, *program.readouts[0].shape)


@pytest.mark.parametrize("value", [-1, 256])
def test_values_outside_the_encoding_are_refused(value):
    program, frames = networks.mlp()
    frames[0, 0] = value
    with pytest.raises(ValueError, match=r"outside 0\.\.255"):
        reference.run(program, frames)


def test_row_of_counts_windows_and_depth():
    program, _ = networks.mlp(kind="subtract", n_steps=4)
    last = program.readouts[0].id
    assert program.depth[last] == 3
    assert reference.row_of(program, last, 2, 1) == 2 * 4 + 1 + 3
    assert (program.latency, program.total_steps) == (3, 7)


# ------------------------------------------------------------------ hand numbers from Lava's models


def cuba(threshold=1 << 17, bias=0, du=4095, dv=0, n=1):
    return CubaLIFNeurons(
        id=NodeId("cuba"),
        inputs=(),
        shape=(n,),
        origin=Origin("t"),
        threshold=QTensor.of(np.full(n, threshold)),
        bias=QTensor.of(np.full(n, bias)),
        current_decay=du,
        voltage_decay=dv,
    )


def states(a, **parameters):
    """u and v after every step, from the transcription."""
    cells = Cells(cuba(**parameters))
    steps = []
    for value in a:
        cells.step([value])
        steps.append((cells.u[0], cells.v[0]))
    return steps


def test_a_current_decays_even_without_decay():
    """Lava: a_in=100 once, du=0 gives u = 6400, 6398, 6396, 6394."""
    assert [u for u, _ in states([100, 0, 0, 0], du=0)] == [6400, 6398, 6396, 6394]


@pytest.mark.parametrize(("a", "u"), [(1 << 17, 8388608), (-(1 << 17), 8388608), (300000, 2422784)])
def test_a_current_wraps_once(a, u):
    """Lava: a_in of +2**17 and of -2**17 both give u = +8388608, 300000 gives 2422784."""
    assert states([a])[0][0] == u


@pytest.mark.parametrize(
    ("a", "threshold", "spikes"),
    [
        # u = 8388608, v clips at 8388607, above 131071 << 6 = 8388544
        (1 << 17, 131071, 1),
        (-(1 << 17), 131071, 1),
        (300000, 2422784 // 64, 0),  # strict: v == threshold << 6
        (300000, 2422784 // 64 - 1, 1),
        ((1 << 17) + 1, -131070, 0),  # u = 2**23 + 64 - 2**24 = -8388544 = -131071 << 6
        ((1 << 17) + 1, -131072, 1),
    ],
)
def test_the_simulator_wraps_the_same(a, threshold, spikes):
    answer = cuba(threshold).respond(np.array([[[a]]]), 1)
    assert answer.tolist() == [[[spikes]]]


def test_decay_is_told_apart_by_thresholds():
    """The simulator's own u, read through dv = 4095 (v is u, nearly) at thresholds near it."""
    a = np.array([100, 0, 0, 0])[None, :, None]
    # v = tz(v * 1) + u = u for small v; u = 6400 is over 99 << 6 = 6336, and not over 100 << 6.
    assert cuba(99, du=0, dv=4095).respond(a, 4)[0, :, 0].tolist() == [1, 1, 1, 1]
    assert cuba(100, du=0, dv=4095).respond(a, 4)[0, :, 0].tolist() == [0, 0, 0, 0]
    # After 33 steps u has lost 2 a step: 6400 - 66 = 6334, no longer over 6336.
    long = np.zeros((1, 40, 1), np.int64)
    long[0, 0, 0] = 100
    spikes = cuba(99, du=0, dv=4095).respond(long, 40)[0, :, 0]
    assert spikes.tolist() == [1] * 32 + [0] * 8  # u = 6400 - 2 t > 6336 for t < 32


def test_potential_of_a_leaky_neuron_saturates_and_fires_strictly():
    """Lava: vth=2, bias 64 a step, no leak: spikes at steps 3, 6, 9 (128 is not over 128)."""
    a = np.zeros((1, 9, 1), np.int64)
    assert cuba(2, bias=64).respond(a, 9)[0, :, 0].tolist() == [0, 0, 1] * 3


def test_a_current_dies_out():
    """64 + 63 + ... + 1 = 2080: tz(1 * 4095) is 0, so the current ends, and the potential stays."""
    a = np.zeros((1, 300, 1), np.int64)
    a[0, 0, 0] = 1
    assert states([1] + [0] * 299, du=0)[-1] == (0, 2080)
    assert not cuba(33, du=0).respond(a, 300).any()  # 33 << 6 = 2112
    spikes = cuba(32, du=0).respond(a, 300)[0, :, 0]  # 32 << 6 = 2048
    assert spikes.nonzero()[0].tolist() == [56]  # 2080 - (7 + ... + 1) = 2052


def test_truncation_is_toward_zero():
    """du=0, u=-1: tz(-1 * 4095) = -(4095 >> 12) = 0; a floor would give -1."""
    assert [u for u, _ in states([-1, 0], du=0)] == [-64, -63]
    a = [-1, 0, 0, 2, 0, 0, 0]
    cells = Cells(cuba(0, du=0))
    expected = [cells.step([v])[0] for v in a]
    spikes = cuba(0, du=0).respond(np.array(a)[None, :, None], 7)
    assert spikes[0, :, 0].tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-(2**18), 2**18), min_size=1, max_size=12),
    st.integers(0, 4095),
    st.integers(0, 4095),
    st.integers(-(2**17), 2**17 - 1),
    st.integers(-(2**18), 2**18),
)
def test_leaky_neurons_under_any_input(a, du, dv, threshold, bias):
    """Also where the current wraps and the potential saturates."""
    node = cuba(threshold, bias, du, dv)
    cells = Cells(node)
    expected = [cells.step([value])[0] for value in a]
    spikes = node.respond(np.array(a)[None, :, None], len(a))
    assert spikes[0, :, 0].tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=12),
    st.integers(1, 2**23),
    st.integers(-(2**20), 2**20),
    st.integers(-(2**23) + 1, 2**23 - 1),
    st.sampled_from(Reset),
)
def test_potentials_saturate(a, threshold, bias, initial, reset):
    node = IFNeurons(
        id=NodeId("if"),
        inputs=(),
        shape=(1,),
        origin=Origin("t"),
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        initial_potential=QTensor.of([initial]),
        reset=reset,
    )
    cells = Cells(node)
    expected = [cells.step([value])[0] for value in a]
    for dtype in (np.int32, np.int64):
        spikes = node.respond(np.array(a, dtype)[None, :, None], len(a))
        assert spikes[0, :, 0].tolist() == expected
    readout = Readout(
        id=NodeId("out"), inputs=(), shape=(1,), origin=Origin("t"), bias=QTensor.of([bias])
    )
    cells = Cells(readout)
    expected = [cells.step([value])[0] for value in a]
    assert readout.respond(np.array(a)[None, :, None], len(a))[0, :, 0].tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=12),
    st.integers(1, 2**23),
    st.integers(-(2**20), 2**20),
    st.integers(-(2**23) + 1, 2**23 - 1),
)
def test_signed_neurons_under_any_input(a, threshold, bias, initial):
    node = SignedIFNeurons(
        id=NodeId("if"),
        inputs=(),
        shape=(1,),
        origin=Origin("t"),
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        initial_potential=QTensor.of([initial]),
    )
    cells = Cells(node)
    expected = [cells.step([value])[0] for value in a]
    for dtype in (np.int32, np.int64):
        spikes = node.respond(np.array(a, dtype)[None, :, None], len(a))
        assert spikes[0, :, 0].tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(-(2**25), 2**25),
    st.integers(-(2**22), 2**22),
    st.integers(1, 2**24),
    st.integers(1, 2**16),
)
def test_clip_floor_neurons_with_any_numbers(a, bias, threshold, levels):
    node = ClipFloorNeurons(
        id=NodeId("c"),
        inputs=(),
        shape=(1,),
        origin=Origin("t"),
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        levels=levels,
    )
    v = max(-(2**23) + 1, min(2**23 - 1, a + bias))
    expected = max(0, min(v // threshold, levels))
    assert node.respond(np.array([[[a]]]), 1).tolist() == [[[expected]]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(-(2**25), 2**25),
    st.integers(-(2**22), 2**22),
    st.integers(2**11, 2**12 - 1),
    st.integers(0, 30),
    st.integers(1, 16),
)
def test_graded_neurons_with_any_numbers(a, bias, multiplier, shift, bits):
    node = GradedNeurons(
        id=NodeId("g"),
        inputs=(),
        shape=(1,),
        origin=Origin("t"),
        bias=QTensor.of([bias]),
        multiplier=QTensor.of([multiplier]),
        shift=QTensor.of([shift]),
        payload=QFormat(bits, signed=False),
    )
    v = max(-(2**23) + 1, min(2**23 - 1, a + bias))
    expected = min((max(v, 0) * multiplier) >> shift, 2**bits - 1)
    assert node.respond(np.array([[[a]]]), 1).tolist() == [[[expected]]]


# ------------------------------------------------------------------------- sums of unusual sizes


def wide(n, payload_bits, exponent, weight=127, *, kind=DenseSynapses):
    """An input of n values, one synapse each onto one readout."""
    origin = Origin("t")
    top = (1 << payload_bits) - 1
    source = Input(
        id=NodeId("in"),
        inputs=(),
        shape=(n,),
        origin=origin,
        format=QFormat(payload_bits, signed=False),
        low=0,
        high=top,
        coding=InputCoding.GRADED,
    )
    fields = {
        "id": NodeId("s"),
        "inputs": (source.id,),
        "shape": (1,),
        "origin": origin,
        "exponent": exponent,
    }
    if kind is DenseSynapses:
        group = DenseSynapses(weight=QTensor(np.full((1, n), weight), QFormat(8)), **fields)
    else:
        group = SparseSynapses(
            indptr=np.array([0, n]),
            indices=np.arange(n),
            weight=QTensor(np.full(n, weight), QFormat(8)),
            **fields,
        )
    out = Readout(
        id=NodeId("out"), inputs=(group.id,), shape=(1,), origin=origin, bias=QTensor.of([0])
    )
    program = QuantizedGraph(Graph([source, group, out]), Window("graded", 1))
    return program, np.full((1, n), top)


@pytest.mark.parametrize("kind", [DenseSynapses, SparseSynapses])
@pytest.mark.parametrize("weight", [127, -127])
@pytest.mark.parametrize(
    ("n", "payload_bits", "exponent"),
    [
        (40, 8, 0),  # float32 is exact
        (600, 8, -8),  # over 2**24: float64
        (3, 16, -2),
        (255, 16, -8),  # just below 2**31 before the shift
        (300, 16, -10),  # over 2**31 before the shift, small after it
    ],
)
def test_large_sums_are_exact(n, payload_bits, exponent, weight, kind):
    program, frames = wide(n, payload_bits, exponent, weight, kind=kind)
    total = n * weight * ((1 << payload_bits) - 1)
    run = reference.run(program, frames)
    assert run.outputs[NodeId("out")].tolist() == [[total >> -exponent if exponent else total]]


def test_a_right_shift_floors_the_sum_once():
    """Weights 3, 3 with exponent -1 give 3 (each by itself would give 2); -3 gives -2."""
    program, _ = wide(2, 1, -1, 3)
    assert reference.run(program, np.array([[1, 1]])).outputs[NodeId("out")].tolist() == [[3]]
    program, _ = wide(2, 1, -1, -3)
    outputs = reference.run(program, np.array([[1, 0]])).outputs[NodeId("out")]
    assert outputs.tolist() == [[-2]]


def test_the_transcription_notices_a_changed_row():
    program, frames = networks.structures(11, "subtract", 4)
    node = next(n for n in program.graph if isinstance(n, DenseSynapses))
    values = node.weight.values.copy()
    values[0] = ~values[0]
    changed = replace(node, weight=QTensor(values, node.weight.format))
    other = QuantizedGraph(program.graph.edit(replaced=[changed]), program.window)
    with pytest.raises(AssertionError, match=r"(?s)Arrays are not equal.*layer"):
        assert_equal(reference.run(program, frames, record=True), other, frames)
