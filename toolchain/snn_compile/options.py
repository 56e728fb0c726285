"""Everything a user can choose, as one frozen dataclass; and where each value came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from snn_compile import config_file
from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.documents import DamagedError
from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.typed import complaint, made

INPUTS = ("current", "poisson", "graded", "events")
RESETS = ("subtract", "zero")
NEURONS = ("any", "stock")
EQUALIZE = ("auto", "none", "range", "l2", "l4", "data")
LAYOUTS = ("nchw", "nhwc")
ROUNDINGS = ("nearest", "compensated")

PRODUCERS = ("snntorch", "norse", "spikingjelly", "sinabs", "other")

COMMAND_LINE = "command line"

Auto = Literal["auto"]
AUTO: Auto = "auto"
"""In the place of a number: the smallest one that keeps ``max_accuracy_drop``."""
SETTLED = {"timesteps": 32, "payload_bits": 8, "weight_bits": 8}
"""What may be ``auto``, and what stands for it where nothing can be measured."""

_METHODS = "mmse, percentile:P, max, lbs or spike-norm"
_PERCENTILE = re.compile(r"percentile:(\d+(?:\.\d+)?)")


FARTHEST = 1e15
"""Of means and scales, up and down: what they make of weights has to stay finite when squared."""


@dataclass(frozen=True)
class LayerOptions:
    """What a configuration file may say about the layers that a pattern matches.

    Attributes:
        pattern: shell-style pattern over layer names.
        weight_bits: overrides the network's.
        thresholds: overrides the network's.
    """

    pattern: str
    weight_bits: int | None = None
    thresholds: str | None = None


@dataclass(frozen=True)
class CompileOptions:
    """The options of ``compile``. Field names are the keys of the TOML file.

    Attributes:
        calibrate: npz file with ``x``, unlabelled.
        evaluate: npz file with ``x`` and, for accuracies, ``y``.
        target: name of a target, or a TOML file.
        coding: graded, signed, sync, radix, rate or sigma-delta; None for what the target does
            best.
        timesteps: steps per layer window (sync, radix, rate, signed). This, ``payload_bits`` and
            ``weight_bits`` may be ``auto``: the smallest that keeps ``max_accuracy_drop``.
        payload_bits: width of a payload (graded, sigma-delta).
        input: current, poisson, graded or, for networks that were trained with spikes, events;
            None for what the coding does best or, for these, for what the data are.
        input_bits: the input is encoded on ``2**input_bits`` levels per channel.
        reset: subtract or zero (rate).
        burst: most spikes that a neuron sends in one step (rate, reset by subtraction).
        initial_potential: potential at the start of a window in units of the threshold (rate,
            signed); None for 0.5 with reset by subtraction, 0 with reset to zero.
        thresholds: mmse, percentile:P, max, lbs or spike-norm.
        per_layer: one threshold a layer instead of one a channel.
        equalize: cross-layer weight adjustment; auto takes the mode with the smallest error of the
            outputs on calibration samples.
        weight_bits: 2 to 8.
        state_bits: 12 to 24, of a potential. Fewer make room for neurons that have fewer.
        neurons: any, or stock: only those that Intel's extension of Lava has for the chip (rate
            coding, reset to zero).
        rounding: of weights: nearest, or compensated (errors cancel on the calibration data).
        bias_correction: whether biases absorb the mean error that quantization makes.
        potential_calibration: whether neurons start where their spike counts come out right on the
            calibration data (rate with reset by subtraction, unless ``initial_potential`` is given;
            the biases of these neurons are then not corrected).
        reset_calibration: whether neurons that reset to zero get the thresholds and biases with
            which their spike counts come out right on the calibration data.
        mean_values: subtracted from the raw input, per channel.
        scale_values: then divides it, per channel.
        layout: layout of the given data; the network's own is (N, C, H, W).
        emit: backends to write.
        max_accuracy_drop: points of top-1 accuracy (or of agreement without labels) below the float
            network beyond which the exit code is 6.
        seed: of everything random.
        event_step: microseconds in a time step, for recorded events; None cuts each recording into
            as many steps of the same length as a window has.
        nir_dt: seconds in a time step of the network in a NIR file.
        nir_reset: what a spike does there: subtract or zero.
        nir_reset_delay: whether snnTorch resets one step after the spike, as it does by itself.
        nir_producer: who wrote the file: snntorch, norse, spikingjelly, sinabs or other.
        layers: overrides by layer name.
    """

    calibrate: Path | None = None
    evaluate: Path | None = None
    target: str = "loihi2"
    coding: str | None = None
    timesteps: int | Auto = 32
    payload_bits: int | Auto = 8
    input: str | None = None
    input_bits: int = 8
    reset: str = "subtract"
    burst: int = 1
    initial_potential: float | None = None
    thresholds: str = "mmse"
    per_layer: bool = False
    equalize: str = "none"
    weight_bits: int | Auto = 8
    state_bits: int = 24
    neurons: str = "any"
    rounding: str = "compensated"
    bias_correction: bool = True
    potential_calibration: bool = True
    reset_calibration: bool = True
    mean_values: tuple[float, ...] = ()
    scale_values: tuple[float, ...] = ()
    layout: str = "nchw"
    emit: tuple[str, ...] = ("lava",)
    max_accuracy_drop: float | None = None
    seed: int = 0
    event_step: float | None = None
    nir_dt: float | None = None
    nir_reset: str | None = None
    nir_reset_delay: bool = True
    nir_producer: str | None = None
    layers: tuple[LayerOptions, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """For each option that is not at its default, where the value came from."""

    def __post_init__(self) -> None:
        raise_all(list(self._complaints()))

    def _complaints(self) -> list[CompileError]:
        found: list[CompileError] = []

        def bad(name: str, value: object, allowed: str) -> None:
            key = "layers" if name.startswith("layers.") else name
            found.append(_bad(name, value, allowed, self.origins.get(key, "")))

        def among(name: str, allowed: tuple[str, ...]) -> None:
            value = getattr(self, name)
            if value is not None and value not in allowed:
                bad(name, value, f"one of {', '.join(allowed)}")

        def between(name: str, low: int, high: int) -> None:
            value = getattr(self, name)
            if value == AUTO:
                if self.max_accuracy_drop is None:
                    bad(name, AUTO, "it together with --max-accuracy-drop: what may be lost")
            elif isinstance(value, str) or not low <= value <= high:
                bad(name, value, f"{low} to {high}")

        among("coding", coding_names())
        among("input", INPUTS)
        among("reset", RESETS)
        among("equalize", EQUALIZE)
        among("layout", LAYOUTS)
        among("neurons", NEURONS)
        among("rounding", ROUNDINGS)
        among("nir_reset", RESETS)
        among("nir_producer", PRODUCERS)
        between("timesteps", 1, 4096)
        between("payload_bits", 1, 16)
        between("input_bits", 1, 16)
        between("burst", 1, 127)
        if self.burst > 1 and not (self.reset == "subtract" and self._takes("burst")):
            bad("burst", self.burst, "bursts with --coding rate and --reset subtract")
        between("weight_bits", 2, 8)
        between("state_bits", 12, 24)
        if not valid_thresholds(self.thresholds):
            bad("thresholds", self.thresholds, _METHODS)
        for layer in self.layers:
            if layer.weight_bits is not None and not 2 <= layer.weight_bits <= 8:
                bad(f"layers.{layer.pattern}.weight_bits", layer.weight_bits, "2 to 8")
            if layer.thresholds is not None and not valid_thresholds(layer.thresholds):
                bad(f"layers.{layer.pattern}.thresholds", layer.thresholds, _METHODS)
        if any(not 1 / FARTHEST <= abs(scale) <= FARTHEST for scale in self.scale_values):
            ends = f"from {1 / FARTHEST:g} to {FARTHEST:g} in size"
            bad("scale_values", self.scale_values, f"values other than 0, {ends}")
        if any(abs(mean) > FARTHEST for mean in self.mean_values):
            bad("mean_values", self.mean_values, f"values up to {FARTHEST:g} in size")
        if self.max_accuracy_drop is not None and not self.max_accuracy_drop >= 0:
            bad("max_accuracy_drop", self.max_accuracy_drop, "points, 0 or more")
        if self.event_step is not None and not self.event_step > 0:
            bad("event_step", self.event_step, "microseconds, more than 0")
        if self.nir_dt is not None and not self.nir_dt > 0:
            bad("nir_dt", self.nir_dt, "seconds, more than 0")
        if self.seed < 0:
            bad("seed", self.seed, "0 or more")
        return found

    def _takes(self, name: str) -> bool:
        """Whether an option means something in the coding that was asked for."""
        return self.coding in coding_names() and name in coding_class(str(self.coding)).takes

    @classmethod
    def from_sources(cls, config: Path | None, cli: Mapping[str, Any]) -> CompileOptions:
        """Options from a TOML file and the command line; the command line wins.

        Args:
            config: a TOML file, or None. Paths in it are relative to its folder.
            cli: what the command line gave, by field name; nothing that it left out.

        Raises:
            UsageError: unknown keys, values of the wrong type or out of range, or a file that
                cannot be read (``CompileErrors`` if several).
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        complaints: list[CompileError] = []
        if config is not None:
            values, complaints = _from_table(config_file.read_toml(config), config)
            origins = {name: f"{config}:{name}" for name in values}
        given, more = config_file.converted(cli, _types(cls), None)
        values |= given
        origins |= dict.fromkeys(given, COMMAND_LINE)
        raise_all(complaints + more)
        return cls(**values, origins=origins)

    @classmethod
    def stated(
        cls, said: Mapping[str, Any], origins: Mapping[str, str] | None = None
    ) -> CompileOptions:
        """The options that a file states by the values that ``effective`` gives.

        Args:
            said: the values, of a stranger.
            origins: where they came from.

        Raises:
            CompileError: they have wrong types, or are out of range.
            DamagedError: those of layers have.
        """
        types = _types(cls)
        values = {name: said[name] for name in types if said.get(name) is not None}
        given, complaints = config_file.converted(values, types, None)
        raise_all(complaints)
        layers = said.get("layers") or []
        if wrong := complaint(layers, list[dict[str, Any]], "layers"):
            raise DamagedError(wrong)
        overrides = tuple(made(LayerOptions, layer) for layer in layers)
        return cls(**given, layers=overrides, origins=dict(origins or {}))

    def number(self, name: str) -> int:
        """A number that may be ``auto``: what stands for it then."""
        value = getattr(self, name)
        return SETTLED[name] if value == AUTO else int(value)

    def settled(self, name: str, number: int, origin: str) -> CompileOptions:
        """These options with a number in the place of one that may be ``auto``."""
        change: dict[str, Any] = {name: number, "origins": {**self.origins, name: origin}}
        return replace(self, **change)

    @property
    def is_settled(self) -> bool:
        """Whether no number is ``auto``."""
        return all(getattr(self, name) != AUTO for name in SETTLED)

    def weight_bits_of(self, layer: str) -> int:
        """Weight width of a layer: the last pattern that matches it, else the network's."""
        bits = [o.weight_bits for o in self.layers if o.weight_bits and _matches(o, layer)]
        return bits[-1] if bits else self.number("weight_bits")

    def thresholds_of(self, layer: str) -> str:
        """Threshold method of a layer: the last pattern that matches it, else the network's."""
        methods = [o.thresholds for o in self.layers if o.thresholds and _matches(o, layer)]
        return methods[-1] if methods else self.thresholds

    def effective(self) -> dict[str, dict[str, Any]]:
        """Every option with its value and its origin, for the report."""
        return {
            item.name: {
                "value": _plain(getattr(self, item.name)),
                "origin": self.origins.get(item.name, "default"),
            }
            for item in fields(self)
            if item.name != "origins"
        }


def valid_thresholds(method: str) -> bool:
    """Whether a threshold method is one this compiler knows."""
    if method in ("mmse", "max", "lbs", "spike-norm"):
        return True
    match = _PERCENTILE.fullmatch(method)
    return match is not None and 0 < float(match[1]) <= 100


def percentile_of(method: str) -> float | None:
    """The percentile that a threshold method names, if it names one."""
    match = _PERCENTILE.fullmatch(method)
    return float(match[1]) if match else None


def _matches(options: LayerOptions, layer: str) -> bool:
    return fnmatchcase(layer, options.pattern)


def _bad(name: str, value: object, allowed: str, source: str = "") -> UsageError:
    return UsageError(
        f"{name.replace('_', '-')} cannot be {_plain(value)!r}",
        code="bad-option",
        origin=Origin(source) if source not in ("", COMMAND_LINE) else None,
        hint=f"use {allowed}",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, LayerOptions):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return value


def _from_table(
    table: Mapping[str, Any], config: Path
) -> tuple[dict[str, Any], list[CompileError]]:
    """The values of a configuration file by field name, and what is wrong with it."""
    table = dict(table)
    patterns = table.pop("layers", {})
    values, complaints = config_file.converted(table, _types(CompileOptions), config)
    if not isinstance(patterns, dict) or not all(isinstance(v, dict) for v in patterns.values()):
        complaints.append(
            config_file.wrong_type("layers", patterns, 'tables such as [layers."conv*"]', config)
        )
        return values, complaints
    layers = []
    for pattern, entries in patterns.items():
        found, more = config_file.converted(
            entries, _types(LayerOptions), config, f"layers.{pattern}."
        )
        complaints += more
        layers.append(LayerOptions(pattern, **found))
    if layers:
        values["layers"] = tuple(layers)
    return values, complaints


def _types(owner: type) -> dict[str, str]:
    """What a table may say about an owner's fields, and of which types the values are."""
    special = ("origins", "layers", "pattern")
    return {item.name: str(item.type) for item in fields(owner) if item.name not in special}
