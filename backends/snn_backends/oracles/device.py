"""nengo-loihi's and brian2-loihi's emulators, each in its own Python environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from snn_backends.oracles import network
from snn_compile.errors import DeviceError, raise_all
from snn_compile.hil.device import Capabilities, Measured, refuse_arguments
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph

CHILDREN = Path(__file__).parent / "children"
ASK_SECONDS = 120.0
ISOLATED = ("-B", "-I")
"""Nothing but the emulator's own environment is looked at. brian2 also reads settings from the
working folder, which may be a stranger's: a child has one of our own."""


class _Emulator:
    """One emulator. It runs networks of Loihi's own neurons, one binary spike train for each input.

    It takes no options. An environment variable names the interpreter that has it. At the start of
    each window the host sets the states of a layer to zero, as Lava's LIFReset does by itself.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    script: ClassVar[str]
    variable: ClassVar[str]
    install: ClassVar[str]

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        refuse_arguments(self.name, argument, dict(options or {}))
        self._program: QuantizedGraph | None = None
        self._python = ""

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Check that the network can be expressed and that the emulator is installed."""
        del folder
        raise_all(network.refusals(program))
        self._python, version = self._found()
        self._program = program
        return Capabilities(facts={self.package: version})

    def _found(self) -> tuple[str, str]:
        """The interpreter, and the version of the emulator in it.

        Raises:
            DeviceError: none is named, or it has no emulator.
        """
        named = os.environ.get(self.variable, "")
        python = str(Path(shutil.which(named) or named).absolute()) if named else ""
        ask = f"import {self.package.replace('-', '_')}, importlib.metadata as m; " + (
            f"print(m.version('{self.package}'))"
        )
        reason = f"{self.variable} names no interpreter"
        if python:
            try:
                done = subprocess.run(
                    [python, *ISOLATED, "-c", ask],
                    capture_output=True,
                    text=True,
                    timeout=ASK_SECONDS,
                    check=False,
                    env=_environment(),
                    cwd=CHILDREN,
                )
                if done.returncode == 0:
                    return python, done.stdout.split()[-1]
                words = done.stderr.strip().splitlines() or ["no error output"]
                reason = f"{python} cannot import it: {words[-1]}"
            except (OSError, subprocess.TimeoutExpired) as error:
                reason = f"{python} cannot be run: {error}"
        raise DeviceError(
            f"{self.package} is not installed: {reason}",
            code="oracle-missing",
            hint=f"python3.10 -m venv E && E/bin/pip install {self.install};"
            f" {self.variable}=E/bin/python",
        )

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """All stimuli as one stream, in a child process."""
        if self._program is None:
            raise RuntimeError("load a network first")
        program = self._program
        with tempfile.TemporaryDirectory(prefix="snn-compile-oracle-") as scratch:
            folder, answer = Path(scratch), Path(scratch) / "answer.npz"
            network.write(program, frames, folder)
            script = str(CHILDREN / self.script)
            command = [self._python, *ISOLATED, script, str(folder), str(answer)]
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=time_limit,
                    check=False,
                    env=_environment(),
                    cwd=folder,
                )
            except subprocess.TimeoutExpired as error:
                raise DeviceError(
                    f"{self.package} did not finish within {time_limit:g} s and was stopped",
                    code="device-timeout",
                    hint="run fewer stimuli or allow more time",
                ) from error
            if done.returncode or not answer.is_file():
                words = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-8:])
                raise DeviceError(
                    f"{self.package} failed with exit status {done.returncode}:\n{words}",
                    code="device-crashed",
                )
            with np.load(answer, allow_pickle=False) as file:
                messages = {
                    str(node.id): file[f"layer{index}"].reshape(
                        len(frames), program.window.n_steps, *node.shape
                    )
                    for index, node in enumerate(program.populations)
                }
        yield Measured(0, messages)

    def close(self) -> None:
        """Nothing to do: the child has ended."""


class NengoLoihiDevice(_Emulator):
    """``--device nengo-loihi``."""

    name = "nengo-loihi"
    package = "nengo-loihi"
    script = "run_nengo_loihi.py"
    variable = "SNN_COMPILE_NENGO_LOIHI_PYTHON"
    install = "'numpy<2' nengo-loihi==1.1.0"


class Brian2LoihiDevice(_Emulator):
    """``--device brian2-loihi``."""

    name = "brian2-loihi"
    package = "brian2-loihi"
    script = "run_brian2_loihi.py"
    variable = "SNN_COMPILE_BRIAN2_LOIHI_PYTHON"
    install = "'numpy<2' brian2-loihi==0.5.2"


def _environment() -> dict[str, str]:
    """The environment without what would lead another Python to our packages."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
