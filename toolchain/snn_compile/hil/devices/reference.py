"""The reference simulator as a device, to record expected messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from snn_compile.hil.device import Capabilities, Measured, refuse_arguments
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import reference


class ReferenceDevice:
    """``--device reference``."""

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        refuse_arguments("reference", argument, options or {})
        self._program: QuantizedGraph | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Prepare the network."""
        del folder
        self._program = program
        return Capabilities(facts={"simulator": "reference"})

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Simulate; the isolating process enforces the time limit."""
        del time_limit
        if self._program is None:
            raise RuntimeError("load a network first")
        for first, run in reference.record_runs(self._program, frames):
            yield Measured(first, run.messages)

    def close(self) -> None:
        """Release the network."""
        self._program = None
