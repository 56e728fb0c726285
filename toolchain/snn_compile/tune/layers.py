"""Populations in training: real parameters, in units of the threshold; neurons see integers.

Everything that a neuron computes with is an integer, in a floating type that holds it exactly. So
the forward pass is the reference simulator's, bit for bit, as long as no state leaves 24 bits;
``bounds`` shows that none does, and ``Network.confine`` keeps it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    GradedNeurons,
    Population,
)
from snn_compile.ir.spiking import Float
from snn_compile.quantize import stock
from snn_compile.tune.grid import clip_round_ste, round_ste
from snn_compile.tune.normalization import Normalization
from snn_compile.tune.synapses import Group

LEAKY_BITS = 6
"""Bits of a leaky neuron's states below the unit of its weights."""
BEYOND = 1 << 40
"""Beyond the range of any state: diverged values are clipped to it."""


class Layer:
    """A population and the synapses that feed it.

    Attributes:
        node: the compiled population.
        groups: its synapses.
        unit: threshold in steps of the potential, (C,); of a readout, the steps in 1.
        trained: names of the parameters that may change; the others stay as compiled.
        parameters: ``bias``, ``threshold`` and ``initial_potential`` as far as the neurons have
            them, float64, in units of the threshold.
        registers: of stock neurons, a parameter's step and the largest multiple of it.
        normalization: of the summed input, while a network is trained from scratch.
    """

    def __init__(
        self,
        node: Population,
        unit: Float,
        groups: tuple[Group, ...],
        dtype: torch.dtype,
        device: torch.device,
        *,
        in_stock_neurons: bool = False,
    ) -> None:
        self.node = node
        self.groups = groups
        self.unit = unit
        self.device = device
        self.dtype = torch.float64 if isinstance(node, WIDE) else dtype
        self.steps = _spread(torch.tensor(unit, dtype=torch.float64, device=device), node.shape)
        """Of the potential in one unit, broadcasts to the shape."""
        is_wiring = all(group.is_wiring for group in groups)
        names = node.trained or ()
        self.trained = () if node.relay or is_wiring else names
        self.normalization: Normalization | None = None
        self.registers = _registers(node) if in_stock_neurons else {}
        self.parameters = {
            name: self._in_units(name, getattr(node, name).values, device)
            for name in (*names, *node.kept)
        }

    @property
    def drive_steps(self) -> Tensor:
        """Units of the summed input in one threshold, broadcasts to the shape."""
        return self.steps / 2**self.node.bits_below_weights

    def _in_units(self, name: str, values: Int, device: torch.device) -> Tensor:
        integers = torch.tensor(values, dtype=torch.float64, device=device)
        return _spread(integers, self.node.shape) / self._steps_of(name)

    def _steps_of(self, name: str) -> Tensor:
        """Integer units of a parameter in one threshold."""
        return self.drive_steps if name == "threshold" else self.steps

    def integers(self, name: str) -> Tensor:
        """A parameter as an integer, as in the neurons; broadcasts to the shape."""
        return self._on_grid(name, self.parameters[name])

    def _on_grid(self, name: str, real: Tensor) -> Tensor:
        values = real * self._steps_of(name)
        if name in self.registers:
            step, most = self.registers[name]
            values = step * clip_round_ste(values / step, -most, most)
        values = round_ste(values)
        if name in ("threshold", "drop"):
            values = torch.clamp(values, min=1)
        return values.to(self.dtype)

    def drive(self, messages: Mapping[NodeId, Tensor]) -> Tensor:
        """Summed synaptic input, (T or 1, B, *shape), in steps of the potential."""
        total: Tensor | None = None
        for group in self.groups:
            part = group(messages[group.node.inputs[0]]).to(self.dtype)
            total = part if total is None else total + part
        if total is None:
            raise TypeError(f"'{self.node.id}' has no synapses")
        normalization = self.normalizing
        return total if normalization is None else normalization(total, self.drive_steps)

    @property
    def normalizing(self) -> Normalization | None:
        """The normalization, unless it has been folded."""
        normalization = self.normalization
        return normalization if normalization is not None and bool(normalization.active) else None

    @property
    def threshold_steps(self) -> Tensor:
        """Steps of the potential in the current threshold; of a readout, in one unit."""
        if "threshold" not in self.parameters:
            return self.steps
        scale = self.steps / self.drive_steps
        return self.integers("threshold").detach() * scale.to(self.dtype)

    def potential(self, v: Tensor) -> Tensor:
        """A potential in units of the threshold."""
        return v / self.threshold_steps.to(v.dtype)

    def tuned(self) -> Population:
        """The compiled population with the current integers."""
        changed: dict[str, Any] = {}
        real = self.folded()
        for name in self.trained if self.normalization is None else real:
            before: Int = getattr(self.node, name).values
            found = self._on_grid(name, real[name]).detach().cpu().numpy()
            values = np.clip(found, -BEYOND, BEYOND).astype(np.int64)
            fits = values.size == before.size
            changed[name] = QTensor.of(values.reshape(before.shape) if fits else values)
        return replace(self.node, **changed)

    def folded(self) -> dict[str, Tensor]:
        """The parameters with the normalization folded in."""
        normalization = self.normalizing
        if normalization is None:
            return self.parameters
        gain, shift = (tensor.detach() for tensor in normalization.affine())
        divided = {name: tensor.detach() / gain for name, tensor in self.parameters.items()}
        return {**divided, "bias": divided["bias"] + shift}

    def fold(self) -> None:
        """Fold the normalization into the parameters, irreversibly."""
        if self.normalizing is not None and self.normalization is not None:
            with torch.no_grad():
                for name, tensor in self.folded().items():
                    self.parameters[name].copy_(tensor)
                self.normalization.active.zero_()


def _registers(node: Population) -> dict[str, tuple[int, int]]:
    """Step and limit of each register of stock neurons, with the compiled bias exponent."""
    if isinstance(node, CubaLIFNeurons):
        step = 1 << stock.bias_exponent(node.bias.values)
        return {"bias": (step, stock.MANTISSA), "threshold": (1, stock.MAX_THRESHOLD)}
    return {"bias": (1, stock.MANTISSA)}


WIDE = (CubaLIFNeurons, GradedNeurons, ClipFloorNeurons)
"""Neurons that multiply or divide states of 24 bits: they compute in float64."""


def unit_of(node: Population, of_readout: Float) -> Float:
    """Steps of the potential in one unit of the parameters, (C,): the threshold.

    Args:
        node: the population.
        of_readout: for populations without a threshold, (C,).
    """
    steps = node.threshold_steps
    return of_readout if steps is None else np.ones(node.shape[0]) * steps


def _spread(values: Tensor, shape: Shape) -> Tensor:
    """A parameter of shape (C,), or one that broadcasts already, so that it broadcasts."""
    if values.ndim == 1 and len(shape) > 1:
        return values.reshape(-1, *[1] * (len(shape) - 1))
    return values
