"""The evaluation samples of a network trained with spikes, on that network in floating point."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.data_checks.readings import Reading
from snn_compile.data_checks.recordings import readings_of_trains
from snn_compile.data_checks.trial import Model, evaluation_findings
from snn_compile.ir.ann import Input
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.inputs import Inputs
from snn_compile.ir.spiking import InputCoding, Synapses
from snn_compile.ir.stages import SpikingGraph
from snn_compile.passes import Finding
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples
from snn_compile.sim import spiking
from snn_compile.sim.frames import encoded

SLOWER = 8
"""How many times as long a multiplication takes as in a runtime."""
HELD_BYTES = 64 << 20
"""Largest trains that are held for the trial."""
_INPUT = NodeId("x")

Array = npt.NDArray[Any]


def tried_on_spikes(
    network: SpikingGraph, encoding: InputEncoding, samples: Samples | None, journal: Journal
) -> list[Finding]:
    """Doubts about labelled samples, from what the network answers to them.

    Args:
        network: in floating point, for encoded input.
        encoding: of the input.
        samples: of the evaluation set, or None.
        journal: of the compilation.
    """
    if samples is None or all(one.y is None for one in samples.expected):
        return []
    trains = network.input_coding is InputCoding.EVENTS
    shape = samples.x.shape[1:]

    def run(x: Array) -> Mapping[str, Array]:
        found = spiking.evaluate_outputs(network, encoded(encoding, x)[:])
        return {str(name): values for name, values in found.items()}

    model = Model(
        run,
        SLOWER * _multiplications(network),
        Inputs((Input(id=_INPUT, inputs=(), shape=shape, origin=network.input.origin),)),
        {str(_INPUT): Reading(np.zeros(1), np.ones(1))},
        readings_of=readings_of_trains if trains else lambda *_: [],
        most=max(1, HELD_BYTES // (8 * prod(shape))),
    )
    with journal.timed("check-data"):
        return evaluation_findings(model, samples)


def _multiplications(network: SpikingGraph) -> int:
    """Of one sample, if every neuron sent a spike in every step."""
    layers = (node for node in network.graph if isinstance(node, Synapses))
    return network.window.n_steps * sum(prod(n.shape[1:]) * n.weight.size for n in layers)
