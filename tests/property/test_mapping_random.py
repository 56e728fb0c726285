"""Random networks on random small chips: the same messages, and no rule broken."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from rule_checker import broken_rules
from scheduled_networks import SCHEDULED, scheduled
from small_targets import drawn
from snn_compile.errors import CompileError, CompileErrors
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.mapping import map_program
from snn_compile.sim import reference

FEW, MANY = 40, 2_000
KINDS = [kind for kind in networks.ALL_NEURONS if kind != "wide"]


def network(seed):
    """A network of any coding and structure, and stimuli."""
    random = np.random.default_rng(seed)
    structure = ("mlp", "structures", "branches")[seed % 3]
    kinds = (*KINDS, *SCHEDULED)
    kind = kinds[int(random.integers(len(kinds)))]
    if kind in SCHEDULED:
        made = scheduled(kind, structure, seed, int(random.integers(1, 6)))
        return made.program, made.frames[:2]
    n_steps = 1 if kind in networks.SINGLE_STEP else int(random.integers(1, 6))
    match structure:
        case "mlp":
            program, frames = networks.mlp(seed, kind, n_steps)
        case "structures":
            program, frames = networks.structures(seed, kind, n_steps)
        case _:
            program, frames = networks.branches(seed, n_steps, 2, kinds=(kind,))
    return program, frames[:2]


def fitted(program, target):
    """The network on the chip, or the codes of why there is none."""
    try:
        split = SplitFanIn(target).split(program)
        return map_program(split.program if split else program, target).graph
    except (CompileError, CompileErrors) as error:
        return {each.code for each in getattr(error, "errors", [error])}


def check(seeds):
    """How many fit."""
    n_mapped = n_split = 0
    for seed in seeds:
        program, frames = network(seed)
        target = drawn(np.random.default_rng([seed, 1]))
        mapped = fitted(program, target)
        if isinstance(mapped, set):
            assert mapped <= {
                "input-axons-per-core",
                "synapse-memory-per-core",
                "output-axons-per-core",
                "neurons-per-core",
            }
            continue
        assert broken_rules(mapped.program, target, mapped.placements) == []
        whole = reference.run(program, frames, record=True)
        placed = reference.run(mapped.program, frames, record=True)
        for name, messages in whole.messages.items():
            assert np.array_equal(messages, placed.messages[name]), (seed, name)
        n_mapped += 1
        n_split += mapped.program is not program
    return n_mapped, n_split


def test_random_networks_on_random_chips():
    n_mapped, n_split = check(range(FEW))
    assert n_mapped >= FEW // 2
    assert n_split >= FEW // 8


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_networks_on_random_chips(part):
    seeds = range(FEW + part * MANY // 20, FEW + (part + 1) * MANY // 20)
    n_mapped, _ = check(seeds)
    assert n_mapped >= len(seeds) // 2
