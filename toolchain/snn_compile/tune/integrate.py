"""Integrate-and-fire neurons over a whole window, with a backward pass written by hand.

It is the chain rule through the equations in ``neurons.py``, which a test compares it with. Written
out it takes a third of the passes over memory that automatic differentiation would make, and these
are most of the time that a training step takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snn_compile.tune.surrogates import Shape


@dataclass(frozen=True)
class Neuron:
    """Constants of a neuron that do not depend on parameters.

    Attributes:
        n_steps: length of the window.
        by_subtraction: whether a spike takes the threshold away; else it sets the potential to 0.
        unit: steps of the potential in one threshold, broadcasts to the shape.
        shape: of the surrogate gradient.
    """

    n_steps: int
    by_subtraction: bool
    unit: Tensor
    shape: Shape


class _Integrate(torch.autograd.Function):
    """Drive, threshold, initial potential and width to spikes (T, B, *shape)."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, threshold: Tensor, start: Tensor, width: Tensor, neuron: Neuron
    ) -> Tensor:
        v = start.expand(drive.shape[1:]).clone()
        above = drive.new_empty(neuron.n_steps, *drive.shape[1:])
        spikes = torch.empty_like(above)
        for t in range(neuron.n_steps):
            v += drive[min(t, len(drive) - 1)]
            torch.sub(v, threshold, out=above[t])
            spikes[t] = above[t] >= 0
            if neuron.by_subtraction:
                v.addcmul_(threshold, spikes[t], value=-1)
            else:
                v.mul_(1 - spikes[t])
        ctx.save_for_backward(above, spikes, threshold, width)
        ctx.neuron, ctx.is_constant, ctx.start = neuron, len(drive) == 1, start.shape
        return spikes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        above, spikes, threshold, width = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        scale = 1 / (neuron.unit.to(above) * width)
        of_v = torch.zeros_like(gradient[0])
        of_threshold = torch.zeros_like(of_v)
        of_width = torch.zeros((), dtype=torch.float64, device=of_v.device)
        of_drive = torch.zeros_like(gradient[:1]) if ctx.is_constant else torch.empty_like(gradient)
        for t in reversed(range(neuron.n_steps)):
            s = spikes[t]
            if neuron.by_subtraction:
                of_s = torch.addcmul(gradient[t], threshold, of_v, value=-1)
                of_threshold.addcmul_(of_v, s, value=-1)
            else:
                of_s = torch.addcmul(gradient[t], above[t] + threshold, of_v, value=-1)
                of_v.mul_(1 - s)
            r = above[t] * scale
            of_r = neuron.shape.slope(r).mul_(of_s)
            of_width -= torch.dot(of_r.flatten(), r.flatten())
            of_z = of_r.mul_(scale)
            of_v += of_z
            of_threshold -= of_z
            if ctx.is_constant:
                of_drive[0] += of_v
            else:
                of_drive[t] = of_v
        return (
            of_drive,
            of_threshold.sum_to_size(threshold.shape),
            of_v.sum_to_size(ctx.start),
            (of_width / width).to(width).reshape(width.shape),
            None,
        )


def integrate_and_fire(
    drive: Tensor, threshold: Tensor, start: Tensor, width: Tensor, neuron: Neuron
) -> Tensor:
    """Spikes of a window, with the surrogate's gradients.

    Args:
        drive: added to the potential at each step, (T or 1, B, *shape).
        threshold: broadcasts to the shape.
        start: initial potential, broadcasts to the shape.
        width: of the surrogate in thresholds, one number.
        neuron: the rest.

    Returns:
        (T, B, *shape), 0 or 1.
    """
    apply: Callable[..., Tensor] = _Integrate.apply
    return apply(drive, threshold, start, width, neuron)
