"""What a mapped network costs: events of its cores, and the energy and time that they take."""

from snn_compile.mapping.cost.bill import Bill, Share, bill
from snn_compile.mapping.cost.constants import RANGE, Range
from snn_compile.mapping.cost.energy import EnergyEstimate, energy
from snn_compile.mapping.cost.events import KINDS, Events, Messages, events
from snn_compile.mapping.cost.synops import exact_synops, fan_out, fan_outs, neuron_updates, synops
from snn_compile.mapping.cost.time import (
    Binding,
    overlapped_step_time,
    step_time,
    step_time_by_step,
    time_source,
)

__all__ = [
    "KINDS",
    "RANGE",
    "Bill",
    "Binding",
    "EnergyEstimate",
    "Events",
    "Messages",
    "Range",
    "Share",
    "bill",
    "energy",
    "events",
    "exact_synops",
    "fan_out",
    "fan_outs",
    "neuron_updates",
    "overlapped_step_time",
    "step_time",
    "step_time_by_step",
    "synops",
    "time_source",
]
