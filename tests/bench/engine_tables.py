"""What ``engine.py`` prints, from the records that it also writes as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine_timing import Spread, figure
from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=None if os.isatty(1) else 200)
PROGRESS = Console(stderr=True)

REQUIRED = (
    # network, what it is compared with, at least so many times faster
    *(("conv", "spikingjelly", 40.0), ("depthwise", "spikingjelly", 60.0)),
    *(("mlp", "spikingjelly", 25.0), ("mlp", "lava", 1000.0), ("conv", "lava", 3000.0)),
    *(("mlp", "reference", 20.0), ("conv", "reference", 20.0), ("depthwise", "reference", 20.0)),
)
WIDER_AT_MOST = 1.4
OF_THE_ROOFLINE = 0.5
RIVALS = ("torch", "spikingjelly")
"""Peers that are to be slower than every build in every cell."""

Record = Mapping[str, Any]


def say(text: str) -> None:
    """What is being done, for people who watch."""
    PROGRESS.print(text, style="dim", highlight=False)


def _cell(entry: Mapping[str, float] | None) -> str:
    return figure(entry["median"]) if entry else ""


def _spread(entry: Mapping[str, float] | None) -> str:
    return str(Spread(**entry)) if entry else ""


def _shares(entry: Mapping[str, float]) -> str:
    return f"{entry['median']:.0%} ({entry['least']:.0%} to {entry['most']:.0%})"


def _names(records: list[Record], key: str) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.get(key, {})))


def show_workload(record: Record) -> None:
    """One line for each contestant of a workload, as soon as it is measured."""
    table = Table(title=f"{record['network']}, {record['activity']}", title_justify="left")
    for column in ("", "batch", "CPU ms", "ratio", "wall ms, 2 threads", "of the floor", "equal"):
        table.add_column(column, justify="left" if not column else "right")
    own = next(iter(record["cpu_ms"]))
    for name, entry in record["cpu_ms"].items():
        line = record["roofline"].get(name.removeprefix("engine "), {})
        peer = record["peers"].get(name, {})
        table.add_row(
            name,
            str(record["batches"][name]),
            _spread(entry),
            _spread(record.get("cpu_ratios", {}).get(name)) if own != name else "",
            _cell(record["wall_ms_two_threads"].get(name)),
            _shares(line["fraction"]) if "fraction" in line else "",
            _equal(peer) if peer else "",
        )
    for form, entry in record["lava_wall_ms"].items():
        ratio = _spread(record.get("cpu_ratios", {}).get(form))
        table.add_row(form, "", "", ratio, _spread(entry), "", _equal(record["peers"][form]))
    CONSOLE.print(table)
    for peer, facts in record["peers"].items():
        if "missing" in facts:
            CONSOLE.print(f"{peer}: {facts['missing']}", highlight=False)


def _equal(facts: Record) -> str:
    """How far a peer computes what the reference does."""
    off = facts.get("spikes_off", 0.0)
    if facts["outputs"] == 1.0 and not off:
        return "yes"
    return f"{facts['outputs']:.0%} of outputs, spikes {off:.1g} off"


def show(result: Record) -> None:
    """All tables: times, wall times, ratios, limits, requirements, and what is missing."""
    records = result["workloads"]
    _show_matrix("CPU ms per sample, one core", records, "cpu_ms", _cell)
    _show_matrix("wall ms per sample, two threads", records, "wall_ms_two_threads", _cell)
    _show_matrix("wall ms per sample, lava, all cores", records, "lava_wall_ms", _spread)
    _show_matrix("CPU time as a multiple of the first engine's", records, "cpu_ratios", _spread)
    _show_matrix("wall time on two threads, the same", records, "wall_ratios", _spread)
    _show_roofline(records)
    if result["builds"]:
        _show_requirements(records)
        _show_lost(records)
    for name, why in result["missing"].items():
        CONSOLE.print(f"missing: {name}: {why}", highlight=False)
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    CONSOLE.print(facts, style="dim", highlight=False)


def _show_matrix(title: str, records: list[Record], key: str, form: Any) -> None:
    names = _names(records, key)
    names = names[1:] if key.endswith("_ratios") else names  # the first is what 1 stands for
    if not names:
        return
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for record in records:
        cells = [form(record.get(key, {}).get(name)) for name in names]
        table.add_row(f"{record['network']}, {record['activity']}", *cells)
    CONSOLE.print(table)


def _show_roofline(records: list[Record]) -> None:
    builds = _names(records, "roofline")
    if not builds:
        return
    table = Table(title="composite floor, ms, and the share reached", title_justify="left")
    for column in ("", "M syn. ops", "M neuron steps", "density"):
        table.add_column(column, justify="right" if column else "left")
    for build in builds:
        table.add_column(build, justify="right")
    for record in records:
        load = record["work"]
        cells = []
        for build in builds:
            entry = record["roofline"].get(build)
            if entry is None:
                cells.append("")
                continue
            share = f", {_shares(entry['fraction'])}" if "fraction" in entry else ""
            cells.append(_cell(entry["floor_ms"]) + share)
        table.add_row(
            f"{record['network']}, {record['activity']}",
            figure(load["synaptic_operations"] / 1e6),
            figure(load["neuron_steps"] / 1e6),
            f"{record['density']:.1%}",
            *cells,
        )
    CONSOLE.print(table)
    for build in builds:
        measured = [r["roofline"][build]["limits"] for r in records if build in r["roofline"]]
        limits = measured[-1]
        CONSOLE.print(
            f"limits of a core, {build}: row gather {limits['gather'] / 1e9:.0f} G synaptic"
            f" operations/s from the first-level cache, {limits['gather_far'] / 1e9:.0f} from the"
            f" second; depthwise taps {limits['taps'] / 1e9:.0f} G/s; neuron step"
            f" {limits['neuron_step'] * 1e9:.3f} ns; int16 additions"
            f" {limits['adds'] / 1e9:.0f} G/s",
            highlight=False,
        )


def lost(records: list[Record]) -> list[str]:
    """Every build and workload where a peer takes less CPU time than the engine."""
    cells = []
    for record in records:
        times = {name: entry["median"] for name, entry in record["cpu_ms"].items()}
        for build in (name for name in times if name.startswith("engine ")):
            faster = [peer for peer in RIVALS if times.get(peer, times[build]) < times[build]]
            cells += [
                f"{record['network']}, {record['activity']}: {peer} takes"
                f" {figure(times[peer] / times[build])} of the time of {build}"
                for peer in faster
            ]
    return cells


def _show_lost(records: list[Record]) -> None:
    cells = lost(records)
    CONSOLE.print(f"cells where one of {', '.join(RIVALS)} is faster: {len(cells)}")
    for cell in cells:
        CONSOLE.print(f"  {cell}", highlight=False)


def _find(records: list[Record], network: str, activity: str) -> Record | None:
    return next((r for r in records if r["network"] == network and r["activity"] == activity), None)


def _show_requirements(records: list[Record]) -> None:
    table = Table(title="requirements", title_justify="left")
    for column in ("", "required", "measured", ""):
        table.add_column(column)
    for network, rival, least in REQUIRED:
        record = _find(records, network, "5%")
        entry = record and record["cpu_ratios"].get(rival)
        met = entry and entry["median"] >= least
        title = f"{network} at 5 %: faster than {rival}"
        table.add_row(title, f">= {least:g}", *_verdict(entry, met))
    for record in records:
        entry = record["cpu_ratios"].get("engine avx2")
        if entry and "engine avx512" in record["cpu_ms"] and record["activity"] == "5%":
            title = f"{record['network']} at 5 %: AVX2 against AVX-512"
            met = entry["median"] <= WIDER_AT_MOST
            table.add_row(title, f"<= {WIDER_AT_MOST}", *_verdict(entry, met))
    dense = _find(records, "conv", "20%")
    lines = dense["roofline"] if dense else {}
    entry = next((line["fraction"] for line in lines.values() if "fraction" in line), None)
    met = entry and entry["median"] >= OF_THE_ROOFLINE
    title = "conv at 20 %: share of the composite floor"
    table.add_row(title, f">= {OF_THE_ROOFLINE}", *_verdict(entry, met))
    CONSOLE.print(table)


def _verdict(entry: Any, met: Any) -> tuple[str, str]:
    return (_spread(entry), "met" if met else "NOT MET") if entry else ("not measured", "")


def show_integer(result: Record, builds: list[str], verdicts: Any) -> None:
    """Times beside onnxruntime's, and the goals."""
    for record in result["integer"]:
        table = Table(title=f"{record['network']}: CPU ms an image", title_justify="left")
        for column in ("", "batch", "CPU ms", "times int8"):
            table.add_column(column, justify="right" if column else "left")
        for name, entry in record["cpu_ms"].items():
            ratio = _spread(record["of_int8"][name])
            table.add_row(name, str(record["batches"][name]), _spread(entry), ratio)
        CONSOLE.print(table)
        kernel = "saturates at 16 bits" if record["int8_saturates"] else "is exact"
        CONSOLE.print(f"onnxruntime's kernel of bytes {kernel} on this CPU", highlight=False)
        goals = Table(title="goals", title_justify="left")
        for column in ("", "required", "measured", ""):
            goals.add_column(column)
        for row in verdicts(record, builds):
            goals.add_row(*row)
        CONSOLE.print(goals)
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    CONSOLE.print(facts, style="dim", highlight=False)


def show_command(result: Record) -> None:
    """The command beside its yardstick."""
    rounds = result["rounds"]
    title = f"{result['model']}, {result['images']:,} images, graded 8 bit: seconds"
    table = Table(title=title, title_justify="left")
    for column in ("", "snn-compile", "onnxruntime, once", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for kind in ("wall", "cpu"):
        pairs = [(r[f"command_{kind}"], r[f"onnxruntime_{kind}"]) for r in rounds]
        table.add_row(
            kind,
            str(Spread.of([a for a, _ in pairs])),
            str(Spread.of([b for _, b in pairs])),
            str(Spread.of([a / b for a, b in pairs])),
        )
    CONSOLE.print(table)
    CONSOLE.print(f"onnxruntime takes batches of {rounds[0]['onnxruntime_batch']}")
