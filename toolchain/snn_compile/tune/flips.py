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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

IN_CACHE = 1 << 17
"""Potentials of the part of the neurons that is simulated at a time: it stays in the cache."""
NARROWEST = 256
"""Fewest neurons of a part: below, calls cost more than what they compute."""
LOOK_EVERY = 8
"""Steps between looks for neighbours that have become equal to the potential they come from."""


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
        rescale: of the gradient that all neurons get, or None.
    """

    n_steps: int
    leak: Callable[[Tensor], Tensor]
    drop: Tensor | None = None
    quantum: float = 1.0
    smallest: Tensor | float = 0.0
    curvature: VanRossum | None = None
    reach: Tensor | None = None
    rescale: Callable[[Tensor], Tensor] | None = None

    def of_neurons(self, choose: Callable[[Tensor], Tensor]) -> Membrane:
        """The membrane of some neurons: what differs between neurons goes through ``choose``."""
        parts = {"drop": self.drop, "smallest": self.smallest, "reach": self.reach}
        tensors = {key: choose(x) for key, x in parts.items() if isinstance(x, Tensor)}
        return replace(self, **tensors)

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

    Args:
        membrane: the neuron.
        drive: (T or 1, B, *shape).
        potentials: before each spike, (T, B, *shape).
        threshold: least potential that fires, broadcasts to the shape.
        gradient: of the loss with respect to the spikes, (T, B, *shape).
    """
    shape = potentials.shape
    series = [x.expand(-1, *shape[1:]).flatten(1) for x in (drive, potentials, gradient)]
    delta = torch.empty_like(series[1])
    width = max(NARROWEST, IN_CACHE // membrane.n_steps)
    for first in range(0, delta.shape[1], width):
        part = slice(first, first + width)

        def of_part(x: Tensor, part: slice = part) -> Tensor:
            return x.to(potentials).expand(shape[1:]).flatten()[part]

        neurons, theta = membrane.of_neurons(of_part), of_part(threshold)
        delta[:, part] = _slopes_of_part(neurons, theta, *(x[:, part] for x in series))
    return delta.reshape(shape)


def _slopes_of_part(
    membrane: Membrane, threshold: Tensor, drive: Tensor, potentials: Tensor, gradient: Tensor
) -> Tensor:
    """``delta`` of some neurons, (T, neurons)."""
    change = _changes(membrane, threshold, drive, potentials, gradient)
    distance = torch.where(potentials >= threshold, threshold - membrane.quantum, threshold)
    distance -= potentials
    far = distance.abs()
    if membrane.reach is not None:
        change.masked_fill_((change > 0) & (far > membrane.reach), 0.0)
        far = torch.minimum(far, membrane.reach)
    far = torch.maximum(far, torch.as_tensor(membrane.smallest).to(far))
    return change.div_(far.copysign_(distance))


def _changes(
    membrane: Membrane, threshold: Tensor, drive: Tensor, potentials: Tensor, gradient: Tensor
) -> Tensor:
    """``f_k`` of neurons in columns, (T, neurons).

    Each neighbour is simulated from its flip on, until the potentials of all neurons of the part
    are again what they are without the flip. From there on it sends the same spikes.
    """
    spikes = (potentials >= threshold).to(potentials.dtype)
    unflipped = membrane.after(potentials, spikes)
    held_back = threshold - membrane.quantum
    fired = membrane.after(threshold, torch.ones_like(threshold))
    change = torch.zeros_like(potentials)
    states, totals = torch.empty_like(potentials), torch.zeros_like(potentials)
    differences, filtered = torch.empty_like(potentials), torch.zeros_like(potentials)
    flips: list[int] = []  # of the neighbours that still differ: theirs are the first rows
    for t in range(membrane.n_steps):
        s, v, more = spikes[t], states[: len(flips)], differences[: len(flips)]
        torch.add(membrane.leak(v), drive[min(t, len(drive) - 1)], out=v)
        torch.ge(v, threshold, out=more)
        v.addcmul_(v if membrane.drop is None else membrane.drop, more, value=-1)
        more.sub_(s)
        torch.where(s > 0, held_back, fired, out=states[len(flips)])
        torch.sub(1, s, alpha=2, out=differences[len(flips)])
        flips.append(t)
        v, more, total = (part[: len(flips)] for part in (states, differences, totals))
        total.addcmul_(gradient[t], more)
        if membrane.curvature is not None:
            p, keep = filtered[: len(flips)], membrane.curvature.keep
            p.mul_(keep).add_(more, alpha=1 - keep)
            total += membrane.curvature.weight / 2 * p**2
        elif t % LOOK_EVERY == LOOK_EVERY - 1:
            differs = (v != unflipped[t]).any(dim=1)
            if 4 * int(differs.sum()) < 3 * len(flips):
                change[flips] = total
                flips = [k for k, one in zip(flips, differs.tolist(), strict=True) if one]
                states[: len(flips)] = v[differs]
                totals[: len(flips)] = total[differs]
                totals[len(flips) :] = 0
    change[flips] = totals[: len(flips)]
    return change


class Rescaling:
    """Brings the gradients of hidden layers towards the size of the last spiking layer's.

    As in the code of the paper's authors, a layer's gradient is multiplied by ``1.2 * log(last /
    size + 1.02)``, with ``size`` its mean magnitude and ``last`` that of the last layer, which the
    factor ``1.2 * log(2.02)`` has reduced. Sizes are per threshold: here, each layer has its own
    unit. Made for one backward pass, which begins at the last layer.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def of_layer(self, threshold: Tensor) -> Callable[[Tensor], Tensor]:
        """What rescales the gradient of a layer; its threshold broadcasts to the shape."""

        def rescale(delta: Tensor) -> Tensor:
            size = (delta * threshold).abs().mean()
            last = size if self.last is None else self.last
            factor = 1.2 * torch.log(last / size.clamp(min=torch.finfo(size.dtype).tiny) + 1.02)
            if self.last is None:
                self.last = factor * size
            return delta * factor

        return rescale


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
        if ctx.membrane.rescale is not None:
            delta = ctx.membrane.rescale(delta)
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
