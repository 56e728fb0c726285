"""Integers with gradients: rounding in the forward pass, identity in the backward pass.

The straight-through estimator (Bengio, Leonard and Courville 2013). A function of its own rather
than ``x + (round(x) - x).detach()``, whose forward value is not always an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Through(torch.autograd.Function):
    """A rounding whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
        return rounding(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def round_ste(x: Tensor) -> Tensor:
    """Nearest integer, ties to even as the compiler rounds; the gradient passes."""
    nearest: Tensor = _Through.apply(x, torch.round)
    return nearest


def floor_ste(x: Tensor) -> Tensor:
    """Largest integer that is not above; the gradient passes."""
    lower: Tensor = _Through.apply(x, torch.floor)
    return lower


def truncate_ste(x: Tensor) -> Tensor:
    """The integer part, rounded toward zero; the gradient passes."""
    whole: Tensor = _Through.apply(x, torch.trunc)
    return whole


def clip_round_ste(x: Tensor, low: float, high: float) -> Tensor:
    """Nearest integer from low to high; the gradient passes between them and stops beyond."""
    return round_ste(torch.clamp(x, low, high))
