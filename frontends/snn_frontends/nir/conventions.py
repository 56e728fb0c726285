"""Conventions that a NIR file leaves open, and those of each producer.

NIR states neurons as differential equations. It has no time step, no reset by subtraction, no
choice between ``v > threshold`` and ``v >= threshold`` and no initial potential. The rules of each
producer below were found by running it against them, spike for spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.ir.spiking import Reset
from snn_compile.options import PRODUCERS, CompileOptions

OWN = "snn-compile"
"""The producer that our own export names in its metadata."""


@dataclass(frozen=True)
class Conventions:
    """The conventions that the file leaves open.

    Attributes:
        producer: the producer of the file.
        reset: effect of a spike on the potential.
        reset_delay: whether snnTorch resets one step late.
        dt: seconds in a time step; None if nothing in the file needs it.
        n_steps: time steps of a stimulus, if in the file; else None.
        levels: smallest and largest value of the input, whole numbers, if in the file.
        unit: real value of one step of the input, if in the file.
    """

    producer: str
    reset: Reset
    reset_delay: bool = True
    dt: float | None = None
    n_steps: int | None = None
    levels: tuple[int, int] | None = None
    unit: npt.NDArray[np.float64] | None = None

    @property
    def strict(self) -> bool:
        """Whether a potential that equals its threshold is silent."""
        return self.producer not in ("spikingjelly", "sinabs", "rockpool", OWN)


def resolve_conventions(
    graph: nir.NIRGraph, nodes: Mapping[str, Any], options: CompileOptions
) -> Conventions:
    """The options, over the file's metadata.

    Raises:
        UsageError: a required convention is in neither; all of them are listed.
    """
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    own = _text(metadata.get("producer")) == OWN
    producer = options.nir_producer or _text(metadata.get("producer"))
    reset = options.nir_reset or _text(metadata.get("reset"))
    dt = options.nir_dt or _number(metadata.get("dt"))
    missing = []
    if producer not in (*PRODUCERS, OWN):
        missing.append(("the producer", f"--nir-producer {'|'.join(PRODUCERS)}"))
    if reset not in (Reset.SUBTRACT.value, Reset.ZERO.value):
        missing.append(("the reset", "--nir-reset zero|subtract"))
    if dt is None and any(needs_dt(node, producer) for node in nodes.values()):
        missing.append(("the time step", "--nir-dt SECONDS"))
    if missing:
        raise UsageError(
            f"the NIR file lacks {_listed([what for what, _ in missing])}",
            code="nir-unsaid",
            hint=f"add {_listed([option for _, option in missing])}",
        )
    n_steps = _number(metadata.get("n_steps")) if own else None
    ends = [_number(metadata.get(name)) if own else None for name in ("input_low", "input_high")]
    levels = None if None in ends else tuple(int(end or 0) for end in ends)
    unit = metadata.get("input_unit") if levels else None
    return Conventions(
        str(producer),
        Reset(reset),
        options.nir_reset_delay,
        dt,
        None if n_steps is None else int(n_steps),
        None if levels is None else (levels[0], levels[1]),
        None if unit is None else np.atleast_1d(np.asarray(unit, np.float64)),
    )


def needs_dt(node: Any, producer: str | None) -> bool:
    """Whether a neuron's discrete form depends on the time step."""
    if producer in ("snntorch", OWN):
        return False  # its R is tau / dt
    if isinstance(node, nir.IF):
        return producer != "norse" and bool((node.r != 1).any())
    if isinstance(node, nir.LIF):
        return producer != "sinabs"
    return isinstance(node, nir.CubaLIF)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
