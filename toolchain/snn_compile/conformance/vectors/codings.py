"""Each coding in a network with a bit of everything, and in a plain chain."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.quantized import (
    DelayNeurons,
    LeakyReadout,
    ProbedReadout,
    StartedReadout,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import Reset

STEPS = {
    "graded": ("graded", 1),
    "clip-floor": ("graded", 1),
    "sigma-delta": ("sigma-delta", 1),
    "piecewise-linear": ("graded", 1),
    "piecewise-linear-delta": ("sigma-delta", 1),
    "piecewise-linear-window": ("sync", 5),
    "subtract": ("rate", 8),
    "zero": ("rate", 8),
    "burst": ("rate", 6),
    "signed": ("signed", 10),
    "sync": ("sync", 5),
    "radix": ("radix", 4),
    "cuba": ("rate", 9),
}
"""Coding and steps for each kind of neuron."""
SCHEDULED = (
    *("sync", "radix", "sigma-delta"),
    *("piecewise-linear-delta", "piecewise-linear-window"),
)
ABOUT = {
    "graded": "Payloads of 8 bits: a product, a shift and two limits",
    "clip-floor": "Counts from a division rounded down: the integer network behind sync and radix",
    "sigma-delta": "Changes of payloads over a stream whose states are never reset",
    "piecewise-linear": "Payloads of both signs by a table of lines: a product and an offset",
    "piecewise-linear-delta": "Changes of payloads from a table of lines, over a stream",
    "piecewise-linear-window": "Layers wait for a window, then send a payload at its first step",
    "subtract": "Integrate and fire, reset by subtraction: the residue stays",
    "zero": "Integrate and fire, reset to zero: the residue is lost",
    "burst": "Up to three spikes in a step, as one payload",
    "signed": "Negative spikes take positive ones back, never more than were sent",
    "sync": "Layers wait for a window, then fire what it has added up to",
    "radix": "Layers wait for a window, then send the binary digits of a count",
    "cuba": "Current and potential decay, truncated toward zero; the threshold is strict",
}


def chain(kind: str) -> Vector:
    """Two dense layers and an output: where to begin."""
    coding, n_steps = STEPS[kind]
    net = Net(f"chain-{kind}", (10,), coding, n_steps)
    first = net.add_active(kind, "first", net.dense(INPUT, 8))
    second = net.add_active(kind, "second", net.dense(first, 6, bits=4))
    net.readout("out", net.dense(second, 4), bias=net.draw(-9, 9, 4))
    return net.vector(f"{ABOUT[kind]}; dense layers.", stream(net, 5))


def combination(kind: str) -> Vector:
    """Convolutions, a join of two paths with a relay, an input that comes late, two outputs."""
    coding, n_steps = STEPS[kind]
    net = Net(f"mixed-{kind}", (2, 4, 5), coding, n_steps, low=-9, high=22)
    least = 0 if kind in SCHEDULED else -1
    parameters: dict[str, Any] = {}
    if kind in ("subtract", "zero", "signed"):  # each neuron's own, some below 0
        parameters["initial_potential"] = net.draw(-12, 60, (3, 4, 5))
    first = net.add_active(
        kind,
        "first",
        net.conv(INPUT, 3, padding=(1, 1, 1, 1)),
        bias=net.draw(-40, 40, (3, 4, 5)) << (6 if kind == "cuba" else 0),
        **parameters,
    )
    relay = net.relay(kind, "relay", first)
    second = net.add_active(kind, "second", net.conv(first, 3, padding=(1, 1, 1, 1), bits=4))
    joined = net.add_active(
        kind,
        "joined",
        net.conv(second, 4, (2, 2), exponent=1, bits=4),
        net.conv(relay, 4, (2, 2), exponent=least, bits=5),
        net.dense(INPUT, (4, 3, 4), bits=3),
    )
    last = net.add_active(kind, "last", net.dense(joined, 7, bits=4))
    net.readout("early", net.conv(first, 2, (4, 5), bits=4), bias=3)
    net.readout("out", net.dense(last, 4), bias=net.draw(-9, 9, 4))
    about = "a join of three paths with exponents, a relay, an input that feeds two depths"
    return net.vector(f"{ABOUT[kind]}; {about}, outputs of two depths.", stream(net, 6))


def stream(net: Net, n: int) -> np.ndarray:
    """Stimuli of which some are the same as the one before, or all 0: states must start anew."""
    frames = net.frames(n)
    frames[2] = frames[1]
    frames[3] = 0
    return frames


def cuba_subtract() -> Vector:
    """Leaky neurons of networks that were trained with spikes."""
    net = Net("cuba-subtract", (9,), "rate", 10, low=-7, high=15)
    taken: dict[str, Any] = {"reset": Reset.SUBTRACT, "filtered_bias": True}
    first = net.dense(INPUT, 8)
    scale = net.scale(first)
    parameters = {"threshold": scale, "drop": net.draw(40 * scale, 70 * scale, 8), **taken}
    hidden = net.add_active("cuba", "first", first, current_decay=1900, **parameters)
    second = net.dense(hidden, 6)
    scale = net.scale(second)
    parameters = {"threshold": scale, "drop": 64 * scale, "reset": Reset.SUBTRACT}
    hidden = net.add_active("cuba", "second", second, voltage_decay=900, **parameters)
    net.readout("out", net.dense(hidden, 3))
    about = "Leaky neurons whose spike takes a given amount; a bias that decays with the current."
    return net.vector(about, net.frames(5))


def threshold_delta() -> Vector:
    """Neurons of sigma-delta networks that were trained with thresholds."""
    net = Net("threshold-delta", (2, 4, 5), "rate", 9, low=-20, high=22)
    taken: dict[str, Any] = {"threshold": 300, "shift": 3, "of_frames": True}
    encoder = net.add(
        *(ThresholdDeltaNeurons, "encoder", net.one_to_one(INPUT, 96)),
        **(taken | {"bias": 0, "sent": net.draw(-500, 500, 2)}),
    )
    hidden = net.conv(encoder, 3, (2, 2), bits=4)
    kept: dict[str, Any] = {"shift": 2, "threshold": net.draw(0, 4000, 3)}
    bias = net.draw(-9000, 9000, (3, 3, 4))
    hidden = net.add(ThresholdDeltaNeurons, "first", hidden, bias=bias, sent=700, **kept)
    started = {"initial_potential": net.draw(-9000, 9000, 4), "bias": net.draw(-9, 9, 4)}
    net.add(StartedReadout, "out", net.dense(hidden, 4, bits=3), **started)
    about = "Changes of an activation that reach a threshold; what is below it waits."
    return net.vector(about, net.frames(5))


def delays() -> Vector:
    """Synapses whose messages take longer."""
    net = Net("delays", (7,), "rate", 8, low=-7, high=15)
    first = net.add_active("cuba", "first", net.dense(INPUT, 6), voltage_decay=900)
    of_first: dict[str, Any] = {"bias": 0, "low": 0, "high": 1}
    late = [
        net.add(DelayNeurons, f"late{steps}", net.one_to_one(first), delay=steps, **of_first)
        for steps in (0, 1, 3)
    ]
    second = net.add_active("cuba", "second", *(net.dense(each, 5, bits=4) for each in late))
    leaks: dict[str, Any] = {"current_decay": 900, "voltage_decay": 200}
    net.add(LeakyReadout, "out", net.dense(second, 3), bias=net.draw(-99, 99, 3), **leaks)
    about = "Messages that arrive some steps later beside others, and an output that leaks."
    return net.vector(about, net.frames(5))


def stock(kind: str) -> Vector:
    """Only what chips have: reset to zero from a potential of 0, or decays; no payloads."""
    net = Net(f"stock-{kind}", (3, 7, 6), "rate", 12)
    form: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2, 1, 2)}
    parameters: dict[str, Any] = {} if kind == "cuba" else {"initial_potential": 0}
    first = net.add_active(kind, "first", net.conv(INPUT, 4, (3, 2), **form), **parameters)
    dilated: dict[str, Any] = {"dilation": (2, 3), "groups": 2}
    second = net.add_active(kind, "second", net.conv(first, 6, (2, 2), **dilated), **parameters)
    third = net.add_active(kind, "third", net.dense(second, 8), **parameters)
    net.readout("out", net.dense(third, 4), bias=net.draw(-9, 9, 4))
    about = "A chain of convolutions and dense layers in which every neuron is one of Loihi's own."
    return net.vector(about, net.frames(4))


def probed() -> Vector:
    """An output that is one of Loihi's own neurons, too."""
    net = Net("stock-probed", (8,), "rate", 8)
    first = net.add_active("zero", "first", net.dense(INPUT, 7), initial_potential=0)
    net.add(ProbedReadout, "out", net.dense(first, 4), bias=net.draw(-9, 9, 4))
    about = "An output of 18 bits, as a neuron of Loihi's own keeps it, read by a probe."
    return net.vector(about, net.frames(4))


MAKE: tuple[Callable[[], Vector], ...] = (
    *(partial(chain, kind) for kind in STEPS),
    *(partial(combination, kind) for kind in STEPS),
    *(partial(stock, kind) for kind in ("zero", "cuba")),
    probed,
    cuba_subtract,
    threshold_delta,
    delays,
)
