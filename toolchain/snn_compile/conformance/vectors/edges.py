"""Values that lie exactly on an edge, the smallest and largest parts, and what may be empty."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.quantized import CubaLIFNeurons
from snn_compile.ir.spiking import InputCoding

THRESHOLD = 6
"""Of the vectors about ties: sums of inputs from 0 to 15 meet it, and its multiples, often."""
COUNT = np.arange(32).reshape(2, 16) % 19
"""Two stimuli with every value near the multiples of the threshold."""


def ties(kind: str) -> Vector:
    """Potentials that equal their threshold, after one step and after several."""
    net = Net(f"ties-{kind}", (16,), "rate", 7, low=-5, high=18)
    parameters = {"threshold": THRESHOLD, "bias": 0, "initial_potential": 0}
    eye = np.eye(16, dtype=np.int64)
    first = net.add_active(kind, "first", net.dense(INPUT, 16, weight=eye), **parameters)
    net.readout("out", net.dense(first, 16, weight=eye))
    about = "V reaches its threshold exactly, falls short of it by 1, or is 1 over: V >= threshold."
    return net.vector(about, np.concatenate([COUNT, -COUNT % 6 - 5]))


def ties_signed() -> Vector:
    """A potential of exactly 0 takes nothing back."""
    options: dict[str, Any] = {"low": -7, "high": 7, "arrives": InputCoding.EVENTS}
    net = Net("ties-signed", (12,), "signed", 12, **options)
    parameters = {"threshold": THRESHOLD, "bias": 0, "initial_potential": net.draw(0, 5, 12)}
    first = net.add_active("signed", "first", net.one_to_one(INPUT), **parameters)
    net.readout("out", net.one_to_one(first))
    trains = net.draw(-1, 1, (3, 12, 12)) * THRESHOLD + net.draw(-1, 1, (3, 12, 12))
    trains[0] = THRESHOLD * (np.arange(12)[:, None] % 3 - 1)  # -6, 0, 6: never between
    trains[1, :, :6] = -1
    about = "V at its threshold, at 0 and below 0 with nothing to take back."
    return net.vector(about, trains)


def ties_window(kind: str) -> Vector:
    """Counts change where a sum is a multiple of the threshold."""
    net = Net(f"ties-{kind}", (20,), kind, 3, low=-30, high=70)
    first = net.add_active(kind, "first", net.one_to_one(INPUT), threshold=THRESHOLD, bias=0)
    second = net.add_active(kind, "second", net.one_to_one(first), threshold=1, bias=-1)
    net.readout("out", net.one_to_one(second), bias=-2)
    frames = np.stack([np.arange(20) - 3, np.arange(20) + 17, np.arange(20) + 40, -np.arange(20)])
    return net.vector("A sum that is a multiple of the threshold, 1 less and 1 more.", frames)


def ties_graded() -> Vector:
    """The steps of payloads, and where they end."""
    net = Net("ties-graded", (8, 1, 9), "graded", low=-40, high=90)
    first = net.add_active(
        "graded",
        "first",
        net.one_to_one(INPUT),
        bias=np.array([0, 0, 2, 0, 0, 1, -1, 5]),
        multiplier=np.array([2048, 2048, 2048, 4095, 4095, 2049, 3000, 4000]),
        shift=np.array([11, 13, 13, 12, 14, 13, 13, 23]),
        payload=QFormat(4, signed=False),
    )
    net.readout("out", net.one_to_one(first))
    values = np.arange(-31, 77).reshape(12, 9)
    frames = np.stack([np.roll(values, -k, axis=0)[:8] for k in range(0, 12, 3)])[:, :, None]
    about = "The product at, below and above a step of the payload, and at its largest value, 15."
    return net.vector(about, frames)


def ties_cuba() -> Vector:
    """A strict threshold."""
    net = Net("ties-cuba", (16,), "rate", 7, low=-5, high=18)
    parameters = {"threshold": THRESHOLD, "bias": 0, "current_decay": 4095, "voltage_decay": 0}
    eye = np.eye(16, dtype=np.int64)
    first = net.add(CubaLIFNeurons, "first", net.dense(INPUT, 16, weight=eye), **parameters)
    net.readout("out", net.dense(first, 16, weight=eye))
    return net.vector("v equals its threshold and is silent: v > threshold << 6.", COUNT)


def floors() -> Vector:
    """Negative exponents round down, each group for itself and at every step."""
    net = Net("exponents", (8,), "rate", 6, low=-15, high=15)
    groups = [net.one_to_one(INPUT, weight, e) for weight, e in ((1, -1), (-3, -3), (5, -8))]
    first = net.add_active("subtract", "down", *groups, threshold=3, bias=0, initial_potential=0)
    up = [net.dense(INPUT, 8, exponent=e, bits=3) for e in (0, 2, 7)]
    second = net.add_active("subtract", "up", *up)
    net.readout("out", net.dense(first, 4, exponent=-2), net.dense(second, 4, exponent=3))
    frames = np.concatenate([np.arange(-15, 17).reshape(4, 8).clip(-15, 15), net.frames(2)])
    about = "Sums are shifted group by group and rounded down, negative ones too, at every step."
    return net.vector(about, frames)


def weights(bits: int) -> Vector:
    """The largest and smallest weights."""
    net = Net(f"weights-{bits}-bit", (6,), "rate", 5, low=-15, high=15)
    top = 1 << (bits - 1)
    extreme = np.where(net.draw(0, 1, (6, 6)) == 1, top - 1, -top)
    extreme[0], extreme[1], extreme[2] = -top, top - 1, 0
    first = net.add_active("subtract", "first", net.dense(INPUT, 6, bits=bits, weight=extreme))
    net.readout("out", net.dense(first, 3, bits=bits))
    about = f"Weights of {bits} bits: {-top}, {top - 1} and nothing but 0."
    return net.vector(about, net.frames(4))


def payload(kind: str, bits: int) -> Vector:
    """The narrowest and widest payloads."""
    coding = {"graded": "graded", "sigma-delta": "sigma-delta"}[kind]
    net = Net(f"payload-{kind}-{bits}-bit", (6,), coding, low=-255, high=255)
    form: dict[str, Any] = {"payload": QFormat(bits, signed=False)}
    if bits == 16:  # less would be shifted than the largest sums need, and so they are cut off
        form["shift"] = 10
    first = net.add_active(kind, "first", net.dense(INPUT, 6, bits=6), **form)
    second = net.add_active(kind, "second", net.dense(first, 5, bits=3), **form)
    net.readout("out", net.dense(second, 3, bits=3))
    frames = net.frames(6)
    frames[1], frames[2], frames[4] = -255, 255, 0
    about = f"Payloads of {bits} bits, from nothing to {(1 << bits) - 1} and back."
    return net.vector(about, frames)


def no_synapses() -> Vector:
    """A group without a single synapse, and neurons that only their bias drives."""
    net = Net("no-synapses", (4,), "rate", 6)
    none = net.sparse(INPUT, (5,), np.zeros((5, 4), bool))
    bias = np.array([0, 1, 2, 5, -3])
    first = net.add_active(
        "subtract", "bias-alone", none, threshold=5, bias=bias, initial_potential=0
    )
    net.readout("out", net.one_to_one(first), bias=-1)
    return net.vector(
        "A sparse group of no synapses: the bias alone drives the layer.", net.frames(3)
    )


def single() -> Vector:
    """One of everything: neuron, synapse, step and stimulus."""
    net = Net("single", (1,), "rate", 1)
    parameters = {"threshold": 3, "bias": 0, "initial_potential": 0}
    first = net.add_active("subtract", "first", net.dense(INPUT, 1, weight=[[1]]), **parameters)
    net.readout("out", net.dense(first, 1, weight=[[-7]]))
    return net.vector("One neuron, one synapse, one step, one stimulus.", [[3]])


def one_step(kind: str) -> Vector:
    """A window of one step."""
    net = Net(f"one-step-{kind}", (1, 3, 3), {"subtract": "rate"}.get(kind, kind), 1)
    first = net.add_active(kind, "first", net.conv(INPUT, 2, (2, 2)))
    net.readout("out", net.dense(first, 3))
    return net.vector("A window of a single step.", net.frames(3))


def silence() -> Vector:
    """Nothing comes in and nothing goes out."""
    net = Net("silence", (2, 3, 3), "rate", 4)
    still = {"bias": 0, "threshold": 9, "initial_potential": 8}
    first = net.add_active("subtract", "first", net.conv(INPUT, 2, (2, 2)), **still)
    net.readout("out", net.dense(first, 3))
    return net.vector("Stimuli of zeros and no bias: no layer sends anything.", net.frames(2) * 0)


MAKE: tuple[Callable[[], Vector], ...] = (
    partial(ties, "subtract"),
    partial(ties, "zero"),
    ties_signed,
    partial(ties_window, "sync"),
    partial(ties_window, "radix"),
    ties_graded,
    ties_cuba,
    floors,
    *(partial(weights, bits) for bits in (2, 8)),
    *(partial(payload, kind, bits) for kind in ("graded", "sigma-delta") for bits in (1, 16)),
    no_synapses,
    single,
    *(partial(one_step, kind) for kind in ("subtract", "sync", "radix")),
    silence,
)
