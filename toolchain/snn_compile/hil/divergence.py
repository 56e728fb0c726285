"""The first divergence of two runs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import VerificationError
from snn_compile.ir.graph import NodeId


@dataclass(frozen=True)
class Divergence:
    """The first message in which two runs differ.

    Attributes:
        layer: the population that sent it (or, in a probe, the synapse group that was read).
        stimulus: index of the stimulus.
        step: time step in the population's window.
        neuron: index in the population's shape, channel first.
        expected: value in the reference.
        actual: value on the device.
    """

    layer: str
    stimulus: int
    step: int
    neuron: tuple[int, ...]
    expected: int
    actual: int

    def __str__(self) -> str:
        return (
            f"layer '{self.layer}', stimulus {self.stimulus}, step {self.step},"
            f" neuron {list(self.neuron)}: expected {self.expected}, got {self.actual}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The entry of ``report.json``."""
        return {
            "layer": self.layer,
            "stimulus": self.stimulus,
            "step": self.step,
            "neuron": list(self.neuron),
            "expected": self.expected,
            "actual": self.actual,
        }


def first_divergence(
    expected: Mapping[NodeId, npt.NDArray[np.generic]],
    actual: Mapping[NodeId, npt.NDArray[np.generic]],
) -> Divergence | None:
    """Compare two recordings, layer by layer in the order of ``expected``.

    Args:
        expected: messages of each layer, (N, T, *shape), in topological order.
        actual: the same from the other run. Types of integers do not matter, values do.

    Returns:
        The first difference in the first layer that differs, or None.

    Raises:
        VerificationError: a layer is missing on one side, or the shapes differ.
    """
    if set(expected) != set(actual):
        only = sorted(set(expected) ^ set(actual))
        raise VerificationError(f"only one of the recordings has {only}", code="other-layers")
    for layer, reference in expected.items():
        found = divergence_in(layer, reference, actual[layer])
        if found is not None:
            return found
    return None


def divergence_in(
    layer: str, expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic]
) -> Divergence | None:
    """The first difference in one layer: earliest stimulus, then step, then neuron.

    Raises:
        VerificationError: the shapes differ.
    """
    if expected.shape != actual.shape:
        raise VerificationError(
            f"layer '{layer}' has messages of shape {actual.shape}, expected {expected.shape}",
            code="other-shape",
        )
    differing = (expected != actual).reshape(-1)
    if not differing.any():
        return None
    where = np.unravel_index(int(differing.argmax()), expected.shape)
    stimulus, step, *neuron = (int(i) for i in where)
    return Divergence(
        layer, stimulus, step, tuple(neuron), int(expected[where]), int(actual[where])
    )
