"""Integer arithmetic shared by several neuron models.

Arrays are ``(*shape, T, B)``; a time axis of length 1 represents an input that is constant over the
steps. Parameters are (C,), or broadcast to the shape of the population.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.graph import Shape
from snn_compile.ir.models.answers import Interval
from snn_compile.ir.models.population import Population

VOLTAGE_LIMIT = (1 << 23) - 1
"""Loihi clips potentials to +-(2**23 - 1), symmetrically, although 24 bits hold one value more."""
WIDE = np.dtype(np.int64)
CACHED = 1 << 15
"""Values that several operations in turn find in the cache."""


def along_channels(values: npt.NDArray[np.int64], shape: Shape) -> npt.NDArray[np.int64]:
    """A parameter (C,), or one that broadcasts, as a view of the full shape."""
    if values.ndim == 1 and len(shape) > 1:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(values, shape)


def parameter(tensor: QTensor, population: Population, dtype: npt.DTypeLike = WIDE) -> Int:
    """A parameter as an array that broadcasts over the batch: (*shape, 1)."""
    values, shape = tensor.values, population.shape
    view = along_channels(values, shape)
    if values.ndim == 1 and len(shape) > 1:
        view = view[(slice(None), *[slice(0, 1)] * (len(shape) - 1))]
    spread: Int = view.astype(dtype)[..., None]
    return spread


def ends(tensor: QTensor, population: Population) -> Interval:
    """Smallest and largest value of a parameter in each channel."""
    flat = along_channels(tensor.values, population.shape).reshape(population.shape[0], -1)
    return Interval(flat.min(axis=1), flat.max(axis=1))


def saturation(format: QFormat) -> int:
    """The largest magnitude of a state that saturates."""
    return min(format.max, VOLTAGE_LIMIT)


def saturated(population: Population) -> Interval:
    """The whole range of a state that saturates, in each channel."""
    end = np.full(population.shape[0], saturation(population.state))
    return Interval(-end, end)


def saturate(v: Int, format: QFormat) -> None:
    """Clip a state to its format, in place."""
    limit = saturation(format)
    np.clip(v, -limit, limit, out=v)


def bound(v: Int, population: Population) -> None:
    """Saturate or wrap a state, as defined by the population, in place."""
    format = population.state
    if population.overflow is Overflow.SATURATE:
        saturate(v, format)
        return
    v -= format.min
    v &= (1 << format.bits) - 1
    v += format.min


def at_step(a: Int, t: int) -> Int:
    """The input of a step, (*shape, B), of one that may be constant over the steps."""
    step: Int = a[..., min(t, a.shape[-2] - 1), :]
    return step


def over_window(a: Int, n_steps: int) -> Int:
    """Sum of the input of a window, (*shape, B)."""
    total: Int = a.sum(axis=-2, dtype=np.int64) * (n_steps // a.shape[-2])
    return total


def broadcast_steps(values: Int, n_steps: int) -> Int:
    """One message (*shape, 1, B) broadcast to every step."""
    return np.broadcast_to(values, (*values.shape[:-2], n_steps, values.shape[-1]))


def toward_zero(x: Int) -> Int:
    """``x / 4096`` rounded toward zero, as Loihi's decay unit does."""
    result: Int = np.sign(x) * (np.abs(x) >> 12)
    return result


def leaky_step(
    states: tuple[Int, Int],
    arriving: Int,
    bias: tuple[Int, Int],
    decays: tuple[int, int],
    format: QFormat,
) -> tuple[Int, Int]:
    """Current and potential of Loihi's leaky neuron after a step, before it fires.

    Args:
        states: u and v before it, (*shape, B), in units of 2**-6 of the weight.
        arriving: summed input, in units of the weight.
        bias: what is added to u and to v.
        decays: du and dv.
        format: of v.
    """
    u: Int = toward_zero(states[0] * (4096 - (decays[0] + 1)))
    u = u + (arriving.astype(WIDE) << 6) + bias[0]
    u = np.where(u > 1 << 23, u - (1 << 24), u)
    u = np.where(u <= -(1 << 23), u + (1 << 24), u)
    v: Int = toward_zero(states[1] * (4096 - decays[1])) + u + bias[1]
    saturate(v, format)
    return u, v


def in_cache(x: Int, *others: Int) -> Iterator[tuple[Int, ...]]:
    """Parts of x, and of arrays that broadcast with it, that several operations find in the cache.

    They follow each other in memory, whatever the order of the axes.
    """
    axis = int(np.argmax(x.strides))
    arrays = [np.moveaxis(array, axis, 0) for array in (x, *others)]
    n = len(arrays[0])
    at_once = max(1, CACHED * n // max(x.size, 1))
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        yield tuple(array if len(array) == 1 else array[part] for array in arrays)


def requantize(
    population: Population, a: Int, multiplier: QTensor, shift: QTensor, payload: QFormat
) -> Int:
    """Payloads ``min((max(a + bias, 0) * multiplier) >> shift, payload.max)``, (*shape, T, B)."""
    answer = np.empty_like(a, WIDE)  # 23 bits of potential times a 12-bit multiplier
    parameters = (
        parameter(p, population)[..., None, :] for p in (population.bias, multiplier, shift)
    )
    for arrays in in_cache(a, answer, *parameters):
        part, v, bias, factor, places = arrays
        np.add(part, bias, out=v)
        bound(v, population)
        np.maximum(v, 0, out=v)
        v *= factor
        v >>= places
        np.minimum(v, payload.max, out=v)
    return answer


def on_lines(
    population: Population,
    a: Int,
    breakpoints: QTensor,
    multiplier: QTensor,
    offset: QTensor,
    shift: QTensor,
    ends: tuple[int, int],
) -> Int:
    """Payloads ``clip((V * multiplier[k] + offset[k]) >> shift[k], *ends)``, (*shape, T, B).

    ``V = a + bias``, and k is the number of the channel's breakpoints that V has reached.
    """
    v: Int = a.astype(WIDE) + parameter(population.bias, population)[..., None, :]
    bound(v, population)
    q = np.empty_like(v)
    for channel, steps in enumerate(v):
        line = np.searchsorted(breakpoints.values[channel], steps, side="right")
        q[channel] = steps * multiplier.values[channel][line]
        q[channel] += offset.values[channel][line]
        q[channel] >>= shift.values[channel][line]
    np.clip(q, *ends, out=q)
    return q


def unevenness(counts: Int, total: Int, threshold: Int, most: int) -> float:
    """Spikes more or less than if each neuron's drive had been even, as a share of all spikes.

    Args:
        counts: messages of the neurons in a window, (N, *shape).
        total: sum of their input in it, (N, *shape).
        threshold: (*shape).
        most: maximal number of spikes in a window.
    """
    even = np.clip(total // threshold, 0, most)
    return float(np.abs(counts - even).sum() / max(int(counts.sum()), 1))


def integrate(
    start: Interval, threshold: QTensor, drive: Interval, n_steps: int, most: int | None
) -> Interval:
    """Bounds of a potential that integrates its drive and is reset by spikes.

    Args:
        start: bounds of the potential before the first step.
        threshold: (C,).
        drive: bounds of the drive of a step.
        n_steps: length of the window.
        most: maximal number of spikes per step, each of which subtracts a threshold; None if a
            spike resets to zero.
    """
    theta = threshold.values
    left = np.maximum(start.high, theta - 1)
    if most is not None:
        left = left + (n_steps - 1) * np.maximum(drive.high - most * theta, 0)
    lowest = np.minimum(start.low, 0) + n_steps * np.minimum(drive.low, 0)
    return Interval(lowest, left + np.maximum(drive.high, 0))


def shift_misfits(shift: QTensor) -> Iterator[str]:
    """Defects of the shift of a product in int64."""
    if shift.values.size and not 0 <= shift.values.min() <= shift.values.max() <= 62:
        yield "its shift is out of range"


MULTIPLIER_BITS, OFFSET_BITS = 13, 48
"""Limits of a table's lines, sign included: products and sums stay exact in a double."""


def table_misfits(
    breakpoints: QTensor, multiplier: QTensor, offset: QTensor, shift: QTensor
) -> Iterator[str]:
    """Defects of a table of lines, (C, S) each and (C, S - 1) breakpoints."""
    shape = multiplier.shape
    if len(shape) != 2 or not shape[1] or {offset.shape, shift.shape} != {shape}:
        yield f"its lines have the shapes {shape}, {offset.shape} and {shift.shape}"
        return
    if breakpoints.shape != (shape[0], shape[1] - 1):
        yield f"its {shape[1]} lines have breakpoints of the shape {breakpoints.shape}"
    elif (np.diff(breakpoints.values, axis=1) < 0).any():
        yield "its breakpoints do not ascend"
    for name, tensor, bits in (
        ("multipliers", multiplier, MULTIPLIER_BITS),
        ("offsets", offset, OFFSET_BITS),
    ):
        if np.abs(tensor.values).max(initial=0) >> (bits - 1):
            yield f"its {name} have more than {bits} bits"
    yield from shift_misfits(shift)
