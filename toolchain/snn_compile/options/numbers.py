"""Options of a compilation: thresholds, widths of integers, and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from snn_compile.options.declared import option
from snn_compile.options.kinds import Auto, budget, choice, switch, text, whole_number
from snn_compile.options.layers import METHODS, valid_thresholds
from snn_compile.options.meaning import BIASES, MEASURED, ON_FLOATS, RESETS, STARTS, UNEQUALIZED
from snn_compile.options.rounding import ROUNDINGS, valid_rounding

Neurons = Literal["any", "stock"]
Equalization = Literal["auto", "none", "range", "l2", "l4", "data"]
EQUALIZE: tuple[str, ...] = get_args(Equalization)

_GROUP = "Numbers"


@dataclass(frozen=True, kw_only=True)
class NumberOptions:
    """See ``CompileOptions``."""

    thresholds: str = option(
        "mmse",
        text("METHOD", METHODS, valid_thresholds),
        "mmse, percentile:P, max, l4, lbs, or spike-norm (rate and signed).",
        _GROUP,
        ON_FLOATS,
        of_layers=True,
    )
    per_layer: bool = option(
        False,
        switch("--per-layer/--per-channel"),
        "One threshold per layer or per channel. --equalize implies per layer.",
        _GROUP,
        UNEQUALIZED,
        shown="--per-channel",
        idle=True,
    )
    equalize: Equalization = option(
        "none",
        choice(Equalization),
        "Cross-layer equalization of weights; auto evaluates each mode on the calibration data.",
        _GROUP,
        ON_FLOATS,
        idle="none",
    )
    weight_bits: int | Auto = option(
        8, whole_number(2, 8, auto=True), "Weight width.", _GROUP, of_layers=True
    )
    budget: str | None = option(
        None,
        budget(),
        "Synapse memory of all cores, or dynamic energy of an inference: each layer gets the weight"
        " bits (for energy, payload bits too) with the least error of the outputs within it."
        " Requires --calibrate.",
        _GROUP,
        ON_FLOATS,
    )
    state_bits: int = option(
        24,
        whole_number(12, 24),
        "Membrane potential width; 18 leaves headroom for stock LIF neurons.",
        _GROUP,
        by="target",
    )
    neurons: Neurons = option(
        "any",
        choice(Neurons),
        "stock: only neuron models that Lava also provides on the chip.",
        _GROUP,
    )
    allow_approximate: bool = option(
        False,
        switch("--allow-approximate/--exact"),
        "Whether synapses may be pruned where a neuron has more sources than a core has input axons"
        " and no exact remedy exists.",
        _GROUP,
    )
    rounding: str = option(
        "compensated",
        text("METHOD", ROUNDINGS, valid_rounding),
        "Weight rounding: nearest; compensated, so that errors cancel on the calibration data; or"
        " reconstructed[:STEPS], learned from the float network's answers to it (minutes).",
        _GROUP,
        MEASURED,
        idle="nearest",
    )
    bias_correction: bool = option(
        True,
        switch(),
        "Correct biases for the mean quantization error.",
        _GROUP,
        BIASES,
        idle=False,
    )
    potential_calibration: bool = option(
        True,
        switch(),
        "Choose the initial potentials of neurons with reset by subtraction for correct spike"
        " counts; replaces the correction of their biases.",
        _GROUP,
        STARTS,
        idle=False,
    )
    reset_calibration: bool = option(
        True,
        switch(),
        "Adjust thresholds and biases for the charge lost in a reset to zero.",
        _GROUP,
        RESETS,
        idle=False,
    )


class NumberKeywords(TypedDict, total=False):
    """Its options as keywords of a call."""

    thresholds: str
    per_layer: bool
    equalize: Equalization
    weight_bits: int | Auto
    budget: str | None
    state_bits: int
    neurons: Neurons
    allow_approximate: bool
    rounding: str
    bias_correction: bool
    potential_calibration: bool
    reset_calibration: bool
