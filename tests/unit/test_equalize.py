"""Cross-layer adjustment: the noise law behind it, what it makes equal, what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

import anns
import networks
from anns import INPUT, Net
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.expand import expand
from snn_compile.convert.linear import Sparse, sparse
from snn_compile.ir import ann, spiking
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.spiking import InputCoding
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.quantize import quantize
from snn_compile.sim.ann import evaluate
from snn_compile.sim.reference import input_messages
from snn_frontends.onnx import OnnxFrontend

SAME = Geometry(padding=(1, 1, 1, 1))
MODES = ("l4", "l2", "data")
WIDE = (1e-9, 1e9)

# ------------------------------------------------------------------------------- the law of noise

N_INPUTS, N_NEURONS, N_STEPS, FULL = 256, 300, 3000, 255


def _weights(kind, random):
    shape = (N_NEURONS, N_INPUTS)
    if kind == "gauss":
        return random.normal(size=shape)
    if kind == "laplace":
        return random.laplace(size=shape)
    if kind == "student":
        return random.standard_t(3, shape)
    density = random.uniform(0.05, 1, (N_NEURONS, 1))
    return random.normal(size=shape) * (random.random(shape) < density)


@pytest.mark.parametrize("weights", ["gauss", "laplace", "student", "mixed sparsity"])
@pytest.mark.parametrize("rates", ["uniform", "sparse", "signed", "like the weights"])
def test_the_noise_of_poisson_inputs(weights, rates):
    """The exact spread never exceeds the L4 bound; real spike trains spread by the exact value.

    The bound is mathematics, so it is asked of all neurons, of exact values. Spike trains are
    finite: over neurons the mean ratio of empirical to exact spread is within 3 %, and every single
    one within five standard errors of a spread over 3,000 steps, ``sqrt((kurtosis - 1) / 4 T)``.
    """
    random = np.random.default_rng(7)
    w = _weights(weights, random)
    frame = random.integers(0, FULL + 1, N_INPUTS)
    if rates == "sparse":
        frame *= random.random(N_INPUTS) < 0.2
    if rates == "signed":
        frame *= random.choice([-1, 1], N_INPUTS)
    if rates == "like the weights":
        size = np.abs(w).mean(axis=0)
        frame = np.round(FULL * size / size.max()).astype(np.int64)
    low = -FULL if rates == "signed" else 0
    net = networks.Builder(
        3, (N_INPUTS,), n_steps=N_STEPS, coding=InputCoding.POISSON, low=low, high=FULL
    )
    net.neurons("readout", net.dense(networks.INPUT, 1))
    spikes = input_messages(net.build(), frame[None])[0]
    assert spikes.shape == (N_STEPS, N_INPUTS)

    r = np.abs(frame) / FULL
    exact = np.sqrt((w**2) @ (r * (1 - r)))
    bound = (w**4).sum(axis=1) ** (1 / 4) * np.sqrt(np.linalg.norm(r))
    assert (exact <= bound).all()

    current = spikes @ w.T
    np.testing.assert_allclose(spikes.mean(axis=0), frame / FULL, atol=5 * 0.5 / N_STEPS**0.5)
    empirical = current.std(axis=0)
    fourth = ((w**4) @ (r * (1 - r) * (1 - 6 * r * (1 - r)))) / exact**4 + 3
    ratio = empirical / exact
    error = np.sqrt((fourth - 1) / (4 * N_STEPS))
    assert abs(ratio.mean() - 1) < 0.03
    assert (np.abs(ratio - 1) < 5 * error).all()
    assert (empirical <= bound * (1 + 5 * error)).all()


# ---------------------------------------------------------------------------------- the networks


def mlp():
    net = Net((20,))
    hidden = net.relu(net.dense(INPUT, 30))
    net.dense(net.relu(net.dense(hidden, 25)), 4)
    return net.build()


def cnn():
    net = Net((3, 9, 9))
    a = net.relu(net.batch_norm(net.conv(INPUT, 6, geometry=SAME)))
    b = net.relu(net.conv(a, 8, geometry=Geometry(stride=(2, 2), padding=(1, 0, 1, 1))))
    net.dense(net.relu(net.dense(net.flatten(b), 12)), 4)
    return net.build()


def residual():
    """Joins of three kinds: identity, projection, and the strided slice padded with channels."""
    net = Net((3, 8, 8))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    b = net.relu(net.sum(net.conv(net.relu(net.conv(a, 4, geometry=SAME)), 4, geometry=SAME), a))
    half = Geometry(stride=(2, 2), padding=(1, 1, 1, 1))
    c = net.relu(net.conv(b, 6, geometry=half))
    every = slice(0, 8, 2)
    short = net.pad(net.slice(b, slice(0, 4, 1), every, every), (1, 0, 0), (1, 0, 0))
    d = net.relu(net.sum(net.conv(c, 6, geometry=SAME), short))
    e = net.relu(net.sum(net.conv(d, 6, geometry=SAME), net.conv(d, 6, (1, 1)), d))
    net.dense(net.flatten(net.average_pool(e, (4, 4))), 5)
    return net.build()


def max_pooled():
    """Pools after each other, over a join, and one whose value goes to two places."""
    net = Net((2, 16, 16))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    pooled = net.max_pool(net.max_pool(a), (3, 3), Geometry(stride=(1, 1)))
    again = net.max_pool(pooled, (2, 2), Geometry())
    b = net.relu(net.conv(pooled, 4, geometry=SAME))
    c = net.max_pool(net.sum(b, net.relu(net.conv(pooled, 4, (1, 1)))))
    net.dense(net.flatten(again), 3)
    net.dense(net.concat(net.flatten(c), net.flatten(b)), 3)
    return net.build()


def average_pooled():
    net = Net((2, 12, 12))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    pooled = net.average_pool(a, (3, 3), Geometry((2, 2), (1, 1, 1, 1)), count_padding=False)
    b = net.relu(net.conv(net.average_pool(pooled), 5))
    net.dense(net.flatten(b), 3)
    return net.build()


def depthwise():
    net = Net((4, 8, 8))
    a = net.relu(net.conv(INPUT, 6, geometry=SAME))
    b = net.relu(net.conv(a, 6, geometry=Geometry(padding=(1, 1, 1, 1), groups=6)))
    c = net.relu(net.conv(b, 8, (1, 1)))
    d = net.relu(net.conv(net.shuffle(c, 2), 4, geometry=Geometry(groups=2)))
    net.dense(net.flatten(net.transpose(d, 2, 0, 1)), 3)
    return net.build()


def capped():
    """ReLU6 in the middle: it must stay what it is, the layers around it are adjusted."""
    net = Net((3, 6, 6))
    a = net.relu(net.conv(INPUT, 5, geometry=SAME))
    b = net.relu(net.conv(a, 5, geometry=SAME), 0.5)
    c = net.relu(net.conv(net.max_pool(b), 6))
    net.dense(net.flatten(c), 3)
    return net.build()


NETWORKS = {
    build.__name__: build
    for build in (mlp, cnn, residual, max_pooled, average_pooled, depthwise, capped)
}


def samples(network, n=16):
    return np.random.default_rng(5).normal(size=(n, *network.input.shape))


def adjustable(network):
    return [
        node
        for node in network.graph
        if isinstance(node, ann.Relu) and node.cap is None and node.like is None
    ]


# ------------------------------------------------------------------------------- what is left alone


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limits", [(0.25, 4.0), WIDE])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_is_unchanged(name, mode, limits):
    """Max pools are lowered before: the network as it was trained is what is compared with."""
    trained = NETWORKS[name]()
    x = samples(trained)
    folded = FOLDING(trained).graph
    result = Equalize(mode, x, limits=limits)(folded)
    anns.assert_same_function(trained, result.graph, x)
    anns.assert_same_function(folded, result.graph, x)
    assert len(result.findings) == len(adjustable(folded))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_rectifier_is_really_divided(name):
    """Or equality would prove nothing: activations change, by different factors."""
    folded = FOLDING(NETWORKS[name]()).graph
    x = samples(folded)
    before, after = (anns.values(n, x) for n in (folded, Equalize("l2", x)(folded).graph))
    for node in folded.graph:
        if not isinstance(node, ann.Relu):
            continue
        owner = folded.graph[node.like or node.id]
        one, other = (v[node.id].reshape(node.shape[0], -1).max(axis=1) for v in (before, after))
        ratio = one[one > 0] / other[one > 0]
        if owner.cap is None:
            assert 0.25 <= ratio.min() * 1.01 < ratio.max() <= 4, node.id
        else:
            np.testing.assert_allclose(ratio, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_synapses_keep_their_form(name):
    """A convolution must not be unrolled because its channels are adjusted."""

    def forms(network):
        drives = expand(network)
        return [
            type(term.map).__name__.replace("Wiring", "Kernel")
            for node in network.graph
            if node.id in drives
            for term in drives[node.id].terms
        ]

    folded = FOLDING(NETWORKS[name]()).graph
    assert forms(Equalize("l4")(folded).graph) == forms(folded)


def test_comparators_keep_their_weights_of_one():
    """Integers pass a max pool unrounded only if its synapses are exact."""
    folded = FOLDING(max_pooled()).graph
    adjusted = Equalize("l4", limits=WIDE)(folded).graph
    drives, before = expand(adjusted), expand(folded)
    compared = 0
    for node in adjusted.graph:
        if not isinstance(node, ann.Relu) or node.like is None:
            continue
        sources = {term.source: adjusted.graph[term.source] for term in drives[node.id].terms}
        if {getattr(s, "like", None) or s.id for s in sources.values()} != {node.like}:
            continue
        compared += 1
        for one, other in zip(before[node.id].terms, drives[node.id].terms, strict=True):
            np.testing.assert_array_equal(sparse(one.map).toarray(), sparse(other.map).toarray())
    assert compared > 5


def test_relu6_is_skipped():
    folded = FOLDING(capped()).graph
    adjusted = Equalize("l4")(folded)
    assert len(adjusted.findings) == 2
    (before,) = (n for n in folded.graph if isinstance(n, ann.Relu) and n.cap is not None)
    after = adjusted.graph.graph[before.id]
    assert after.cap == before.cap
    x = samples(folded)
    np.testing.assert_allclose(
        anns.values(adjusted.graph, x)[after.id], anns.values(folded, x)[before.id], rtol=1e-9
    )


def test_the_input_is_not_changed():
    network = FOLDING(cnn()).graph
    before = {n.id: n.weight.copy() for n in network.graph if isinstance(n, ann.Conv | ann.Dense)}
    Equalize("l2")(network)
    for key, weight in before.items():
        np.testing.assert_array_equal(network.graph[key].weight, weight)


def test_half_way():
    """beta = 0 does nothing, 1/2 takes the root of the full factor."""
    network = FOLDING(mlp()).graph
    x = samples(network)
    first = adjustable(network)[0].id
    one = anns.values(network, x)[first]
    by_beta = {
        beta: anns.values(Equalize("l2", beta=beta)(network).graph, x)[first]
        for beta in (0.0, 0.5, 1.0)
    }
    np.testing.assert_allclose(by_beta[0.0], one)
    alive = one > 0
    np.testing.assert_allclose(
        (one[alive] / by_beta[0.5][alive]) ** 2, one[alive] / by_beta[1.0][alive], rtol=1e-9
    )


def test_data_needs_samples():
    with pytest.raises(ValueError, match="calibration samples"):
        Equalize("data")(mlp())


# ------------------------------------------------------------------------------ what becomes equal


def _norms(network, mode, x):
    """Norm of every channel of every adjustable rectifier, written down from the definition."""
    drives, values = expand(network), anns.values(network, x)
    found = {}
    for node in adjustable(network):
        channels = maps_shape(node.shape)[0]
        matrices = {}
        terms = drives[node.id].terms
        structured = len({term.source for term in terms}) == len(terms)
        structured &= not any(isinstance(term.map, Sparse) for term in terms)
        for term in terms:
            matrices[term.source] = matrices.get(term.source, 0) + sparse(term.map).toarray()
        powers = np.zeros(prod(node.shape))
        for source, matrix in matrices.items():
            if mode != "data":
                powers += (np.abs(matrix) ** (4 if mode == "l4" else 2)).sum(axis=1)
                continue
            # Rates are activations over the layer's largest; comparators share their owner's.
            owner = getattr(network.graph[source], "like", None) or source
            a = np.abs(values[source]).reshape(matrix.shape[1], -1)
            worth = np.abs(values[owner]).max()
            r = a / worth
            powers += matrix**2 @ (r * (1 - r)).mean(axis=1) * worth**2
        powers = powers.reshape(channels, -1)
        if mode == "data":
            found[node.id] = powers.mean(axis=1) ** (1 / 2)
        else:  # of a kernel, all taps: neurons at the border lack some
            total = powers.max(axis=1) if structured else powers.mean(axis=1)
            found[node.id] = total ** (1 / (4 if mode == "l4" else 2))
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_norms_are_equal_within_a_layer(name, mode):
    folded = FOLDING(NETWORKS[name]()).graph
    x = samples(folded)
    adjusted = Equalize(mode, x, beta=1.0, limits=WIDE)(folded).graph
    before, after = _norms(folded, mode, x), _norms(adjusted, mode, x)
    assert before
    for key, norm in after.items():
        assert norm.max() / norm.min() <= 1.01, key
    assert max(norm.max() / norm.min() for norm in before.values()) > 1.05


def with_weights(kind, shape, change):
    """One layer and its rectifier, with weights and biases changed."""
    net = Net(shape)
    layer = net.dense(INPUT, 8) if kind == "dense" else net.conv(INPUT, 4)
    weight, bias = net[layer].weight.copy(), net[layer].bias.copy()
    change(weight, bias)
    net.nodes[layer] = replace(net[layer], weight=weight, bias=bias)
    hidden = net.relu(layer)
    net.output(hidden)
    return net.build(), hidden


@pytest.mark.parametrize("mode", MODES)
def test_limits_hold(mode):
    """A neuron a thousand times weaker than the others is raised by 4, not by a thousand."""

    def change(weight, bias):
        np.abs(weight, out=weight)
        weight[3] *= 1e-3
        weight[5] *= 1e3
        bias[:] = 0

    network, hidden = with_weights("dense", (6,), change)
    x = np.abs(samples(network, 400))
    adjusted = Equalize(mode, x)(network).graph
    one, other = (anns.values(n, x)[hidden] for n in (network, adjusted))
    weak, strong = (one[k].sum() / other[k].sum() for k in (3, 5))
    assert weak == pytest.approx(0.25)
    assert strong == pytest.approx(4)
    anns.assert_same_function(network, adjusted, x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dead", [slice(2, 3), slice(None)], ids=["one", "all"])
def test_dead_units_are_untouched(mode, dead):
    """Without a weight there is no noise and no norm: the factor is 1, and the bias stays."""

    def change(weight, bias):
        weight[dead] = 0
        bias[dead] = 0.7

    network, hidden = with_weights("conv", (6, 5, 5), change)
    x = samples(network)
    values = anns.values(Equalize(mode, x, limits=WIDE)(network).graph, x)
    np.testing.assert_allclose(values[hidden][dead], 0.7)


# ---------------------------------------------------------------------------------- whole networks


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name", ["mnist_mlp_256x2", "mnist_cnn_cntk", "fashion_vggbn", "cifar10_resnet20"]
)
def test_shared_models_are_unchanged(model_data, name):
    data = model_data(name, calibrate=32, evaluate=32)
    folded = FOLDING(OnnxFrontend().read(data.model).ann).graph
    with np.load(data.calibrate) as calibrate, np.load(data.evaluate) as evaluation:
        seen, new = calibrate["x"], evaluation["x"]
    expected = evaluate(folded, new)
    for mode in MODES:
        adjusted = Equalize(mode, seen)(folded).graph
        error = np.abs(evaluate(adjusted, new) - expected).max()
        assert error <= 1e-5 * np.abs(expected).max(), mode


@pytest.fixture(scope="module")
def digits(examples):
    calibrate = np.load(examples / "digits_calibrate.npz")["x"]
    with np.load(examples / "digits_evaluate.npz") as file:
        return examples / "digits_mlp.onnx", calibrate, (file["x"], file["y"])


def ladder(compiled):
    return {rung["stage"]: rung["top1"] for rung in compiled.report["ladder"]}


# With data, on trains of spikes; and without any, the network that others are compared with.
QUICK = {("none", "current"), ("data", "poisson")}
MANY_STEPS = [
    pytest.param(mode, arrival, marks=[pytest.mark.slow] if slow else [])
    for arrival in ("current", "poisson")
    for mode in ("none", *MODES)
    for slow in [(mode, arrival) not in QUICK]
]


@pytest.mark.parametrize(("mode", "arrival"), MANY_STEPS)
def test_many_steps_bring_the_accuracy_of_the_float_network(digits, mode, arrival):
    model, calibrate, evaluation = digits
    compiled = compile_model(
        model,
        calibrate=calibrate,
        evaluate=evaluation,
        coding="rate",
        timesteps=1024,
        equalize=mode,
        input=arrival,
    )
    found = ladder(compiled)
    assert abs(found["onnx"] - found["folded"]) < 1e-9
    assert abs(found["fixed"] - found["onnx"]) <= 0.5


@pytest.mark.parametrize("mode", MODES)
def test_it_implies_one_threshold_a_layer(digits, mode, monkeypatch):
    """An adjustment against a threshold means something only if neurons share it."""
    model, calibrate, _ = digits
    seen = []

    def watched(network, *options):
        seen.append(network)
        return quantize(network, *options)

    monkeypatch.setattr("snn_compile.quantize.to_fixed_point.quantize", watched)
    for equalize in ("none", mode):
        compile_model(model, calibrate=calibrate, coding="rate", timesteps=8, equalize=equalize)
    for graph, shared in zip(seen, (False, True), strict=True):
        thresholds = [p.threshold for p in graph.populations if isinstance(p, spiking.IFNeurons)]
        assert len(thresholds) == 2
        assert all((len(set(t.tolist())) == 1) == shared for t in thresholds)
