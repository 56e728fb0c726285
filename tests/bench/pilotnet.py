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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from pilotnet import PilotNet, pilotnet
from snn_compile.errors import CompileError
from snn_compile.mapping import Bill, MappedProgram, Range, bill, map_program
from snn_compile.mapping.cost import overlapped_step_time
from snn_compile.sim import engine
from snn_compile.targets import load_target

CORES = {"lif": 74, "sdnn": 61}
STEP_US = 152.8
DYNAMIC_UJ = 1093.5
STATIC_UJ = 567.6
"""232.1 mW for 1 / 408.91 of a second."""
FRAMES_PER_SECOND = 408.91


def table(target: str) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    yield "| PilotNet | measured | ours | range of cited constants | bound | ours / measured |"
    yield "|---|---:|---:|---:|---:|---:|"
    for kind, measured in CORES.items():
        try:
            net = pilotnet(kind)
            mapped = map_program(net.program, load_target(target)).graph
        except (ValueError, CompileError) as error:
            yield f"| {kind.upper()}: cores | {measured} | – | | | {error} |"
            continue
        yield row(
            f"{kind.upper()}: cores", measured, Range(mapped.cores, mapped.cores, mapped.cores)
        )
        if kind == "lif":
            yield from costs(net, mapped)


def costs(net: PilotNet, mapped: MappedProgram) -> Iterator[str]:
    """Energy and time of a network whose messages are known."""
    counts = engine.run(net.program, net.frames).activity
    found = bill(mapped, counts, host=False)
    if found.step is None or found.period is None or found.static is None:
        raise SystemExit(f"{mapped.target.name} states no times")
    bound = overlapped_step_time(mapped.target, found.events) * 1e6
    yield row("LIF: time of a step, µs", STEP_US, found.step * 1e6, f"{bound.value:.4g}")
    period = found.period
    each_second = Range(1 / period.value, 1 / period.high, 1 / period.low)
    yield row("LIF: frames a second", FRAMES_PER_SECOND, each_second)
    yield row("LIF: dynamic energy of a frame, µJ", DYNAMIC_UJ, found.dynamic * 1e6)
    yield row("LIF: static energy of a frame, µJ", STATIC_UJ, found.static * 1e6)
    yield from events(found)


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
