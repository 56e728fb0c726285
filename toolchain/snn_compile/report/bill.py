"""The report's cost entries: for an inference, for each layer and for each core."""

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
    """The report with the cost of an inference: total, by layer and by core.

    Args:
        report: the report without costs.
        mapped: the placed network.
        activity: messages of each neuron on the evaluation set; without it, only the number of
            time steps is known.
    """
    program = mapped.program
    steps = {"value": program.total_steps, "unit": "time steps", "source": "depth and window"}
    if activity is None:
        unknown = {key: None for key in ("spikes_per_inference", "synops_per_inference", "energy")}
        known = {key: value for key, value in report.items() if key != "neurobench"}
        return {**known, "cost": {**unknown, "latency": steps}}
    inputs = {node.id for node in program.inputs}
    mean = {name: each / activity.n_samples for name, each in activity.messages.items()}
    costs = bill(mapped, mean)
    shares = {name: _share(costs, share) for name, share in costs.layers.items()}
    layers = [{**row, **shares.get(row["name"], {})} for row in report["layers"]]
    used = report["resources"]
    cores = [{**row, **_share(costs, costs.cores[row["core"]])} for row in used["per_core"]]
    cost: dict[str, Any] = {
        "spikes_per_inference": float(
            sum(each.sum() for name, each in mean.items() if name not in inputs)
        ),
        "synops_per_inference": float(exact_synops(program, mean)),
        "energy": _energy(mapped, costs),
        "latency": steps if costs.latency is None else _latency(mapped, costs, costs.latency),
        "throughput": _throughput(costs),
        "binding": _binding(costs),
        "events": _events(costs),
        "parts": _parts(costs),
    }
    return {
        **report,
        "layers": layers,
        "resources": {**used, "per_core": cores},
        "cost": cost,
        "neurobench": neurobench(program, activity, report.get("ladder") or []),
    }


def _estimate(quantity: Range, unit: str, factor: float = 1.0) -> dict[str, Any]:
    scaled = quantity * factor
    return {"value": scaled.value, "low": scaled.low, "high": scaled.high, "unit": unit}


def _energy(mapped: MappedProgram, costs: Bill) -> dict[str, Any] | None:
    """``value`` is the dynamic energy, which does not depend on the speed of execution."""
    synops, updates, _, messages, _ = costs.events.total.tolist()
    whole = energy(
        mapped.target,
        synops=synops,
        neuron_updates=updates,
        spikes=messages + costs.events.input_messages,
    )
    if whole is None:
        return None
    static = None if costs.static is None else _estimate(costs.static, "J")
    return {
        **whole,
        "interval": RANGE,
        "dynamic": _estimate(costs.dynamic, "J"),
        "static": static,
        "input": _estimate(costs.input, "J"),
    }


def _latency(mapped: MappedProgram, costs: Bill, latency: Range) -> dict[str, Any]:
    source, confidence = time_source(mapped.target)
    return {
        **_estimate(latency, "us", MICRO),
        "source": source,
        "confidence": confidence.value,
        "interval": RANGE,
        "steps": costs.events.total_steps,
        "step": None if costs.step is None else _estimate(costs.step, "us", MICRO),
    }


def _throughput(costs: Bill) -> dict[str, Any] | None:
    """Inferences per second in sequence; its low end belongs to the long end of the period."""
    period = costs.period
    if period is None or not period.low:
        return None
    return {
        "value": 1 / period.value,
        "low": 1 / period.high,
        "high": 1 / period.low,
        "unit": "inferences/s",
        "interval": RANGE,
    }


def _binding(costs: Bill) -> dict[str, Any] | None:
    binding = costs.binding
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


def _events(costs: Bill) -> dict[str, float]:
    names = (kind.replace(" ", "_") for kind in KINDS)
    counts = dict(zip(names, costs.events.total.tolist(), strict=True))
    events = costs.events
    return {
        **counts,
        "input_message": events.input_messages,
        "input_value": events.input_values,
        "between_chips": float(sum(events.between_chips.values())),
    }


def _parts(costs: Bill) -> list[dict[str, Any]]:
    """Energy and time of an inference by what takes them."""
    names = dict.fromkeys([*costs.energy_by_kind, *costs.seconds_by_kind])
    steps, found = costs.events.total_steps, []
    for name in names:
        joules, seconds = costs.energy_by_kind.get(name), costs.seconds_by_kind.get(name)
        energy = None if joules is None else {"value": joules, "unit": "J"}
        time = None if seconds is None else {"value": steps * seconds * MICRO, "unit": "us"}
        found.append({"part": name, "energy": energy, "time": time})
    return found


def _share(costs: Bill, share: Share) -> dict[str, Any]:
    """Energy of an inference in joules, and time of a step in microseconds."""
    return {
        "energy": _estimate(share.energy, "J") if costs.dynamic.high else None,
        "time": None if costs.step is None else _estimate(share.seconds, "us", MICRO),
    }
