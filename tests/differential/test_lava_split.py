"""Split networks of each coding: Lava sends what the reference does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import lava_batch
import networks
from scheduled_networks import SCHEDULED, scheduled
from small_targets import small
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim.reference import run

pytestmark = pytest.mark.lava
KINDS = ("graded", "subtract", "zero", "leaky", "signed", *SCHEDULED)
FEW = ("graded", "subtract", "sync")
"""Each kind of partial sums: of one step, of every step of a window, and of a window."""


@dataclass(frozen=True)
class Case:
    name: str
    program: QuantizedGraph
    frames: Int


def split(kind, axons, seed=2):
    """A network of all structures, split for a chip with few axons: the fewer, the more relays."""
    if kind in SCHEDULED:
        made = scheduled(kind, "structures", seed, 5)
        program, frames = made.program, made.frames
    else:
        n_steps = 1 if kind in networks.SINGLE_STEP else 5
        program, frames = networks.structures(seed, kind, n_steps)
    found = SplitFanIn(small(input_axons_per_core=axons)).split(program)
    assert found is not None
    assert found.relay_sources
    return Case(kind, found.program, frames[:3])


@pytest.mark.parametrize(
    ("form", "kinds", "axons"),
    [
        ("sparse", FEW, 48),
        pytest.param("sparse", KINDS, 12, marks=pytest.mark.slow),
        pytest.param("conv", KINDS, 12, marks=pytest.mark.slow),
    ],
)
def test_split_networks_in_lava(lava_environment, tmp_path, form, kinds, axons):
    cases = [split(kind, axons) for kind in kinds]
    plans = lava_batch.emitted(cases, tmp_path)
    assert list(plans) == list(kinds)
    sent = lava_batch.run(lava_environment, cases, plans, form, tmp_path)
    for case in cases:
        for name, messages in run(case.program, case.frames, record=True).messages.items():
            assert np.array_equal(sent[case.name][name], messages), (case.name, name)
