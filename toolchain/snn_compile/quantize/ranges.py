"""Layers whose dynamic range exceeds any integer grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from snn_compile.errors import ModelError
from snn_compile.ir.fixedpoint import RangeError
from snn_compile.ir.graph import Node


@contextmanager
def on_a_grid(node: Node) -> Iterator[None]:
    """Context in which numbers of a layer are put on its grid.

    Raises:
        ModelError: one of them does not fit 64 bits there.
    """
    try:
        yield
    except RangeError as error:
        raise ModelError(
            f"the numbers of layer '{node.id}' lie too far apart: one has {error}",
            code="out-of-range",
            origin=node.origin,
            hint="the training diverged or the export failed: check weights and biases; or bounds "
            "from weights alone are too wide for its functions: use --calibrate",
        ) from error
