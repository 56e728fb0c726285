"""``.net`` files of lava-dl: every kind of layer by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import net_files
from net_files import CUBA, SDNN, conv, dense, even, pool
from snn_compile.errors import CompileErrors, ModelError, UnsupportedError
from snn_compile.ir.quantized import CubaLIFNeurons, Readout, StartedReadout
from snn_compile.options import CompileOptions
from snn_compile.plugins import frontend_for
from snn_compile.sim import reference
from transcription import assert_equal as assert_transcribed

pytest.importorskip("h5py")
NEVER = CUBA | {"iDecay": 4096, "vDecay": 0, "vThMant": (1 << 17) - 1}


def read(path, **options):
    return frontend_for(path).read_fixed(path, CompileOptions(**options))


def network(tmp_path, *layers, way=0, n_steps=4, **more):
    found = read(net_files.write(tmp_path / "n.net", *layers, **more), timesteps=n_steps)
    return found.network(found.arrivals[way]), found


def refused(tmp_path, *layers, **more):
    """The complaints about a file, as (code, node, message)."""
    path = net_files.write(tmp_path / "bad.net", *layers, **more)
    with pytest.raises((ModelError, UnsupportedError, CompileErrors)) as caught:
        read(path)
    errors = getattr(caught.value, "errors", (caught.value,))
    assert all(e.hint for e in errors if e.code != "net-range")
    return [(e.code, e.origin.node, e.message) for e in errors]


def spikes_by_hand(weight, bias, neuron, arriving):
    """netx's equations, one neuron and step after another: (T, n)."""
    n = len(weight)
    u, v, out = [0] * n, [0] * n, []
    for s in arriving:
        row = []
        for k in range(n):
            toward_zero = lambda x: int(abs(x) // 4096) * (1 if x >= 0 else -1)  # noqa: E731
            u[k] = toward_zero(u[k] * (4096 - neuron["iDecay"])) + int(weight[k] @ s) * 64
            v[k] = toward_zero(v[k] * (4096 - neuron["vDecay"])) + u[k] + int(bias[k]) * 64
            fired = v[k] > neuron["vThMant"] * 64
            v[k] = 0 if fired else v[k]
            row.append(int(fired))
        out.append(row)
    return np.array(out)


def test_dense_layers_and_counts_of_the_spikes_of_the_last(tmp_path):
    rng = np.random.default_rng(1)
    first, second = even(rng, 6, 9, most=60), even(rng, 4, 6, most=127)
    bias = np.array([2, -2, 4, 0], np.float32)
    program, found = network(tmp_path, dense(first), dense(second, bias=bias), n_steps=12)
    assert (found.n_nodes, found.n_weights, found.input_shape) == (2, 78, (9,))
    x = rng.integers(0, 2, (3, 12, 9, 1, 1))
    run = reference.run(program, x, record=True)
    for sample, given in enumerate(x[..., 0, 0]):
        hidden = spikes_by_hand(first, np.zeros(6), CUBA, given)
        last = spikes_by_hand(second, bias, CUBA, hidden)
        assert hidden.any()
        assert last.any()
        np.testing.assert_array_equal(run.messages["layer0"][sample, ..., 0, 0], hidden)
        np.testing.assert_array_equal(run.messages["layer1"][sample, ..., 0, 0], last)
        np.testing.assert_array_equal(run.outputs["layer1.sum"][sample, :, 0, 0], last.sum(axis=0))


def test_an_output_that_leaks_and_never_fires_is_its_potential(tmp_path):
    rng = np.random.default_rng(8)
    weight, bias = even(rng, 4, 6), np.array([3, 0, -5, 1])
    never = CUBA | {"vThMant": (1 << 18) - 1}  # as lava-dl exports affine layers
    program, found = network(tmp_path, dense(weight, never, bias=bias), n_steps=7)
    x = rng.integers(0, 2, (2, 7, 6, 1, 1))
    run = reference.run(program, x, record=True)
    assert_transcribed(run, program, x)
    u = v = np.zeros((2, 4), int)
    for t in range(7):
        u = (
            np.sign(u) * (abs(u) * (4096 - 1024) >> 12)
            + x[:, t, :, 0, 0] @ weight.T.astype(int) * 64
        )
        v = np.sign(v) * (abs(v) * (4096 - 128) >> 12) + u + bias * 64
        np.testing.assert_array_equal(run.messages["layer0"][:, t, :, 0, 0], v)
    assert found.units["layer0"].tolist() == [1 / 64] * 4


def test_maps_are_correlated_and_flattened_channels_first(tmp_path):
    rng = np.random.default_rng(2)
    kernels, weight = even(rng, 3, 2, 2, 3), even(rng, 5, 18)
    memoryless = CUBA | {"iDecay": 4096, "vDecay": 4095, "vThMant": 10}
    program, found = network(
        tmp_path,
        {"type": "input", "shape": (2, 4, 5)},
        conv(kernels, (3, 2, 3), memoryless, stride=(2, 1), padding=(0, 0)),
        {"type": "flatten", "shape": (18, 1, 1)},
        dense(weight, NEVER),
        n_steps=3,
    )
    x = rng.integers(0, 2, (2, 3, 2, 4, 5))
    run = reference.run(program, x, record=True)
    for t in range(3):
        maps = np.zeros((2, 3, 2, 3), int)
        for row, column in np.ndindex(2, 3):
            seen = x[:, t, :, 2 * row : 2 * row + 2, column : column + 3]
            maps[:, :, row, column] = (seen[:, None] * kernels).sum(axis=(2, 3, 4))
        if not t:
            np.testing.assert_array_equal(run.messages["layer1"][:, t], maps > 10)
    spikes = run.messages["layer1"].reshape(2, 3, 18).astype(int)
    assert isinstance(program.readouts[0], Readout)
    assert found.output_shapes == {"layer3": (5,)}
    np.testing.assert_array_equal(
        run.outputs["layer3"][..., 0, 0], spikes.sum(axis=1) @ weight.T.astype(int)
    )


def test_a_pool_has_one_kernel_for_all_channels_and_pads_the_ends(tmp_path):
    program, _ = network(
        tmp_path, {"type": "input", "shape": (2, 5, 4)}, pool((2, 2), 30, (2, 3, 2))
    )
    (synapses,) = program.synapses_into(program.graph["layer1"])
    assert synapses.geometry.groups == 2
    assert synapses.geometry.padding == (0, 0, 1, 0)
    x = np.zeros((1, 4, 2, 5, 4), int)
    x[0, 0, 1, 4, 0:2] = 1  # one row is seen with padding below it
    fired = reference.run(program, x, record=True).messages["layer1"][0, 0]
    assert np.argwhere(fired).tolist() == [[1, 2, 0]]


def test_an_average_is_the_sum_of_each_group_divided_by_its_size(tmp_path):
    rng = np.random.default_rng(3)
    program, found = network(
        tmp_path, dense(even(rng, 6, 5, most=90)), {"type": "average", "shape": (2, 1, 1)}
    )
    run = reference.run(program, rng.integers(0, 2, (4, 4, 5, 1, 1)), record=True)
    counts = run.messages["layer0"].sum(axis=1).reshape(4, 2, 3).sum(axis=2)
    assert counts.any()
    np.testing.assert_array_equal(run.outputs["layer1"].reshape(4, 2), counts)
    np.testing.assert_array_equal(found.units["layer1"], [1 / 3, 1 / 3])


@pytest.mark.parametrize("most", [63, 127])
def test_weights_are_taken_as_they_stand(tmp_path, most):
    rng = np.random.default_rng(most)
    weight = even(rng, 5, 7, most=most)
    weight[0, 0] = 2 * most
    for given in (weight, weight + 1):  # the second is odd: two groups, if it has 9 bits
        program, _ = network(tmp_path, dense(given))
        groups = program.synapses_into(program.graph["layer0"])
        made = sum(group.weight.values << group.exponent for group in groups)
        np.testing.assert_array_equal(made, given)
        assert len(groups) == 1 + (most == 127 and given is not weight)


def test_an_input_layer_of_neurons_takes_values_or_its_own_spikes(tmp_path):
    layers = (
        {"type": "input", "shape": (1, 2, 2), "weight": 40, "bias": 36}
        | {"neuron": CUBA | {"iDecay": 4096, "vDecay": 1024, "vThMant": 50}},
        conv(np.full((1, 1, 2, 2), 20, np.float32), (1, 1, 1)),
    )
    program, found = network(tmp_path, *layers)
    assert [(a.coding.value, a.low, a.high) for a in found.arrivals] == [
        ("events", 0, 1),
        ("current", -4, 76),
    ]
    assert "layer0" not in program.graph
    program, _ = network(tmp_path, *layers, way=1)
    frame = np.array([[[[76, 30], [10, -4]]]])
    spikes = reference.run(program, frame, record=True).messages["layer0"]
    assert spikes[0, :, 0].reshape(4, 4).T.tolist() == [
        [1, 1, 1, 1],  # v > 50 with 76 at once
        [0, 1, 0, 1],  # 30, then 22 + 30
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_a_sigma_delta_network_rests_before_its_first_frame(tmp_path):
    """Row by row, all layers at once, as lava-dl runs it: windows begin in the frame's row."""
    rng = np.random.default_rng(5)
    weights = [even(rng, 6, 4, most=9), even(rng, 5, 6, most=9), even(rng, 2, 5, most=9)]
    biases = [rng.integers(-9, 60, n).astype(np.float32) for n in (6, 5)]
    encoder = {"type": "input", "shape": (4,), "neuron": SDNN | {"vThMant": 3}}
    program, found = network(
        tmp_path,
        encoder,
        dense(weights[0], SDNN | {"vThMant": 9}, bias=biases[0]),
        dense(weights[1], SDNN | {"vThMant": 30}, bias=biases[1]),
        dense(weights[2], SDNN | {"sigma_output": True}),
        n_steps=6,
    )
    assert [a.coding.value for a in found.arrivals] == ["events", "current"]
    frames = rng.integers(-60, 60, (6, 4))
    thresholds, states = (3, 9, 30), [np.zeros(n, int) for n in (4, 6, 5)]
    known, sent = [np.zeros_like(s) for s in states], [np.zeros_like(s) for s in states]
    total, rows = np.zeros(2, int), []
    for row in range(9):
        arriving = [w.astype(int) @ s for w, s in zip(weights, sent, strict=True)]
        frame = frames[row] if row < 6 else frames[-1]
        for k in range(3):
            if k:
                states[k] = states[k] + arriving[k - 1]
            bias = biases[k - 1].astype(int) if k else 0
            active = np.maximum(states[k] + bias * 4096, 0) if k else frame * 4096
            change = active - known[k]
            change = np.where(abs(change) >= thresholds[k] * 4096, change, 0)
            known[k], sent[k] = known[k] + change, change >> 6
        total = total + arriving[2]
        rows.append([*(each.copy() for each in sent), total.copy()])
    run = reference.run(program, frames[None, :, :, None, None], record=True)
    for depth, name in enumerate(["layer0", "layer1", "layer2", "layer3"]):
        expected = [rows[t + depth][depth] for t in range(6)]
        np.testing.assert_array_equal(run.messages[name][0, ..., 0, 0], expected)
    assert isinstance(program.readouts[0], StartedReadout)
    assert program.readouts[0].initial_potential.values.any()


def test_steps_are_the_options_else_the_files_else_the_default(tmp_path):
    layer = dense(np.full((2, 3), 20, np.float32))
    path = net_files.write(tmp_path / "n.net", layer, n_steps=7)
    assert read(path).window.n_steps == 7
    assert read(path, timesteps=5).window.n_steps == 5
    assert read(net_files.write(path, layer)).window.n_steps == 32


@pytest.mark.parametrize("form", ["each output", "each input", "all", "each synapse"])
def test_delays_move_messages_to_later_steps(tmp_path, form):
    rng = np.random.default_rng(6)
    first, second = even(rng, 4, 3, most=90), even(rng, 5, 4, most=127)
    bias = rng.integers(-9, 9, 5)
    delays = {
        "each output": [0, 3, 1, 0, 2],
        "each input": [2, 0, 5, 1],
        "all": 2.0,
        "each synapse": rng.integers(0, 4, (5, 4)),
    }[form]
    layers = dense(first), dense(second, bias=bias, delay=np.asarray(delays))
    program, found = network(tmp_path, *layers, n_steps=9)
    assert [f.code for f in found.findings] == ["net-delay"]
    x = rng.integers(0, 2, (1, 9, 3, 1, 1))
    run = reference.run(program, x, record=True)
    hidden = run.messages["layer0"][0, ..., 0, 0].astype(int)
    each = np.asarray(delays, int)
    each = each[:, None] if form == "each output" else each
    each = np.broadcast_to(each, (5, 4))
    arriving = np.zeros((9, 5, 4), int)  # one input for each synapse
    for t, o, i in np.ndindex(9, 5, 4):
        arriving[t, o, i] = hidden[t - each[o, i], i] if t >= each[o, i] else 0
    spread = np.zeros((5, 20), np.float32)
    for o in range(5):
        spread[o, 4 * o : 4 * o + 4] = second[o]
    expected = spikes_by_hand(spread, bias, CUBA, arriving.reshape(9, 20))
    np.testing.assert_array_equal(run.messages["layer1"][0, ..., 0, 0], expected)
    assert expected.any()


W = np.full((2, 3), 20, np.float32)
REFUSED = {
    "recurrent": ([{"type": "dense_rec", "weight": W}], "unsupported-op", "layer/0"),
    "transposed": ([{"type": "convT"}], "unsupported-op", "layer/0"),
    "unknown type": ([{"type": "attention"}], "unsupported-op", "layer/0"),
    "complex": ([dense(W) | {"weight": {"real": W, "imag": W}}], "unsupported-op", "layer/0"),
    "resonators": ([dense(W, {"type": "RF_PHASE"})], "net-neuron", "layer/0/neuron"),
    "fraction": ([dense(W / 3)], "net-fraction", "layer/0"),
    "too wide": ([dense(W * 20)], "net-range", "layer/0"),
    "bias": ([dense(W, bias=np.full(2, 40_000))], "net-range", "layer/0"),
    "long delays": ([dense(W, delay=np.array([0, 63]))], "net-delay", "layer/0"),
    "delays of changes": ([dense(W, SDNN, delay=3)], "net-delay", "layer/0"),
    "delays of maps": (
        [
            {"type": "input", "shape": (1, 1, 2)},
            conv(np.ones((1, 1, 1, 1)), (1, 1, 2), delay=3),
        ],
        "net-delay",
        "layer/1",
    ),
    "delays for others": ([dense(W, delay=[1, 2, 3, 4])], "invalid-model", "layer/0"),
    "refractory": ([dense(W, CUBA | {"refDelay": 3})], "net-field", "layer/0/neuron"),
    "weight exponent": ([dense(W, CUBA | {"wgtExp": 2})], "net-field", "layer/0/neuron"),
    "graded spikes": ([dense(W, CUBA | {"gradedSpike": True})], "net-field", "layer/0/neuron"),
    "decay": ([dense(W, CUBA | {"vDecay": 4096})], "net-neuron", "layer/0"),
    "uneven decay": ([dense(W, CUBA | {"vDecay": [3, 4]})], "net-field", "layer/0/neuron"),
    "uneven": (
        [
            {"type": "input", "shape": (1, 1, 2)},
            conv(np.ones((1, 1, 1, 1)), (1, 1, 2), CUBA | {"vThMant": [[[3]], [[4]]]}),
        ],
        "net-field",
        "layer/1",
    ),
    "unknown field": ([dense(W, colour=3)], "net-field", "layer/0"),
    "unknown neuron field": ([dense(W, CUBA | {"noise": 3})], "net-field", "layer/0/neuron"),
    "output that could fire": (
        [dense(W * 12, NEVER | {"iDecay": 1, "vDecay": 1})],
        "net-range",
        "layer/0",
    ),
    "activation": ([dense(W, SDNN | {"activation": "tanh"})], "net-neuron", "layer/0/neuron"),
    "both kinds": ([dense(W), dense(W.T[:, :2], SDNN)], "net-neuron", "layer/0"),
    "no type": ([{"weight": W}], "invalid-model", "layer/0"),
    "no threshold": ([dense(W, CUBA | {"vThMant": None})], "invalid-model", "layer/0/neuron"),
    "sizes": ([dense(W, inFeatures=4)], "invalid-model", "layer/0"),
    "layers that differ": ([dense(W), dense(W)], "invalid-model", "layer/1"),
    "no input layer": ([conv(W.reshape(2, 3, 1, 1), (2, 1, 1))], "invalid-model", "layer/0"),
    "theta": ([dense(W, CUBA | {"theta": 9})], "invalid-model", "layer/0/neuron"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_by_name(tmp_path, name):
    layers, code, node = REFUSED[name]
    assert [(c, n) for c, n, _ in refused(tmp_path, *layers)] == [(code, node)]


def test_all_complaints_come_at_once(tmp_path):
    found = refused(
        tmp_path,
        dense(W / 3, CUBA | {"refDelay": 3, "noise": 1}),
        {"type": "unpool"},
        dense(W, delay=[1, 2, 99]),
        extra=3,
    )
    assert [code for code, _, _ in found] == [
        *("net-field", "net-field", "net-field", "net-fraction"),
        *("unsupported-op", "net-delay"),
    ]


def test_biases_may_be_one_for_each_neuron_of_a_map(tmp_path):
    bias = np.arange(6).reshape(3, 2, 1)  # as netx writes them: columns, rows, channels
    program, _ = network(
        tmp_path,
        {"type": "input", "shape": (1, 2, 3)},
        conv(np.full((1, 1, 1, 1), 2, np.float32), (1, 2, 3), bias=bias),
    )
    node = program.graph["layer1"]
    assert isinstance(node, CubaLIFNeurons)
    assert (node.bias.values >> 6).tolist() == [[[0, 2, 4], [1, 3, 5]]]
