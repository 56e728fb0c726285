"""What a segment is taught: samples of a batch, and goals from the float network's answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph, Readout
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.reconstruction import learning
from snn_compile.quantize.reconstruction.learning import Entries, Goal
from snn_compile.quantize.reconstruction.network import SegmentNetwork
from snn_compile.quantize.reconstruction.teacher import Integers, Numbers, Teacher, mirrored, mixed
from snn_compile.sim.kernels import Array
from snn_compile.sim.reference import Simulator

INSIDE = 3.0
"""Weight of the drives inside of a segment, together, beside that of the outputs."""

Batch = tuple[Entries, dict[NodeId, Array]]


@dataclass(frozen=True, eq=False)
class Samples:
    """Calibration samples, as they are and encoded; the last are held out."""

    folded: ANNGraph
    x: Numbers
    frames: Integers


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Batches of a segment that reads inputs: mixtures, if random numbers are given."""

    samples: Samples
    teacher: Teacher
    simulator: Simulator
    sources: Iterable[NodeId]
    mirrors: bool

    @staticmethod
    def of(
        samples: Samples,
        teacher: Teacher,
        program: QuantizedGraph,
        sources: Iterable[NodeId],
        judged: Iterable[NodeId],
    ) -> Mixtures:
        """Mirrored ones, too, if the answers of what is judged hardly change."""
        maps = samples.x.shape == samples.frames.shape and samples.x.shape[-1] > 1
        mirrors = maps and teacher.answers_mirrored(judged)
        return Mixtures(samples, teacher, Simulator(program), sources, mirrors)

    def __call__(self, chosen: npt.NDArray[np.intp], draw: np.random.Generator | None) -> Batch:
        """Messages of the sources, and drives of the float network."""
        x, frames = self.samples.x, self.samples.frames
        seen, encoded = x[chosen], frames[chosen]
        if draw is not None:
            other = draw.integers(len(x) - learning.n_held(len(x)), size=len(chosen))
            pair = (seen, encoded), (x[other], frames[other])
            if self.mirrors:
                pair = mirrored(draw, *pair[0]), mirrored(draw, *pair[1])
            seen, encoded = mixed(draw, *pair[0], *pair[1])
        sent = self.simulator.encode_inputs(encoded.astype(np.int64), 0)
        entries = {
            name: np.ascontiguousarray(sent[name][..., 0, :], np.float32) for name in self.sources
        }
        return entries, self.teacher.drives(seen, rough=draw is not None)


@dataclass(frozen=True, eq=False)
class Messages:
    """Batches of a segment that reads what was sent before, (*shape, N); nothing is mixed."""

    samples: Samples
    teacher: Teacher
    sent: dict[NodeId, Int]

    def __call__(self, chosen: npt.NDArray[np.intp], draw: np.random.Generator | None) -> Batch:
        """Messages of the sources, and drives of the float network."""
        entries = {
            name: np.ascontiguousarray(sent[..., chosen], np.float32)
            for name, sent in self.sent.items()
        }
        return entries, self.teacher.drives(self.samples.x[chosen], rough=draw is not None)


def joined(pieces: list[Int]) -> Int:
    """Messages (*shape, N) of all samples, from those of the only step, (*shape, 1, B)."""
    return np.concatenate([piece[..., 0, :].astype(np.int32) for piece in pieces], axis=-1)


def goals_of(
    quantization: Quantization, network: SegmentNetwork, teacher: Teacher, *, counted: bool
) -> dict[NodeId, Goal]:
    """Of outputs, and of drives inside, which together weigh ``INSIDE`` times as much.

    Args:
        quantization: the network with the units of its potentials.
        network: the segment with gradients.
        teacher: drives of all that is learned.
        counted: whether potentials are counts of spikes, which say no more than a window allows.
    """
    program = quantization.program
    n_outputs = sum(isinstance(program.graph[name], Readout) for name in teacher.first)
    n_inside = len(teacher.first) - n_outputs
    found: dict[NodeId, Goal] = {}
    for name, drives in teacher.first.items():
        rectified = not isinstance(program.graph[name], Readout)
        most, target = teacher.most.get(name), drives.astype(np.float64)
        if rectified:
            target = np.maximum(target, 0.0)
        power = float(products.mean(np.square(target).ravel(), axis=0))
        weight = INSIDE / n_inside if rectified else 1 / n_outputs
        if power > 0:
            unit = quantization.numbers[name].unit / program.window.n_steps
            unit = np.broadcast_to(unit, program.graph[name].shape[:1])
            if rectified and counted:
                full = unit * network.full(name)
                most = full if most is None else np.minimum(most, full)
            found[name] = Goal(unit, power, weight, rectified, most)
    return found
