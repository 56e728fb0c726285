"""Integers of the file that are computed with: that their type has room for all of them."""

from __future__ import annotations

import numpy as np

from snn_compile.errors import UnsupportedError
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.values import Constant, Tensor

WITHIN = "Within"
"""An operator of no file: ``expansion`` writes it, with the bits of a signed type."""
TYPES: dict[int, np.dtype[np.signedinteger]] = {32: np.dtype(np.int32), 64: np.dtype(np.int64)}


def within(call: Call) -> Tensor | Constant:
    """``Within``: the value itself, which must be proven to stay within a type of integers.

    The expansion puts it behind sums and products of integers. The network computes them as real
    numbers, which do not wrap around.

    Raises:
        UnsupportedError: they may leave the type.
    """
    x, dtype = call.inputs[0], TYPES[int(call.attributes.get("bits", 32))]
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    if isinstance(x, Tensor):
        found = call.builder.bounds(x)
        low, high = found or (0.0, 0.0)
    else:
        value = call.constant(0)
        low, high = float(value.min(initial=0)), float(value.max(initial=0))
    if not (least <= low and high <= most):
        reach = f"{low:,.0f} to {high:,.0f}" if np.isfinite((low, high)).all() else "any number"
        raise UnsupportedError(
            f"its integers may be {reach}, and {dtype} would wrap around",
            code="integer-overflow",
            origin=call.origin,
            hint="use smaller integers, or put DequantizeLinear before it",
        )
    return x if isinstance(x, Tensor) else value.astype(dtype)
