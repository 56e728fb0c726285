"""Instructions of the engine for a synaptic operation, and whether they have become more.

    python tests/bench/instructions.py            compares with instructions.json beside this file
    python tests/bench/instructions.py --write    writes it

Times are noise on a busy machine; instructions are not. Small networks, one for each kernel, are
replayed under callgrind (valgrind), which counts what ``snn_engine_run`` executes; it knows no
AVX-512. A synaptic operation is a synapse that a message other than 0 reaches; of counts, as many
as the count. Counts are those of one compiler: with another one nothing is compared. Exit code 1 if
a count is more than 5 % above the stored one.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from engine_networks import Workload, work

import engine_cases
from network_builder import INPUT, Builder
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import native, reference
from snn_compile.sim.engine import MEASURED

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_suffix(".json")
FUNCTION = "snn_engine_run"
BUILDS = ("avx2", "baseline")
"""That valgrind runs."""
WORSE = 0.05
EVENTS, PRODUCTS = 2.0, 0.0
"""Density above which spikes are summed densely: never, always."""
Counts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Network:
    """A network, stimuli for it, and how its spikes are summed."""

    name: str
    program: QuantizedGraph
    frames: np.ndarray
    dense_above: float = MEASURED


def networks() -> Iterator[Network]:
    """One for each kernel, of one kind of layer each."""
    for coding, kind, n_steps in (("rate", "subtract", 32), ("signed", "signed", 32)):
        for layer in ("convolution", "dense", "depthwise", "sparse"):
            program, frames = chain(layer, kind, n_steps)
            yield Network(f"{coding}, {layer}, events", program, frames, EVENTS)
    program, frames = chain("convolution", "subtract", 32, density=0.9)
    yield Network("rate, convolution, products", program, frames, PRODUCTS)
    kinds = {"graded": "graded", "sync and radix": "clip-floor", "piecewise linear": "lines"}
    for coding, kind in kinds.items():
        for layer in ("convolution", "dense", "depthwise"):
            program, frames = chain(layer, kind, 1)
            yield Network(f"{coding}, {layer}", program, frames)


def chain(
    layer: str, kind: str, n_steps: int, *, density: float = 0.2
) -> tuple[QuantizedGraph, np.ndarray]:
    """Three layers of a kind, and a readout; the network and two stimuli."""
    shape = (256,) if layer == "dense" else (32, 10, 10)
    spikes = n_steps > 1
    coding = InputCoding.POISSON if spikes else InputCoding.GRADED
    low = -255 if kind == "signed" else 0
    net = Builder(7, shape, n_steps=n_steps, coding=coding, low=low, high=255)
    last = INPUT
    for _ in range(3):
        if layer == "dense":
            synapses = net.dense(last, 256)
        elif layer == "sparse":
            synapses = net.sparse(last, shape, density=0.02)
        else:
            groups = 32 if layer == "depthwise" else 1
            geometry = Geometry(padding=(1, 1, 1, 1), groups=groups)
            synapses = net.conv(last, 32, geometry=geometry)
        last = net.neurons(kind, synapses)
    net.neurons("readout", net.dense(last, 10))
    return net.build(), net.frames(2, density)


def instructions(
    given: Sequence[Network], build: str, program: Path, folder: Path
) -> dict[str, int]:
    """Instructions of a build for networks whose spikes are summed in the same way."""
    cases, out = folder / "cases.bin", folder / "out"
    engine_cases.write_plain(cases, [(one.name, one.program, one.frames) for one in given])
    library = Path(native.__file__).parent / f"snn_engine_{build}.so"
    call = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    call += [f"--toggle-collect={FUNCTION}", f"--dump-after={FUNCTION}"]
    call += [str(program), str(library), str(cases), str(given[0].dense_above)]
    subprocess.run(call, capture_output=True, text=True, check=True)
    found = {}
    for number, one in enumerate(given, 1):
        dump = folder / f"out.{number}"
        (total,) = re.findall(r"^totals: (\d+)", dump.read_text(encoding="utf-8"), re.M)
        found[one.name] = int(total)
        dump.unlink()
    return found


def operations(network: Network) -> int:
    """Synaptic operations of all stimuli of a network."""
    run = reference.run(network.program, network.frames)
    workload = Workload(network.name, "", network.program, np.empty)
    return round(work(workload, run, 1).synaptic_operations)


def compiler() -> str:
    """The compiler of the installed libraries, as they name it themselves."""
    library = Path(native.__file__).parent / "snn_engine_baseline.so"
    done = subprocess.run(
        ["readelf", "-p", ".comment", str(library)], capture_output=True, text=True, check=True
    )
    return ", ".join(sorted(set(re.findall(r"\]\s+(\S.*)", done.stdout))))


def worse(stored: Counts, found: Counts) -> list[str]:
    """Networks that take more instructions than they did, and those that are not comparable."""
    lines = [f"{name}: not counted any more" for name in stored if name not in found]
    for name, counts in found.items():
        before = stored.get(name)
        if before is None:
            lines.append(f"{name}: nothing is stored of it")
        elif before["synaptic_operations"] != counts["synaptic_operations"]:
            lines.append(f"{name}: another network than the stored one")
        else:
            lines += [
                f"{name}, {build}: {counts[build] / before[build] - 1:+.1%} instructions"
                for build in BUILDS
                if counts[build] > (1 + WORSE) * before[build]
            ]
    return lines


def table(found: Counts) -> Iterator[str]:
    """Instructions for a synaptic operation."""
    yield f"{'network':<34}{'operations':>12}" + "".join(f"{build:>10}" for build in BUILDS)
    for name, counts in found.items():
        n = counts["synaptic_operations"]
        yield f"{name:<34}{n:>12,}" + "".join(f"{counts[build] / n:>10.3f}" for build in BUILDS)


def missing() -> str:
    """What this machine lacks; empty if nothing."""
    lacking = [name for name in ("valgrind", "g++", "readelf") if not shutil.which(name)]
    lacking += [f"the {build} build" for build in BUILDS if build not in native.builds()]
    return ", ".join(lacking)


def count_all() -> dict[str, dict[str, Any]]:
    """The counts of all networks."""
    given = list(networks())
    found: dict[str, dict[str, Any]]
    found = {one.name: {"synaptic_operations": operations(one)} for one in given}
    ways = [[n for n in given if n.dense_above == way] for way in (MEASURED, EVENTS, PRODUCTS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "replay"
        source = ROOT / "toolchain" / "engine" / "replay.cpp"
        call = ["g++", "-std=c++17", "-O1", str(source), "-o", str(program), "-ldl"]
        subprocess.run(call, check=True)
        for build in BUILDS:
            for way in ways:
                for one, count in instructions(way, build, program, folder).items():
                    found[one][build] = count
    return found


def main() -> int:
    """Count, print, and compare or write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store what is counted")
    options = parser.parse_args()
    if lacking := missing():
        print(f"not counted: no {lacking}")
        return 2
    found = count_all()
    print("\n".join(table(found)))
    if options.write:
        content = {"compiler": compiler(), "networks": found}
        STORED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return 0
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    if stored["compiler"] != compiler():
        print(f"not compared: counted with {stored['compiler']}, and here is {compiler()}")
        return 0
    lines = worse(stored["networks"], found)
    print("\n".join(lines) or f"none is more than {WORSE:.0%} above what is stored")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
