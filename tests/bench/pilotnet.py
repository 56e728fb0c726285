"""PilotNet on Loihi 2: what Intel measured, and what the compiler's placement and bill say.

    python tests/bench/pilotnet.py [--target loihi2]

Measured: lava-dl's executed notebooks pilotnet_snn and pilotnet_sdnn (2023-01-10), one chip. The
LIF network repeats one frame on the chip, so that the host's input is no limit; nor is it in our
column. The constants of targets/*.toml were committed before this program was written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from pilotnet import pilotnet
from snn_compile.errors import CompileError
from snn_compile.mapping import (
    Bill,
    Block,
    Demand,
    MappedProgram,
    Placement,
    Range,
    bill,
    map_program,
)
from snn_compile.mapping.block import as_map
from snn_compile.mapping.cost import overlapped_step_time
from snn_compile.sim import engine
from snn_compile.targets import load_target

CORES = {"lif": 74, "sdnn": 61}
STEP_US = 152.8
DYNAMIC_UJ = 1093.5
STATIC_UJ = 567.6
"""232.1 mW for 1 / 408.91 of a second."""
FRAMES_PER_SECOND = 408.91
INTELS_PIECES = {"layer1": 25, "layer2": 13, "layer3": 3, "layer4": 3, "layer5": 2, "layer7": 12}
"""Cores of each layer of the SDNN in its allocation log; that of the LIF network is not public."""
COSTS = ("synaptic_op", "neuron_update", "spike", "static_chip", "times")


def table(target: str) -> Iterator[str]:
    """The lines of the table, in Markdown, and what the bill counts."""
    yield "| PilotNet | measured | ours | range of cited constants | bound | ours / measured |"
    yield "|---|---:|---:|---:|---:|---:|"
    counted: list[str] = []
    for kind, measured in CORES.items():
        try:
            net = pilotnet(kind)
            mapped = map_program(net.program, load_target(target)).graph
        except (ValueError, CompileError) as error:
            yield f"| {kind.upper()}: cores | {measured} | {error} | | | |"
            continue
        n_cores = float(mapped.cores)
        yield row(f"{kind.upper()}: cores", measured, Range(n_cores, n_cores, n_cores))
        if kind == "lif":
            counts = engine.run(net.program, net.frames).activity
            found = bill(mapped, counts, host=False)
            yield from costs(mapped, found, bill(cut_as_intel(mapped), counts, host=False))
            counted += events(found)
    yield from counted


def costs(mapped: MappedProgram, found: Bill, intel: Bill) -> Iterator[str]:
    """Energy and time of a frame; ``intel`` is the bill of the network in Intel's pieces."""
    if not (found.step and found.period and found.static and intel.step):
        raise SystemExit(f"{mapped.target.name} states no times")
    for name, each, step in (
        ("LIF: time of a step, µs", found, found.step),
        ("LIF in Intel's pieces: time of a step, µs", intel, intel.step),
    ):
        bound = overlapped_step_time(mapped.target, each.events) * 1e6
        yield row(name, STEP_US, step * 1e6, f"{bound.value:.4g}")
    period = found.period
    each_second = Range(1 / period.value, 1 / period.high, 1 / period.low)
    yield row("LIF: frames a second", FRAMES_PER_SECOND, each_second)
    yield row("LIF: dynamic energy of a frame, µJ", DYNAMIC_UJ, found.dynamic * 1e6)
    yield row("LIF: static energy of a frame, µJ", STATIC_UJ, found.static * 1e6)


def cut_as_intel(mapped: MappedProgram) -> MappedProgram:
    """The network in the pieces that Intel's compiler cuts the SDNN into; no limit is asked."""
    program, placements = mapped.program, list[Placement]()
    for node in program.populations:
        c, h, w = as_map(node.shape)
        pieces = INTELS_PIECES.get(node.id, 1)
        axis, size = (2, w) if w > 1 else (0, c)
        width = -(-size // pieces)
        for start in range(0, size, width):
            spans = [(0, c), (0, h), (0, w)]
            spans[axis] = start, min(size, start + width)
            block = Block(*spans)
            demand = Demand(neurons=block.size)
            placements.append(Placement(node.id, len(placements), 0, block, demand, 0))
    free = load_target("unlimited")
    costs = {name: getattr(mapped.target, name) for name in COSTS}
    return MappedProgram(program, replace(free, **costs), tuple(placements))


def events(found: Bill) -> Iterator[str]:
    """What the bill counts, for the reader who wants to do the sum."""
    synops, updates, spikes, sent, received = found.events.total.tolist()
    binding = found.binding
    yield ""
    yield f"A frame: {synops / 1e6:.2f} M synaptic operations, {updates / 1e6:.2f} M updates,"
    yield f"{spikes:,.0f} spikes, read on {sent:,.0f} cores together;"
    yield f"{received:,.0f} messages arrive, {found.events.input_messages:,.0f} of the input."
    if binding is not None and binding.core is not None:
        yield (
            f"The slowest core has {', '.join(binding.populations)}: {100 * binding.share:.0f} % of"
            f" its time are {binding.operation}s."
        )


def row(name: str, measured: float, ours: Range, bound: str = "") -> str:
    """One line: the interval is left out where it has no width."""
    interval = "" if ours.low == ours.high else f"{ours.low:.4g} to {ours.high:.4g}"
    ratio = ours.value / measured
    return f"| {name} | {measured:g} | {ours.value:.4g} | {interval} | {bound} | {ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="loihi2")
    arguments = parser.parse_args()
    print("\n".join(table(arguments.target)))


if __name__ == "__main__":
    main()
