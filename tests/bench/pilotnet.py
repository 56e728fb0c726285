"""PilotNet on Loihi 2: what Intel measured, and what the compiler's placement and bill say.

    python tests/bench/pilotnet.py [--targets loihi2 loihi2-nxcore]
    python tests/bench/pilotnet.py --words      memory of each layer, if it were on one core

Measured: lava-dl's executed notebooks pilotnet_snn and pilotnet_sdnn (2023-01-10), one chip. The
LIF network repeats one frame on the chip, so that the host's input is no limit; nor is it in our
column. Of its 74 cores, 13 make the spikes of the input, which our network is given. The constants
of targets/*.toml were committed before this program was written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from pilotnet_network import PilotNet, pilotnet
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping import (
    Bill,
    Block,
    Demand,
    MappedProgram,
    Placement,
    Range,
    bill,
    map_program,
    resources,
)
from snn_compile.mapping.block import as_map
from snn_compile.mapping.cost import Messages, events, overlapped_step_time, step_time_by_step
from snn_compile.mapping.cost.events import KINDS, KINDS_IN_PLURAL
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.memory import format_of
from snn_compile.sim import engine
from snn_compile.sim.reference import Run
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

CORES = {"lif": 74, "sdnn": 61}
STEP_US = 152.8
DYNAMIC_UJ = 1093.5
STATIC_UJ = 567.6
"""232.1 mW for 1 / 408.91 of a second."""
FRAMES_PER_SECOND = 408.91
OF_INPUT = {"lif": 13}
"""Cores of neurons that make the input, in the allocation log."""
INTELS_STRIPS = {"layer1": 4, "layer2": 4, "layer3": 8, "layer4": 8, "layer5": 16, "layer7": 9}
"""Columns, or neurons, of a layer on a core, in the allocation logs of both networks."""
TARGETS = ("loihi2", "loihi2-nxcore")
COLUMNS = (
    "PilotNet",
    "target",
    "measured",
    "ours",
    "range of cited constants",
    "bound",
    "ours / measured",
)
COSTS = ("synaptic_op", "neuron_update", "spike", "static_chip", "times")


def table(targets: Sequence[str]) -> Iterator[str]:
    """The lines of the table, in Markdown, and what the bills count."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    nets = {kind: pilotnet(kind) for kind in CORES}
    lif = nets["lif"]
    run = engine.run(lif.program, lif.frames, record=True)
    steps = each_step(lif, run)
    counted: list[str] = []
    for target in map(load_target, targets):
        for kind, measured in CORES.items():
            mapped = map_program(nets[kind].program, target).graph
            yield from cores(kind, measured, mapped)
            if kind == "lif":
                found = bill(mapped, run.activity, host=False)
                yield from costs(mapped, found, steps)
                counted += counts(target.name, found)
    target = load_target(targets[0])
    mapped = cut_as_intel(lif.program, target)
    without_input = CORES["lif"] - OF_INPUT["lif"]
    yield row(
        "LIF in Intel's pieces: cores, without the input",
        target.name,
        without_input,
        exactly(mapped.cores),
    )
    yield from times("LIF in Intel's pieces", mapped, bill(mapped, run.activity, host=False), steps)
    yield from counted


def each_step(net: PilotNet, run: Run) -> list[Messages]:
    """The messages of each step of the first stimulus."""
    (source,) = net.program.inputs
    sent = {name: messages[0] for name, messages in run.messages.items()}
    sent[source.id] = net.frames[0]
    return [{name: each[k] for name, each in sent.items()} for k in range(len(net.frames[0]))]


def cores(kind: str, measured: int, mapped: MappedProgram) -> Iterator[str]:
    """Cores of all layers, beside those that Intel's compiler uses with and without the input."""
    ours, name = exactly(mapped.cores), mapped.target.name
    bound = str(resources(mapped).lower_bound.cores)
    yield row(f"{kind.upper()}: cores", name, measured, ours, bound)
    if kind in OF_INPUT:
        less = measured - OF_INPUT[kind]
        yield row(f"{kind.upper()}: cores, without the input", name, less, ours, bound)


def costs(mapped: MappedProgram, found: Bill, steps: Sequence[Messages]) -> Iterator[str]:
    """Energy and time of a frame."""
    name = mapped.target.name
    yield from times("LIF", mapped, found, steps)
    if not (found.period and found.static):
        raise SystemExit(f"{name} states no times")
    period = found.period
    each_second = Range(1 / period.value, 1 / period.high, 1 / period.low)
    yield row("LIF: frames a second", name, FRAMES_PER_SECOND, each_second)
    yield row("LIF: dynamic energy of a frame, µJ", name, DYNAMIC_UJ, found.dynamic * 1e6)
    yield row("LIF: static energy of a frame, µJ", name, STATIC_UJ, found.static * 1e6)


def times(
    name: str, mapped: MappedProgram, found: Bill, steps: Sequence[Messages]
) -> Iterator[str]:
    """The time of a step: with its messages spread evenly, as in reports, and of each by itself."""
    target = mapped.target
    if found.step is None:
        raise SystemExit(f"{target.name} states no times")
    bound = f"{overlapped_step_time(target, found.events).value * 1e6:.4g}"
    each = step_time_by_step(target, [events(mapped, messages) for messages in steps])
    yield row(f"{name}: time of a step, µs", target.name, STEP_US, found.step * 1e6, bound)
    yield row(f"{name}: the same, step by step, µs", target.name, STEP_US, each * 1e6)


def cut_as_intel(program: QuantizedGraph, target: Target) -> MappedProgram:
    """The network in the pieces that Intel's compiler cuts it into; no limit is asked."""
    placements = list[Placement]()
    for node in program.populations:
        c, h, w = as_map(node.shape)
        axis, size = (2, w) if w > 1 else (0, c)
        width = INTELS_STRIPS.get(node.id, size)
        for start in range(0, size, width):
            spans = [(0, c), (0, h), (0, w)]
            spans[axis] = start, min(size, start + width)
            block = Block(*spans)
            demand = Demand(neurons=block.size)
            placements.append(Placement(node.id, len(placements), 0, block, demand, 0))
    free = load_target("unlimited")
    same = {name: getattr(target, name) for name in COSTS}
    return MappedProgram(program, replace(free, name=target.name, **same), tuple(placements))


def counts(target: str, found: Bill) -> Iterator[str]:
    """What the bill counts, for the reader who wants to do the sum."""
    synops, updates, spikes, sent, received = found.events.total.tolist()
    binding = found.binding
    yield ""
    yield f"On {target}, a frame: {synops / 1e6:.2f} M synaptic operations,"
    yield f"{updates / 1e6:.2f} M updates, {spikes:,.0f} spikes, read on {sent:,.0f} cores in all;"
    yield f"{received:,.0f} messages arrive, {found.events.input_messages:,.0f} of the input."
    if binding is not None and binding.core is not None:
        yield (
            f"The slowest core has {', '.join(binding.populations)}: {100 * binding.share:.0f} % of"
            f" its time are {KINDS_IN_PLURAL[KINDS.index(binding.operation)]}."
        )


def words(target: Target) -> Iterator[str]:
    """Words of synapse memory of each layer, as a table in Markdown."""
    form, word = format_of(target), target.word_bits.value or 1
    taken: dict[str, list[str]] = {}
    for kind in ("sdnn", "lif"):
        program = pilotnet(kind).program
        for population in program.populations:
            (synapses,) = program.synapses_into(population)
            source = program.graph[synapses.inputs[0]].shape
            block = Block.whole(synapses.shape)
            bits = form.taken(synapses, counts_of(synapses, source), block, prod(source))
            outputs, inputs = synapses.weight.values.shape[:2]
            name = f"{synapses.origin.op} {inputs:,} to {outputs}"
            taken.setdefault(name, []).append(f"{bits // word:,}")
    yield "| layer | words, SDNN | words, LIF |"
    yield "|---|---:|---:|"
    for name, each in taken.items():
        yield f"| {name} | {' | '.join(each)} |"


def exactly(number: float) -> Range:
    """A number without a range."""
    return Range(number, number, number)


def row(name: str, target: str, measured: float, ours: Range, bound: str = "") -> str:
    """One line: the interval is left out where it has no width."""
    interval = "" if ours.low == ours.high else f"{ours.low:.4g} to {ours.high:.4g}"
    ratio = ours.value / measured
    cells = (name, target, f"{measured:g}", f"{ours.value:.4g}", interval, bound, f"{ratio:.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--words", action="store_true")
    arguments = parser.parse_args()
    lines = words(load_target(TARGETS[1])) if arguments.words else table(arguments.targets)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
