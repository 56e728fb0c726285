"""Placement of a fixed-point network on a chip, and its cost."""

from snn_compile.mapping.block import Block, Demand, Placement
from snn_compile.mapping.cost import (
    RANGE,
    Bill,
    EnergyEstimate,
    Range,
    bill,
    energy,
    exact_synops,
    fan_out,
    fan_outs,
    neuron_updates,
    synops,
)
from snn_compile.mapping.map_to_cores import MapToCores, map_program
from snn_compile.mapping.program import MappedProgram
from snn_compile.mapping.resources import LayerResources, Resources, resources
from snn_compile.mapping.rules import RULES, violations_without_placement
from snn_compile.mapping.violation import Violation

__all__ = [
    "RANGE",
    "RULES",
    "Bill",
    "Block",
    "Demand",
    "EnergyEstimate",
    "LayerResources",
    "MapToCores",
    "MappedProgram",
    "Placement",
    "Range",
    "Resources",
    "Violation",
    "bill",
    "energy",
    "exact_synops",
    "fan_out",
    "fan_outs",
    "map_program",
    "neuron_updates",
    "resources",
    "synops",
    "violations_without_placement",
]
