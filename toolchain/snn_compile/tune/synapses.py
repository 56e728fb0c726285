"""Synapse groups in training: real weights, rounded to integers in the forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from snn_compile.ir.spiking import Float
from snn_compile.tune.grid import clip_round_ste, floor_ste

EXACT_IN_FLOAT32 = 1 << 24
"""Integers below it, and their sums as long as they stay below, are exact in float32."""


class Group:
    """A synapse group whose weights are real numbers in units of its neurons' threshold.

    ``integers = round(clip(weight / step))`` with ``step = 2**exponent / threshold`` per channel:
    the grid of the group as it was compiled, which stays as it is.

    Args:
        node: the compiled group.
        unit: one unit of the weights in steps of the potential, (C,).
        largest_message: largest magnitude of its input messages.
        dtype: of the arithmetic. float64 where sums could exceed the exact range of float32.
        device: where it is computed.
    """

    def __init__(
        self,
        node: Synapses,
        unit: Float,
        largest_message: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        values = node.weight.values
        fan_in = _fan_in(node)
        self.node = node
        self.high = node.weight.format.max
        self.low = min(-self.high, int(values.min(initial=0)))
        exact = fan_in * -self.low * largest_message < EXACT_IN_FLOAT32
        self.dtype = dtype if exact else torch.float64
        # Weights of 2 bits are never larger: they are weights all the same.
        self.is_wiring = self.high > 1 and bool((np.abs(values) <= 1).all())
        channels = _channels(node)
        self.channels = torch.tensor(channels, device=device)
        step = 2.0**node.exponent / unit[channels].reshape(values.shape)
        self.step = torch.tensor(step, dtype=self.dtype, device=device)
        self.weight = torch.tensor(values * step, dtype=self.dtype, device=device)
        if isinstance(node, SparseSynapses):
            rows = np.repeat(np.arange(len(node.indptr) - 1), np.diff(node.indptr))
            self.rows = torch.tensor(rows, device=device)
            self.columns = torch.tensor(node.indices, device=device)

    @property
    def is_trained(self) -> bool:
        """Whether its weights are trained: neither wiring nor sparse weights are."""
        return not (self.is_wiring or isinstance(self.node, SparseSynapses))

    def integers(self) -> Tensor:
        """The weights on the grid of the target."""
        return clip_round_ste(self.weight / self.step, self.low, self.high)

    def __call__(self, messages: Tensor) -> Tensor:
        """Synaptic input (T, B, *shape) for messages (T, B, *source shape), in steps."""
        n_steps, batch = messages.shape[:2]
        s = messages.to(self.dtype).flatten(0, 1)
        sums = self._sums(s).reshape(n_steps, batch, *self.node.shape)
        if self.node.exponent < 0:
            return floor_ste(sums * 2.0**self.node.exponent)
        return sums * 2.0**self.node.exponent

    def _sums(self, s: Tensor) -> Tensor:
        match self.node:
            case ConvSynapses(geometry=geometry):
                top, left, bottom, right = geometry.padding
                padded = functional.pad(s, (left, right, top, bottom))
                return functional.conv2d(
                    padded,
                    self.integers(),
                    stride=geometry.stride,
                    dilation=geometry.dilation,
                    groups=geometry.groups,
                )
            case DenseSynapses():
                return s.flatten(1) @ self.integers().T
            case SparseSynapses():
                return self._sparse(s.flatten(1))

    def _sparse(self, s: Tensor) -> Tensor:
        n_rows = len(self.node.indptr) - 1 if isinstance(self.node, SparseSynapses) else 0
        indices = torch.stack([self.rows, self.columns])
        matrix = torch.sparse_coo_tensor(
            indices, self.integers(), (n_rows, s.shape[1]), check_invariants=False
        )
        return torch.sparse.mm(matrix, s.T).T

    def scale_channels(self, factor: Tensor) -> None:
        """Multiply the weights of each output channel, in place; factor (C,)."""
        self.weight *= factor.to(self.weight)[self.channels].reshape(self.weight.shape)

    def tuned(self) -> Synapses:
        """The compiled group with the current integers."""
        values = self.integers().detach().cpu().numpy().astype(np.int64)
        return replace(self.node, weight=QTensor(values, self.node.weight.format))


def _channels(node: Synapses) -> Int:
    """Output channel of every weight, flat."""
    if isinstance(node, SparseSynapses):
        n_rows = len(node.indptr) - 1
        rows = np.repeat(np.arange(n_rows), np.diff(node.indptr))
    else:
        n_rows = node.weight.shape[0]
        rows = np.repeat(np.arange(n_rows), int(np.prod(node.weight.shape[1:])))
    return rows // (n_rows // node.shape[0])


def _fan_in(node: Synapses) -> int:
    """Largest number of synapses that one neuron has in a group."""
    if isinstance(node, SparseSynapses):
        return int(np.diff(node.indptr).max(initial=0))
    return int(np.prod(node.weight.shape[1:]))
