"""A compiled network as modules of torch: what NeuroBench's harness looks into.

Nothing is simulated here. Every message is the bit-accurate simulator's; the modules are shown the
messages, with the integer weights of the network, so that the harness can count.
"""

from __future__ import annotations

from dataclasses import fields
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional

from snn_compile.bundle import CompiledModel
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Neurons,
    Population,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.neurobench.table import bytes_of
from snn_compile.sim import engine, reference

TYPES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def stored(tensor: QTensor) -> torch.Tensor:
    """A tensor in the narrowest type of torch that holds its format."""
    return torch.tensor(np.array(tensor.values)).to(TYPES[bytes_of(tensor.format)])


def _frozen(tensor: QTensor) -> nn.Parameter:
    return nn.Parameter(stored(tensor), requires_grad=False)


class Convolution(nn.Conv2d):
    """``ConvSynapses``; the harness knows it as a ``Conv2d``. Messages are (N, C, H, W)."""

    def __init__(self, group: ConvSynapses) -> None:
        n_out, per_group, *kernel = group.weight.values.shape
        form = group.geometry
        given = {"stride": form.stride, "dilation": form.dilation, "groups": form.groups}
        n_in = per_group * form.groups
        super().__init__(n_in, n_out, tuple(kernel), bias=False, device="meta", **given)
        self.weight = _frozen(group.weight)
        top, left, bottom, right = form.padding
        self.margins = (left, right, top, bottom)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of weighted messages, exact in float64."""
        padded = functional.pad(x, self.margins)
        return functional.conv2d(
            padded, self.weight.to(x.dtype), None, self.stride, 0, self.dilation, self.groups
        )


class Dense(nn.Linear):
    """``DenseSynapses``; the harness knows it as a ``Linear``. Messages are (N, ...)."""

    def __init__(self, group: DenseSynapses, source: Shape) -> None:
        super().__init__(prod(source), prod(group.shape), bias=False, device="meta")
        self.weight = _frozen(group.weight)
        self.matrix = (prod(group.shape), prod(source))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of weighted messages, exact in float64."""
        return functional.linear(x.flatten(1), self.weight.to(x.dtype).reshape(self.matrix))


class Sparse(nn.Linear):
    """``SparseSynapses``; the harness knows it as a ``Linear`` with the weights that there are.

    Where they are is a part of the footprint: two buffers.
    """

    def __init__(self, group: SparseSynapses, source: Shape) -> None:
        super().__init__(prod(source), prod(group.shape), bias=False, device="meta")
        self.weight = _frozen(group.weight)
        self.matrix = (prod(group.shape), prod(source))
        self.register_buffer("starts", torch.tensor(group.indptr, dtype=torch.int32))
        self.register_buffer("sources", torch.tensor(group.indices, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of weighted messages, exact in float64."""
        stored_rows = (self.weight.numpy(), self.sources.numpy(), self.starts.numpy())
        matrix = sparse.csr_array(stored_rows, self.matrix, dtype=np.float64)
        return torch.from_numpy((matrix @ x.flatten(1).numpy().T).T)


class Messages(nn.Module):
    """A population: hands on what its neurons send. Its parameters are buffers."""

    def __init__(self, node: Population) -> None:
        super().__init__()
        self.layer = str(node.id)
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, QTensor):
                self.register_buffer(f"stored_{field.name}", stored(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The messages themselves."""
        return x


class Readout(Messages):
    """A readout, which sends nothing and is no activation."""


def synapses(group: Synapses, source: Shape) -> nn.Module:
    """The module of a group of synapses whose source has this shape."""
    match group:
        case ConvSynapses():
            return Convolution(group)
        case DenseSynapses():
            return Dense(group, source)
        case SparseSynapses():
            return Sparse(group, source)


class Network(nn.Module):
    """A compiled network that answers with the bit-accurate simulator.

    Samples follow each other as in an evaluation: the draws of Poisson spikes, and what
    sigma-delta neurons remember, go on from batch to batch until ``restart``.

    Attributes:
        compiled: the network.
        activity: messages other than 0 of each neuron so far, of the inputs, too.
        n_samples: samples so far.
    """

    def __init__(self, compiled: CompiledModel) -> None:
        super().__init__()
        self.compiled = compiled
        graph = compiled.program.graph
        groups = [node for node in graph if isinstance(node, Synapses)]
        self.sources = [group.inputs[0] for group in groups]
        self.synapses = nn.ModuleList(
            synapses(group, graph[group.inputs[0]].shape) for group in groups
        )
        self.populations = nn.ModuleList(
            Messages(node) if isinstance(node, Neurons) else Readout(node)
            for node in compiled.program.populations
        )
        self.senders = {
            NodeId(module.layer): module
            for module in self.populations
            if not isinstance(module, Readout)
        }
        self.restart()

    def restart(self) -> None:
        """Begin again with the first sample."""
        self.activity: dict[NodeId, Int] = {}
        self.n_samples = 0
        self._before: Int | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first output for samples (N, *sample shape), as ``CompiledModel.run`` gives it.

        Every module is called once, with the messages of all steps: (N T, *shape), float64.
        """
        compiled, program = self.compiled, self.compiled.program
        frames = compiled.encoding(x.numpy())
        run = engine.run(program, frames, first=self.n_samples, before=self._before, record=True)
        sent = {**run.messages, **self._arriving(frames)}
        shown = {name: _steps(sent[name]) for name in {*self.sources, *self.senders}}
        for source, module in zip(self.sources, self.synapses, strict=True):
            module(shown[source])
        for name, module in self.senders.items():
            module(shown[name])
        for name, counts in run.activity.items():
            self.activity[name] = self.activity.get(name, 0) + counts
        self.n_samples += len(frames)
        self._before = frames[-1]
        name, decode = next(iter(compiled.decodings.items()))
        return torch.from_numpy(decode(run.outputs[name]))

    def _arriving(self, frames: Int) -> dict[NodeId, Int]:
        """Messages of each input, (N, T, *shape)."""
        program, n = self.compiled.program, len(frames)
        first = self.n_samples
        if self._before is not None and program.input_coding is InputCoding.CHANGES:
            frames = np.concatenate([self._before[None], frames])
        messages = reference.input_messages(program, frames, first=first)[-n:]
        return dict(program.inputs.split(messages, 2))


def _steps(messages: npt.NDArray[Any]) -> torch.Tensor:
    """(N, T, *shape) as (N T, *shape), in float64, where sums of integers are exact."""
    return torch.from_numpy(messages.reshape(-1, *messages.shape[2:]).astype(np.float64))
