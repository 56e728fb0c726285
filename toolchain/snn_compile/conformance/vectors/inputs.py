"""Each way in which an input arrives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.spiking import InputCoding

RANGES = {"binary": (0, 1), "signed": (-1, 1), "counts": (-3, 60)}


def events(kind: str) -> Vector:
    """A train for each stimulus: what a sensor sent."""
    low, high = RANGES[kind]
    options: dict[str, Any] = {"low": low, "high": high, "arrives": InputCoding.EVENTS}
    net = Net(f"events-{kind}", (2, 4, 4), "rate", 7, **options)
    first = net.add_active("zero", "first", net.conv(INPUT, 3, (2, 2)), initial_potential=0)
    second = net.add_active("zero", "second", net.dense(first, 6), initial_potential=0)
    net.readout("out", net.dense(second, 3))
    trains = net.draw(low, high, (4, 7, 2, 4, 4)) * (net.draw(0, 2, (4, 7, 2, 4, 4)) == 0)
    trains[0], trains[3, 2:] = high, 0
    about = f"A frame of its own at each step, from {low} to {high}."
    return net.vector(about, trains)


def held() -> Vector:
    """Payloads that are sent again at every step."""
    options: dict[str, Any] = {"low": -20, "high": 90, "arrives": InputCoding.GRADED}
    net = Net("graded-input", (6,), "rate", 5, **options)
    first = net.add_active("subtract", "first", net.dense(INPUT, 6))
    net.readout("out", net.dense(first, 3))
    return net.vector("Payloads into integrate and fire, the same at every step.", net.frames(4))


def wide() -> Vector:
    """Inputs of 16 bits."""
    net = Net("wide-input", (5,), "graded", low=-(1 << 15), high=(1 << 15) - 1)
    first = net.add_active("graded", "first", net.dense(INPUT, 6, bits=4))
    net.readout("out", net.dense(first, 3))
    frames = net.frames(5)
    frames[1] = -(1 << 15)
    return net.vector("Encoded values of 16 bits and both signs.", frames)


def still() -> Vector:
    """What does not change sends nothing."""
    net = Net("stream-still", (6,), "sigma-delta", low=-8, high=8)
    first = net.add_active("sigma-delta", "first", net.dense(INPUT, 6))
    net.readout("out", net.dense(first, 3), bias=5)
    moving = net.frames(3)
    frames = np.concatenate([np.zeros_like(moving[:1]), moving[:1], moving[:1], moving, -moving])
    return net.vector("A stream that begins with zeros, stands still and turns round.", frames)


def several(coding: str, neurons: str, n_steps: int) -> Vector:
    """Two inputs of different shapes and ranges, one of which feeds two depths."""
    net = Net(f"several-inputs-{coding}", (2, 4, 4), coding, n_steps)
    other = net.input("other", (5,), low=-7, high=9)
    first = net.add_active(neurons, "first", net.conv(INPUT, 3, (2, 2)))
    second = net.add_active(neurons, "second", net.dense(first, 6), net.dense(other, 6))
    net.readout("out", net.dense(second, 3), net.dense(other, 3))
    about = "Two inputs of different shapes and ranges; the second feeds layers of two depths."
    return net.vector(about, net.frames(4))


MAKE: tuple[Callable[[], Vector], ...] = (
    *(partial(events, kind) for kind in RANGES),
    held,
    wide,
    still,
    partial(several, "rate", "subtract", 6),
    partial(several, "sync", "sync", 5),
    partial(several, "graded", "graded", 1),
    partial(several, "sigma-delta", "sigma-delta", 1),
)
