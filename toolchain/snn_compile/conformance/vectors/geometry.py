"""Each way to wire a layer by itself, so that what a backend lacks costs one vector."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.graph import NodeId, Shape

SHAPE = (4, 5, 7)
"""Of the input: no two sizes are the same, so that axes cannot be mixed up unseen."""
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kernel-3x2": {"kernel": (3, 2)},
    "stride": {"stride": (2, 3)},
    "padding": {"padding": (1, 2, 1, 2)},
    "padding-uneven": {"padding": (0, 1, 2, 0)},
    "cropped": {"padding": (-1, 1, 0, -2)},
    "dilation": {"kernel": (2, 3), "dilation": (3, 2)},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4},
    "everything": {
        "kernel": (2, 2),
        "stride": (2, 1),
        "padding": (1, 0, 2, 3),
        "dilation": (2, 3),
        "groups": 2,
    },
}
SENTENCES = {
    "plain": "A 3 x 3 kernel without padding; cross-correlation, not flipped.",
    "kernel-3x2": "A kernel that is not square.",
    "stride": "Strides of 2 rows and 3 columns.",
    "padding": "Zeros on both sides alike, others across than down.",
    "padding-uneven": "Zeros on one side only, as SAME padding makes them.",
    "cropped": "Negative padding: rows and columns that are left out.",
    "dilation": "Taps 3 rows and 2 columns apart.",
    "groups": "Two groups of channels.",
    "depthwise": "A kernel for each channel.",
    "everything": "Stride, uneven padding, dilation and groups in one.",
}
PAYLOADS = {"graded": ("graded", 1), "subtract": ("rate", 5)}


def convolution(name: str) -> Vector:
    """A convolution that reads values of both signs, and one that reads spikes."""
    net = Net(f"conv-{name}", SHAPE, "rate", 5, low=-6, high=11)
    form = dict(CONVOLUTIONS[name])
    kernel = form.pop("kernel", (3, 3))
    first = net.add_active("subtract", "first", net.conv(INPUT, 4, kernel, **form))
    source = net.add_active("subtract", "same", net.conv(INPUT, 4, (1, 1)))
    second = net.add_active("subtract", "second", net.conv(source, 4, kernel, **form))
    net.readout("out", net.dense(first, 3))
    net.readout("other", net.dense(second, 3))
    return net.vector(SENTENCES[name], net.frames(4))


def payloads() -> Vector:
    """All convolutions side by side, on payloads."""
    net = Net("conv-payloads", SHAPE, "graded", low=-6, high=40)
    source = net.add_active("graded", "same", net.conv(INPUT, 4, (1, 1)))
    for name, options in CONVOLUTIONS.items():
        form = dict(options)
        kernel = form.pop("kernel", (3, 3))
        hidden = net.add_active("graded", name, net.conv(source, 4, kernel, **form))
        net.readout(f"{name}-out", net.dense(hidden, 2, bits=3))
    return net.vector("Every convolution of this set, side by side, on payloads.", net.frames(4))


def row() -> Vector:
    """A convolution along time or sequences."""
    net = Net("conv-1d", (3, 1, 9), "rate", 5, low=-6, high=11)
    form: dict[str, Any] = {"stride": (1, 2), "padding": (0, 1, 0, 1)}
    first = net.add_active("zero", "first", net.conv(INPUT, 4, (1, 3), **form))
    second = net.add_active("zero", "second", net.conv(first, 3, (1, 2)))
    net.readout("out", net.dense(second, 3))
    return net.vector("One-dimensional: maps of height 1.", net.frames(4))


def pooling() -> Vector:
    """Average pooling is a depthwise convolution; over the whole map, it ends in single pixels."""
    net = Net("pooling", (3, 6, 4), "rate", 6, high=11)
    window = np.full((3, 1, 2, 2), 3)
    first = net.add_active(
        "subtract", "pooled", net.conv(INPUT, 3, (2, 2), weight=window, stride=(2, 2), groups=3)
    )
    whole = np.full((3, 1, 3, 2), 5)
    pooled = net.conv(first, 3, (3, 2), weight=whole, groups=3)
    second = net.add_active("subtract", "whole", pooled, threshold=47)
    net.readout("out", net.dense(second, 3))
    return net.vector("Average pooling of windows, then of the whole map.", net.frames(4))


def dense(kind: str) -> Vector:
    """Between maps and vectors, each way."""
    coding, n_steps = PAYLOADS[kind]
    net = Net(f"dense-{kind}", (2, 3, 4), coding, n_steps, low=-6, high=11)
    vector = net.add_active(kind, "vector", net.dense(INPUT, 7))
    maps = net.add_active(kind, "maps", net.dense(vector, (3, 2, 4)))
    again = net.add_active(kind, "again", net.dense(maps, (2, 2, 1)))
    net.readout("out", net.dense(again, 3))
    about = "From maps to a vector, to maps and to other maps, in row-major order."
    return net.vector(about, net.frames(4))


def sparse(kind: str) -> Vector:
    """Any wiring."""
    coding, n_steps = PAYLOADS[kind]
    net = Net(f"sparse-{kind}", (2, 3, 4), coding, n_steps, low=-6, high=11)
    first = net.add_active(kind, "first", _irregular(net, INPUT, (3, 2, 2)))
    second = net.add_active(
        kind, "second", _irregular(net, first, (9,)), net.dense(first, (9,), bits=3)
    )
    net.readout("out", _irregular(net, second, (4,)))
    about = "Rows of different length, some of them without a synapse; beside a dense group."
    return net.vector(about, net.frames(4))


def _irregular(net: Net, source: NodeId, shape: Shape) -> NodeId:
    n_targets, n_sources = int(np.prod(shape)), int(np.prod(net.shape(source)))
    wired = net.draw(0, 2, (n_targets, n_sources)) == 0
    wired[n_targets // 2] = False
    wired[0] = True
    return net.sparse(source, shape, wired)


def permuted() -> Vector:
    """Every channel, row and column goes elsewhere: transposed and reversed."""
    net = Net("sparse-permuted", (2, 3, 4), "rate", 4, low=-6, high=11)
    order = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[::-1].ravel()
    wired = np.zeros((24, 24), bool)
    wired[np.arange(24), order] = True
    first = net.add_active("subtract", "moved", net.sparse(INPUT, (4, 2, 3), wired))
    net.readout("out", net.dense(first, 3))
    return net.vector("A permutation of all axes, as Transpose and Slice make it.", net.frames(4))


def late() -> Vector:
    """An input that is sent again later, and outputs of three depths."""
    net = Net("late-input", (7,), "rate", 4, low=-5, high=9)
    net.readout("at-once", net.dense(INPUT, 3), bias=2)
    hidden = net.add_active("subtract", "first", net.dense(INPUT, 6))
    for depth, name in enumerate(("second", "third"), start=2):
        groups = net.dense(hidden, 6), net.dense(INPUT, 6, bits=4)
        hidden = net.add_active("subtract", name, *groups)
        net.readout(f"depth-{depth + 1}", net.dense(hidden, 3), net.dense(INPUT, 3))
    about = "The input feeds every depth, each time when that depth begins its window."
    return net.vector(about, net.frames(4))


def late_window() -> Vector:
    """The same where a depth is a whole window."""
    net = Net("late-input-sync", (7,), "sync", 3, low=-5, high=9)
    first = net.add_active("sync", "first", net.dense(INPUT, 6))
    second = net.add_active("sync", "second", net.dense(first, 6), net.dense(INPUT, 6, bits=4))
    net.readout("out", net.dense(second, 3), net.dense(INPUT, 3))
    about = "The input feeds three depths, each a window later than the one before."
    return net.vector(about, net.frames(4))


MAKE: tuple[Callable[[], Vector], ...] = (
    *(partial(convolution, name) for name in CONVOLUTIONS),
    payloads,
    row,
    pooling,
    *(partial(dense, kind) for kind in PAYLOADS),
    *(partial(sparse, kind) for kind in PAYLOADS),
    permuted,
    late,
    late_window,
)
