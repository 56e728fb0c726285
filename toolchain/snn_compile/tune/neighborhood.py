"""Neighborhood aggregation (Yang, Zhang and Li 2021): gradients from spike trains one flip away.

``flips.py`` has the equations. What is done differently from the paper: neurons are those of the
compiled network, in integers, with their synaptic filter at the receiver (for a linear filter the
same thing as at the sender); the loss may be the cross entropy of a readout; distances below
``smallest_width`` count as that; and where spike trains are the target, the differences are exact
and distances above one threshold count as one (``Membrane.reach``). The gradients of hidden layers
are rescaled as in the authors' code only if asked for (``flips.Rescaling``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons, Readout
from snn_compile.ir.spiking import Reset
from snn_compile.tune import neurons
from snn_compile.tune.flips import Membrane, Rescaling, VanRossum, fire
from snn_compile.tune.grid import truncate_ste
from snn_compile.tune.layers import LEAKY_BITS, Layer
from snn_compile.tune.method import Batch, Steps, Task
from snn_compile.tune.neurons import Answer
from snn_compile.tune.psg import classification
from snn_compile.tune.scratch import fold
from snn_compile.tune.spike_targets import keep_of, output_spikes, steps_first, van_rossum_loss


class NeighborhoodAggregation:
    """Cross entropy of the outputs, or the distance of output spikes from target spikes.

    Args:
        task: the training task.

    Raises:
        UnsupportedError: neurons with messages other than a spike, all layers at once.
    """

    name: ClassVar[str] = "na"
    optimizer: ClassVar[Steps] = torch.optim.Adam

    def __init__(self, task: Task) -> None:
        self.task = task
        network = task.network
        refused = [layer for layer in network.layers.values() if not _suits(layer)]
        raise_all([_refused(layer) for layer in refused])
        self.keep = keep_of(task.options.spike_tau)
        self.rescaling: Rescaling | None = None

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The method has no parameters."""
        return {}

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Normalizations are folded after the first half of the epochs."""
        if 2 * epoch >= self.task.options.epochs:
            fold(self.task.network, batches, self.respond)

    def project(self) -> None:
        """No parameters to project."""

    def facts(self) -> dict[str, Any]:
        """Nothing beside the options."""
        return {}

    def gradients(self, batch: Batch) -> float:
        """Backpropagate the loss of a batch; of spike trains, to the weights alone."""
        self.rescaling = Rescaling() if self.task.options.rescale_hidden else None
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        if batch.labels.ndim == 3:
            # As the paper has it. At rates that find spike times, thresholds would run away.
            for name, tensor in self.task.network.parameters().items():
                tensor.grad = tensor.grad if name.endswith(":weight") else None
        return float(loss.detach())

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch: by its labels, or by target spike trains."""
        if batch.labels.ndim == 1:
            logits = self.task.logits(self.task.network(batch.messages, self.respond))
            return classification(logits, batch, self.task.options.distill)
        source = output_spikes(self.task.network, self.task.output)
        curvature = VanRossum(self.keep, 1 / len(batch.labels))
        passed = self.task.network(
            batch.messages,
            lambda layer, a, n: self.respond(
                layer, a, n, curvature if layer.node.id == source else None
            ),
            keep=True,
        )
        spikes = passed.answers[source].messages
        return van_rossum_loss(spikes.flatten(2), steps_first(batch.labels, spikes), self.keep)

    def respond(
        self, layer: Layer, a: Tensor, n_steps: int, curvature: VanRossum | None = None
    ) -> Answer:
        """A population's response, its spikes differentiated by their neighbours."""
        smallest = self.task.options.smallest_width * layer.steps
        rescale = None if self.rescaling is None else self.rescaling.of_layer(layer.steps)
        membrane = Membrane(
            n_steps,
            _stays,
            smallest=smallest,
            curvature=curvature,
            reach=layer.steps if curvature is not None else None,
            rescale=rescale,
        )
        match layer.node:
            case CubaLIFNeurons():
                return Answer(_leaky(layer, layer.node, a, membrane))
            case IFNeurons(reset=reset):
                threshold = layer.integers("threshold")
                drop = threshold.detach() if reset is Reset.SUBTRACT else None
                drive, start = a + layer.integers("bias"), layer.integers("initial_potential")
                return Answer(fire(drive, threshold, start, replace(membrane, drop=drop)))
            case _:
                return neurons.respond(layer, a, n_steps, _never)


def _leaky(layer: Layer, node: CubaLIFNeurons, a: Tensor, membrane: Membrane) -> Tensor:
    """Spikes of current-based leaky neurons: the current by itself, which is linear, then fire."""
    bias = layer.integers("bias")
    into_u, into_v = (bias, 0.0) if node.filtered_bias else (0.0, bias)
    keep_u, keep_v = 4096 - (node.current_decay + 1), 4096 - node.voltage_decay
    arriving = a * 2**LEAKY_BITS + into_u
    if keep_u:
        u, currents = torch.zeros_like(arriving[0]), []
        for t in range(membrane.n_steps):
            u = truncate_ste(u * keep_u / 4096) + arriving[min(t, len(arriving) - 1)]
            currents.append(u)
        arriving = torch.stack(currents)
    drop = layer.integers("drop").detach() if node.drop is not None else None

    def leak(v: Tensor) -> Tensor:
        left = v * (keep_v / 4096)
        return left.sub_(left.frac())  # truncation, at half of the cost of torch.trunc

    threshold = layer.integers("threshold") * 2**LEAKY_BITS + 1  # strict: V > threshold
    leaky = replace(membrane, leak=leak, drop=drop)
    return fire(arriving + into_v, threshold, torch.zeros_like(threshold), leaky)


def _stays(v: Tensor) -> Tensor:
    return v


def _never(z: Tensor) -> Tensor:
    raise TypeError("a population without spikes was to fire")


def _suits(layer: Layer) -> bool:
    node = layer.node
    if isinstance(node, IFNeurons):
        return node.burst == 1
    return isinstance(node, (CubaLIFNeurons, Readout))


def _refused(layer: Layer) -> CompileError:
    return UnsupportedError(
        f"layer '{layer.node.id}' sends messages other than single spikes, which have no flip",
        code="tune-neurons",
        origin=layer.node.origin,
        hint="use --method psg, or another --coding",
    )
