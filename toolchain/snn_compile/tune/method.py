"""Extension point of training: a method, in one file, computes gradients for the trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from snn_compile.ir.graph import NodeId
from snn_compile.ir.spiking import Float
from snn_compile.tune.layers import Layer
from snn_compile.tune.network import ForwardResult, Network
from snn_compile.tune.neurons import Answer
from snn_compile.tune.options import TuneOptions

Steps = type[torch.optim.Adam] | type[torch.optim.SGD]
"""The optimizer, which applies gradients."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Attributes:
        messages: messages of the input, (T or 1, B, *input shape).
        labels: (B,) int64; or target spikes (B, T, outputs) of the outputs, 0 or 1.
        teacher: (B, classes) outputs of the float network, or None.
    """

    messages: Tensor
    labels: Tensor
    teacher: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """The training task of a method.

    Attributes:
        network: the network.
        output: its first readout.
        unit: real value of one step of that readout's potential, (C,).
        options: all options.
    """

    network: Network
    output: NodeId
    unit: Float
    options: TuneOptions

    def logits(self, passed: ForwardResult) -> Tensor:
        """Scores (B, classes) of a forward pass: the real values of the readout's potential."""
        potential = passed.outputs[self.output]
        unit = torch.as_tensor(self.unit, dtype=potential.dtype, device=potential.device)
        return (potential * unit.reshape(-1, *[1] * (potential.ndim - 2))).flatten(1)


class Trainee(Protocol):
    """The trained object: parameters, and operations on them besides optimizer steps."""

    device: torch.device

    def parameters(self) -> dict[str, Tensor]:
        """All trained parameters, by a stable name: leaves that require a gradient.

        Names of synaptic weights end in ``:weight``.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of everything that training changes."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of ``state``."""
        ...

    def confine(self) -> None:
        """Project the parameters onto the feasible set of the network; called after each epoch."""
        ...

    def messages(self, frames: npt.NDArray[Any], first: int = 0) -> Tensor:
        """The network's input for samples; ``first`` is the index of the first one of all drawn."""
        ...

    def identity(self) -> str:
        """A hash of the initial network."""
        ...


class Method(Protocol):
    """A way to train. Made from a ``Task``; the trainer does the rest.

    The trainer calls ``gradients`` for each batch; its optimizer then takes a step on the
    network's parameters and the method's own. A method with its own update rule leaves the
    negative updates in ``.grad``, and names plain descent as its optimizer.
    """

    name: ClassVar[str]
    optimizer: ClassVar[Steps]

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Trained parameters of the method itself, by a stable name."""
        ...

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Begin an epoch, 0 for the first; the method's state must depend on nothing earlier.

        ``batches`` are those of the epoch, for methods that inspect the data first.
        """
        ...

    def gradients(self, batch: Batch) -> float:
        """Leave the gradients for a batch in ``.grad`` of all parameters; the loss."""
        ...

    def project(self) -> None:
        """Project the method's parameters onto their ranges; called after each optimizer step."""
        ...

    def facts(self) -> dict[str, Any]:
        """Facts about the state of the method for the report."""
        ...


class SpikingMethod(Method, Protocol):
    """A method that trains the compiled network."""

    def respond(self, layer: Layer, a: Tensor, n_steps: int) -> Answer:
        """A population's response to its summed input (T or 1, B, *shape), with gradients."""
        ...
