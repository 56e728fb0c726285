"""Error and cost of networks in integers on calibration samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snn_compile.codings import Coding
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.linear import Float
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import completion
from snn_compile.lowering.borders import decodings_of
from snn_compile.mapping import Bill, MappedProgram, bill, map_program
from snn_compile.mapping.placement_file import PlacementFile
from snn_compile.numerics.spread import power, spread
from snn_compile.options import CompileOptions
from snn_compile.options.budget import MEMORY
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.report import metrics
from snn_compile.report.ladder import Ladder
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.samples.rows import Array
from snn_compile.sim import engine
from snn_compile.sim.ann import evaluate_outputs
from snn_compile.sim.reproducible import Reproducible
from snn_compile.targets.target import Target

MOST_SAMPLES = 256
"""Samples of a measurement, of networks that compute in one step; more steps take fewer."""
FEWEST_SAMPLES = 32
MICRO = 1e6


@dataclass(frozen=True, eq=False)
class Start:
    """What a conversion starts from.

    Attributes:
        folded: the float network.
        statistics: of its activations.
        calibrate: samples to measure on.
        coding: of the network.
        given: trained full scales.
        drives: what calibration recorded.
    """

    folded: ANNGraph
    statistics: Calibration
    calibrate: Samples | None
    coding: Coding
    given: Mapping[NodeId, Float] | None = None
    drives: SharedDrives | None = None

    @property
    def samples(self) -> Samples:
        """The samples, where there are any."""
        if self.calibrate is None:
            raise TypeError("there are no samples to measure on")
        return self.calibrate


@dataclass(frozen=True, eq=False)
class Spent:
    """What a network costs.

    Attributes:
        total: bytes or microjoules of the network.
        layers: of each layer; other things may have a share in the total.
    """

    total: float
    layers: Mapping[NodeId, float]


@dataclass(frozen=True, eq=False)
class Meter:
    """Measures networks in integers on calibration samples.

    Attributes:
        folded: the float network.
        coding: of the network.
        options: of the compilation.
        board: the target, with as many chips as are needed.
        x: (N, *input shape) samples.
        frames: the same, encoded.
        expected: of each output, without labels.
    """

    folded: ANNGraph
    coding: Coding
    options: CompileOptions
    board: Target
    x: Array
    frames: Array
    expected: Sequence[Expected]

    @staticmethod
    def n_samples(coding: Coding) -> int:
        """Samples that are enough, and not too many to simulate often."""
        n_steps = 1 if coding.single_step else coding.window.n_steps
        return max(FEWEST_SAMPLES, MOST_SAMPLES // n_steps)

    @cached_property
    def exact(self) -> list[Array]:
        """What the float network makes of them."""
        found = evaluate_outputs(self.folded, self.x, operators=Reproducible(self.folded, self.x))
        return [values.astype(np.float64) for values in found]

    @cached_property
    def _powers(self) -> list[float]:
        """Variance of each output; of one that does not vary, its mean square, or 1."""
        return list(map(spread, self.exact))

    @cached_property
    def _ladder(self) -> Ladder:
        ladder = Ladder(self.expected)
        ladder.add("float", self.exact)
        return ladder

    def outputs(self, network: Quantization) -> list[Array]:
        """The outputs of a network as real values."""
        run = engine.run(network.program, self.frames)
        decodings = decodings_of(self.folded, network, self.coding)
        return [decoding(run.outputs[name]) for name, decoding in decodings.items()]

    def error(self, outputs: Sequence[Array]) -> float:
        """Mean squared error of the outputs, over their variance; of several, the mean."""
        triples = zip(outputs, self.exact, self._powers, strict=True)
        return sum(power(some - exact) / unit for some, exact, unit in triples) / len(self.exact)

    def points(self, outputs: Sequence[Array]) -> float | None:
        """Points lost against the float network; None where no output can be judged."""
        rungs = self._ladder.rungs[0], self._ladder.judged(self._ladder.answers_of(outputs))
        return metrics.most_points_lost(*map(metrics.of_rung, rungs))

    def completed(self, network: Quantization) -> QuantizedGraph:
        """A network after the passes that schedule it and fit it to the target."""
        return completion(self.options, self.coding)(network).graph.program

    def mapped(
        self, program: QuantizedGraph, placement: PlacementFile | None = None
    ) -> MappedProgram:
        """A network that is complete, on its cores.

        Raises:
            CapacityError: it does not fit on any number of chips.
        """
        return map_program(program, self.board, placement).graph

    def spent(self, mapped: MappedProgram, quantity: str) -> Spent:
        """Bytes or microjoules of a network, and of its layers."""
        if quantity == MEMORY:
            layers: dict[NodeId, float] = {}
            for placed in mapped.placements:
                bits = placed.demand.synapse_memory_bits
                layers[placed.population] = layers.get(placed.population, 0.0) + bits / 8
            return Spent(sum(layers.values()), layers)
        found = self._bill(mapped, mapped.program)
        layers = {name: MICRO * share.energy.value for name, share in found.layers.items()}
        return Spent(MICRO * found.dynamic.value, layers)

    def energy(self, mapped: MappedProgram, program: QuantizedGraph) -> float:
        """Microjoules of a network on its cores with the messages that a network sends."""
        return MICRO * self._bill(mapped, program).dynamic.value

    def _bill(self, mapped: MappedProgram, program: QuantizedGraph) -> Bill:
        sent = engine.run(program, self.frames).activity
        return bill(mapped, {name: counts / len(self.x) for name, counts in sent.items()})
