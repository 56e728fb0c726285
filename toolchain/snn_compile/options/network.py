"""Options of a compilation: the target, the coding and its window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from snn_compile.coding_registry import coding_names
from snn_compile.options.declared import option
from snn_compile.options.kinds import Auto, choice, file, number, one_of, text, whole_number
from snn_compile.options.meaning import BURSTS, RATE, RATE_OR_SIGNED, WITH_PAYLOADS, WITH_STEPS

Input = Literal["current", "poisson", "graded", "events"]
Reset = Literal["subtract", "zero"]

MAX_STEPS = 4096
"""Maximal length of a window."""
MAX_CHIPS = 1_000_000
"""Maximal number of chips of a board."""
_GROUP = "Network and coding"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """See ``CompileOptions``."""

    target: str = option(
        "loihi2", text("NAME|FILE"), "Target chip; snn-compile targets lists them.", _GROUP
    )
    chips: int | None = option(
        None,
        whole_number(1, MAX_CHIPS),
        "Number of chips of the board, in place of the target's.",
        _GROUP,
        shown="as many as the target has",
    )
    placement: Path | None = option(
        None,
        file("FILE"),
        "Where blocks of neurons go: a placement.toml, or pins of layers.",
        _GROUP,
    )
    coding: str | None = option(
        None, one_of(coding_names), "Coding: how messages represent values.", _GROUP, by="target"
    )
    timesteps: int | Auto = option(
        32,
        whole_number(1, MAX_STEPS, auto=True),
        "Time steps of a layer's window. radix: 1 to 16, 8 by default.",
        _GROUP,
        WITH_STEPS,
        letter="-T",
        by="coding",
    )
    payload_bits: int | Auto = option(
        8, whole_number(1, 16, auto=True), "Payload width.", _GROUP, WITH_PAYLOADS, of_layers=True
    )
    activation_segments: int = option(
        32,
        whole_number(1, 256),
        "Maximal number of segments in the approximation of an activation other than ReLU.",
        _GROUP,
        WITH_PAYLOADS,
    )
    input: Input | None = option(
        None,
        choice(Input),
        "Input encoding: current for rate and signed, else graded; poisson for rate and"
        " signed only; events for networks trained with spikes.",
        _GROUP,
        by="coding",
    )
    input_bits: int = option(
        8, whole_number(1, 16), "Input width: 2**N levels per channel.", _GROUP
    )
    reset: Reset = option(
        "subtract",
        choice(Reset),
        "Reset of the membrane potential after a spike.",
        _GROUP,
        RATE,
        idle="subtract",
    )
    burst: int = option(
        1,
        whole_number(1, 127),
        "Maximal number of spikes per time step, sent as a payload.",
        _GROUP,
        BURSTS,
        idle=1,
    )
    initial_potential: float | None = option(
        None,
        number("V"),
        "Membrane potential at the start of a window, in thresholds.",
        _GROUP,
        RATE_OR_SIGNED,
        shown="0.5, or 0 with reset to zero",
        idle=None,
    )


class NetworkKeywords(TypedDict, total=False):
    """Its options as keywords of a call."""

    target: str
    chips: int | None
    placement: Path | None
    coding: str | None
    timesteps: int | Auto
    payload_bits: int | Auto
    activation_segments: int
    input: Input | None
    input_bits: int
    reset: Reset
    burst: int
    initial_potential: float | None
