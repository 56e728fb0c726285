"""Surrogate gradients: training differentiates a smooth approximation of the spike step.

Every shape is a primitive ``S(z / width)`` that goes from 0 to 1 and whose slope at the threshold
is ``1 / width``. ``z`` is the potential above the threshold in units of it. Then, for all of them::

    dS/dz     = S'(z / width) / width
    dS/dwidth = -(z / width) * dS/dz

The second line is what makes a width learnable: the spike itself does not depend on it, so the
gradient of the primitive replaces its own (parametric surrogate gradients of Wang, Cheng
and Lim, arXiv 2304.13289, whose abstract is public; the equations here are derived).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """A surrogate of width 1.

    Attributes:
        primitive: from 0 to 1.
        slope: its derivative; 1 at 0.
    """

    primitive: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _triangle(r: Tensor) -> Tensor:
    below = torch.clamp(1 - r.abs(), min=0) ** 2 / 2
    return torch.where(r < 0, below, 1 - below)


def _logistic_slope(r: Tensor) -> Tensor:
    share = torch.sigmoid(4 * r)
    return 4 * share * (1 - share)


SHAPES = {
    "rectangle": Shape(lambda r: torch.clamp(r + 0.5, 0, 1), lambda r: (r.abs() < 0.5).to(r.dtype)),
    "triangle": Shape(_triangle, lambda r: torch.clamp(1 - r.abs(), min=0)),
    "sigmoid": Shape(lambda r: torch.sigmoid(4 * r), _logistic_slope),
    "arctangent": Shape(lambda r: torch.atan(pi * r) / pi + 0.5, lambda r: 1 / (1 + (pi * r) ** 2)),
}
"""By name: ``1[|r| < 1/2]``, ``max(0, 1 - |r|)``, the logistic function of ``4 r``, and
``atan(pi r) / pi + 1/2``."""


class _Spike(torch.autograd.Function):
    """1 where z >= 0; backwards the primitive, for z and for the width."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, width: Tensor, shape: Shape, smooth: bool) -> Tensor:
        ctx.save_for_backward(z, width)
        ctx.slope = shape.slope
        return shape.primitive(z / width) if smooth else (z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        z, width = ctx.saved_tensors
        r = z / width
        of_z = gradient * ctx.slope(r) / width
        of_width = -(of_z * r).sum().reshape(width.shape) if ctx.needs_input_grad[1] else None
        return of_z, of_width, None, None


def spike(z: Tensor, width: Tensor, shape: Shape, *, smooth: bool = False) -> Tensor:
    """Spikes with a surrogate gradient.

    Args:
        z: potential above the threshold, in units of the threshold.
        width: one number, of the same type as z.
        shape: of the surrogate.
        smooth: whether to return the primitive instead of the spikes. Its gradients are exact:
            tests compare them with finite differences.

    Returns:
        1 where ``z >= 0``, else 0, in z's type.
    """
    spikes: Tensor = _Spike.apply(z, width, shape, smooth)
    return spikes
