"""Responses of populations in training: the equations of ``ir/models``, with gradients.

Arrays are (T, B, *shape); a time axis of length 1 stands for an input that is the same at every
step. A spike is what ``fire`` makes of a potential above its threshold; everything else is
differentiable or straight-through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    Population,
    Readout,
    SignedIFNeurons,
)
from snn_compile.ir.spiking import Reset
from snn_compile.tune.grid import floor_ste, truncate_ste
from snn_compile.tune.layers import LEAKY_BITS, Layer

Fire = Callable[[Tensor], Tensor]
"""Spikes for potentials above the threshold, in units of it: 1 where they are not negative."""


@dataclass(frozen=True)
class Answer:
    """Response of a population in a window.

    Attributes:
        messages: (T, B, *shape); of a readout, its potential after each step. The time axis has
            length 1 where all steps are the same.
        potentials: at each step before its spike, (B, *shape) in steps of the potential; empty for
            neurons without spikes.
    """

    messages: Tensor
    potentials: tuple[Tensor, ...] = ()


Respond = Callable[[Layer, Tensor, int], Answer]
"""Maps a summed input (T or 1, B, *shape) and a number of steps to a population's response."""


def respond(layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    """Response of a population.

    Args:
        layer: the population.
        a: summed synaptic input, (T or 1, B, *shape), in steps of the potential.
        n_steps: length of the window.
        fire: the spike function with its surrogate gradient.
    """
    return _respond(layer.node, layer, a, n_steps, fire)


def _steps(a: Tensor, n_steps: int) -> tuple[Tensor, ...]:
    """The input of each step, (B, *shape), of one that may be the same at all steps."""
    # Of one tensor's parts, the gradients are put together once; of indexed ones, at every step.
    each: tuple[Tensor, ...] = a.unbind(0)
    return each * (n_steps // len(a))


def untrainable(node: Population) -> CompileError:
    """The error for neurons without gradients."""
    return UnsupportedError(
        f"layer '{node.id}' has {node.model} neurons, which training does not support",
        code="tune-neurons",
        origin=node.origin,
        hint="compile without tuning, or in another --coding",
    )


@singledispatch
def _respond(node: Population, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    raise untrainable(node)


@_respond.register
def _(node: IFNeurons, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    drive, threshold = _steps(a + layer.integers("bias"), n_steps), layer.integers("threshold")
    v = layer.integers("initial_potential").expand(a.shape[1:])
    spikes, potentials = [], []
    for t in range(n_steps):
        v = v + drive[t]
        potentials.append(v)
        # One comparison for each spike of a burst: their sum is clip(V // threshold, 0, burst).
        s = fire(layer.potential(v - threshold))
        for more in range(2, node.burst + 1):
            s = s + fire(layer.potential(v - more * threshold))
        v = v - threshold * s if node.reset is Reset.SUBTRACT else v * (1 - s)
        spikes.append(s)
    return Answer(torch.stack(spikes), tuple(potentials))


@_respond.register
def _(node: SignedIFNeurons, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    drive, threshold = _steps(a + layer.integers("bias"), n_steps), layer.integers("threshold")
    v = layer.integers("initial_potential").expand(a.shape[1:])
    sent = torch.zeros_like(v)
    spikes, potentials = [], []
    for t in range(n_steps):
        v = v + drive[t]
        potentials.append(v)
        # V < 0 is -V - 1 >= 0 for integers.
        s = fire(layer.potential(v - threshold)) - fire(layer.potential(-v - 1)) * (sent > 0)
        v = v - threshold * s
        sent = sent + s.detach()
        spikes.append(s)
    return Answer(torch.stack(spikes), tuple(potentials))


@_respond.register
def _(node: CubaLIFNeurons, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    bias, threshold = layer.integers("bias"), layer.integers("threshold") * 2**LEAKY_BITS
    drop = layer.integers("drop") if node.drop is not None else None
    into_u, into_v = (bias, 0.0) if node.filtered_bias else (0.0, bias)
    arriving = _steps(a * 2**LEAKY_BITS, n_steps)
    keep_u, keep_v = 4096 - (node.current_decay + 1), 4096 - node.voltage_decay
    u = v = torch.zeros(a.shape[1:], dtype=a.dtype, device=a.device)
    spikes, potentials = [], []
    for t in range(n_steps):
        u = truncate_ste(u * keep_u / 4096) + arriving[t] + into_u
        v = truncate_ste(v * keep_v / 4096) + u + into_v
        potentials.append(v)
        s = fire(layer.potential(v - threshold - 1))  # strict: V > threshold
        v = v * (1 - s) if drop is None else v - drop * s
        spikes.append(s)
    return Answer(torch.stack(spikes), tuple(potentials))


@_respond.register
def _(node: ClipFloorNeurons, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    del n_steps, fire
    counts = floor_ste((a + layer.integers("bias")) / layer.integers("threshold"))
    return Answer(torch.clamp(counts, 0, node.levels))


@_respond.register
def _(node: GradedNeurons, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    del n_steps, fire
    multiplier, shift = (
        torch.tensor(values, dtype=a.dtype, device=a.device).reshape(
            -1, *[1] * (len(node.shape) - 1)
        )
        for values in (node.multiplier.values, node.shift.values)
    )
    v = torch.clamp(a + layer.integers("bias"), min=0)
    payloads = floor_ste(v * multiplier / 2.0**shift)
    return Answer(torch.clamp(payloads, max=node.payload.max))


@_respond.register
def _(node: Readout, layer: Layer, a: Tensor, n_steps: int, fire: Fire) -> Answer:
    del node, fire
    drive = a + layer.integers("bias")
    if len(drive) == 1 < n_steps:
        drive = drive.expand(n_steps, *drive.shape[1:])
    return Answer(torch.cumsum(drive, dim=0))


def fires(node: Population) -> bool:
    """Whether a population's messages are spikes, with a surrogate gradient."""
    return isinstance(node, IFNeurons | SignedIFNeurons | CubaLIFNeurons)
