"""How each population of the quantized stage answers its input: integers in, integers out.

One function per neuron model, each a transcription of the equation in ``ir/neurons.py``. Arrays
are ``(*shape, T, B)``; a time axis of length 1 stands for an input that is the same at every step.
For sync neurons the input is that of the window before theirs, whose steps it has. For sigma-delta
neurons the batch is a stream: frames in their order, from the first one on.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    Population,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    SignedIFNeurons,
    SyncIFNeurons,
    SyncReadout,
    along_channels,
)
from snn_compile.ir.spiking import Reset

_Bounded = (
    GradedNeurons
    | ClipFloorNeurons
    | IFNeurons
    | SignedIFNeurons
    | SyncIFNeurons
    | RadixIFNeurons
    | SigmaDeltaNeurons
    | Readout
)
VOLTAGE_LIMIT = (1 << 23) - 1
"""Loihi clips potentials to +-(2**23 - 1), symmetrically, though 24 bits would hold one more."""


def respond(population: Population, a: Int, n_steps: int) -> Int:
    """What a population sends (a readout: its potential) at each step of one window.

    Args:
        population: the neurons.
        a: summed synaptic input, (*shape, T or 1, B), int32 or int64.
        n_steps: length of the window.

    Returns:
        (*shape, n_steps, B) integers; int8 for spikes.
    """
    return _respond(population, a, n_steps)


def _parameter(values: Int, population: Population, dtype: np.dtype[np.signedinteger]) -> Int:
    """A parameter as an array that broadcasts over the batch: (*shape, 1)."""
    view = along_channels(values, population.shape)
    if values.ndim == 1 and len(population.shape) > 1:
        view = view[(slice(None), *[slice(0, 1)] * (len(population.shape) - 1))]
    parameter: Int = view.astype(dtype)[..., None]
    return parameter


def _saturate(v: Int, fmt: QFormat) -> None:
    limit = min(fmt.max, VOLTAGE_LIMIT)
    np.clip(v, -limit, limit, out=v)


def _bound(v: Int, population: _Bounded) -> None:
    """Keep a state in its format, as the population says."""
    fmt = population.state
    if population.overflow is Overflow.SATURATE:
        _saturate(v, fmt)
        return
    v -= fmt.min
    v &= (1 << fmt.bits) - 1
    v += fmt.min


def _requantized(population: GradedNeurons | SigmaDeltaNeurons, a: Int) -> Int:
    """Payloads for summed inputs (*shape, 1 or T, B)."""
    wide = np.dtype(np.int64)  # 23 bits of potential times a 12-bit multiplier
    bias, multiplier, shift = (
        _parameter(p.values, population, wide)[..., None, :]
        for p in (population.bias, population.multiplier, population.shift)
    )
    v: Int = a.astype(wide) + bias
    _bound(v, population)
    np.maximum(v, 0, out=v)
    v *= multiplier
    v >>= shift
    np.minimum(v, population.payload.max, out=v)
    return v


def _over_window(a: Int, n_steps: int) -> Int:
    """What arrives in a whole window, (*shape, B)."""
    total: Int = a.sum(axis=-2, dtype=np.int64) * (n_steps // a.shape[-2])
    return total


@singledispatch
def _respond(population: Population, a: Int, n_steps: int) -> Int:
    raise TypeError(f"no equations for {type(population).__name__}")


@_respond.register
def _(population: GradedNeurons, a: Int, n_steps: int) -> Int:
    q = _requantized(population, a)
    return np.broadcast_to(q, (*q.shape[:-2], n_steps, q.shape[-1]))


@_respond.register
def _(population: ClipFloorNeurons, a: Int, n_steps: int) -> Int:
    wide = np.dtype(np.int64)
    bias, threshold = (
        _parameter(p.values, population, wide)[..., None, :]
        for p in (population.bias, population.threshold)
    )
    v = a.astype(wide) + bias
    _bound(v, population)
    v //= threshold
    np.clip(v, 0, population.levels, out=v)
    return np.broadcast_to(v, (*v.shape[:-2], n_steps, v.shape[-1]))


@_respond.register
def _(population: IFNeurons, a: Int, n_steps: int) -> Int:
    dtype = a.dtype
    bias, threshold, initial = (
        _parameter(p.values, population, dtype)
        for p in (population.bias, population.threshold, population.initial_potential)
    )
    v = np.broadcast_to(initial, (*a.shape[:-2], a.shape[-1])).astype(dtype)
    spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
    drive = a + bias[..., None, :]
    subtract = population.reset is Reset.SUBTRACT
    for t in range(n_steps):
        v += drive[..., min(t, drive.shape[-2] - 1), :]
        _bound(v, population)
        fired = np.greater_equal(v, threshold)
        if population.burst > 1:
            fired = np.clip(v // threshold, 0, population.burst)
        spikes[..., t, :] = fired
        if subtract:
            v -= threshold * fired
        else:
            v[fired] = 0
    return spikes


@_respond.register
def _(population: SignedIFNeurons, a: Int, n_steps: int) -> Int:
    dtype = a.dtype
    bias, threshold, initial = (
        _parameter(p.values, population, dtype)
        for p in (population.bias, population.threshold, population.initial_potential)
    )
    v = np.broadcast_to(initial, (*a.shape[:-2], a.shape[-1])).astype(dtype)
    sent = np.zeros(v.shape, dtype)
    spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
    drive = a + bias[..., None, :]
    for t in range(n_steps):
        v += drive[..., min(t, drive.shape[-2] - 1), :]
        _bound(v, population)
        fired = (v >= threshold).astype(np.int8) - ((v < 0) & (sent > 0))
        spikes[..., t, :] = fired
        v -= threshold * fired
        sent += fired
    return spikes


@_respond.register
def _(population: SyncIFNeurons, a: Int, n_steps: int) -> Int:
    wide = np.dtype(np.int64)
    bias, threshold = (
        _parameter(p.values, population, wide) for p in (population.bias, population.threshold)
    )
    v = _over_window(a, n_steps) + bias
    _bound(v, population)
    spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
    for t in range(n_steps):
        fired = v >= threshold
        spikes[..., t, :] = fired
        v -= threshold * fired
    return spikes


@_respond.register
def _(population: RadixIFNeurons, a: Int, n_steps: int) -> Int:
    wide = np.dtype(np.int64)
    bias, threshold = (
        _parameter(p.values, population, wide) for p in (population.bias, population.threshold)
    )
    v = _over_window(a, n_steps) + bias
    _bound(v, population)
    sent = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int32)
    for t in range(n_steps):
        place = n_steps - 1 - t
        fired = v >= threshold << place
        sent[..., t, :] = fired.astype(np.int32) << place
        v -= (threshold << place) * fired
    return sent


@_respond.register
def _(population: SigmaDeltaNeurons, a: Int, n_steps: int) -> Int:
    del n_steps  # one a frame
    q = _requantized(population, a.cumsum(axis=-1, dtype=np.int64))
    return np.diff(q, axis=-1, prepend=0)


@_respond.register
def _(population: CubaLIFNeurons, a: Int, n_steps: int) -> Int:
    wide = np.dtype(np.int64)
    bias = _parameter(population.bias.values, population, wide)
    threshold = _parameter(population.threshold.values, population, wide) << 6
    into_u, into_v = (bias, 0) if population.filtered_bias else (0, bias)
    drop = None if population.drop is None else _parameter(population.drop.values, population, wide)
    u = np.zeros((*a.shape[:-2], a.shape[-1]), wide)
    v = np.zeros_like(u)
    spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
    for t in range(n_steps):
        arriving = a[..., min(t, a.shape[-2] - 1), :].astype(wide)
        u = toward_zero(u * (4096 - (population.current_decay + 1))) + (arriving << 6)
        u += into_u
        u = np.where(u > 1 << 23, u - (1 << 24), u)
        u = np.where(u <= -(1 << 23), u + (1 << 24), u)
        v = toward_zero(v * (4096 - population.voltage_decay)) + u + into_v
        _saturate(v, population.state)
        fired = v > threshold
        spikes[..., t, :] = fired
        if drop is None:
            v[fired] = 0
        else:
            v -= drop * fired
    return spikes


def toward_zero(x: Int) -> Int:
    """``x / 4096`` rounded toward zero, as Loihi's decay unit does."""
    result: Int = np.sign(x) * (np.abs(x) >> 12)
    return result


@_respond.register
def _(population: Readout, a: Int, n_steps: int) -> Int:
    wide = np.dtype(np.int64)
    bias = _parameter(population.bias.values, population, wide)
    v = np.zeros((*a.shape[:-2], a.shape[-1]), wide)
    potentials = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), wide)
    for t in range(n_steps):
        v += a[..., min(t, a.shape[-2] - 1), :] + bias
        _bound(v, population)
        potentials[..., t, :] = v
    return potentials


@_respond.register
def _(population: SyncReadout, a: Int, n_steps: int) -> Int:
    v = _over_window(a, n_steps) + _parameter(
        population.bias.values, population, np.dtype(np.int64)
    )
    _bound(v, population)
    return np.broadcast_to(v[..., None, :], (*v.shape[:-1], n_steps, v.shape[-1]))


@_respond.register
def _(population: SigmaDeltaReadout, a: Int, n_steps: int) -> Int:
    del n_steps
    bias = _parameter(population.bias.values, population, np.dtype(np.int64))
    v: Int = a.cumsum(axis=-1, dtype=np.int64) + bias[..., None, :]
    _bound(v, population)
    return v
