"""Compilers, and what runs their programs: this machine's, and others' in an emulator."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snn_compile.errors import DeviceError

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g1")
SECONDS = 600.0
"""Of one compilation, at most: some hundred thousand weights take one."""
_CROSS = (
    ("arm", "arm-linux-gnueabihf-gcc", "qemu-arm"),
    ("riscv64", "riscv64-linux-gnu-gcc", "qemu-riscv64"),
    ("s390x", "s390x-linux-gnu-gcc", "qemu-s390x"),
)
"""Two little-endian machines and a big-endian one."""


@dataclass(frozen=True)
class Machine:
    """A compiler and a way to run what it makes.

    Attributes:
        name: for people.
        compiler: command of the C compiler.
        run: command that runs a program, before the program's name; empty for this machine.
        flags: for every program.
    """

    name: str
    compiler: tuple[str, ...]
    run: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def compile(self, folder: Path, *arguments: str) -> None:
        """Call the compiler in a folder.

        Raises:
            DeviceError: it failed.
        """
        status, said = call([*self.compiler, *STRICT, *self.flags, *arguments], SECONDS, folder)
        if status:
            raise DeviceError(
                "\n  ".join([f"{self.name}: the C compiler failed:", *said.splitlines()[:12]]),
                code="c-compiler",
                hint="name another compiler: CC=PATH",
            )


def call(command: Sequence[str], seconds: float, folder: Path | None = None) -> tuple[int, str]:
    """Run a program to its end; its exit status, and what it wrote.

    Raises:
        DeviceError: it cannot be started, or does not end in time.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise not_started(command, error) from error
    except subprocess.TimeoutExpired as error:
        raise too_late(Path(command[0]).name, seconds) from error
    return done.returncode, done.stdout.decode(errors="replace").strip()


def not_started(command: Sequence[str], error: OSError) -> DeviceError:
    """The complaint about a program that the system does not run."""
    return DeviceError(
        f"{Path(command[0]).name} cannot be started: {error.strerror}",
        code="c-failed",
        hint="TMPDIR has to name a folder from which programs may be run",
    )


def too_late(name: str, seconds: float) -> DeviceError:
    """The complaint about a program that did not end."""
    return DeviceError(
        f"{name}: the program did not finish within {seconds:g} s",
        code="device-timeout",
        hint="verify fewer stimuli or allow more time",
    )


def environment() -> dict[str, str]:
    """Variables for compilers and programs: nothing that changes what they do."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    # Nothing is allocated; looking for leaks needs rights that containers do not give.
    return {**kept, "LC_ALL": "C", "ASAN_OPTIONS": "detect_leaks=0"}


def host() -> Machine:
    """This machine's compiler: that of ``CC``, or the first of cc, gcc and clang.

    Raises:
        DeviceError: there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else (["cc"], ["gcc"], ["clang"]):
        if shutil.which(command[0]):
            return Machine(_version(tuple(command)), tuple(command))
    raise DeviceError(
        f"there is no C compiler: {' '.join(named) or 'none of cc, gcc and clang'}",
        code="c-compiler",
        hint="install gcc or clang, or name one: CC=PATH",
    )


def others() -> list[Machine]:
    """The other machines whose compiler and emulator are installed."""
    found = []
    for name, compiler, emulator in _CROSS:
        runs = shutil.which(emulator) or shutil.which(f"{emulator}-static")
        if runs and shutil.which(compiler):
            found.append(Machine(f"{name} in qemu", (compiler,), (runs,), ("-static",)))
    return found


@cache
def _version(compiler: tuple[str, ...]) -> str:
    try:
        said = call([*compiler, "--version"], 60)[1]
    except DeviceError:
        said = ""
    number = re.search(r"\d+\.\d+(\.\d+)?", said)
    name = "clang" if "clang" in said else Path(compiler[0]).name
    return f"{name} {number[0]}" if number else name


@cache
def has_sanitizers(machine: Machine) -> bool:
    """Whether programs can be made that watch themselves for undefined behaviour."""
    with tempfile.TemporaryDirectory(prefix="snn-compile-c-") as folder:
        source = Path(folder, "nothing.c")
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        try:
            machine.compile(Path(folder), *SANITIZERS, "nothing.c", "-o", "nothing")
            return call([str(Path(folder, "nothing"))], 60)[0] == 0
        except DeviceError:
            return False
