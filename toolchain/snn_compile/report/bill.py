"""The report's entries on cost: of an inference, of each layer, and of each core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.mapping import RANGE, Bill, MappedProgram, Range, bill, energy, exact_synops
from snn_compile.mapping.cost import KINDS, Share, time_source
from snn_compile.report.layers import Activity
from snn_compile.report.neurobench import neurobench

MICRO = 1e6


def with_bill(
    report: Mapping[str, Any], mapped: MappedProgram, activity: Activity | None
) -> dict[str, Any]:
    """A report with what an inference costs: the whole, each layer's share, and each core's.

    Without activity, nothing is known but the number of steps.
    """
    program = mapped.program
    steps = {"value": program.total_steps, "unit": "time steps", "source": "depth and window"}
    if activity is None:
        unknown = {key: None for key in ("spikes_per_inference", "synops_per_inference", "energy")}
        known = {key: value for key, value in report.items() if key != "neurobench"}
        return {**known, "cost": {**unknown, "latency": steps}}
    mean = {name: each / activity.n_samples for name, each in activity.messages.items()}
    found = bill(mapped, mean)
    shares = {name: _share(found, share) for name, share in found.layers.items()}
    layers = [{**row, **shares.get(row["name"], {})} for row in report["layers"]]
    taken = report["resources"]
    cores = [{**row, **_share(found, found.cores[row["core"]])} for row in taken["per_core"]]
    cost: dict[str, Any] = {
        "spikes_per_inference": float(
            sum(each.sum() for name, each in mean.items() if name != program.input.id)
        ),
        "synops_per_inference": float(exact_synops(program, mean)),
        "energy": _energy(mapped, found),
        "latency": steps if found.latency is None else _latency(mapped, found, found.latency),
        "throughput": _throughput(found),
        "binding": _binding(found),
        "events": _events(found),
    }
    return {
        **report,
        "layers": layers,
        "resources": {**taken, "per_core": cores},
        "cost": cost,
        "neurobench": neurobench(program, activity, report.get("ladder") or []),
    }


def _estimate(quantity: Range, unit: str, factor: float = 1.0) -> dict[str, Any]:
    scaled = quantity * factor
    return {"value": scaled.value, "low": scaled.low, "high": scaled.high, "unit": unit}


def _energy(mapped: MappedProgram, found: Bill) -> dict[str, Any] | None:
    """``value`` is the dynamic part: the energy of a network that runs slower is the same."""
    synops, updates, _, messages, _ = found.events.total.tolist()
    whole = energy(
        mapped.target,
        synops=synops,
        neuron_updates=updates,
        spikes=messages + found.events.input_messages,
    )
    if whole is None:
        return None
    static = None if found.static is None else _estimate(found.static, "J")
    return {
        **whole,
        "interval": RANGE,
        "dynamic": _estimate(found.dynamic, "J"),
        "static": static,
        "input": _estimate(found.input, "J"),
    }


def _latency(mapped: MappedProgram, found: Bill, latency: Range) -> dict[str, Any]:
    source, confidence = time_source(mapped.target)
    return {
        **_estimate(latency, "us", MICRO),
        "source": source,
        "confidence": confidence.value,
        "interval": RANGE,
        "steps": found.events.total_steps,
        "step": None if found.step is None else _estimate(found.step, "us", MICRO),
    }


def _throughput(found: Bill) -> dict[str, Any] | None:
    """Inferences that follow each other; a long period is a low throughput."""
    period = found.period
    if period is None or not period.low:
        return None
    return {
        "value": 1 / period.value,
        "low": 1 / period.high,
        "high": 1 / period.low,
        "unit": "inferences/s",
        "interval": RANGE,
    }


def _binding(found: Bill) -> dict[str, Any] | None:
    binding = found.binding
    if binding is None:
        return None
    return {
        "resource": binding.resource,
        "core": binding.core,
        "populations": list(binding.populations),
        "operation": binding.operation,
        "share": binding.share,
        "time": {"value": binding.seconds * MICRO, "unit": "us"},
    }


def _events(found: Bill) -> dict[str, float]:
    names = (kind.replace(" ", "_") for kind in KINDS)
    counts = dict(zip(names, found.events.total.tolist(), strict=True))
    events = found.events
    return {
        **counts,
        "input_message": events.input_messages,
        "input_value": events.input_values,
        "between_chips": float(sum(events.between_chips.values())),
    }


def _share(found: Bill, share: Share) -> dict[str, Any]:
    """Energy in joules for an inference; time in microseconds of each step."""
    return {
        "energy": _estimate(share.energy, "J") if found.dynamic.high else None,
        "time": None if found.step is None else _estimate(share.seconds, "us", MICRO),
    }
