"""What compilations of networks in integers share: nothing is converted, so there is one rung."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pluralize import pluralize
from snn_compile.quantize.quantize import LayerNumbers
from snn_compile.report.evaluation import Outcome, decoded, described
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity
from snn_compile.report.shards import Answers, join, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.sim import bounds, engine
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.frames import encoded
from snn_compile.sim.reference import Run


@dataclass(frozen=True, eq=False)
class GivenNetwork:
    """A network that a file states in integers, and what goes in and comes out.

    Attributes:
        program: the network.
        encoding: of the input.
        decodings: of each output.
        expected: of each output.
    """

    program: QuantizedGraph
    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    expected: tuple[Expected, ...]

    def numbers(self) -> dict[NodeId, LayerNumbers]:
        """What a report says of each layer's scales: those of outputs; all others are in steps."""
        program, found = self.program, dict[NodeId, LayerNumbers]()
        for node in program.populations:
            decoding = self.decodings.get(node.id)
            states = bounds.states(program.graph, node, program.window.n_steps)
            found[node.id] = LayerNumbers(
                unit=np.ones(node.shape[0]) if decoding is None else decoding.unit,
                weight_bits=max(g.weight.format.bits for g in program.synapses_into(node)),
                fraction_bits=node.bits_below_weights,
                saturated=0.0,
                largest=states.magnitude,
                bias=node.bias.values.astype(np.float64),
            )
        return found

    def runs(self, samples: Samples, advance: Advance = no_progress) -> Iterator[Run]:
        """The run of each part of the samples, in order."""
        for shard in shards_of(samples.x):
            frames = encoded(self.encoding, shard.x)
            yield engine.run(self.program, frames, first=shard.start, advance=advance)

    def evaluated(self, samples: Samples | None, journal: Journal) -> Outcome:
        """Accuracy in fixed point, with labels: there is no other network to agree with."""
        ladder = Ladder(self.expected)
        if samples is None:
            return Outcome(more={"outputs": described(self.decodings, ladder)})
        n = len(samples)
        with journal.progress("evaluate", pluralize(n, "sample"), n) as advance:
            parts = (self._answers(run) for run in self.runs(samples, advance))
            answers = join(self.expected, parts)
        labelled = any(one.y is not None for one in self.expected)
        if labelled:
            ladder.add_answers("fixed", answers.stages["fixed"], answers.note)
            ladder.repeat("mapped", "fixed")
        return Outcome(
            ladder.rungs,
            Activity(answers.activity, n),
            {},
            engine.simulator(self.program),
            more={"outputs": described(self.decodings, ladder, samples.x if labelled else None)},
        )

    def _answers(self, run: Run) -> Answers:
        values = Ladder(self.expected).answers_of(decoded(self.decodings, run))
        return Answers(
            {"fixed": [some[:] for some in values]}, "the network of the file", run.activity
        )
