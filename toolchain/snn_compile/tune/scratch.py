"""Training from scratch: the architecture of a compiled network with random weights."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    Population,
    Readout,
    SparseSynapses,
)
from snn_compile.ir.spiking import Reset
from snn_compile.tune.layers import Layer
from snn_compile.tune.method import Batch
from snn_compile.tune.network import Network
from snn_compile.tune.neurons import Respond
from snn_compile.tune.normalization import Normalization

INIT = 2
"""Stream of random numbers."""


def reinitialize(network: Network, messages: Tensor, respond: Respond, seed: int) -> None:
    """Give every trained layer random weights, and its input a normalization.

    Weights are drawn from a normal distribution and scaled so that a layer's summed input has a
    standard deviation of one threshold on the samples, layer by layer (layer-sequential
    unit-variance initialization, Mishkin and Matas 2016). Biases become 0, and potentials start at
    half a threshold where spikes subtract, else at 0.

    Args:
        network: the network; its parameters are replaced.
        messages: samples, (T or 1, B, *sample shape).
        respond: response of populations.
        seed: of the weights.

    Raises:
        UnsupportedError: layers that cannot be trained from scratch, all at once.
    """
    raise_all([_refused(layer) for layer in network.layers.values() if not _can_begin(layer)])
    random = np.random.default_rng([seed, INIT])
    values = network.single_step.inputs.split(messages, 2)
    with torch.no_grad():
        for name, layer in network.layers.items():
            if layer.trained:
                _begin(layer, values, random)
            values[name] = respond(layer, layer.drive(values), network.n_steps).messages


def _begin(layer: Layer, values: dict[NodeId, Tensor], random: np.random.Generator) -> None:
    groups = [group for group in layer.groups if group.is_trained]
    for group in groups:
        drawn = torch.tensor(random.normal(size=tuple(group.weight.shape)))
        group.weight.copy_(drawn.to(group.weight))
        # So large that rounding means little, whatever follows.
        group.weight *= group.high / 4 * group.step / group.weight.abs().mean()
    spread = layer.drive(values).double() / layer.drive_steps
    size = float(spread.std())
    for group in groups:
        group.weight *= 1 / size if size > 0 else 1.0
    node = layer.node
    for name, start in _starts(node).items():
        # At least one value per channel: folding makes them differ.
        shape = torch.broadcast_shapes(layer.parameters[name].shape, layer.steps.shape)
        layer.parameters[name] = torch.full(shape, start, dtype=torch.float64, device=layer.device)
    if _can_fold(node):
        layer.normalization = Normalization(node.shape[0], len(node.shape), layer.device)


def _starts(node: Population) -> dict[str, float]:
    starts = {"bias": 0.0}
    if isinstance(node, IFNeurons):
        starts["initial_potential"] = 0.5 if node.reset is Reset.SUBTRACT else 0.0
    return starts


def _can_fold(node: Population) -> bool:
    """Whether a shift of the summed input can be a bias."""
    if isinstance(node, CubaLIFNeurons):
        no_memory = node.current_decay == 4095
        return no_memory or node.filtered_bias
    return not isinstance(node, Readout)


def _can_begin(layer: Layer) -> bool:
    sparse = any(isinstance(group.node, SparseSynapses) for group in layer.groups)
    return not layer.trained or not (isinstance(layer.node, GradedNeurons) or sparse)


def _refused(layer: Layer) -> CompileError:
    what = "graded neurons" if isinstance(layer.node, GradedNeurons) else "sparse synapses"
    return UnsupportedError(
        f"layer '{layer.node.id}' has {what}, which cannot be trained from scratch",
        code="tune-from-scratch",
        origin=layer.node.origin,
        hint="omit --from-scratch, or use another --coding",
    )


def fold(network: Network, batches: Iterable[Batch], respond: Respond) -> None:
    """Fold all normalizations into the parameters, with statistics of the whole training data.

    The running statistics include those of earlier weights.

    Args:
        network: left unchanged if it has no normalization.
        batches: of the training data.
        respond: response of populations.
    """
    layers = network.layers.values()
    normalizations = [n for layer in layers if (n := layer.normalizing) is not None]
    if not normalizations:
        return
    for normalization in normalizations:
        normalization.measure()
    with torch.no_grad():
        for batch in batches:
            network(batch.messages, respond)
    for normalization in normalizations:
        normalization.settle()
    for layer in layers:
        layer.fold()
