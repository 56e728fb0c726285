"""Files by Rockpool: its discrete neurons, its time step, and ports that have the data's axes."""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.errors import UnsupportedError
from snn_compile.options import CompileOptions
from snn_compile.sim import spiking as simulation
from snn_frontends.nir import NirFrontend

nir = pytest.importorskip("nir")

from nir_graphs import chain, dense, port  # noqa: E402

DT, TAU, TAU_SYN, N_STEPS = 1e-3, 0.02, 0.005, 40


def membrane(n):
    """What Rockpool writes of a membrane: r is tau / dt times the decay of a step."""
    r = TAU * np.exp(-DT / TAU) / DT
    values = {"r": r, "v_leak": 0.0, "v_threshold": 1.0}
    return {name: np.full(n, value) for name, value in values.items()}


def leaky(n):
    return nir.LIF(tau=np.full(n, TAU), **membrane(n))


def current_based(n):
    return nir.CubaLIF(tau_syn=np.full(n, TAU_SYN), tau_mem=np.full(n, TAU), **membrane(n))


def written(neurons, folder):
    graph = chain(
        port(nir.Input, 1, N_STEPS, 12),
        dense(12, 9),
        neurons(9),
        dense(9, 5, 1),
        neurons(5),
        port(nir.Output, 1, N_STEPS, 5),
    )
    path = folder / "net.nir"
    nir.write(str(path), graph)
    return path, [graph.nodes[name] for name in ("n1", "n3")]


def spikes(layers, x, *, filtered):
    """By the equations of Rockpool's ``LIFNeuronTorch`` and ``LIFTorch``, one spike a step."""
    for layer in layers:
        current = np.zeros((len(x), len(layer.bias)))
        v, sent = np.zeros_like(current), []
        for t in range(x.shape[1]):
            arriving = x[:, t] @ layer.weight.T + layer.bias
            current = (current + arriving) * np.exp(-DT / TAU_SYN) if filtered else arriving
            v = v * np.exp(-DT / TAU) + current
            fired = v >= 1
            v = v - fired
            sent.append(fired)
        x = np.stack(sent, axis=1).astype(float)
    return x.sum(axis=1)


def options(**given):
    return CompileOptions(
        **{"nir_producer": "rockpool", "nir_reset": "subtract", "timesteps": N_STEPS, **given}
    )


@pytest.mark.parametrize("neurons", [leaky, current_based])
def test_its_neurons_spike_as_by_its_equations(neurons, tmp_path):
    path, layers = written(neurons, tmp_path)
    imported = NirFrontend().read_spiking(path, options(nir_dt=DT))
    assert imported.input_shape == (12,)
    x = (np.random.default_rng(3).random((6, N_STEPS, 12)) < 0.3).astype(np.int64)
    expected = spikes(layers, x.astype(float), filtered=neurons is current_based)
    frames = x.reshape(*x.shape[:2], *imported.network.input.shape)
    counts = N_STEPS * simulation.evaluate(imported.network, frames)
    assert expected.sum() > 50
    assert np.array_equal(np.rint(counts).reshape(expected.shape), expected)


@pytest.mark.parametrize("neurons", [leaky, current_based])
def test_another_time_step_contradicts_the_file(neurons, tmp_path):
    path, _ = written(neurons, tmp_path)
    with pytest.raises(Exception, match="which Rockpool does not write") as caught:
        NirFrontend().read_spiking(path, options(nir_dt=2e-3))
    errors = getattr(caught.value, "errors", (caught.value,))
    assert {(type(error), error.code) for error in errors} == {(UnsupportedError, "nir-dt")}
