"""The compiled engine as a device, in each of its builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snn_compile.errors import DeviceError
from snn_compile.hil.device import CANNOT_RUN, Capabilities, Measured, refuse_unknown_options
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import native, reference
from snn_compile.sim.engine import Engine, no_engine
from snn_compile.sim.reference import Run


class EngineDevice:
    """``--device engine``, the best build that the CPU runs, or ``--device engine:avx2``."""

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        refuse_unknown_options("engine", options or {})
        self._build = argument
        self._program: QuantizedGraph | None = None
        self._engine: Engine | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Prepare the network for the engine."""
        del folder
        if why := no_engine(program):
            code = "no-engine" if no_engine() else CANNOT_RUN
            raise DeviceError(why, code=code, hint="see docs/explanation/engine.md")
        build = self._build or native.status().build
        self._engine, self._program = Engine(program, build=build), program
        return Capabilities(facts={"build": str(build)})

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Simulate; the isolating process enforces the time limit."""
        del time_limit
        if self._program is None or self._engine is None:
            raise RuntimeError("load a network first")
        engine = self._engine

        def simulate(program: QuantizedGraph, piece: Int, **options: Any) -> Run:
            del program
            return engine.run(piece, **options)

        for first, run in reference.record_runs(self._program, frames, simulate):
            yield Measured(first, run.messages)

    def close(self) -> None:
        """Free the engine's memory."""
        self._engine = self._program = None
