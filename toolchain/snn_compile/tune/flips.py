"""Neighbours of a spike train, one flip away, and the gradient that they give a potential.

Neighborhood aggregation (Yang, Zhang and Li 2021, "Backpropagated neighborhood aggregation for
accurate training of spiking neural networks", ICML, arXiv 2107.06861) differentiates a spike by
finite differences. In the neighbour k of a potential u, the spike decision at step k is flipped:
the potential moves to the other side of the threshold theta, by the least amount. The rest of the
window is simulated from there. Then with L the loss,
linear in the spikes s with the gradient g::

    f_k     = sum over t >= k of g[t] * (s_k[t] - s[t])        L(u_k) - L(u)
    d_k     = theta - u[k]                                     what step k needs, signed
    delta_k = f_k / d_k                                        of the input at step k

The distance of two potentials is the norm of ``u' [-] u``, the input that turns one into the other
(:func:`difference`). A neighbour differs from u in the input of a single step, so the directions
towards all of them are the axes, and aggregating them is solving with the identity: the "simple
neighborhood selection" of the paper. The paper's division by zero at the threshold is avoided by a
least distance.

Where the loss compares the spikes themselves, ``f_k`` is exact, second order included. Then a flip
away from the target has an ``f_k`` above 0 at any distance; a sum of many such would keep
potentials moving away from the threshold for ever, so they end at ``reach``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class VanRossum:
    """Curvature of a loss ``weight / 2 * sum over t of p[t]**2`` in the filtered spikes p.

    ``p[t] = keep * p[t-1] + (1 - keep) * s[t]``. Where spikes go into such a loss directly, the
    difference that a flip makes is known exactly, not only to first order.
    """

    keep: float
    weight: float


@dataclass(frozen=True)
class Membrane:
    """A neuron without its input filter: ``v = leak(v) + drive; fires where v >= threshold``.

    Attributes:
        n_steps: length of the window.
        leak: maps a potential to its value after one step.
        drop: what a spike takes, broadcasts to the shape; None: it sets the potential to 0.
        quantum: smallest step of the potential; a neuron that must not fire is left that much
            below its threshold.
        smallest: lower bound of a divisor distance, in units of the potential; broadcasts.
        curvature: of the loss, where the spikes are what it compares.
        reach: largest distance considered, in units of the potential; broadcasts; None: no limit.
            A flip further away counts at this distance if it reduces the loss, and not at all if it
            increases the loss: a potential so far from an error needs no push away from it.
    """

    n_steps: int
    leak: Callable[[Tensor], Tensor]
    drop: Tensor | None = None
    quantum: float = 1.0
    smallest: Tensor | float = 0.0
    curvature: VanRossum | None = None
    reach: Tensor | None = None

    def after(self, v: Tensor, s: Tensor) -> Tensor:
        """The potential after its spike, if any."""
        return v * (1 - s) if self.drop is None else v - self.drop * s


def simulate(membrane: Membrane, drive: Tensor, threshold: Tensor, start: Tensor) -> Tensor:
    """Potentials before each spike, (T, B, *shape); arguments as for :func:`fire`."""
    v = start.expand(drive.shape[1:])
    potentials = drive.new_empty(membrane.n_steps, *drive.shape[1:])
    for t in range(membrane.n_steps):
        v = torch.add(membrane.leak(v), drive[min(t, len(drive) - 1)], out=potentials[t])
        v = membrane.after(v, (v >= threshold).to(v.dtype))
    return potentials


def difference(membrane: Membrane, other: Tensor, u: Tensor, threshold: Tensor) -> Tensor:
    """``other [-] u``: what must be added to the input of u to get the potentials ``other``.

    Args:
        membrane: the neuron.
        other: potentials before each spike, (T, ...).
        u: the same.
        threshold: broadcasts to a step.
    """
    return _inputs(membrane, other, threshold) - _inputs(membrane, u, threshold)


def add_input(membrane: Membrane, u: Tensor, change: Tensor, threshold: Tensor) -> Tensor:
    """``u [+] change``: the potentials of a neuron that gets more input than one with u."""
    inputs = _inputs(membrane, u, threshold) + change
    return simulate(membrane, inputs, threshold, torch.zeros_like(u[0]))


def _inputs(membrane: Membrane, u: Tensor, threshold: Tensor) -> Tensor:
    """The input at each step that a neuron which starts at 0 has for the potentials u."""
    s = (u >= threshold).to(u.dtype)
    before = torch.cat([torch.zeros_like(u[:1]), membrane.after(u, s)[:-1]])
    return u - membrane.leak(before)


def slopes(
    membrane: Membrane, drive: Tensor, potentials: Tensor, threshold: Tensor, gradient: Tensor
) -> Tensor:
    """``delta``: the loss towards each neighbour over its distance, (T, B, *shape).

    All neighbours of all neurons are simulated at once, each from its flip on: T (T + 1) / 2 steps.

    Args:
        membrane: the neuron.
        drive: (T or 1, B, *shape).
        potentials: before each spike, (T, B, *shape).
        threshold: least potential that fires, broadcasts to the shape.
        gradient: of the loss with respect to the spikes, (T, B, *shape).
    """
    spikes = (potentials >= threshold).to(potentials.dtype)
    held_back = threshold - membrane.quantum
    fired = membrane.after(threshold, torch.ones_like(threshold))
    change, v = torch.zeros_like(potentials), torch.empty_like(potentials)
    filtered = None if membrane.curvature is None else torch.zeros_like(potentials)
    for t in range(membrane.n_steps):
        s = spikes[t]
        more = torch.empty_like(potentials[: t + 1])
        if t:
            w = membrane.leak(v[:t]) + drive[min(t, len(drive) - 1)]
            others = (w >= threshold).to(w.dtype)
            v[:t] = membrane.after(w, others)
            more[:t] = others - s
        more[t] = 1 - 2 * s
        v[t] = torch.where(s > 0, held_back, fired)
        change[: t + 1] += gradient[t] * more
        if filtered is not None and membrane.curvature is not None:
            keep, p = membrane.curvature.keep, filtered[: t + 1]
            p.mul_(keep).add_(more, alpha=1 - keep)
            change[: t + 1] += membrane.curvature.weight / 2 * p**2
    distance = torch.where(spikes > 0, held_back, threshold) - potentials
    far = distance.abs()
    if membrane.reach is not None:
        change = torch.where((change > 0) & (far > membrane.reach), 0.0, change)
        far = torch.minimum(far, membrane.reach.to(far))
    least = torch.as_tensor(membrane.smallest).to(far)
    return change * torch.where(distance < 0, -1.0, 1.0) / torch.maximum(far, least)


class _Fire(torch.autograd.Function):
    """Drive, threshold and initial potential to spikes (T, B, *shape)."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, threshold: Tensor, start: Tensor, membrane: Membrane
    ) -> Tensor:
        potentials = simulate(membrane, drive, threshold, start)
        ctx.save_for_backward(drive, threshold, potentials)
        ctx.membrane, ctx.start = membrane, start.shape
        return (potentials >= threshold).to(drive.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        drive, threshold, potentials = ctx.saved_tensors
        delta = slopes(ctx.membrane, drive, potentials, threshold, gradient)
        total = delta.sum(dim=0)
        of_drive = total[None] if len(drive) == 1 else delta
        return of_drive, -total.sum_to_size(threshold.shape), delta[0].sum_to_size(ctx.start), None


def fire(drive: Tensor, threshold: Tensor, start: Tensor, membrane: Membrane) -> Tensor:
    """Spikes of a window, differentiated by their neighbours.

    A step's input has the gradient ``delta`` of that step, the threshold the negative sum over all
    of them, and the initial potential that of the first step.

    Args:
        drive: added to the potential at each step, (T or 1, B, *shape).
        threshold: least potential that fires; broadcasts to the shape.
        start: initial potential, broadcasts to the shape.
        membrane: the rest.

    Returns:
        (T, B, *shape), 0 or 1.
    """
    spikes: Tensor = _Fire.apply(drive, threshold, start, membrane)
    return spikes
