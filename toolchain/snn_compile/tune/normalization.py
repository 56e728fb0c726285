"""Threshold-scaled normalization: it scales the input of a layer to the range of its threshold.

For networks that are trained from scratch. With x the summed input in units of the threshold, per
channel over batch, time and place::

    y = gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta      gamma 1, beta 1/2 at the start

so that potentials lie on both sides of the threshold (batch normalization scaled by the threshold,
Zheng et al. 2021; the offset of half a threshold is that of potential distribution adjustment).

Folding. A layer with input ``y = g * x + c`` fires like one with input x, its bias raised by
``c / g`` and its threshold, initial potential and drop divided by g. So the integer weights are
unchanged, and the network keeps no normalization.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snn_compile.tune.grid import round_ste

EPSILON = 1e-5
MOMENTUM = 0.1
"""Weight of a batch in the running statistics, after the first ten."""
MIN_GAMMA = 0.05
"""A gamma of 0 would silence a channel for good, and a negative one cannot be folded."""


class Normalization:
    """Normalization of one layer.

    Args:
        n_channels: of the layer.
        n_axes: of the layer's shape.
        device: where it is computed.

    Attributes:
        gamma: (C, 1, ...), float64, trained; so is ``beta``.
        mean: running mean of x, of the same shape; ``var`` its running variance.
        seen: batches in the running statistics.
        active: 1 until it has been folded.
    """

    def __init__(self, n_channels: int, n_axes: int, device: torch.device) -> None:
        shape = (n_channels, *[1] * (n_axes - 1))
        options = {"dtype": torch.float64, "device": device}
        self.gamma = torch.ones(shape, **options)
        self.beta = torch.full(shape, 0.5, **options)
        self.mean = torch.zeros(shape, **options)
        self.var = torch.ones(shape, **options)
        self.seen = torch.zeros((), **options)
        self.active = torch.ones((), **options)
        self._measured: list[tuple[int, Tensor, Tensor]] | None = None

    def __call__(self, a: Tensor, steps: Tensor) -> Tensor:
        """Normalize an input (T, B, C, ...) in steps of the potential, as integers.

        Args:
            a: summed synaptic input.
            steps: of the potential in one threshold.
        """
        x = a / steps.to(a.dtype)
        axes = tuple(axis for axis in range(x.ndim) if axis != 2)
        var, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
        n = x.numel() // x.shape[2]
        if n > 1:  # a single value has no variance
            self._note(n, mean.detach()[0, 0].to(self.mean), var.detach()[0, 0].to(self.var))
        gain = self._gain(var).to(a.dtype)
        y = (x - mean) * gain + self.beta.to(a.dtype)
        return round_ste(y * steps.to(a.dtype))

    def _note(self, n: int, mean: Tensor, var: Tensor) -> None:
        """Accumulate the statistics of n values a channel."""
        if self._measured is not None:
            self._measured.append((n, mean, var))
            return
        with torch.no_grad():
            self.seen += 1
            share = max(MOMENTUM, 1 / float(self.seen))
            self.mean += share * (mean - self.mean)
            self.var += share * (var - self.var)

    def measure(self) -> None:
        """Switch from running to exact statistics."""
        self._measured = []

    def settle(self) -> None:
        """Adopt the exact mean and variance."""
        measured, self._measured = self._measured or [], None
        total = sum(n for n, _, _ in measured)
        if not total:
            return
        with torch.no_grad():
            self.mean.copy_(torch.stack([n / total * mean for n, mean, _ in measured]).sum(0))
            parts = [n / total * (var + (mean - self.mean) ** 2) for n, mean, var in measured]
            self.var.copy_(torch.stack(parts).sum(0))

    def _gain(self, var: Tensor) -> Tensor:
        return torch.clamp(self.gamma, min=MIN_GAMMA) / torch.sqrt(var + EPSILON)

    def affine(self) -> tuple[Tensor, Tensor]:
        """``g`` and ``c / g`` of ``y = g * x + c``, with the running statistics."""
        gain = self._gain(self.var)
        return gain, self.beta / gain - self.mean

    def rescale(self, factor: Tensor) -> None:
        """Account for a factor per channel on the layer's weights."""
        self.mean *= factor
        self.var *= factor**2

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors in a checkpoint that no gradient changes."""
        return {"mean": self.mean, "var": self.var, "seen": self.seen, "active": self.active}
