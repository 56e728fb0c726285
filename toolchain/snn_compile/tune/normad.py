"""NormAD: spike times of the outputs, by normalized changes of weights (``spatio_temporal.py``).

The papers' neuron has a synapse with two exponentials and a refractory period. The neuron trained
here is the chip's: one exponential, no refractory period, in integers. The rule's filters are
those of each population's own current and membrane. Errors come from spikes of the fixed-point
network; changes go to the real weights behind the integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import CubaLIFNeurons, Input, SparseSynapses
from snn_compile.tune import neurons
from snn_compile.tune.layers import Layer
from snn_compile.tune.method import Batch, Steps, Task
from snn_compile.tune.neurons import Answer
from snn_compile.tune.spatio_temporal import Array, Stage, backpropagate_errors
from snn_compile.tune.spike_targets import keep_of, output_spikes, steps_first, van_rossum_loss

SHORTER = 10
"""How much shorter the rule takes the membrane's time constant to be than it is: 1 ms of 10 ms in
the papers. The rule neglects the reset, and a short memory limits the error of that."""


class NormalizedDescent:
    """Spike-time targets by NormAD; plain steps along its changes, whose size is their point.

    Args:
        task: the training task: a chain of leaky populations, each fed by the one before.

    Raises:
        UnsupportedError: a network of another structure; all violations at once.
    """

    name: ClassVar[str] = "normad"
    optimizer: ClassVar[Steps] = torch.optim.SGD

    def __init__(self, task: Task) -> None:
        self.task = task
        self.source = output_spikes(task.network, task.output)
        self.chain = _chain(task, self.source)
        self.keep = keep_of(task.options.spike_tau)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The method has no parameters."""
        return {}

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Normalizations, if there are any, become part of the thresholds: the rule has none."""
        for layer in self.chain:
            layer.fold()

    def project(self) -> None:
        """No parameters to project."""

    def facts(self) -> dict[str, Any]:
        """Nothing beside the options."""
        return {}

    def gradients(self, batch: Batch) -> float:
        """Leave the negative changes in ``.grad`` of the weights; the van Rossum loss."""
        with torch.no_grad():
            passed = self.task.network(
                batch.messages,
                self.respond,
                keep=True,
            )
        messages = {name: answer.messages for name, answer in passed.answers.items()}
        messages[self.task.network.single_step.input.id] = batch.messages
        sent = messages[self.source].flatten(2)
        wanted = steps_first(batch.labels, sent)
        stages = [self._stage(layer, messages) for layer in self.chain]
        shares = backpropagate_errors(stages, (wanted - sent).double().cpu().numpy())
        for layer, (error, response) in zip(self.chain, shares, strict=True):
            self._leave(layer, error, response)
        return float(van_rossum_loss(sent, wanted, self.keep))

    def respond(self, layer: Layer, a: Tensor, n_steps: int) -> Answer:
        """A population's response; the rule differentiates nothing."""
        return neurons.respond(layer, a, n_steps, _fires)

    def _stage(self, layer: Layer, messages: Mapping[NodeId, Tensor]) -> Stage:
        source = layer.groups[0].node.inputs[0]
        reaching = messages[source]
        n_steps = self.task.network.n_steps
        trains = reaching.expand(n_steps, *reaching.shape[1:]).flatten(2).double().cpu().numpy()
        shape = tuple(reaching.shape[2:])

        def back(error: Array) -> Array:
            given = torch.zeros(*error.shape[:2], *shape, dtype=layer.dtype, requires_grad=True)
            norm = _norm(layer).reshape(-1, *[1] * (len(layer.node.shape) - 1))
            pushed = self._cotangent(layer, error) / norm
            (found,) = torch.autograd.grad(
                layer.drive({source: given.to(layer.device)}), given, pushed
            )
            errors: Array = found.flatten(2).double().cpu().numpy()
            return errors

        return Stage(trains, _poles(layer), back)

    def _cotangent(self, layer: Layer, error: Array) -> Tensor:
        """Errors (T, B, neurons) for what the synapses of a layer sum up, in thresholds."""
        tensor = torch.tensor(error.copy(), dtype=layer.dtype, device=layer.device)
        return tensor.reshape(*error.shape[:2], *layer.node.shape) / layer.drive_steps

    def _leave(self, layer: Layer, error: Array, response: Array) -> None:
        """Leave a layer's changes, averaged over the samples, as negative gradients.

        The trainer's rate is a share of a typical weight. Times the root of the fan-in it is a
        share of a neuron's whole weight vector, which is what the rule's rate is.
        """
        (group,) = layer.groups
        fan_in = group.weight[0].numel()
        n_samples = error.shape[1]
        shape = self.task.network.single_step.graph[group.node.inputs[0]].shape
        given = torch.tensor(response, dtype=layer.dtype, device=layer.device)
        given = given.reshape(*response.shape[:2], *shape)
        drive = layer.drive({group.node.inputs[0]: given})
        drive.backward(self._cotangent(layer, error) * (-np.sqrt(fan_in) / n_samples))  # type: ignore[no-untyped-call,unused-ignore]


def _fires(z: Tensor) -> Tensor:
    return (z >= 0).to(z.dtype)


def _norm(layer: Layer) -> Tensor:
    """Of the weights of each neuron, (C,); 1 where there are none but 0."""
    (group,) = layer.groups
    norm = group.weight.detach().flatten(1).norm(dim=1).to(layer.dtype)
    return torch.where(norm > 0, norm, 1.0)


def _poles(layer: Layer) -> tuple[float, ...]:
    """Of the rule's filter: the current's, and the membrane's with a shorter memory."""
    node = layer.node
    if not isinstance(node, CubaLIFNeurons):
        raise TypeError(f"'{node.id}' is no leaky population")
    current, membrane = 4096 - (node.current_decay + 1), 4096 - node.voltage_decay
    return current / 4096, (membrane / 4096) ** SHORTER


def _chain(task: Task, last: NodeId) -> Sequence[Layer]:
    """The populations from the input to the one whose spikes are the output."""
    network = task.network
    raise_all([_further(given) for given in network.single_step.inputs[1:]])
    layers = [layer for name, layer in network.layers.items() if name != task.output]
    before = network.single_step.input.id
    complaints: list[CompileError] = []
    for layer in layers:
        if (why := _refused(layer, before)) is not None:
            complaints.append(
                UnsupportedError(
                    f"layer '{layer.node.id}' {why}",
                    code="tune-neurons",
                    origin=layer.node.origin,
                    hint="normad trains chains of leaky neurons; --method na trains more",
                )
            )
        before = layer.node.id
    raise_all(complaints)
    if before != last:
        raise TypeError(f"'{before}' is downstream of the outputs '{last}'")
    return layers


def _further(given: Input) -> CompileError:
    return UnsupportedError(
        f"'{given.id}' is a further input, and normad trains chains with a single one",
        code="several-inputs",
        origin=given.origin,
        hint="use --method na or psg",
    )


def _refused(layer: Layer, before: NodeId) -> str | None:
    """Why the rule cannot train a layer of the chain; None if it can."""
    node = layer.node
    if not isinstance(node, CubaLIFNeurons):
        return "has no leaky neurons"
    if node.voltage_decay == 0:
        return "has no leak: the rule needs a leaky membrane"
    if len(layer.groups) != 1 or layer.groups[0].node.inputs != (before,):
        return "has other sources than the previous layer"
    if isinstance(layer.groups[0].node, SparseSynapses):
        return "has sparse synapses, which training does not support"
    return None
