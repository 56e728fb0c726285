"""Networks that reconstruction learns, and what it has learned of them."""

from __future__ import annotations

import numpy as np

from quantized_cases import Case
from snn_compile.quantize.reconstruction import learning
from snn_compile.quantize.sites import rectifiers_and_outputs


def made(network, coding, bits=4, n=160, seed=1):
    """A network with so many normally distributed samples."""
    x = np.random.default_rng(seed).normal(size=(n, *network.input.shape))
    return Case(network, coding, bits, x=x)


def all_groups(case, names):
    """Groups of synapses onto all rectifiers and outputs among the populations."""
    program, known = case.quantization.program, set(rectifiers_and_outputs(case.folded))
    return {g.id for n in names if n in known for g in program.synapses_into(program.graph[n])}


def watched(monkeypatch):
    """What is learned from now on: networks, lessons, and errors."""
    seen = []
    real = learning.learn

    def learn(network, lesson, *others):
        found = real(network, lesson, *others)
        seen.append((network, lesson, found))
        return found

    monkeypatch.setattr(learning, "learn", learn)
    return seen
