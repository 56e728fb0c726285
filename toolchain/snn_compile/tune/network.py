"""The fixed-point network in training: its forward pass is the deployed arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from snn_compile.errors import CapacityError, CompileError, raise_all
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    Population,
    QuantizedGraph,
    QuantizedNode,
)
from snn_compile.ir.schedule import integer_network, is_scheduled, schedule
from snn_compile.ir.serialize import array_hashes, dump_program
from snn_compile.ir.spiking import Float
from snn_compile.sim import bounds, reference
from snn_compile.tune.layers import Layer, unit_of
from snn_compile.tune.neurons import Answer, Respond, untrainable
from snn_compile.tune.normalization import Normalization
from snn_compile.tune.synapses import Group

STATE_BITS = 24
ROUNDS = 40
"""Most shrinking steps until a potential fits."""


@dataclass(frozen=True)
class ForwardResult:
    """A forward pass.

    Attributes:
        outputs: last potential of each readout, (B, *shape), in steps of it.
        answers: response of every population, if kept.
    """

    outputs: dict[NodeId, Tensor]
    answers: dict[NodeId, Answer] = field(default_factory=dict)


class Network:
    """A program with real parameters, projected onto its integer grid in every forward pass.

    The forward pass computes the integers of the reference simulator: exactly in float64, and in
    float32 wherever that holds them, which ``Group`` sees to for sums and the 24-bit states do by
    themselves. ``sync``, ``radix`` and ``sigma-delta`` networks are trained as the integer network
    that they spread over time (``ir/schedule.py``).

    Args:
        program: the network.
        units: real value of one step of each readout's potential, (C,).
        dtype: float32 or float64.
        device: as torch names it.
        state_bits: that potentials may take.
        in_stock_neurons: whether thresholds and biases have to stay inside their registers.

    Attributes:
        program: the initial network.
        layers: by population, in topological order.

    Raises:
        UnsupportedError: neurons without training support; all layers at once.
        CapacityError: the program's potentials could leave their format: it cannot be trained
            exactly.
    """

    def __init__(
        self,
        program: QuantizedGraph,
        units: Mapping[NodeId, Float],
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        state_bits: int = STATE_BITS,
        in_stock_neurons: bool = False,
    ) -> None:
        self.program = program
        self.single_step = integer_network(program)
        self.n_steps = self.single_step.window.n_steps
        self.dtype = dtype
        self.device = torch.device(device)
        self.state_bits = state_bits
        self.in_stock_neurons = in_stock_neurons
        raise_all([untrainable(p) for p in self.single_step.populations if p.trained is None])
        raise_all([self._overflow(p) for p in self.single_step.populations if self._over(p).any()])
        self.layers = {p.id: self._layer(p, units) for p in self.single_step.populations}

    def _layer(self, node: Population, units: Mapping[NodeId, Float]) -> Layer:
        of_readout = np.broadcast_to(1 / units.get(node.id, np.ones(1)), node.shape[:1])
        unit = unit_of(node, of_readout)
        weight_unit = unit / 2**node.bits_below_weights
        graph = self.single_step.graph
        groups = tuple(
            Group(
                group,
                weight_unit,
                max(map(abs, bounds.message_range(graph, group))),
                self.dtype,
                self.device,
            )
            for group in self.single_step.synapses_into(node)
        )
        return Layer(
            node,
            unit,
            groups,
            self.dtype,
            self.device,
            in_stock_neurons=self.in_stock_neurons,
        )

    def parameters(self) -> dict[str, Tensor]:
        """All trained parameters, by a stable name: leaves that require a gradient."""
        found: dict[str, Tensor] = {}
        for layer in self.layers.values():
            if not layer.trained:
                continue
            found |= {f"{layer.node.id}:{name}": layer.parameters[name] for name in layer.trained}
            found |= {
                f"{group.node.id}:weight": group.weight
                for group in layer.groups
                if group.is_trained
            }
        for name, normalization in self._normalizations():
            found |= {f"{name}:gamma": normalization.gamma, f"{name}:beta": normalization.beta}
        return {name: tensor.requires_grad_() for name, tensor in found.items()}

    def _normalizations(self) -> Iterator[tuple[NodeId, Normalization]]:
        for name, layer in self.layers.items():
            if layer.normalization is not None:
                yield name, layer.normalization

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors that training changes."""
        found = self.parameters()
        for name, layer in self.layers.items():  # folding changes what is not trained, too
            found |= {f"{name}:{key}": value for key, value in layer.parameters.items()}
        for name, normalization in self._normalizations():
            found |= {f"{name}:{key}": value for key, value in normalization.tensors().items()}
        return found

    def state(self) -> dict[str, Tensor]:
        """A copy of all tensors that training changes."""
        return {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of ``state``."""
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state[name])

    def identity(self) -> str:
        """A hash of the initial program."""
        description, arrays = dump_program(self.program)
        return hashlib.sha256(repr((description, array_hashes(arrays))).encode()).hexdigest()

    def messages(self, frames: Int, first: int = 0) -> Tensor:
        """Host messages for encoded frames (N, *maps), (T or 1, N, *sample shape).

        ``first`` decides the Poisson draws, as in the reference simulator.
        """
        inputs = self.single_step.inputs
        sent = reference.encode_inputs(inputs, frames, self.n_steps, first)
        return torch.tensor(np.moveaxis(sent, 1, 0), dtype=self.dtype, device=self.device)

    def __call__(self, messages: Tensor, respond: Respond, *, keep: bool = False) -> ForwardResult:
        """Run the network on messages of the input.

        Args:
            messages: (T or 1, B, *sample shape).
            respond: response of populations; a training method supplies its gradients.
            keep: whether to keep every population's response.
        """
        values = self.single_step.inputs.split(messages, 2)
        outputs: dict[NodeId, Tensor] = {}
        answers: dict[NodeId, Answer] = {}
        for name, layer in self.layers.items():
            answer = respond(layer, layer.drive(values), self.n_steps)
            values[name] = answer.messages
            if keep:
                answers[name] = answer
        for node in self.single_step.readouts:
            outputs[node.id] = values[node.id][-1]
        return ForwardResult(outputs, answers)

    def tuned(self) -> QuantizedGraph:
        """The program with the current integers, with the schedule of the initial one."""
        nodes: list[QuantizedNode] = [*self.single_step.inputs]
        for layer in self.layers.values():
            nodes += [group.tuned() for group in layer.groups]
            nodes.append(layer.tuned())
        at_once = QuantizedGraph(Graph(nodes), self.single_step.window)
        return schedule(at_once, self.program.window) if is_scheduled(self.program) else at_once

    def confine(self) -> None:
        """Shrink the channels whose potential could leave the state, until none can.

        The projection of projected gradient descent: weights, bias and initial potential of such a
        channel are scaled down together, by what the static bound is over; and the threshold with
        them where it takes up most of the state by itself, as conversion leaves those of dead
        channels. Other thresholds stay, so that weights keep their range on the grid: scaling these
        as well made trainings of spike times worse.

        Raises:
            CapacityError: shrinking does not suffice; all offending layers at once.
        """
        errors: list[CompileError] = []
        for name, layer in self.layers.items():
            for _ in range(ROUNDS):
                over = self._over(layer.tuned(), layer)
                if not over.any():
                    break
                self._shrink(layer, over)
            else:
                errors.append(self._overflow(self.layers[name].tuned()))
        raise_all(errors)

    def _over(self, node: Population, layer: Layer | None = None) -> Float:
        """By how much the bound of each channel exceeds the state, (C,); 0 where it does not."""
        graph = self.single_step.graph
        if layer is not None:
            graph = graph.edit(replaced=[*(g.tuned() for g in layer.groups), node])
        interval = bounds.states(graph, node, self.n_steps)
        magnitude = np.maximum(-interval.low, interval.high)
        limit = self._limit(node)
        return np.where(magnitude > limit, magnitude / limit, 0.0)

    def _limit(self, node: Population) -> int:
        most = min(node.state.max, (1 << (self.state_bits - 1)) - 1)
        return min(VOLTAGE_LIMIT, most << node.bits_below_weights)

    def _shrink(self, layer: Layer, over: Float) -> None:
        shrink = torch.tensor(np.where(over > 0, 0.999 / np.maximum(over, 1), 1.0))
        with torch.no_grad():
            # Where a normalization is folded later, it takes the factor to everything else.
            for name in layer.trained if layer.normalizing is None else ():
                values = layer.parameters[name]
                if name != "threshold":
                    values *= _along(shrink, values)
                elif _can_shrink_threshold(layer):
                    blocks = layer.threshold_steps > self._limit(layer.node) / 2
                    values *= torch.where(blocks, _along(shrink, values), 1.0)
                else:
                    values.clamp_(max=self._limit(layer.node) / float(layer.steps.max()))
            for group in layer.groups:
                if group.is_trained:
                    group.scale_channels(shrink)
            if layer.normalization is not None:
                layer.normalization.rescale(_along(shrink, layer.normalization.mean))

    def _overflow(self, node: Population) -> CompileError:
        return CapacityError(
            f"the potential of layer '{node.id}' could leave its {self.state_bits} bits",
            code="state-overflow",
            origin=node.origin,
            hint="compile again with fewer time steps, or tune with a smaller --learning-rate",
        )


def _can_shrink_threshold(layer: Layer) -> bool:
    """Whether each channel has its own threshold, and no fixed parameter is relative to it."""
    per_channel = layer.parameters["threshold"].shape[0] == layer.node.shape[0]
    return per_channel and getattr(layer.node, "drop", None) is None


def _along(shrink: Tensor, like: Tensor) -> Tensor:
    """Factors per channel for a parameter (C, ...)."""
    return shrink.to(like).reshape(-1, *[1] * (like.ndim - 1))
