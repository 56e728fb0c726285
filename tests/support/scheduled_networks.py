"""Random networks that are spread over time, with the networks of one step that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import networks
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import Window
from wide_networks import wide

SYNC, RADIX, SIGMA_DELTA = SCHEDULED = ("sync", "radix", "sigma-delta")
KINDS = {SYNC: "clip-floor", RADIX: "clip-floor", SIGMA_DELTA: "graded"}
"""The integer network's neurons in each coding."""
SMALL = ("mlp", "structures", "branches")
NAMES = (*SMALL, "wide")
"""Generators of networks."""

__all__ = ["NAMES", "SCHEDULED", "SMALL", "Scheduled", "scheduled"]


@dataclass(frozen=True, eq=False)
class Scheduled:
    """A network in both forms, and stimuli.

    Attributes:
        program: spread over time.
        single_step: the integer network.
        frames: encoded stimuli; of sigma-delta networks a stream.
    """

    program: QuantizedGraph
    single_step: QuantizedGraph
    frames: np.ndarray


def scheduled(coding: str, name: str, seed: int, n_steps: int) -> Scheduled:
    """A network of one of ``SCHEDULED``; sigma-delta has one step, radix 7 at most."""
    kind = KINDS[coding]
    n_steps = {SYNC: n_steps, RADIX: min(n_steps, 7), SIGMA_DELTA: 1}[coding]
    more = {"levels": Window(coding, n_steps).levels, "whole": True}
    match name:
        case "mlp":
            single_step, frames = networks.mlp(seed, kind, **more)
        case "structures":
            single_step, frames = networks.structures(seed, kind, 1, **more)
        case "branches":
            single_step, frames = networks.branches(seed, 1, 2, kinds=(kind,), **more)
        case _:
            single_step, frames = wide(seed, 1, kinds=(kind,), **more)
    if coding == SIGMA_DELTA:  # in a stream, some of a frame is that of the frame before
        still = np.random.default_rng(seed).random(frames.shape) < 0.5
        for before, now, same in zip(frames, frames[1:], still[1:], strict=False):
            now[same] = before[same]
    return Scheduled(schedule(single_step, Window(coding, n_steps)), single_step, frames)
