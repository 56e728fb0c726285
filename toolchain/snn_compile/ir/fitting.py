"""Consistency of a network in fixed point: shapes, indices and ranges.

Without these checks, the compiled engine would read out of bounds, and numpy would broadcast
silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import prod
from typing import Any

import numpy.typing as npt

from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Node, Shape
from snn_compile.ir.spiking import Window

MAX_SHIFT = 32
"""Limit of a synapse's exponent, in either direction."""
SEED_BITS = 64
MAX_MESSAGE = (1 << 31) - 1
"""Limit of messages in either direction: the engine stores them in 32 bits."""


def of_window(window: Window) -> Iterator[str]:
    """Defects of a window."""
    if window.n_steps < 1:
        yield f"a window of {window.n_steps} steps"


def of_shape(node: Node) -> Iterator[str]:
    """Defects of a node's shape."""
    if not node.shape or min(node.shape) < 1:
        yield f"it has the shape {node.shape}"


def of_input(low: int, high: int, format: QFormat, seed: int) -> Iterator[str]:
    """Defects of an input's range."""
    if not format.min <= low <= high <= format.max:
        yield f"its values {low} to {high} do not fit {format}"
    if not 0 <= seed < 1 << SEED_BITS:
        yield f"its seed is {seed}"


def of_messages(low: int, high: int) -> Iterator[str]:
    """Defects of the range of a node's messages."""
    if not -MAX_MESSAGE <= low <= high <= MAX_MESSAGE:
        yield f"its messages {low} to {high} exceed 32 bits"


def of_exponent(exponent: int) -> Iterator[str]:
    """Defects of the exponent of synapses."""
    if abs(exponent) > MAX_SHIFT:
        yield f"its exponent is {exponent}"


def of_convolution(
    weight: QTensor, geometry: Geometry, source: Shape, target: Shape
) -> Iterator[str]:
    """Defects of the kernels of a convolution."""
    if len(weight.shape) != 4 or len(source) != 3 or len(target) != 3 or not prod(weight.shape):
        yield f"its kernels {weight.shape} do not connect {source} to {target}"
        return
    n_out, n_in, *kernel = weight.shape
    (_, height, width), (ky, kx) = source, kernel
    size = geometry.output_size((height, width), (ky, kx))
    if n_out % geometry.groups or n_in * geometry.groups != source[0]:
        yield f"its kernels {weight.shape} do not match {source[0]} input maps"
    elif (n_out, *size) != target:
        yield f"its kernels map {source} to {(n_out, *size)}, not to {target}"


def of_dense(weight: QTensor, source: Shape, target: Shape) -> Iterator[str]:
    """Defects of the weights of all-to-all synapses."""
    if weight.shape != (prod(target), prod(source)):
        yield f"its weights {weight.shape} do not connect {source} to {target}"


def of_sparse(
    indptr: npt.NDArray[Any],
    indices: npt.NDArray[Any],
    weight: QTensor,
    source: Shape,
    target: Shape,
) -> Iterator[str]:
    """Defects of the wiring of synapses in compressed-row form."""
    if any(a.ndim != 1 or a.dtype.kind not in "iu" for a in (indptr, indices, weight.values)):
        yield "its wiring is no list of integers"
    elif len(indptr) != prod(target) + 1 or len(indices) != len(weight.values):
        yield f"its indices do not connect {source} to {target}"
    elif indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        yield "its rows do not follow each other"
    elif len(indices) and (indices.min() < 0 or indices.max() >= prod(source)):
        yield f"its indices exceed the source {source}"


def of_parameters(node: Node) -> Iterator[str]:
    """Parameters of a population that do not broadcast to it."""
    tables: tuple[str, ...] = getattr(node, "tables", ())
    for field in fields(node):
        value = getattr(node, field.name)
        if not isinstance(value, QTensor):
            continue
        by_row = field.name in tables and value.shape[:1] == node.shape[:1]
        if not by_row and not _broadcasts(value.shape, node.shape):
            yield f"its {field.name} has the shape {value.shape}"


def _broadcasts(shape: Shape, target: Shape) -> bool:
    """Whether a shape is (C,), or broadcasts to the target, as in ``along_channels``."""
    if len(shape) == 1 and len(target) > 1:
        return shape[0] in (1, target[0])
    if len(shape) > len(target):
        return False
    last = target[len(target) - len(shape) :]
    return all(size in (1, wanted) for size, wanted in zip(shape, last, strict=True))
