"""Who computes what the reference computes: every coding, through every way out, bit for bit.

    python tests/bench/equality.py [SOURCE ...] [--stimuli 3] [--steps 6] [--json FILE] [--markdown]

A source is ``vectors``, the conformance vectors, or one of the shared models. Each row is a source
and a coding through one emitter: the engine in a build, Lava with unrolled or stock convolutions,
netx files run by lava-dl's reader, NIR files run by Norse, spikingjelly or snnTorch. It counts
networks, layers, stimuli, the messages compared, those of them that are not 0, and the differences,
which must be 0 (exit code 1). Messages are what each layer sends at each step; lava-dl does not
give the last layer's potentials at each step, and the NIR runtimes give nothing but those. What an
emitter refuses is listed with its reason, and so is one that is not installed:
``SNN_COMPILE_NETX_PYTHON`` and ``SNN_COMPILE_NIR_PYTHON`` name Pythons that have them.

Models are compiled with 8-bit weights, the tool's defaults and 64 calibration images;
``zero, 18 bits`` with 6-bit weights, Poisson input and states of 18 bits, which stock LIF neurons
hold. Lava takes most of the time: by default, deep models run there with one stimulus, and with
stock convolutions in ``graded`` alone (``--all`` for everything).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import w8a8
from equality_emitters import Emitter, Network, emitters
from rich.console import Console
from rich.table import Table
from shared_models import prepare

from snn_compile import compile_model
from snn_compile.conformance.vectors import vectors
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons, QuantizedGraph
from snn_compile.ir.spiking import Reset
from snn_compile.sim import reference

VECTORS = "vectors"
SOURCES = (VECTORS, "mnist_mlp_256x2", "cifar10_resnet20")
TIMED = ("sync", "radix", "signed", "rate")
RECIPES: dict[str, dict[str, Any]] = {
    "graded": {"coding": "graded"},
    "sigma-delta": {"coding": "sigma-delta"},
    "subtract": {"coding": "rate"},
    "zero": {"coding": "rate", "reset": "zero"},
    "zero, 18 bits": {
        **{"coding": "rate", "reset": "zero", "input": "poisson"},
        **{"state_bits": 18, "weight_bits": 6},
    },
    "burst": {"coding": "rate", "burst": 3},
    "signed": {"coding": "signed"},
    "sync": {"coding": "sync"},
    "radix": {"coding": "radix"},
}
"""Of each row of a model."""
CALIBRATION = 64
"""Images: enough for layers that spike; how accurate they are does not matter here."""
DEEP = 8
"""Layers from which a network is deep."""
COLUMNS = (
    *("source", "coding", "emitter", "networks", "layers", "stimuli"),
    *("compared", "not 0", "differences"),
)


def of_vectors() -> list[Network]:
    """The conformance vectors; one of clip-floor neurons counts as graded."""
    return [Network(v.name, VECTORS, coding_of(v.program), v.program, v.frames) for v in vectors()]


def coding_of(program: QuantizedGraph) -> str:
    """The row that a network belongs to."""
    if program.window.coding != "rate":
        return program.window.coding
    if any(isinstance(node, CubaLIFNeurons) for node in program.populations):
        return "leaky"
    firing = [node for node in program.populations if isinstance(node, IFNeurons)]
    if any(node.burst > 1 for node in firing):
        return "burst"
    return "zero" if any(node.reset is Reset.ZERO for node in firing) else "subtract"


def of_model(name: str, stimuli: int, steps: int) -> Iterator[Network]:
    """A shared model in every coding."""
    with tempfile.TemporaryDirectory() as scratch:
        calibrate, x, _ = prepare(name, Path(scratch), stimuli)
    path = w8a8.SHARED / "models" / f"{name}.onnx"
    for coding, recipe in RECIPES.items():
        options = {"target": "unlimited", "emit": (), **recipe}
        if recipe["coding"] in TIMED:
            options["timesteps"] = steps
        try:
            compiled = compile_model(path, calibrate=calibrate[:CALIBRATION], **options)
        except Exception as error:  # noqa: BLE001  (said in the table, and in the exit code)
            print(f"{name}, {coding}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        word = coding.replace(",", "").replace(" ", "-")
        frames = compiled.encoding(x[:stimuli])
        yield Network(f"{name}-{word}", name, coding, compiled.program, frames)


def left_out(network: Network, emitter: Emitter, *, everything: bool) -> str:
    """Why a network is not run: because the emitter refuses it, or to save time."""
    deep = len(network.program.populations) > DEEP and network.source != VECTORS
    if not everything and emitter.name == "lava conv" and deep and network.coding != "graded":
        return "to save time: --all"
    return emitter.refuses(network)


def shortened(network: Network, emitter: Emitter, *, everything: bool) -> Network:
    """With one stimulus, where each takes Lava long."""
    deep = len(network.program.populations) > DEEP and network.source != VECTORS
    if everything or not deep or not emitter.name.startswith("lava"):
        return network
    first = network.frames[:1]
    return Network(network.name, network.source, network.coding, network.program, first)


def compare(
    networks: Sequence[Network], emitter: Emitter, *, everything: bool
) -> tuple[dict[str, Counter[str]], dict[str, dict[str, str]]]:
    """Counts and reasons of an emitter, by coding."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, dict[str, str]] = defaultdict(dict)
    chosen = []
    for network in networks:
        why = emitter.missing or left_out(network, emitter, everything=everything)
        if why:
            reasons[network.coding][network.name] = why
        else:
            chosen.append(shortened(network, emitter, everything=everything))
    with tempfile.TemporaryDirectory(prefix="equality-") as folder:
        sent = emitter.run(chosen, Path(folder)) if chosen else {}
    for network in chosen:
        found = sent[network.name]
        if isinstance(found, str):
            counts[network.coding]["failed"] += 1
            reasons[network.coding][network.name] = found
            continue
        expected = reference.run(network.program, network.frames, record=True).messages
        total = counts[network.coding]
        total.update(networks=1, layers=len(found), stimuli=len(network.frames))
        for layer, messages in found.items():
            right = expected[layer]  # type: ignore[index]
            total["compared"] += right.size
            total["not 0"] += int(np.count_nonzero(right))
            total["differences"] += int(np.count_nonzero(right != messages))
    return counts, reasons


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, source by source."""
    console, rows = Console(stderr=True), []
    chosen = [e for e in emitters() if not arguments.emitters or e.name in arguments.emitters]
    for source in arguments.sources:
        networks = of_vectors()
        if source != VECTORS:
            networks = list(of_model(source, arguments.stimuli, arguments.steps))
        for emitter in chosen:
            counts, reasons = compare(networks, emitter, everything=arguments.all)
            for coding in dict.fromkeys(network.coding for network in networks):
                row = {"source": source, "coding": coding, "emitter": emitter.name}
                row |= {key: counts[coding][key] for key in (*COLUMNS[3:], "failed")}
                rows.append({**row, "left out": reasons[coding]})
                console.print(" ".join(str(row[key]) for key in COLUMNS), style="dim")
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1))
    return rows


def shown(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """What was compared; emitters of which all counts are the same share a row."""
    shared: dict[tuple[Any, ...], list[str]] = {}
    order = list(dict.fromkeys((row["source"], row["coding"]) for row in rows))
    for row in sorted(rows, key=lambda row: order.index((row["source"], row["coding"]))):
        if row["networks"] or row["failed"]:
            cells = [f"{row[key]:,}" for key in COLUMNS[3:]]
            cells[-1] = f"{row['failed']} FAILED" if row["failed"] else cells[-1]
            shared.setdefault((row["source"], row["coding"], *cells), []).append(row["emitter"])
    for (source, coding, *cells), names in shared.items():
        yield [source, coding, ", ".join(names), *cells]


def remarks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For rows of which nothing is left, why."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if not row["networks"] and row["left out"]:
            why = next(iter(row["left out"].values()))
            why = why.split(": ", 1)[-1] if why.startswith("'") else why
            grouped[row["emitter"], why].append(f"{row['source']} {row['coding']}")
    for (emitter, why), which in grouped.items():
        yield f"{emitter}: {', '.join(which)}: {why}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", default=SOURCES)
    parser.add_argument("--stimuli", type=int, default=3, help="of each model")
    parser.add_argument("--steps", type=int, default=6, help="of each window of a model")
    parser.add_argument("--emitters", nargs="+", help="only these")
    parser.add_argument("--all", action="store_true", help="nothing is left out to save time")
    parser.add_argument("--json", type=Path, help="keep results here")
    parser.add_argument("--show", nargs="+", type=Path, help="print kept results, measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print a table for the docs")
    arguments = parser.parse_args()
    if arguments.show:
        rows = [row for path in arguments.show for row in json.loads(path.read_text())]
    else:
        rows = measure(arguments)
    if arguments.markdown:
        print("| " + " | ".join(COLUMNS) + " |")
        print("| --- | --- | --- |" + " ---: |" * (len(COLUMNS) - 3))
        for cells in shown(rows):
            print("| " + " | ".join(cells) + " |")
        print()
        for remark in remarks(rows):
            print(f"* {remark}")
    else:
        table = Table(*COLUMNS, title="messages that differ from the reference")
        for cells in shown(rows):
            table.add_row(*cells)
        Console().print(table)
        for remark in remarks(rows):
            print(remark)
    return int(any(row["differences"] or row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
