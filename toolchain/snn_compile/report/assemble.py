"""Assembly of the report, and its progress lines for the observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from math import log2
from pathlib import Path
from typing import Any

from snn_compile.codings import Coding
from snn_compile.files.documents import sha256
from snn_compile.fit import fit_findings
from snn_compile.ir import ann as ops
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import VOLTAGE_LIMIT, QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.mapping import MappedProgram, resources
from snn_compile.options import AUTO, CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins import Imported
from snn_compile.printable import printable
from snn_compile.quantize.quantize import LayerNumbers, Quantization
from snn_compile.report import figures
from snn_compile.report.bill import with_bill
from snn_compile.report.environment import environment
from snn_compile.report.evaluation import Outcome
from snn_compile.report.journal import Journal
from snn_compile.report.layers import layer_table
from snn_compile.report.observer import Observer
from snn_compile.report.schema import SCHEMA
from snn_compile.sim.portability import portability
from snn_compile.targets import Target
from snn_compile.version import __version__


def report_header(
    observer: Observer, ann: ANNGraph, target: Target, coding: Coding, options: CompileOptions
) -> None:
    """The two header lines."""
    parts = [f"opset {ann.opset}", figures.operators(_operators(ann))]
    parts.append(f"{n_weights(ann):,} weights")
    shapes = [(node.id, figures.times(node.shape)) for node in ann.inputs]
    several = ", ".join(f"{name} {shape}" for name, shape in shapes)
    parts.append(f"inputs {several}" if len(shapes) > 1 else f"input {shapes[0][1]}")
    observer.stage("model", f"{printable(Path(ann.file).name)}   {' · '.join(parts)}")
    auto = AUTO in (options.timesteps, getattr(options, coding.resolution()))
    what = coding.format_size(AUTO if auto else coding.size)
    observer.stage("target", f"target {target.name} · coding {coding.name}, {what}")


def ignored(options: CompileOptions, facts: Mapping[str, str]) -> list[Finding]:
    """Warnings about explicit options without effect in a compilation."""
    return [
        Finding(text, code="option-ignored", hint="leave them out", warning=True)
        for text in options.ignored(facts)
    ]


def used(program: QuantizedGraph, arrival: InputCoding) -> dict[str, Any]:
    """The options whose values follow from a program and its input coding."""
    window = program.window
    return {
        "coding": window.coding,
        "timesteps": window.n_steps,
        "input": arrival.value,
    }


def report_import(observer: Observer, imported: Imported, folded: ANNGraph) -> None:
    """Report the number of operators before and after folding."""
    nothing = "nothing left out"
    if imported.tail is not None and imported.tail.cut:
        nothing = f"{len(imported.tail.operators)} left to the host"
    observer.stage("import", f"{imported.n_nodes} nodes -> {len(folded.graph)}, {nothing}")
    for finding in imported.findings:
        if finding.code == "host-tail":
            observer.stage("host", finding.message)


def report_quantization(observer: Observer, quantization: Quantization) -> None:
    """Report the weight widths, and the largest proven potential."""
    bits = sorted({n.weight_bits for n in quantization.numbers.values()})
    largest = max(n.largest for n in quantization.numbers.values())
    widths = f"{bits[0]}" if len(bits) == 1 else f"{bits[0]} to {bits[-1]}"
    observer.stage(
        "quantize",
        f"{widths}-bit weights per channel · no state can overflow"
        f" (largest 2^{log2(max(largest, 1)):.1f} of 2^{log2(VOLTAGE_LIMIT + 1):.0f})",
    )


def n_weights(ann: ANNGraph) -> int:
    """Weights of all layers, without biases."""
    return sum(n.weight.size for n in ann.graph if isinstance(n, ops.Conv | ops.Dense))


def facts(ann: ANNGraph) -> dict[str, Any]:
    """The report's facts on a trained network's file."""
    return {
        "opset": ann.opset,
        "input_shape": list(ann.inputs.shape),
        "weights": n_weights(ann),
        "operators": _operators(ann),
    }


def _operators(ann: ANNGraph) -> dict[str, int]:
    counts = Counter(type(node).__name__ for node in ann.graph)
    return {"conv": counts["Conv"], "dense": counts["Dense"], "joins": counts["Add"]}


def report(
    path: Path,
    options: Mapping[str, Any],
    model: Mapping[str, Any],
    numbers: Mapping[NodeId, LayerNumbers],
    network: SpikingGraph | None,
    journal: Journal,
    mapped: MappedProgram,
    outcome: Outcome,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``report.json``.

    ``options`` are those in effect, ``model`` describes the file, ``numbers`` are the scales of all
    populations, ``network`` is their origin in floating point, ``more`` are further keys.
    """
    program = mapped.program
    taken = resources(mapped)
    per_layer = {layer.name: layer for layer in taken.layers}
    changed = [
        {"code": finding.code, "message": finding.message, "origin": str(finding.origin or "")}
        for finding in fit_findings(journal.findings)
    ]
    written = {
        "schema": SCHEMA,
        "tool": {"name": "snn-compile", "version": __version__},
        "model": {
            "path": str(path),
            "sha256": sha256(path),
            **model,
        },
        "options": options,
        "target": mapped.target.name,
        "coding": program.window.coding,
        "timesteps": program.window.n_steps,
        "total_steps": program.total_steps,
        "simulator": outcome.simulator,
        "environment": environment(),
        "ladder": outcome.ladder,
        "layers": layer_table(
            program,
            numbers,
            per_layer,
            outcome.activity,
            outcome.losses,
            network,
        ),
        "resources": taken.as_dict(),
        **({"fit": changed} if changed else {}),
        "verification": [],
        "timing": journal.timing,
        "warnings": journal.warnings,
        **more,
    }
    return with_bill(written, mapped, outcome.activity)


def inputs_of(program: QuantizedGraph, encoding: Encoding) -> dict[str, Any]:
    """The entry ``inputs``: how each of several inputs is encoded; nothing for a single one."""
    if len(program.inputs) == 1:
        return {}
    entries = [
        {
            "name": node.id,
            "shape": list(part.shape),
            "coding": node.coding.value,
            "low": part.low,
            "high": part.high,
            "unit": [float(part.unit.min()), float(part.unit.max())],
        }
        for node, part in zip(program.inputs, encoding.parts, strict=True)
    ]
    return {"inputs": entries}


def units_of(decodings: Mapping[NodeId, OutputDecoding]) -> dict[str, Any]:
    """The entry ``output_units``: what the integers of each output stand for."""
    units = {name: decoding.unit.tolist() for name, decoding in decodings.items()}
    return {"output_units": {k: u[:1] if len(set(u)) == 1 else u for k, u in units.items()}}


def portability_of(program: QuantizedGraph, frames: Int) -> dict[str, Any]:
    """The entry ``portability``: whether all public models of Loihi agree on a network.

    Args:
        program: the network.
        frames: the golden stimuli, simulated where bounds do not decide.
    """
    found = portability(program, frames)
    return {
        "portable": found.portable,
        "expressible": not found.obstacle,
        "obstacle": found.obstacle,
        "stimuli": found.n_stimuli,
        "leaves": [asdict(leaving) for leaving in found.leaves],
    }
