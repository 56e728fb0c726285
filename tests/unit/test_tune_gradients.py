"""The gradients of training against what they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

import networks  # noqa: E402
from snn_compile.tune import neurons  # noqa: E402
from snn_compile.tune.method import Batch, Task  # noqa: E402
from snn_compile.tune.network import Network  # noqa: E402
from snn_compile.tune.options import SURROGATES, TuneOptions  # noqa: E402
from snn_compile.tune.psg import (  # noqa: E402
    ParametricSurrogate,
    distribution_divergence,
    distribution_penalty,
)
from snn_compile.tune.surrogates import SHAPES, spike  # noqa: E402
from tuning_tasks import THRESHOLD, spike_patterns, spiking_mlp  # noqa: E402


def method_of(program, dtype=torch.float64, **options):
    output = program.readouts[0].id
    unit = np.full(program.readouts[0].shape[0], 1 / (4 * THRESHOLD))
    network = Network(program, {output: unit}, dtype=dtype)
    network.parameters()
    return ParametricSurrogate(Task(network, output, unit, TuneOptions(**options)))


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_the_slope_of_its_primitive(name):
    shape = SHAPES[name]
    r = torch.linspace(-3, 3, 601, dtype=torch.float64) + 1e-4
    numeric = (shape.primitive(r + 1e-6) - shape.primitive(r - 1e-6)) / 2e-6
    assert torch.allclose(shape.slope(r), numeric, atol=1e-6)
    assert float(shape.slope(torch.zeros(1))) == 1
    far = torch.tensor([-1e6, 1e6], dtype=torch.float64)
    assert torch.allclose(shape.primitive(far), torch.tensor([0.0, 1.0]).double(), atol=1e-6)


@pytest.mark.parametrize("name", SURROGATES)
def test_spikes_are_steps_whatever_the_surrogate(name):
    z = torch.tensor([-1.0, -1e-9, 0.0, 1e-9, 2.0], dtype=torch.float64)
    found = spike(z, torch.tensor(0.3).double(), SHAPES[name])
    assert found.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", ["lif", "subtract", "zero"])
def test_the_gradient_of_a_width_through_time(name, kind, monkeypatch):
    """Central differences of the smooth network, all layers and steps of it."""
    # Straight-through rounding of decayed states has no slope that differences could see.
    monkeypatch.setattr(neurons, "truncate_ste", lambda x: x)
    x, y = spike_patterns(24, seed=1)
    method = method_of(spiking_mlp(kind=kind, seed=2), surrogate=name, width=0.7)
    batch = Batch(method.task.network.messages(x), torch.tensor(y))
    method.loss(batch, smooth=True).backward()
    for layer, kappa in method.kappas.items():
        if kappa.grad is None:
            continue
        found = float(kappa.grad)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                kappa += sign * 1e-6
                ends.append(float(method.loss(batch, smooth=True)))
                kappa -= sign * 1e-6
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-9), layer
    assert sum(kappa.grad is not None for kappa in method.kappas.values()) == 2


@pytest.mark.parametrize("name", ["triangle", "sigmoid", "arctangent"])
@pytest.mark.parametrize("kind", ["subtract", "zero"])
def test_the_backward_pass_by_hand_equals_automatic_differentiation(name, kind):
    program, frames = networks.structures(5, kind, 5)
    found = []
    for by_hand in (True, False):
        method = method_of(program, surrogate=name, width=0.9)

        def plain(layer, a, n_steps, method=method):
            width = method.width(layer).to(a.dtype)
            fire = lambda z: spike(z, width, method.shape)  # noqa: E731
            return neurons.respond(layer, a, n_steps, fire)

        network = method.task.network
        passed = network(network.messages(frames), method.respond if by_hand else plain)
        sum((v / 1e4).square().mean() for v in passed.outputs.values()).backward()
        tensors = {**network.parameters(), **method.parameters}
        found.append({name: t.grad for name, t in tensors.items()})
    assert any(grad is not None for grad in found[0].values())
    for key, grad in found[0].items():
        other = found[1][key]
        assert (grad is None) == (other is None), key
        if grad is not None:
            assert torch.allclose(grad, other, rtol=1e-9, atol=1e-12), key


def test_the_gradient_of_a_weight_passes_through_rounding():
    """Where neurons are linear between the steps: a readout alone."""
    method = method_of(spiking_mlp(sizes=(6, 4), seed=0))
    network = method.task.network
    x, y = spike_patterns(16, n_inputs=6)
    batch = Batch(network.messages(x), torch.tensor(y))
    method.loss(batch).backward()
    group = next(iter(network.layers.values())).groups[0]
    step = group.step
    moved = []
    for sign in (1, -1):  # by whole steps of the grid, where the forward pass is linear
        with torch.no_grad():
            group.weight[1, 2] += sign * step[1, 2]
            moved.append(float(method.loss(batch)))
            group.weight[1, 2] -= sign * step[1, 2]
    slope = (moved[0] - moved[1]) / (2 * float(step[1, 2]))
    assert float(group.weight.grad[1, 2]) == pytest.approx(slope, rel=1e-3)


def test_the_distribution_penalty_is_zero_where_it_asks_for_nothing():
    u = torch.tensor([0.0, 1.0, 0.0, 1.0]).double()
    spread = float(u.std())
    loss = distribution_penalty(u, (u >= 1).double(), torch.tensor(2.0))
    assert float(loss) == pytest.approx((spread - 0.5) ** 2)
    outside = distribution_penalty(u + 3, torch.zeros(4), torch.tensor(0.5))
    expected = float(((u + 3) ** 2).mean()) + 3**2 + (spread - 0.5) ** 2
    assert float(outside) == pytest.approx(expected)


@given(mean=st.floats(-2, 3), deviation=st.floats(0.05, 3))
@settings(max_examples=20, deadline=None)
def test_the_divergence_of_potentials_is_that_of_normal_distributions(mean, deviation):
    """The same both ways, against the divergences that torch knows."""
    u = torch.tensor([-1.0, 1.0, -1.0, 1.0]).double()
    u = mean + deviation * u / u.std()
    normal = torch.distributions.Normal
    found, wanted = normal(u.mean(), u.std()), normal(torch.tensor(0.5), torch.tensor(0.5))
    kl = torch.distributions.kl_divergence
    expected = float(kl(found, wanted) + kl(wanted, found))
    assert float(distribution_divergence(u)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_layer_at_rest_has_a_finite_divergence():
    u = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    distribution_divergence(u).backward()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize("loss", ["penalty", "divergence"])
def test_the_loss_of_potentials_moves_them(loss):
    method = method_of(spiking_mlp(seed=2), pda=1.0, pda_loss=loss)
    x, y = spike_patterns(16, seed=1)
    batch = Batch(method.task.network.messages(x), torch.tensor(y))
    plain = method_of(spiking_mlp(seed=2))
    assert method.gradients(batch) > plain.gradients(batch)
    gradients = [
        [t.grad for t in one.task.network.parameters().values()] for one in (method, plain)
    ]
    assert any(not torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_widths_stay_in_their_range_and_are_kept_in_the_second_half():
    method = method_of(spiking_mlp(), width=0.05, epochs=4)
    layer = next(iter(method.task.network.layers.values()))
    assert float(method.width(layer).detach()) == pytest.approx(0.2)
    with torch.no_grad():
        for kappa in method.kappas.values():
            kappa += 50
    method.project()
    assert float(method.width(layer).detach()) == pytest.approx(2.0)
    for epoch, learns in ((0, True), (1, True), (2, False), (3, False)):
        method.begin(epoch, ())
        assert all(k.requires_grad is learns for k in method.kappas.values())
    fixed = method_of(spiking_mlp(), learn_width=False, width=0.3)
    fixed.begin(0, ())
    assert not any(k.requires_grad for k in fixed.kappas.values())
    narrow = method_of(spiking_mlp(), learn_width=False, width=0.05)
    narrow.project()
    layer = next(iter(narrow.task.network.layers.values()))
    assert float(narrow.width(layer).detach()) == pytest.approx(0.05)


def test_bursts_have_a_surrogate_at_each_threshold():
    program = spiking_mlp(kind="subtract")
    nodes = [replace(n, burst=3) if hasattr(n, "burst") else n for n in program.graph]
    program = type(program)(type(program.graph)(nodes), program.window)
    x, y = spike_patterns(8)
    method = method_of(program)
    network = method.task.network
    passed = network(network.messages(x), method.respond, keep=True)
    most = max(float(a.messages.detach().max()) for a in list(passed.answers.values())[:-1])
    assert most > 1
    method.gradients(Batch(network.messages(x), torch.tensor(y)))
    assert all(t.grad is not None for t in network.parameters().values())
