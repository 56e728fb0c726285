"""Surrogate gradients through time, with widths that are learned and potentials that are adjusted.

After Wang, Cheng and Lim (arXiv 2304.13289): parametric surrogate gradients (PSG), each layer with
a width of its own that training moves, and potential distribution adjustment (PDA), a loss that
pulls potentials to where their gradient is not zero. Their abstract is public; the equations are
derived (``surrogates.py``, and below). Of the loss a later citation says that it is a symmetric
divergence of distributions: there are two, one of that kind (``--pda-loss``). Backpropagation
through time as in Wu et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import expm1, log
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from snn_compile.ir.quantized import IFNeurons
from snn_compile.ir.spiking import Reset
from snn_compile.tune import neurons
from snn_compile.tune.integrate import Neuron, integrate_and_fire
from snn_compile.tune.layers import Layer
from snn_compile.tune.method import Batch, Steps, Task
from snn_compile.tune.neurons import Answer
from snn_compile.tune.options import WIDEST
from snn_compile.tune.scratch import fold
from snn_compile.tune.surrogates import SHAPES, spike

SMALLEST_VARIANCE = 1e-4
"""Of potentials in a divergence, which a layer at rest would make infinite."""


class ParametricSurrogate:
    """Cross entropy of the outputs, by backpropagation through time."""

    name: ClassVar[str] = "psg"
    optimizer: ClassVar[Steps] = torch.optim.Adam

    def __init__(self, task: Task) -> None:
        self.task = task
        options, network = task.options, task.network
        self.shape = SHAPES[options.surrogate]
        device = network.device
        start = options.first_width
        self.kappas = {
            name: torch.tensor(_inverse_softplus(start), dtype=torch.float64, device=device)
            for name in network.layers
        }
        for kappa in self.kappas.values():
            kappa.requires_grad_(options.learn_width)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Of each layer the number whose softplus is the width."""
        return {f"{name}:width": kappa for name, kappa in self.kappas.items()}

    def begin(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Widths are learned in the first half of the epochs, and so are normalizations."""
        options = self.task.options
        first_half = 2 * epoch < options.epochs
        for kappa in self.kappas.values():
            kappa.requires_grad_(options.learn_width and first_half)
        if not first_half:
            fold(self.task.network, batches, self.respond)

    def gradients(self, batch: Batch) -> float:
        """Backpropagate the loss of a batch."""
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        return float(loss.detach())

    def loss(self, batch: Batch, *, smooth: bool = False) -> Tensor:
        """The loss of a batch.

        Args:
            batch: the samples.
            smooth: whether neurons send the primitive of their surrogate in place of spikes: a
                differentiable network, for tests.
        """
        options = self.task.options
        passed = self.task.network(
            batch.messages,
            lambda layer, a, n: self.respond(layer, a, n, smooth=smooth),
            keep=options.pda > 0,
        )
        loss = classification(self.task.logits(passed), batch, options.distill)
        if options.pda > 0:
            loss = loss + options.pda * self._adjustment(passed.answers)
        return loss

    def respond(self, layer: Layer, a: Tensor, n_steps: int, *, smooth: bool = False) -> Answer:
        """A population's answer, its spikes with the layer's surrogate."""
        width, node = self.width(layer).to(a.dtype), layer.node
        by_hand = not smooth and not self.task.options.pda
        if by_hand and isinstance(node, IFNeurons) and node.burst == 1:
            by_subtraction = node.reset is Reset.SUBTRACT
            neuron = Neuron(n_steps, by_subtraction, layer.threshold_steps, self.shape)
            drive, threshold = a + layer.integers("bias"), layer.integers("threshold")
            start = layer.integers("initial_potential")
            return Answer(integrate_and_fire(drive, threshold, start, width, neuron))
        return neurons.respond(
            layer, a, n_steps, lambda z: spike(z, width, self.shape, smooth=smooth)
        )

    def width(self, layer: Layer) -> Tensor:
        """Width of a layer's surrogate, in thresholds."""
        return functional.softplus(self.kappas[layer.node.id])

    def _adjustment(self, answers: Mapping[Any, Answer]) -> Tensor:
        """The loss of potential distribution adjustment, over all layers that fire."""
        layers = self.task.network.layers
        parts = [
            self._adjustment_of(layers[name], answer)
            for name, answer in answers.items()
            if answer.potentials and layers[name].trained
        ]
        return torch.stack(parts).sum() if parts else torch.zeros(())

    def _adjustment_of(self, layer: Layer, answer: Answer) -> Tensor:
        u = layer.potential(torch.stack(answer.potentials))
        if self.task.options.pda_loss == "divergence":
            return distribution_divergence(u)
        return distribution_penalty(u, answer.messages.detach(), self.width(layer).detach())

    def project(self) -> None:
        """Keep learned widths between the smallest and the widest."""
        options = self.task.options
        if not options.learn_width:
            return
        low, high = _inverse_softplus(options.smallest_width), _inverse_softplus(WIDEST)
        with torch.no_grad():
            for kappa in self.kappas.values():
                kappa.clamp_(low, high)

    def facts(self) -> dict[str, Any]:
        """The width of each layer that has a surrogate."""
        layers = self.task.network.layers.values()
        spiking = [layer for layer in layers if neurons.fires(layer.node)]
        return {"widths": {layer.node.id: float(self.width(layer).detach()) for layer in spiking}}


def classification(logits: Tensor, batch: Batch, distill: float) -> Tensor:
    """Cross entropy with the labels and, as a share, with the float network (Hinton et al. 2015).

    Args:
        logits: (B, classes).
        batch: labels and, perhaps, the float network's outputs.
        distill: share of the latter.
    """
    loss = functional.cross_entropy(logits, batch.labels)
    if batch.teacher is None or not distill:
        return loss
    soft = functional.cross_entropy(logits, torch.softmax(batch.teacher, dim=1).to(logits))
    return (1 - distill) * loss + distill * soft


def distribution_penalty(u: Tensor, s: Tensor, width: Tensor) -> Tensor:
    """Distance of a layer's potentials from the range that gradients reach.

    With u the potential before a spike s, both in units of the threshold, over batch, time and
    neurons::

        E[(u - s)**2 * 1(|u - 1| > width)] + (E[u] - 1/2)**2 + (Std[u] - 1/2)**2

    The first term penalizes potentials outside the surrogate's window, which get no gradient; the
    others favour a distribution with threshold and reset inside it.

    Args:
        u: (T, B, *shape).
        s: what was sent, of the same shape.
        width: of the surrogate.
    """
    outside = ((u - 1).abs() > width).to(u.dtype)
    undesired = ((u - s) ** 2 * outside).mean()
    return undesired + (u.mean() - 0.5) ** 2 + (u.std() - 0.5) ** 2


def distribution_divergence(u: Tensor) -> Tensor:
    """Symmetric divergence of a layer's potentials from a distribution with reset and threshold.

    Jeffreys' ``KL(p, q) + KL(q, p)`` of two normal distributions, p with the mean m and the
    standard deviation d of the potentials over batch, time and neurons, q with 1/2 for both::

        (d**2 + (m - 1/2)**2) / (2 * (1/2)**2) + ((1/2)**2 + (m - 1/2)**2) / (2 * d**2) - 1

    Args:
        u: potentials before spikes in units of the threshold, (T, B, *shape).
    """
    wanted = 0.25
    variance, offset = u.var().clamp(min=SMALLEST_VARIANCE), (u.mean() - 0.5) ** 2
    return (variance + offset) / (2 * wanted) + (wanted + offset) / (2 * variance) - 1


def _inverse_softplus(x: float) -> float:
    return x + log(-expm1(-x))
