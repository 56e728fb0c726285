"""What potentials do at the ends of their range, and how leaky neurons decay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.fixedpoint import Overflow, QFormat
from snn_compile.ir.quantized import CubaLIFNeurons, Readout
from snn_compile.ir.spiking import InputCoding

MAX_STATE = (1 << 23) - 1
DRIVE = 1000
"""Largest input here; times 127 and shifted by 6 it nearly fills 24 bits in one step."""


def saturating(kind: str) -> Vector:
    """Far beyond both ends, then back: what was cut off is missing."""
    coding = "signed" if kind == "signed" else "rate"
    options: dict[str, Any] = {"low": -DRIVE, "high": DRIVE, "arrives": InputCoding.EVENTS}
    net = Net(f"saturation-{kind}", (8,), coding, 8, **options)
    threshold = net.draw(1 << 20, MAX_STATE, 8)
    threshold[0] = MAX_STATE  # met only by a potential at the very end
    first = net.add_active(
        kind,
        "first",
        net.one_to_one(INPUT, 127, 6),
        threshold=threshold,
        bias=net.draw(-9000, 9000, 8),
    )
    net.readout("out", net.one_to_one(first))
    net.readout("raw", net.one_to_one(INPUT, 127, 6))
    return net.vector("V is cut off at +-(2**23 - 1), in neurons and outputs.", _swings(net))


def _swings(net: Net) -> np.ndarray:
    """Three steps one way, five the other; and at random."""
    trains = net.draw(-DRIVE, DRIVE, (4, 8, 8))
    trains[0, :3], trains[0, 3:] = -DRIVE, DRIVE
    trains[1, :3], trains[1, 3:] = DRIVE, -DRIVE
    return trains


def saturating_sum(kind: str) -> Vector:
    """Sums of a whole window or stream; only with the bias added they are cut off."""
    coding = {"sync": "sync", "radix": "radix"}.get(kind, kind)
    n_steps = {"sync": 4, "radix": 4}.get(kind, 1)
    net = Net(f"saturation-{kind}", (6,), coding, n_steps, low=-DRIVE, high=DRIVE)
    two = [(net.one_to_one(INPUT, 127, 6), net.one_to_one(INPUT, 64, 6)) for _ in range(2)]
    bias = np.array([0, 1, -1, MAX_STATE, -MAX_STATE, 77])
    if kind in ("graded", "sigma-delta"):
        first = net.add_active(kind, "first", *two[0], bias=bias, multiplier=4095, shift=27)
    else:
        first = net.add_active(kind, "first", *two[0], bias=bias, threshold=MAX_STATE // 9 + 1)
    net.readout("out", net.one_to_one(first))
    net.readout("raw", *two[1], bias=bias)
    frames = net.draw(-DRIVE, DRIVE, (6, 6))
    frames[0], frames[1] = DRIVE, -DRIVE
    frames[4] = frames[5] = DRIVE
    return net.vector("Sums beyond 24 bits are cut off at +-(2**23 - 1).", frames)


def narrow() -> Vector:
    """States of 12 and 18 bits."""
    options: dict[str, Any] = {"low": -15, "high": 15, "arrives": InputCoding.EVENTS}
    net = Net("narrow-state", (8,), "rate", 8, **options)
    states = {"twelve": QFormat(12), "eighteen": QFormat(18)}
    for name, state in states.items():
        exponent = state.bits - 10
        parameters = {"threshold": net.draw(1 << (state.bits - 3), state.max, 8), "state": state}
        first = net.add_active(
            "subtract", name, net.one_to_one(INPUT, 60, exponent), **parameters, initial_potential=0
        )
        net.readout(f"{name}-out", net.one_to_one(first))
    net.add(Readout, "raw", net.one_to_one(INPUT, 60, 2), state=QFormat(12))
    trains = net.draw(-15, 15, (3, 8, 8))
    trains[0, :3], trains[0, 3:] = -15, 15
    about = "States of 12 and of 18 bits, which are cut off at their own ends."
    return net.vector(about, trains)


def wrapping() -> Vector:
    """Two's complement: what a chip without saturation does."""
    options: dict[str, Any] = {"low": -15, "high": 15, "arrives": InputCoding.EVENTS}
    net = Net("wrap", (8,), "rate", 8, **options)
    wraps = {"state": QFormat(12), "overflow": Overflow.WRAP}
    parameters = {"threshold": net.draw(1 << 9, (1 << 11) - 1, 8), "initial_potential": 0}
    first = net.add_active("subtract", "first", net.one_to_one(INPUT, 60, 2), **parameters, **wraps)
    net.readout("out", net.one_to_one(first))
    net.readout("raw", net.one_to_one(INPUT, 60, 2), **wraps)
    trains = net.draw(-15, 15, (3, 8, 8))
    trains[0, :4], trains[0, 4:] = -15, 15
    about = "A state of 12 bits that wraps where others are cut off. No compiled network has one."
    return net.vector(about, trains)


def decays() -> Vector:
    """Every decay at its ends, of currents and potentials of both signs."""
    options: dict[str, Any] = {"low": -15, "high": 15, "arrives": InputCoding.EVENTS}
    net = Net("cuba-decays", (10,), "rate", 14, **options)
    for current, voltage in ((0, 0), (4095, 4095), (0, 4095), (4095, 1), (1, 2048), (2047, 0)):
        name = f"du{current}-dv{voltage}"
        form = {"current_decay": current, "voltage_decay": voltage}
        threshold = net.draw(10, 70, 10)
        threshold[:4] = 1, 2, 3, 4
        bias = net.draw(-200, 200, 10) * np.array([0, 1] * 5)
        group = net.one_to_one(INPUT, 5)
        net.readout(
            f"{name}-out",
            net.one_to_one(
                net.add(CubaLIFNeurons, name, group, threshold=threshold, bias=bias, **form)
            ),
        )
    trains = net.draw(-15, 15, (3, 14, 10)) * (net.draw(0, 3, (3, 14, 10)) == 0)
    trains[0], trains[1] = 0, 0
    trains[0, 0], trains[1, 0], trains[1, 4] = 13, -13, 15  # then nothing: they only decay
    about = "Decays of 0, 1, 2047, 2048 and 4095, truncated toward zero from both sides."
    return net.vector(about, trains)


def wrapping_current() -> Vector:
    """A current that wraps, and a potential that does not."""
    options: dict[str, Any] = {"low": -1200, "high": 1200, "arrives": InputCoding.EVENTS}
    net = Net("cuba-wrap", (8,), "rate", 10, **options)
    for name, form in {
        "memory": {"current_decay": 300, "voltage_decay": 0},
        "none": {"current_decay": 4095, "voltage_decay": 200},
    }.items():
        threshold = net.draw(1 << 10, (1 << 17) - 1, 8)
        parameters = {"threshold": threshold, "bias": net.draw(-500, 500, 8) << 6}
        first = net.add(CubaLIFNeurons, name, net.one_to_one(INPUT, 127), **parameters, **form)
        net.readout(f"{name}-out", net.one_to_one(first))
    trains = net.draw(-1200, 1200, (4, 10, 8))
    trains[0] = np.array([1032, 1033, -1032, -1033, 1200, -1200, 1031, 0])
    about = "u wraps once into (-2**23, 2**23], v is cut off at +-(2**23 - 1)."
    return net.vector(about, trains)


MAKE: tuple[Callable[[], Vector], ...] = (
    *(partial(saturating, kind) for kind in ("subtract", "zero", "signed")),
    *(partial(saturating_sum, kind) for kind in ("graded", "sigma-delta", "sync", "radix")),
    narrow,
    wrapping,
    decays,
    wrapping_current,
)
