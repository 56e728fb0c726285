"""The stages of a compilation. Each type is a promise that its constructor checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from snn_compile.ir import ann, spiking
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.inputs import I, Inputs
from snn_compile.ir.spiking import InputCoding, SpikingNode, Window
from snn_compile.numerics.functions import all_finite


class StageError(ValueError):
    """A graph breaks the promise of its stage: a bug in a pass or a frontend, not in a model."""


def only(inputs: Inputs[I]) -> I:
    """The only input of a network.

    Raises:
        StageError: it has several.
    """
    if len(inputs) != 1:
        raise StageError("the network has several inputs")
    return inputs[0]


@dataclass(frozen=True, eq=False)
class ANNGraph:
    """A trained network: static shapes, finite float parameters, acyclic, every node traced.

    Attributes:
        graph: the operators. At least one ``Input`` and one ``Output``.
        file: the file it came from, as the user named it.
        opset: the version of the ONNX operator set, 0 where that has no meaning.
    """

    graph: Graph[AnnNode]
    file: str = ""
    opset: int = 0

    def __post_init__(self) -> None:
        if not self.inputs:
            raise StageError("an ANNGraph has at least one Input")
        if not self.outputs:
            raise StageError("an ANNGraph has at least one Output")
        for node in self.graph:
            if any(size < 1 for size in node.shape):
                raise StageError(f"'{node.id}' has the empty shape {node.shape}")
            if isinstance(node, ann.Conv | ann.Dense) and not (
                all_finite(node.weight) and all_finite(node.bias)
            ):
                raise StageError(f"'{node.id}' has parameters that are not finite")

    @cached_property
    def inputs(self) -> Inputs[ann.Input]:
        """The network's inputs, in order."""
        return Inputs.of(self.graph, ann.Input)

    @property
    def input(self) -> ann.Input:
        """The network's only input.

        Raises:
            StageError: it has several.
        """
        return only(self.inputs)

    @property
    def outputs(self) -> tuple[ann.Output, ...]:
        """The network's outputs."""
        return tuple(node for node in self.graph if isinstance(node, ann.Output))

    def source(self, node: AnnNode) -> AnnNode:
        """The only input of a node that has one."""
        (source,) = node.inputs
        return self.graph[source]

    def levels_of(self, node: ann.Activation, levels: int) -> int:
        """The largest payload of a population, if the coding's is ``levels``.

        In a network with quantized activations it may be that of the population's own grid, or of
        the population whose scale it shares.
        """
        owner = node if node.like is None else self.graph[node.like]
        if isinstance(owner, ann.Activation) and owner.on_own_grid(levels):
            return owner.finest(levels)
        return levels

    def with_graph(self, graph: Graph[AnnNode]) -> ANNGraph:
        """The same network file with another graph."""
        return ANNGraph(graph, self.file, self.opset)


@dataclass(frozen=True, eq=False)
class SpikingGraph:
    """A spiking network in floating point: synapses feed neurons, thresholds are positive.

    Attributes:
        graph: inputs, synapses, neurons and readouts.
        window: coding and number of steps.
    """

    graph: Graph[SpikingNode]
    window: Window

    def __post_init__(self) -> None:
        if not self.inputs:
            raise StageError("a spiking network has an input")
        if len({node.coding for node in self.inputs}) > 1:
            raise StageError("the inputs of a spiking network have one coding")
        for node in self.graph:
            sources = [self.graph[s] for s in node.inputs]
            if isinstance(node, spiking.Synapses):
                if len(sources) != 1 or not isinstance(sources[0], spiking.Sources):
                    raise StageError(f"synapses '{node.id}' need one source that sends messages")
            elif not isinstance(node, spiking.Input):
                if not sources or not all(isinstance(s, spiking.Synapses) for s in sources):
                    raise StageError(f"population '{node.id}' must be fed by synapses")
                if any(s.shape != node.shape for s in sources):
                    raise StageError(f"synapses into '{node.id}' have other shapes")
            if isinstance(node, spiking.Neurons) and not (node.threshold > 0).all():
                raise StageError(f"'{node.id}' has thresholds that are not positive")
        if self.window.n_steps < 1:
            raise StageError("a window has at least one step")

    @cached_property
    def inputs(self) -> Inputs[spiking.Input]:
        """The network's inputs, in order; all of one coding."""
        return Inputs.of(self.graph, spiking.Input)

    @property
    def input(self) -> spiking.Input:
        """The network's only input.

        Raises:
            StageError: it has several.
        """
        return only(self.inputs)

    @property
    def input_coding(self) -> InputCoding:
        """How the inputs send their values."""
        return self.inputs[0].coding

    @property
    def populations(self) -> tuple[spiking.Population, ...]:
        """Neurons and readouts in topological order."""
        return tuple(node for node in self.graph if isinstance(node, spiking.Population))

    def synapses_into(self, population: spiking.Population) -> tuple[spiking.Synapses, ...]:
        """The synapse groups that feed a population, in order."""
        nodes = tuple(self.graph[s] for s in population.inputs)
        return tuple(node for node in nodes if isinstance(node, spiking.Synapses))


__all__ = ["ANNGraph", "NodeId", "SpikingGraph", "StageError"]
