"""The options of a compilation as keywords of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from snn_compile.options.compiling import (
    Equalization,
    Input,
    Layout,
    Neurons,
    Producer,
    Reset,
    Rounding,
)
from snn_compile.options.kinds import Auto
from snn_compile.options.layers import LayerOptions


class Keywords(TypedDict, total=False):
    """The options as keywords of a call: an editor completes them, mypy checks them.

    A test holds them to the declarations; samples are arguments of their own.
    """

    labels: Sequence[str] | Path | str
    preprocess: str | Path | Mapping[str, Any] | None
    samples: int | None
    input_shape: Mapping[str, Sequence[int | str]] | Sequence[str] | str
    outputs: Sequence[str]
    cut_at: Sequence[str]
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
    thresholds: str
    per_layer: bool
    equalize: Equalization
    weight_bits: int | Auto
    budget: str | None
    state_bits: int
    neurons: Neurons
    allow_approximate: bool
    rounding: Rounding
    bias_correction: bool
    potential_calibration: bool
    reset_calibration: bool
    mean_values: Sequence[float] | Mapping[str, Sequence[float]]
    scale_values: Sequence[float] | Mapping[str, Sequence[float]]
    output_kind: Sequence[str]
    layout: Layout
    emit: Sequence[str]
    max_accuracy_drop: float | None
    max_energy: float | None
    max_latency: float | None
    max_cores: int | None
    seed: int
    event_step: float | None
    nir_dt: float | None
    nir_reset: Reset | None
    nir_reset_delay: bool
    nir_producer: Producer | None
    layers: Sequence[LayerOptions] | Mapping[str, Mapping[str, Any]]
