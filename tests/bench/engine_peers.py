"""The same network in torch, spikingjelly and snnTorch: what ``engine.py`` compares with.

All of them compute a layer for the whole window before the next one, in float32, without
gradients; what differs is the neuron: an in-place loop (torch), each library's own class
elsewhere. Float arithmetic is exact for these integers below 2**24, so spikes can be compared
with ``==`` as long as thresholds are not scaled (spikingjelly takes one threshold a layer, so that
a layer with several is divided by them) and payloads are binary. Libraries are imported where they
are used; what is not installed is named by ``missing``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Population,
    QuantizedGraph,
    Readout,
    Synapses,
    along_channels,
)
from snn_compile.ir.spiking import Reset

Array = npt.NDArray[Any]
Tensor = Any
Neuron = Callable[[Tensor, int], Tensor]
PACKAGES = {"torch": "torch", "spikingjelly": "spikingjelly", "snntorch": "snntorch"}


class UnsupportedByPeerError(Exception):
    """A peer has no form for a part of the network."""


def missing(peer: str) -> str | None:
    """Why a peer cannot run, None if it can."""
    for package in dict.fromkeys(("torch", PACKAGES[peer])):
        try:
            version(package)
            __import__(package)
        except (ImportError, PackageNotFoundError) as error:
            return f"{package} is not installed ({error})"
    return None


def versions() -> dict[str, str]:
    """Installed versions of the peers' packages."""
    found = {}
    for package in dict.fromkeys(PACKAGES.values()):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


@dataclass(frozen=True)
class Variant:
    """A way to run a peer: the form of its neurons and the order of an image's axes in memory."""

    neuron: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.neuron}, {'NHWC' if self.channels_last else 'NCHW'}"


NEURONS: dict[str, tuple[str, ...]] = {
    "torch": ("in-place loop",),
    "spikingjelly": ("IFNode", "SimpleIFNode"),
    "snntorch": ("Leaky",),
}


def variants(peer: str, program: QuantizedGraph) -> list[Variant]:
    """The variants of a peer that make sense for a network."""
    convolves = any(isinstance(node, ConvSynapses) for node in program.graph)
    orders = (False, True) if convolves else (False,)
    return [Variant(neuron, last) for neuron in _neurons_of(peer) for last in orders]


def _neurons_of(peer: str) -> tuple[str, ...]:
    """The forms of its neurons that the installed version of a peer has."""
    if peer != "spikingjelly":
        return NEURONS[peer]
    from spikingjelly.activation_based import neuron

    return tuple(name for name in NEURONS[peer] if hasattr(neuron, name))


class PeerNetwork:
    """A program as torch modules.

    Args:
        program: the network.
        peer: whose neurons to use.
        variant: how.
    """

    def __init__(self, program: QuantizedGraph, peer: str, variant: Variant) -> None:
        self.program = program
        self.channels_last = variant.channels_last
        self.neurons: dict[NodeId, Neuron] = {}
        self.synapses: dict[NodeId, Callable[[Tensor], Tensor]] = {}
        for population in program.populations:
            scale = np.ones(population.shape[0])
            if isinstance(population, IFNeurons):
                if peer == "spikingjelly" and len(np.unique(population.threshold.values)) > 1:
                    scale = 1 / population.threshold.values
                self.neurons[population.id] = _if_neurons(population, peer, variant.neuron, scale)
            elif isinstance(population, GradedNeurons):
                if peer != "torch":
                    raise UnsupportedByPeerError(f"{peer} has no graded neurons")
                self.neurons[population.id] = _graded(population)
            for index, synapses in enumerate(program.synapses_into(population)):
                bias = population.bias.values if index == 0 else np.zeros(1, np.int64)
                self.synapses[synapses.id] = self._module(synapses, bias, scale)

    def _module(self, node: Synapses, bias: Array, scale: Array) -> Callable[[Tensor], Tensor]:
        """A synapse group of (T, B, *shape), with its population's bias, times a scale."""
        shift = 2.0**node.exponent
        rows = scale if node.exponent >= 0 else np.ones(1)  # or after the floor
        weight = node.weight.values * rows.reshape(-1, *[1] * (node.weight.values.ndim - 1))
        added: Array = along_channels(bias, node.shape) * _channelwise(scale, node.shape)
        same = bool((added == added[:, :1, :1]).all()) if added.ndim == 3 else False
        if node.exponent >= 0:
            inside = added[:, 0, 0] if same and added.any() else None
            linear = self._linear(node, weight * shift, inside)
            rest = _tensor(added) if added.any() and not same else None

            def run(x: Tensor) -> Tensor:
                y = linear(x.flatten(0, 1)).unflatten(0, x.shape[:2])
                return y if rest is None else y.add_(rest)

            return run
        linear = self._linear(node, weight, None)
        factor, rest = _tensor(_channelwise(scale, node.shape)), _tensor(added)

        def floored(x: Tensor) -> Tensor:
            y = linear(x.flatten(0, 1)).mul_(shift).floor_()
            return y.mul_(factor).add_(rest).unflatten(0, x.shape[:2])

        return floored

    def _linear(
        self, node: Synapses, weight: Array, bias: Array | None
    ) -> Callable[[Tensor], Tensor]:
        import torch
        from torch.nn import functional

        w, b = _tensor(weight), None if bias is None else _tensor(bias)
        match node:
            case DenseSynapses():
                return lambda x: functional.linear(x.flatten(1), w, b).unflatten(1, node.shape)
            case ConvSynapses():
                geometry = node.geometry
                top, left, bottom, right = geometry.padding
                if self.channels_last:
                    w = w.to(memory_format=torch.channels_last)
                even = (top, left) == (bottom, right)
                padding = (top, left) if even else (0, 0)
                options = (geometry.stride, padding, geometry.dilation, geometry.groups)

                def convolve(x: Tensor) -> Tensor:
                    x = x if even else functional.pad(x, (left, right, top, bottom))
                    return functional.conv2d(x, w, b, *options)

                return convolve
        raise UnsupportedByPeerError(f"no torch form for {type(node).__name__}")

    def prepare(self, messages: Any) -> Tensor:
        """Messages (N, T or 1, *shape) as the tensor that a run takes."""
        import torch

        x = torch.tensor(np.moveaxis(messages, 1, 0), dtype=torch.float32)
        if self.channels_last:
            flat = x.flatten(0, 1).to(memory_format=torch.channels_last)
            return flat.unflatten(0, x.shape[:2])
        return x.contiguous()

    def __call__(self, x: Tensor, counts: dict[NodeId, int] | None = None) -> dict[NodeId, Tensor]:
        """The potential of every readout at the last step; counts spikes if asked to."""
        program, n_steps = self.program, self.program.window.n_steps
        values = {program.input.id: x}
        readers = {node.id: len(program.graph.consumers(node.id)) for node in program.graph}
        outputs = {}
        for population in program.populations:
            a = self._current(population, values, readers)
            if isinstance(population, Readout):
                total = a.sum(0) if len(a) > 1 else a[0] * n_steps
                outputs[population.id] = total
                continue
            answer = self.neurons[population.id](a, n_steps)
            del a
            values[population.id] = answer
            if counts is not None:
                active = int((answer != 0).sum())
                counts[population.id] = active * (n_steps // len(answer))
        return outputs

    def _current(
        self, population: Population, values: dict[NodeId, Tensor], readers: dict[NodeId, int]
    ) -> Tensor:
        total = None
        for synapses in self.program.synapses_into(population):
            source = synapses.inputs[0]
            part = self.synapses[synapses.id](values[source])
            if total is None:
                total = part
            else:  # one of them may stand for all steps
                total = total.add_(part) if len(total) >= len(part) else part.add_(total)
            readers[source] -= 1
            if not readers[source]:
                del values[source]
        return total


def _tensor(values: Array) -> Tensor:
    import torch

    return torch.tensor(values, dtype=torch.float32)


def _channelwise(values: Array, shape: tuple[int, ...]) -> Array:
    """(C,) as an array that broadcasts over a population's shape."""
    return values.reshape(-1, *[1] * (len(shape) - 1))


def _parameter(values: Array, population: Population) -> Any:
    """A parameter that broadcasts over (B, *shape), a float if it is the same everywhere."""
    if len(np.unique(values)) == 1:
        return float(values.flat[0])
    return _tensor(_channelwise(values, population.shape) if values.ndim == 1 else values)


def _if_neurons(population: IFNeurons, peer: str, neuron: str, scale: Array) -> Neuron:
    if population.reset is not Reset.SUBTRACT:
        raise UnsupportedByPeerError("only reset by subtraction is measured")
    threshold = _parameter(population.threshold.values * scale, population)
    initial = _parameter(population.initial_potential.values * scale, population)
    if peer == "spikingjelly":
        return _spikingjelly(neuron, 1.0 if (scale != 1).any() else threshold, initial)
    return _snntorch(threshold, initial) if peer == "snntorch" else _loop(threshold, initial)


def _loop(threshold: Any, initial: Any) -> Neuron:
    """Integrate and fire with one buffer for the potential and one for all spikes."""
    import torch

    def run(a: Tensor, n_steps: int) -> Tensor:
        v = torch.zeros_like(a[0]).add_(initial)
        shape = (n_steps * a.shape[1], *a.shape[2:])
        flat = a.flatten(0, 1)
        spikes = torch.empty(shape, memory_format=_format(flat)).unflatten(0, (n_steps, a.shape[1]))
        for t in range(n_steps):
            v += a[min(t, len(a) - 1)]
            torch.ge(v, threshold, out=spikes[t])
            if isinstance(threshold, float):
                v.sub_(spikes[t], alpha=threshold)
            else:
                v.addcmul_(spikes[t], threshold, value=-1)
        return spikes

    return run


def _format(x: Tensor) -> Any:
    import torch

    last = x.ndim == 4 and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _spikingjelly(name: str, threshold: float, initial: Any) -> Neuron:
    """spikingjelly's own neuron in multi-step mode."""
    from spikingjelly.activation_based import functional, neuron

    kind = getattr(neuron, name)
    node = kind(v_threshold=threshold, v_reset=None, step_mode="m").eval()

    def run(a: Tensor, n_steps: int) -> Tensor:
        functional.reset_net(node)
        if not isinstance(initial, float) or initial:
            node.v = a.new_zeros(a.shape[1:]) + initial
        return node(a if len(a) == n_steps else a.expand(n_steps, *a.shape[1:]))

    return run


def _snntorch(threshold: Any, initial: Any) -> Neuron:
    """snnTorch's Leaky without a leak.

    Its delayed reset is ours: what it holds is the potential before the reset. A spike function of
    our own, because it would fire above the threshold, not at it (and it is cheaper than ATan).
    """
    import snntorch
    import torch

    def fire(x: Tensor) -> Tensor:
        return (x >= 0).float()

    node = snntorch.Leaky(beta=1.0, threshold=threshold, spike_grad=fire).eval()

    def run(a: Tensor, n_steps: int) -> Tensor:
        v = torch.zeros_like(a[0]).add_(initial)
        spikes = []
        for t in range(n_steps):
            spike, v = node(a[min(t, len(a) - 1)], v)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def _graded(population: GradedNeurons) -> Neuron:
    """Requantization in float32: the product may round another way than 35-bit integers."""
    factor = _parameter(population.multiplier.values / 2.0**population.shift.values, population)
    largest = float(population.payload.max)

    def run(a: Tensor, n_steps: int) -> Tensor:
        return a.clamp_(min=0).mul_(factor).floor_().clamp_(max=largest)

    return run
