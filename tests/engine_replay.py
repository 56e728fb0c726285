"""Replay random networks on the engine where Python would be in the way.

    python tests/engine_replay.py                    in all ways that this machine has programs for
    python tests/engine_replay.py memcheck haswell   in some of them

Compiles the engine and ``toolchain/engine/replay.cpp``, writes networks, stimuli and the answers of
the reference to a file, and compares every message, output and count with ``==``: spikes summed
densely always, never and as measured, messages given once and at each step. Prints what ran, what
it found and what is missing here. Debian's packages for all of it: valgrind, clang, qemu-user and
g++-aarch64-linux-gnu.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))
from engine_cases import random_networks, write

ROOT = Path(__file__).resolve().parent.parent
N_WIDE = 30
"""Random wide networks in the file."""


@dataclass(frozen=True)
class Way:
    """How the engine is compiled and its process started.

    Attributes:
        name: for people.
        folder: of the build; ways with the same options share it.
        options: of CMake.
        under: what starts the process.
        programs: that have to be there.
        machines: whose compiler makes such code.
    """

    name: str
    folder: str
    options: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()

    def missing(self) -> str:
        """What this machine lacks; empty if nothing."""
        if self.machines and platform.machine() not in self.machines:
            return f"not on {platform.machine()}"
        lacking = [program for program in self.programs if not shutil.which(program)]
        return f"no {', '.join(lacking)}" if lacking else ""


SENTINEL = "-DSNN_ENGINE_SENTINEL=ON"
ARITHMETIC = (
    "bounds,shift,signed-integer-overflow,integer-divide-by-zero,float-cast-overflow"
    ",return,unreachable,bool,enum"
)
"""What ``undefined`` looks at, without pointers: the address sanitizer knows most of those, and
they double the time to compile."""
X86 = ("x86_64", "AMD64")
CROSS = "aarch64-linux-gnu"
WAYS = {
    way.name: way
    for way in (
        Way("native", "sentinel", (SENTINEL,)),
        Way(
            "arithmetic",
            "arithmetic",
            # One unit for each library: the templates that its files share are compiled once.
            (SENTINEL, f"-DSNN_ENGINE_SANITIZE=address,{ARITHMETIC}", "-DCMAKE_UNITY_BUILD=ON"),
        ),
        Way(
            "sanitizers",
            "sanitizers",
            (SENTINEL, "-DSNN_ENGINE_SANITIZE=address,undefined"),
        ),
        Way(
            "memory-sanitizer",
            "memory",
            (SENTINEL, "-DSNN_ENGINE_SANITIZE=memory", "-DCMAKE_CXX_COMPILER=clang++"),
            programs=("clang++",),
        ),
        Way(
            "memcheck",
            "sentinel",
            (SENTINEL,),
            ("valgrind", "-q", "--error-exitcode=9"),
            programs=("valgrind",),
        ),
        Way(
            "nehalem",
            "release",
            under=("qemu-x86_64", "-cpu", "Nehalem"),
            programs=("qemu-x86_64",),
            machines=X86,
        ),
        Way(
            "haswell",
            "release",
            under=("qemu-x86_64", "-cpu", "Haswell"),
            programs=("qemu-x86_64",),
            machines=X86,
        ),
        Way(
            "aarch64",
            "aarch64",
            (
                "-DCMAKE_SYSTEM_NAME=Linux",
                "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
                f"-DCMAKE_CXX_COMPILER={CROSS}-g++",
            ),
            ("qemu-aarch64", "-L", f"/usr/{CROSS}"),
            ("qemu-aarch64", f"{CROSS}-g++"),
        ),
    )
}
"""By their names. The CPU, real or emulated, says which builds it runs."""


@dataclass(frozen=True)
class Replayed:
    """What one build answered in one way.

    Attributes:
        build: its name.
        equal: whether all cases were equal and nobody complained.
        said: the last lines of what was printed.
        seconds: that it took.
    """

    build: str
    equal: bool
    said: str
    seconds: float


def compile_for(
    way: Way, folder: Path, cmake: str | Path = "cmake", builds: Sequence[str] = ()
) -> Path:
    """Compile the engine, in some builds or all, and what replays on it; the folder with both."""
    build = folder / way.folder
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    source = ROOT / "toolchain" / "engine"
    libraries = [f"snn_engine_{name}" for name in builds] or ["all"]
    for call in (
        [cmake, "-S", source, "-B", build, *generator, *way.options],
        [cmake, "--build", build, "--parallel", "2", "--target", *libraries, "snn_engine_replay"],
    ):
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{way.name}: {done.stdout}{done.stderr}")
    return build


def runs_here(way: Way, build: Path) -> list[str]:
    """The builds that the CPU runs, as the engine itself finds out."""
    said = _replay(way, build, "baseline")
    (line,) = re.findall(r"^runs here: (.*)$", said.stdout, re.M)
    return line.split()


def replay(
    way: Way, build: Path, cases: Path, builds: Sequence[str] | None = None
) -> Iterator[Replayed]:
    """Replay a file of cases on some builds, or on every one that the CPU runs."""
    for name in runs_here(way, build) if builds is None else builds:
        start = time.perf_counter()
        done = _replay(way, build, name, cases)
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        equal = done.returncode == 0 and re.search(r"[1-9]\d* bytes equal", done.stdout) is not None
        yield Replayed(name, equal, said, time.perf_counter() - start)


def _replay(way: Way, build: Path, name: str, *cases: Path) -> subprocess.CompletedProcess[str]:
    library = build / "native" / f"snn_engine_{name}.so"
    call = [*way.under, build / "snn_engine_replay", library, *cases]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def main() -> int:
    """Replay in the ways that are asked for; 0 if everything was equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="way", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "replay")
    options = parser.parse_args()
    if unknown := set(options.ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    cases = folder / "cases.bin"
    print(f"{write(cases, random_networks(N_WIDE))} cases in {cases}")
    failed = False
    for name in options.ways or WAYS:
        way = WAYS[name]
        if missing := way.missing():
            print(f"{name:<18}{'-':<10}left out: {missing}", flush=True)
            failed |= name in options.ways
            continue
        for found in replay(way, compile_for(way, folder), cases):
            verdict = "equal" if found.equal else f"FAILED\n{found.said}"
            print(f"{name:<18}{found.build:<10}{found.seconds:6.1f} s  {verdict}", flush=True)
            failed |= not found.equal
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
