"""Chips with little room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from snn_compile.targets import load_target
from snn_compile.targets.target import Target


def small(name: str = "loihi2", **values: Any) -> Target:
    """A target with other values for some of its figures."""
    target = load_target(name)
    changed = {key: replace(getattr(target, key), value=value) for key, value in values.items()}
    return replace(target, name="small", **changed)


def drawn(random: np.random.Generator) -> Target:
    """A chip of any size, without a limit of cores, so that most networks fit."""

    def one_of(*values: Any) -> Any:
        return values[int(random.integers(len(values)))]

    axons = int(random.integers(3, 60))

    return small(
        cores_per_chip=int(random.integers(1, 9)),
        chips=None,
        neurons_per_core=one_of(None, int(random.integers(1, 80))),
        synapse_memory_per_core=one_of(None, int(random.integers(1_500, 40_000))),
        input_axons_per_core=one_of(None, axons, axons, axons),
        output_axons_per_core=one_of(None, int(random.integers(200, 3_000))),
        shared_kernels=one_of(True, False),
        index_bits=int(random.integers(4, 14)),
        entry_overhead_bits=int(random.integers(0, 40)),
        synapses_per_entry=int(random.integers(1, 61)),
        neurons_per_soft_reset_neuron=one_of(1, 2),
        synapses_per_soft_reset_neuron=one_of(0, 1),
        word_bits=one_of(None, 8, 32),
        stride_bits=one_of(0, 1),
    )
