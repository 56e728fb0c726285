"""Products of two payloads: every sign, every shift, the ends of operands and payloads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from snn_compile.conformance.net import INPUT, Net, Vector
from snn_compile.ir.quantized import ProductDeltaNeurons, ProductNeurons

KINDS: dict[str, type[Any]] = {"graded": ProductNeurons, "sigma-delta": ProductDeltaNeurons}
MAX_STATE = 2047
"""Of an operand."""


def products(coding: str) -> Vector:
    """A product of the input with itself, its channels in another order; a product of that."""
    model = KINDS[coding]
    net = Net(f"product-{coding}", (6, 2, 3), coding, low=-MAX_STATE, high=MAX_STATE)
    turned = np.roll(np.eye(6, dtype=np.int64), 1, axis=0)[:, :, None, None]
    first = net.add(
        model,
        "first",
        net.one_to_one(INPUT, 64, 6),
        net.conv(INPUT, 6, (1, 1), bits=2, weight=turned),
        multiplier=net.draw(1 << 11, (1 << 12) - 1, 6),
        shift=np.array([22, 23, 24, 32, 13, 11]),
        low=-MAX_STATE,
        high=MAX_STATE,
    )
    second = net.add(
        model,
        "second",
        net.one_to_one(INPUT, 64, 6),
        net.one_to_one(first),
        bias=np.array([0, 0, 4096, -4096, 1, -1]),
        multiplier=4095,
        shift=np.array([24, 23, 22, 21, 24, 12]),
        low=0,
        high=255,
    )
    net.readout("out", net.dense(second, 4), bias=net.draw(-9, 9, 4))
    frames = net.frames(8)
    ends = np.array([MAX_STATE, -MAX_STATE, 0, 1, -1, -MAX_STATE])[:, None, None]
    frames[1:4] = ends, -ends, np.roll(ends, 2, axis=0)
    about = "Neurons that multiply two payloads of 12 bits and a sign, which arrive in one sum."
    return net.vector(about, frames)


def ties(coding: str) -> Vector:
    """Halves of a payload step, of both signs, and a shift of 0, which has none."""
    net = Net(f"product-ties-{coding}", (4, 1, 9), coding, low=-8, high=8)
    product = net.add(
        KINDS[coding],
        "product",
        net.one_to_one(INPUT, 64, 6),
        bias=3,
        multiplier=np.array([1, 2, 2048, 1]),
        shift=np.array([1, 2, 13, 0]),
        low=-9,
        high=8,
    )
    net.readout("out", net.dense(product, 3))
    frames = (
        np.broadcast_to(np.arange(-4, 5), (3, 4, 1, 9)) + np.array([0, 1, 4])[:, None, None, None]
    )
    about = "Products that lie halfway between two payloads: halves go up, of both signs."
    return net.vector(about, frames)


MAKE: tuple[Callable[[], Vector], ...] = (
    *(partial(products, coding) for coding in KINDS),
    *(partial(ties, coding) for coding in KINDS),
)
