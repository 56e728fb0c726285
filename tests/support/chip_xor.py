"""Spike-XOR for leaky neurons of a chip: data, a network with random weights, and what is right."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nir
import numpy as np

from nir_graphs import chain, port
from snn_compile import CompileOptions
from snn_compile.sim import engine
from snn_compile.sim.frames import encoded
from snn_compile.tune import TuneOptions, tune_model
from spiking_graphs import leaky

N_STEPS, LATER, WANTED = 50, 6, 20
"""In milliseconds: the window, a bit of 1 (a bit of 0 is at once), and the wanted spike."""
PAIRS = tuple(np.ndindex(2, 2))
TAU_SYN, TAU_MEM = 5.0, 10.0
COURSE = {
    "method": "normad",
    "epochs": 80,
    "batch_size": 1,
    "learning_rate": 0.03,
    "patience": 0,
    "spike_tau": 5.0,
    "threads": 1,
}


def patterns():
    """The four pairs of bits beside a reference spike: x (4, T, 3), and wanted spikes (4, T, 1)."""
    x = np.zeros((4, N_STEPS, 3), np.int64)
    wanted = np.zeros((4, N_STEPS, 1), np.int64)
    for row, bits in enumerate(PAIRS):
        for i, bit in enumerate((*bits, 0)):
            x[row, LATER * bit, i] = 1
        wanted[row, WANTED] = bits[0] != bits[1]
    return x, wanted


def _peak():
    """Largest potential that a spike through a weight of 1 leads to."""
    u = v = peak = 0.0
    for t in range(N_STEPS):
        u += ((t == 0) - u) / TAU_SYN
        v += (u - v) / TAU_MEM
        peak = max(peak, v)
    return peak


def write(path, hidden, seed):
    """A NIR file: 3 inputs, hidden neurons, an output.

    On average, spikes of all sources together come to twice a neuron's threshold.
    """
    random = np.random.default_rng(seed)
    nodes = [port(nir.Input, 3)]
    for n_in, n_out in ((3, hidden), (hidden, 1)):
        weight = random.normal(2.0, 2.0, (n_out, n_in)) / (n_in * _peak())
        nodes += [nir.Affine(weight, np.zeros(n_out)), leaky(n_out, TAU_MEM, TAU_SYN)]
    nodes.append(port(nir.Output, 1))
    nir.write(path, chain(*nodes, metadata={"producer": "other", "reset": "zero", "dt": 1.0}))
    return path


def learn(seed, hidden=10, **changes):
    """Train a compiled network from random weights."""
    with TemporaryDirectory() as folder:
        return tune_model(
            write(Path(folder) / "net.nir", hidden, seed),
            patterns(),
            options=TuneOptions(**{**COURSE, "seed": seed, **changes}),
            compile_options=CompileOptions(timesteps=N_STEPS, emit=()),
        )


def outcome(compiled):
    """Patterns answered right by a compiled network, and how far wanted spikes are off, in steps.

    Right is one spike for different bits, whenever it comes, and none for equal ones. None where a
    wanted spike is missing or not alone.
    """
    x, wanted = patterns()
    run = engine.run(compiled.program, encoded(compiled.encoding, x), record=True)
    output = next(iter(compiled.decodings))
    sent = np.diff(run.messages[output].reshape(wanted.shape), axis=1, prepend=0) != 0
    right = (sent.sum(axis=1) == wanted.sum(axis=1)).ravel()
    once = [int(abs(one.argmax() - WANTED)) for one in sent[1:3]]
    return int(right.sum()), float(np.mean(once)) if right[1:3].all() else None
