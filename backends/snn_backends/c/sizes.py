"""What the program takes: stated before it is compiled, and measured after."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from snn_backends.c import machines
from snn_backends.c.machines import Machine
from snn_backends.c.plan import Plan
from snn_compile.errors import CapacityError, CompileError, DeviceError

STACK = 768
"""Bytes of the deepest chain of calls, at most: no call depends on data, and none is recursive."""
CODE, OF_KERNEL, OF_LAYER, OF_GROUP = 512, 320, 320, 64
"""Bytes of code, at most, when a compiler optimizes for size; of a layer once more if it waits for
windows. GCC takes a half to three quarters of it on ARM, RISC-V and x86-64."""
LEVELS = (
    r"snn_(run|step|init)",
    r"step",
    r"(layer|collect|answer|send)_\d+",
    r"(convolution|dense|sparse)_.*",
    r"(shifted|weight)_.*|wrapped|toward_zero|inside|least",
)
"""Functions, each of which calls only those that follow."""


@dataclass(frozen=True)
class Sizes:
    """Bytes.

    Attributes:
        data: constants in flash, exactly.
        code: at most.
        ram: static memory.
        ram_without_step: without ``snn_step``.
        stack: at most.
    """

    data: int
    code: int
    ram: int
    ram_without_step: int
    stack: int

    @property
    def flash(self) -> int:
        """Constants and code."""
        return self.data + self.code


def sizes_of(plan: Plan) -> Sizes:
    """The sizes of a program."""
    groups = sum(len(layer.groups) for layer in plan.layers)
    layers = len(plan.layers) * (1 + plan.is_windowed)
    code = CODE + OF_KERNEL * len(plan.kernels) + OF_LAYER * layers + OF_GROUP * groups
    memories = [memory.bytes for _, memory in plan.memories]
    return Sizes(plan.data_bytes, code, memories[-1], memories[0], STACK)


def beyond(plan: Plan, flash: int | None, ram: int | None) -> list[CompileError]:
    """Complaints about a network that does not fit a microcontroller."""
    stated, found = sizes_of(plan), list[CompileError]()
    rams = {
        "with snn_step": stated.ram + stated.stack,
        "without": stated.ram_without_step + stated.stack,
    }
    wanted = [("flash", stated.flash, flash), ("RAM", rams["without"], ram)]
    for what, needed, limit in wanted:
        if limit is not None and needed > limit:
            parts = {
                "flash": f"{stated.data:,} bytes of constants and up to {stated.code:,} of code",
                "RAM": f"{stated.ram_without_step:,} bytes and up to {stated.stack:,} of stack",
            }
            found.append(
                CapacityError(
                    f"the program takes {parts[what]}: {needed:,} bytes of {what}, of {limit:,}",
                    code="c-memory",
                    origin=plan.program.inputs[0].origin,
                    hint="fewer --weight-bits, --payload-bits or --timesteps, or another --coding",
                )
            )
    return found


@dataclass(frozen=True)
class Measured:
    """What a compiler made of a program, in bytes.

    Attributes:
        flash: code and constants.
        ram: static memory.
        stack: of the deepest chain of calls; None if the compiler does not say.
    """

    flash: int
    ram: int
    stack: int | None

    def __str__(self) -> str:
        stack = "" if self.stack is None else f", {self.stack:,} of stack"
        return f"{self.flash:,} bytes of flash, {self.ram:,} of RAM{stack}"


def measure(folder: Path, machine: Machine, *flags: str, size: str = "size") -> Measured | None:
    """The sizes of ``network.c`` for a machine; None without binutils.

    Raises:
        DeviceError: the compiler failed.
    """
    command = (*flags, "-c", "network.c", "-o", "network.o")
    try:
        machine.compile(folder, "-Os", "-fstack-usage", *command)
    except DeviceError:  # not every compiler tells the stack
        machine.compile(folder, "-Os", *command)
    if not shutil.which(size):
        return None
    said = machines.call([size, "network.o"], 60, folder)[1]
    rows = [line.split() for line in said.splitlines()[1:]]
    if not rows:
        return None
    text, data, bss = (int(word) for word in rows[0][:3])
    return Measured(text, data + bss, _stack(folder / "network.su"))


def _stack(path: Path) -> int | None:
    """The largest sum of the frames of one function of each level."""
    if not path.is_file():
        return None
    frames: dict[int, int] = defaultdict(int)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        where, size, _ = line.split("\t")
        name = where.rsplit(":", 1)[1].split(".")[0]
        found = (i for i, pattern in enumerate(LEVELS) if re.fullmatch(pattern, name))
        level = next(found, len(LEVELS))  # a function of the compiler's own
        frames[level] = max(frames[level], int(size))
    return sum(frames.values())


def exceeded(plan: Plan, found: Measured) -> list[str]:
    """What is more than was stated."""
    stated = sizes_of(plan)
    pairs = {
        "flash": (found.flash, stated.flash),
        "RAM": (found.ram, stated.ram),
        "stack": (found.stack or 0, stated.stack),
    }
    return [
        f"{what}: {actual} bytes, {limit} were stated"
        for what, (actual, limit) in pairs.items()
        if actual > limit
    ]
