"""The joint of training: a method is one file that brings gradients; all else is the trainer's."""

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
"""Who turns gradients into changes."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Attributes:
        messages: what the input sends, (T or 1, B, *input shape).
        labels: (B,) int64; or spikes (B, T, outputs) that the outputs are to send, 0 or 1.
        teacher: (B, classes) outputs of the float network, or None.
    """

    messages: Tensor
    labels: Tensor
    teacher: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """What a method trains.

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
    """What is trained: parameters, and what happens to them beside the steps of an optimizer."""

    device: torch.device

    def parameters(self) -> dict[str, Tensor]:
        """Everything that is trained, by a name that stays: leaves that require a gradient.

        Names of synaptic weights end in ``:weight``.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of everything that training changes."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` has given."""
        ...

    def confine(self) -> None:
        """Bring the parameters to where the network can run; called after each epoch."""
        ...

    def messages(self, frames: npt.NDArray[Any], first: int = 0) -> Tensor:
        """What goes into the network for samples, the first of which is ``first`` of all drawn."""
        ...

    def identity(self) -> str:
        """A hash of the network as it was given."""
        ...


class Method(Protocol):
    """A way to train. Made from a ``Task``; the trainer does the rest.

    The trainer asks for ``gradients`` of each batch and then lets its optimizer take a step on the
    network's parameters and the method's own. A method that computes changes of weights by a rule
    of its own leaves their negative in ``.grad``, and names plain descent as its optimizer.
    """

    name: ClassVar[str]
    optimizer: ClassVar[Steps]

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What the method itself learns, by a name that stays."""
        ...

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """An epoch begins, 0 for the first; what has happened before must not matter otherwise.

        ``batches`` are those of the epoch, for what has to look at the data before.
        """
        ...

    def gradients(self, batch: Batch) -> float:
        """Leave the gradients for a batch in ``.grad`` of all parameters; the loss."""
        ...

    def stepped(self) -> None:
        """The optimizer has taken a step: bring the method's parameters into their ranges."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the report says about the state of the method."""
        ...


class SpikingMethod(Method, Protocol):
    """A method that trains the compiled network."""

    def respond(self, layer: Layer, a: Tensor, n_steps: int) -> Answer:
        """A population's answer to its summed input (T or 1, B, *shape), as the method sees it."""
        ...
