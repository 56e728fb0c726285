"""Integers with gradients: what is rounded in the forward pass is not in the backward pass.

The straight-through estimator (Bengio, Leonard and Courville 2013). Functions of their own rather
than ``x + (round(x) - x).detach()``, whose forward value is not always an integer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Round(torch.autograd.Function):
    """Nearest integer, ties to even, as the compiler rounds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Floor(torch.autograd.Function):
    """Largest integer that is not above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Truncate(torch.autograd.Function):
    """The integer part: rounded toward zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.trunc(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def rounded(x: Tensor) -> Tensor:
    """Nearest integer, ties to even; the gradient passes."""
    nearest: Tensor = _Round.apply(x)
    return nearest


def floored(x: Tensor) -> Tensor:
    """Largest integer that is not above; the gradient passes."""
    lower: Tensor = _Floor.apply(x)
    return lower


def truncated(x: Tensor) -> Tensor:
    """The integer part; the gradient passes."""
    whole: Tensor = _Truncate.apply(x)
    return whole


def on_grid(x: Tensor, low: float, high: float) -> Tensor:
    """Nearest integer from low to high; the gradient passes between them and stops beyond."""
    return rounded(torch.clamp(x, low, high))
