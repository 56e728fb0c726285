"""Results of frontends: a network to convert, a spiking one, or one in fixed point."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import Finding


class LayerValues(Protocol):
    """A file in the runtime of its format, for the values inside it.

    Attributes:
        name: of the runtime.
    """

    @property
    def name(self) -> str:
        """The runtime's name."""
        ...

    @property
    def approximated(self) -> Collection[NodeId]:
        """Nodes that the import computes otherwise on purpose."""
        ...

    def __call__(self, x: npt.NDArray[Any]) -> Mapping[NodeId, npt.NDArray[Any]]:
        """The value of each node for samples (N, *input shape), (N, *shape of the node).

        Nodes without a counterpart in the file are missing.

        Raises:
            UsageError: the runtime is missing.
            ModelError: it refuses the file.
        """
        ...


@dataclass(frozen=True)
class Imported:
    """Result of a frontend on a file with a network to convert.

    Attributes:
        ann: the network.
        findings: everything that was dropped, folded or assumed.
        n_nodes: operators in the file.
        n_folded: constant operators among them, folded away.
        layer_values: the file in the runtime of its format, if it has one.
        tail: operators left to the host, if any.
    """

    ann: ANNGraph
    findings: tuple[Finding, ...]
    n_nodes: int
    n_folded: int
    layer_values: LayerValues | None = None
    tail: HostTail | None = None


@dataclass(frozen=True)
class ImportedSpiking:
    """Result of a frontend on a file with a spiking network.

    Attributes:
        network: the network, its paths aligned, for an input in real values: a unit of 1.
        input_shape: of one step of the input, as the file states it.
        output_shapes: of each readout, as the file states it.
        findings: everything that was dropped, repaired or assumed.
        n_nodes: nodes in the file.
        n_weights: weights in the file, without biases.
        encoding: of the input, if the file states it; the network takes what it makes.
        stated: whether the file states the unit of that, too; else it is 1.
    """

    network: SpikingGraph
    input_shape: Shape
    output_shapes: Mapping[NodeId, Shape]
    findings: tuple[Finding, ...]
    n_nodes: int
    n_weights: int
    encoding: InputEncoding | None = None
    stated: bool = True


@dataclass(frozen=True)
class Arrival:
    """How the input of a network in fixed point may arrive.

    Attributes:
        coding: ``EVENTS``, a frame for every step, or ``CURRENT``, one that is constant.
        low: smallest value that is assumed where no data are given, at most 0.
        high: largest one, at least 1.
    """

    coding: InputCoding
    low: int
    high: int


class FixedNetwork(Protocol):
    """A network that its file states in integers, for any input."""

    def __call__(self, arrival: Arrival) -> QuantizedGraph:
        """The network for an input with one of the file's codings, and any range.

        Raises:
            CompileError: it has no form for this input; all complaints at once.
        """
        ...


@dataclass(frozen=True)
class ImportedFixed:
    """Result of a frontend on a file with a network in fixed point: nothing is quantized.

    Attributes:
        network: the network, for an input.
        arrivals: how the input may arrive, the assumed way first.
        window: of the network.
        input_shape: of one step of the input, as the file states it.
        output_shapes: of each readout, as the file states it.
        units: real value of one step of each readout's potential, (C,).
        findings: everything that was dropped or assumed.
        n_nodes: layers in the file.
        n_weights: weights in the file, without biases.
    """

    network: FixedNetwork
    arrivals: tuple[Arrival, ...]
    window: Window
    input_shape: Shape
    output_shapes: Mapping[NodeId, Shape]
    units: Mapping[NodeId, npt.NDArray[np.float64]]
    findings: tuple[Finding, ...]
    n_nodes: int
    n_weights: int
