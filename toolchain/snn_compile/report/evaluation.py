"""Stage accuracy: every stage of a compilation, run on the evaluation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.codings import Coding
from snn_compile.convert.linear import Float
from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering
from snn_compile.plugins import SourceRuntime
from snn_compile.pluralize import pluralize
from snn_compile.report.attribution import Loss, attribute
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity
from snn_compile.samples.arrays import Samples
from snn_compile.sim import ann, engine, spiking
from snn_compile.sim.batches import map_batches
from snn_compile.sim.kernels import Array

ENCODING_BATCH_SIZE = 256
"""Samples per encoding task of a thread."""

SPIKING_SAMPLES = 1_000
"""Most samples for the spiking network in float, the first ones. Each of its steps costs as much as
the trained network; all samples would take most of a compilation's time. It serves to locate a
loss, for which a tenth of a point, one of these samples, suffices.
"""


@dataclass(frozen=True, eq=False)
class Stages:
    """Intermediate stages of a compilation.

    Attributes:
        network: the network of the file, preceded by preprocessing.
        lowered: after the function-preserving passes, with all later stages.
        coding: coding of activations as spikes.
        source_runtime: runs the user's own file on raw samples; None: our evaluator runs
            ``network``.
    """

    network: ANNGraph
    lowered: Lowering
    coding: Coding
    source_runtime: SourceRuntime | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of the evaluation.

    Attributes:
        ladder: entries of ``report.json``.
        activity: of the network in fixed point, None without samples.
        losses: loss of each layer.
        simulator: executor of the fixed-point network, None without samples.
        judge: holds the answers of the first stage and of the fixed-point network.
        more: further entries of the report.
    """

    ladder: list[dict[str, Any]] = field(default_factory=list)
    activity: Activity | None = None
    losses: dict[NodeId, Loss] = field(default_factory=dict)
    simulator: str | None = None
    judge: Ladder = field(default_factory=lambda: Ladder(None))
    more: dict[str, Any] = field(default_factory=dict)


def evaluate_stages(stages: Stages, samples: Samples | None, journal: Journal) -> Outcome:
    """Accuracy and agreement of each stage; nothing without samples."""
    if samples is None:
        return Outcome()
    x, n = samples.x, len(samples)
    lowered, program = stages.lowered, stages.lowered.program
    frames = encoded(lowered.encoding, x)
    ladder = Ladder(samples.y)
    with_spikes = not stages.coding.payloads  # a payload equals its activation
    few = min(n, SPIKING_SAMPLES)
    with journal.progress("evaluate", pluralize(n, "sample"), 4 * n + with_spikes * few) as advance:
        if stages.source_runtime is None:
            ladder.add("onnx", ann.evaluate(stages.network, x, advance=advance))
        else:
            note = f"as {stages.source_runtime.name} runs the file"
            ladder.add("onnx", stages.source_runtime(x, advance), note)
        ladder.add("folded", ann.evaluate(lowered.folded, x, advance=advance))
        operators = as_lines(lowered.curves)
        if lowered.curves:
            ladder.add("activations", ann.evaluate(lowered.folded, x, operators=operators))
        rounded = on_levels(lowered.folded, lowered.scales, stages.coding.levels)
        on_grid = ann.evaluate(
            lowered.folded, x, hook=rounded, operators=operators, advance=advance
        )
        ladder.add("rate", on_grid)
        if with_spikes:
            ladder.add("spiking", spiking.evaluate(lowered.spiking, frames[:few], advance=advance))
        run = engine.run(program, frames, advance=advance)
        output, decoding = next(iter(lowered.decodings.items()))
        ladder.add("fixed", decoding(run.outputs[output]))
    ladder.repeat("mapped", "fixed")
    with journal.timed("attribute"):
        losses = attribute(
            lowered.folded,
            program,
            x,
            frames,
            lowered.scales,
            stages.coding.levels,
            lowered.decodings,
        )
    activity = Activity(run.activity, n)
    return Outcome(ladder.rungs, activity, losses, engine.simulator(program), ladder)


def encoded(encoding: InputEncoding, x: npt.NDArray[np.number]) -> npt.NDArray[np.integer]:
    """The frames of many samples (N, *input shape), as (N, *maps), in few bytes."""
    fitting = np.min_scalar_type(-2 * max(-encoding.low, encoding.high))
    frames = np.empty((len(x), *encoding.maps), fitting)

    def some(piece: npt.NDArray[Any], start: int) -> None:
        frames[start : start + len(piece)] = encoding(piece)

    for _ in map_batches(some, x, ENCODING_BATCH_SIZE):
        pass
    return frames


def as_lines(curves: Mapping[NodeId, Curve]) -> ann.Operators:
    """Operators of the float network in which functions are the lines that stand for them."""

    def compute(node: AnnNode, sources: Sequence[Array]) -> Array:
        if isinstance(node, ops.Function) and node.id in curves:
            value: Array = curves[node.id](sources[0]).astype(sources[0].dtype)
            return ann.on_own_grid(node, value)
        return ann.apply(node, sources)

    return compute


def on_levels(network: ANNGraph, scales: Mapping[NodeId, Float], levels: int) -> ann.Hook:
    """Rounds every activation onto ``levels + 1`` levels, as an ideal coding would."""

    def rounded(node: AnnNode, value: Array) -> Array:
        if not isinstance(node, ops.Activation):
            return value
        own = network.levels_of(node, levels)
        return ann.on_levels(value, scales[node.id], own, signed=not node.non_negative)

    return rounded
