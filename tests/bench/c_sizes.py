"""What the emitted C takes: flash, RAM, stack and time, and whether every message is right.

    python tests/bench/c_sizes.py [MODEL ...] [--codings graded,sync] [--timesteps 8]
        [--stimuli 4] [--emulators] [--write]

A model is one of the shared ones or of ``examples``; all by default. Each row is a model in a
coding: bytes that were stated before compilation; bytes that ``arm-none-eabi-gcc -Os`` made for a
Cortex-M4; microseconds of processor time of one inference (``snn_run``) on this machine with
``-O2``, the least of several, and the cycles that the time-stamp counter makes in it; and messages
that differ from the reference, on this machine and, with ``--emulators``, on ARM, RISC-V and s390x
in qemu. Exit code 1 if any differs or exceeds what was stated. ``--write`` puts the table into the
page.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import w8a8

from snn_backends.c import CBackend, machines, sizes
from snn_backends.c.machines import Machine
from snn_backends.c.plan import Plan
from snn_backends.c.planner import make_plan
from snn_compile import compile_model
from snn_compile.errors import CompileError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "run-on-a-microcontroller.md"
CODINGS = ("graded", "sync", "radix", "rate", "signed", "sigma-delta")
EXAMPLES = ("digits_mlp", "digits_cnn", "kws_gru", "fashion_mobile", "fashion_silu", "denoise_unet")
CORTEX = Machine("Cortex-M4", ("arm-none-eabi-gcc",), (), ("-mcpu=cortex-m4", "-mthumb"))
TIMER = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "network.h"
#ifdef __x86_64__
#include <x86intrin.h>
#define TICKS() __rdtsc()
#else
#define TICKS() 0
#endif
static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}
int main(void)
{
    static snn_message frame[SNN_FRAME];
    static snn_output output[SNN_OUTPUTS];
    double best = 1e30;
    for (int32_t i = 0; i < SNN_FRAME; i++)
        frame[i] = (snn_message)((i * 7) & MASK);
    snn_init();
    const double begin = seconds(CLOCK_MONOTONIC);
    const unsigned long long first = TICKS();
    for (int k = 0; k < RUNS; k++) {
        const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
        snn_run((const void *)frame, output);
        const double taken = seconds(CLOCK_PROCESS_CPUTIME_ID) - before;
        best = taken < best ? taken : best;
    }
    const double rate = (TICKS() - first) / (seconds(CLOCK_MONOTONIC) - begin);
    printf("%.3f %.0f\\n", best * 1e6, best * rate);
    return 0;
}
"""


def models(names: list[str]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, file and options of each model."""
    for name in names or [*EXAMPLES, *w8a8.MODELS]:
        if name in EXAMPLES:
            path = ROOT / "examples" / f"{name}.onnx"
            data = path.with_name(f"{name.partition('_')[0]}_calibrate.npz")
            yield name, path, {"calibrate": data} if data.exists() else {}
            continue
        path = w8a8.SHARED / "models" / f"{name}.onnx"
        with tempfile.TemporaryDirectory() as folder:
            script = [sys.executable, str(w8a8.SHARED / "prepare_data.py"), name, "-o", folder]
            subprocess.run([*script, "--calibrate", "64", "--evaluate", "16"], check=True)
            yield name, path, {"calibrate": np.load(Path(folder, "calibrate.npz"))["x"]}


def timed(plan: Plan, folder: Path) -> tuple[float, int]:
    """Microseconds and cycles of an inference."""
    (folder / "timer.c").write_text(TIMER)
    mask = 1 if plan.has_messages else 15
    host = machines.host()
    loose = Machine(host.name, host.compiler)
    command = [*loose.compiler, "-std=c99", "-O2", f"-DMASK={mask}", "-DRUNS=15"]
    subprocess.run([*command, "network.c", "timer.c", "-o", "timer"], cwd=folder, check=True)
    said = subprocess.run([folder / "timer"], capture_output=True, check=True, text=True).stdout
    us, cycles = said.split()
    return float(us), int(cycles)


def row(name: str, compiled: Any, coding: str, stimuli: int, emulators: bool) -> tuple[str, bool]:
    """A line of the table, and whether it is as it should be."""
    program = compiled.program
    plan = make_plan(program)
    stated = sizes.sizes_of(plan)
    frames = compiled.stimulus[:stimuli].astype(np.int64)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "c")
        folder.mkdir()
        CBackend().emit(program, folder)
        outcome = CBackend().verify(program, folder, frames, time_limit=3000, emulators=emulators)
        cortex = sizes.measure(folder, CORTEX, size="arm-none-eabi-size")
        us, cycles = timed(plan, folder)
    fine = bool(outcome.equal) and cortex is not None and cortex.flash <= stated.flash
    differ = "0" if outcome.equal else f"**{outcome.details[0]}**"
    cells = [
        name,
        f"{coding}, {program.window.n_steps}" if program.window.n_steps > 1 else coding,
        f"{stated.flash:,}",
        f"{stated.ram:,}" + (f" ({stated.ram_without_step:,})" if plan.is_windowed else ""),
        f"{cortex.flash:,}" if cortex else "",
        f"{cortex.ram:,}" if cortex else "",
        f"{cortex.stack:,}" if cortex else "",
        f"{us:,.0f}",
        f"{cycles / 1e3:,.0f}",
        f"{outcome.compared:,}",
        differ,
    ]
    return f"| {' | '.join(cells)} |", fine


HEAD = (
    "| model | coding, steps | flash stated | RAM stated (without `snn_step`) | flash | RAM |"
    " stack |"
    " µs | thousand cycles | messages compared | differ |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--codings", default=",".join(CODINGS))
    parser.add_argument("--timesteps", type=int, help="of sync, rate and signed")
    parser.add_argument("--stimuli", type=int, default=4)
    parser.add_argument("--emulators", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    print(HEAD, flush=True)
    lines, all_fine = [HEAD], True
    for name, path, options in models(arguments.models):
        for coding in arguments.codings.split(","):
            try:
                more = dict(options)
                if arguments.timesteps and coding in ("sync", "rate", "signed"):
                    more["timesteps"] = arguments.timesteps
                compiled = compile_model(path, coding=coding, emit=(), **more)
                line, fine = row(name, compiled, coding, arguments.stimuli, arguments.emulators)
            except CompileError as error:
                code = getattr(error, "code", "")
                line, fine = f"| {name} | {coding} | refused: `{code}` |" + " |" * 8, True
            lines.append(line)
            all_fine &= fine
            print(line, flush=True)
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        pattern = r"(<!-- not checked: [^>]*c_sizes[^>]*-->\n).*?(?=\n\n)"
        table = "\n".join(lines)
        PAGE.write_text(re.sub(pattern, lambda m: m[1] + table, text, flags=re.S), encoding="utf-8")
    return 0 if all_fine else 1


if __name__ == "__main__":
    sys.exit(main())
