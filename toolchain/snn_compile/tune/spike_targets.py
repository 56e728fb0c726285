"""Spike trains as targets: the output population, and distances from target trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UnsupportedError, UsageError
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.samples.arrays import read_npz
from snn_compile.samples.named import ArraysLike
from snn_compile.sim import engine
from snn_compile.tune.network import Network
from snn_compile.tune.trainer import HeldOutAccuracy, TrainingData

Array = npt.NDArray[np.float64]
MEASURE = "van Rossum correlation"
"""Name in the report of the measure for spike trains."""
MAX_COUNTED = 4096
"""Most outputs whose wiring is examined."""


def target_spikes(
    compiled: CompiledModel, train: Path | tuple[ArraysLike, npt.NDArray[Any] | None]
) -> npt.NDArray[np.int64] | None:
    """Target spike trains instead of labels, (N, T, outputs); None without them.

    Args:
        compiled: the network.
        train: an npz file with the array ``spikes``, or the samples and the trains.

    Raises:
        UsageError: they do not fit the samples, the window or the outputs, or are no spikes.
    """
    if isinstance(train, Path):
        first = compiled.program.inputs[0].id
        arrays, source = read_npz(train, ("spikes",), first), str(train)
        trains, n = arrays.get("spikes"), len(arrays["x"])
    else:
        x = next(iter(train[0].values())) if isinstance(train[0], Mapping) else train[0]
        trains, n, source = train[1], len(np.asarray(x)), "spikes"
        if trains is not None and np.ndim(trains) == 1:
            return None
    if trains is None:
        return None
    (decoding, *_), n_steps = compiled.decodings.values(), compiled.program.window.n_steps
    expected = (n, n_steps, int(np.prod(decoding.shape)))
    trains = np.asarray(trains)
    if trains.shape != expected:
        raise UsageError(
            f"the spikes have the shape {trains.shape}, but must have {expected}:"
            " samples, time steps, outputs",
            code="bad-spikes",
            origin=Origin(source),
            hint="one train for each output neuron, as long as the window",
        )
    if trains.dtype.kind not in "biuf" or not np.isin(trains, (0, 1)).all():
        raise UsageError(
            "spikes are 0 or 1", code="bad-spikes", origin=Origin(source), hint="store x > 0"
        )
    return trains.astype(np.int64)


def judged_spikes(
    program: QuantizedGraph, data: TrainingData, output: NodeId, tau: float
) -> HeldOutAccuracy:
    """Match of a program's output spikes with target trains, on the bit-accurate simulator.

    Args:
        program: the network.
        data: inputs, and trains as their labels.
        output: the readout that counts the spikes.
        tau: time constant in steps.

    Returns:
        As ``top1`` the mean :func:`correlation` in percent, as ``loss`` the mean of
        :func:`van_rossum_loss` over the samples.
    """
    from scipy.signal import lfilter  # slow to import

    run = engine.run(program, data.frames, record=True)
    counts = run.messages[output].reshape(data.labels.shape)
    sent = np.diff(counts, axis=1, prepend=0)
    sent = np.moveaxis(sent != 0, 1, -1).astype(np.float64)
    targets = np.moveaxis(data.labels, 1, -1).astype(np.float64)
    keep = keep_of(tau)
    apart = lfilter([1 - keep], [1.0, -keep], sent - targets, axis=-1)
    loss = float((apart**2).sum() / 2 / len(sent))
    likeness = 100 * float(correlation(sent, targets, tau).mean())
    return HeldOutAccuracy(likeness, loss, merit=likeness)


def keep_of(tau: float) -> float:
    """Decay factor of an exponential filter with a time constant of tau steps: ``1 - 1/tau``."""
    return 1 - 1 / tau


def output_spikes(network: Network, output: NodeId) -> NodeId:
    """The population whose spikes a readout counts, one neuron for each of its values.

    Raises:
        UnsupportedError: the readout is not a spike count.
    """
    layer = network.layers[output]
    n = int(np.prod(layer.node.shape))
    if len(layer.groups) == 1 and n <= MAX_COUNTED:
        group = layer.groups[0]
        source = network.layers.get(group.node.inputs[0])
        if source is not None and int(np.prod(source.node.shape)) == n:
            each = torch.eye(n, dtype=network.dtype, device=network.device)
            with torch.no_grad():
                sums = group(each.reshape(1, n, *source.node.shape)).reshape(n, n)
            if torch.equal(sums.to(each), each * sums[0, 0]) and float(sums[0, 0]) > 0:
                return source.node.id
    raise UnsupportedError(
        "spike trains are the targets, but the outputs of the network are not spike counts",
        code="tune-output",
        origin=layer.node.origin,
        hint="use a network that ends in spiking neurons (a NIR file), or labels y instead",
    )


def steps_first(trains: Tensor, like: Tensor) -> Tensor:
    """Target spikes (B, T, outputs) as (T, B, outputs) in another tensor's type."""
    return trains.movedim(1, 0).to(like)


def van_rossum_loss(spikes: Tensor, targets: Tensor, keep: float) -> Tensor:
    """``1/2 * sum over t of (a[t] - d[t])**2``, summed over outputs, averaged over samples.

    With a the spikes after the filter ``a[t] = keep * a[t-1] + (1 - keep) * s[t]``, and d the
    target spikes after it.

    Args:
        spikes: (T, B, outputs).
        targets: the same.
        keep: of the filter.
    """
    p, total = torch.zeros_like(spikes[0]), spikes.new_zeros(())
    for difference in (spikes - targets).unbind(0):
        p = keep * p + (1 - keep) * difference
        total = total + (p**2).sum() / 2
    return total / spikes.shape[1]


def correlation(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic], tau: float) -> Array:
    """Correlation of spike trains: the cosine of the angle between them, after a filter.

    The filter is that of van Rossum (2001), a decaying exponential; the measure is that of
    Schreiber et al. (2003) with this filter instead of a Gaussian. 1 for equal trains, 0 for
    orthogonal ones; two empty trains are equal.

    Args:
        a: (..., T).
        b: the same.
        tau: time constant in steps.

    Returns:
        (...), from 0 to 1.
    """
    from scipy.signal import lfilter  # slow to import

    decay = float(np.exp(-1 / tau))
    f, g = (lfilter([1.0], [1.0, -decay], x.astype(np.float64), axis=-1) for x in (a, b))
    # After the last step the filter decays: that part of the integral has a closed form.
    rest = decay**2 / (1 - decay**2)

    def inner(x: Array, y: Array) -> Array:
        product: Array = (x * y).sum(axis=-1) + rest * x[..., -1] * y[..., -1]
        return product

    norms = np.sqrt(inner(f, f) * inner(g, g))
    both_empty = (inner(f, f) == 0) & (inner(g, g) == 0)
    cosine = np.divide(inner(f, g), norms, out=np.zeros_like(norms), where=norms > 0)
    return np.where(both_empty, 1.0, cosine)
