"""Everything a user can choose about a compilation, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.errors import CompileError
from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import complaint, made
from snn_compile.options import config_file
from snn_compile.options.declared import (
    COMMAND_LINE,
    DEFAULT,
    OPEN,
    checked,
    option,
    options_of,
    resolve_names,
)
from snn_compile.options.kinds import (
    AUTO,
    Auto,
    choice,
    file,
    names,
    number,
    numbers,
    one_of,
    switch,
    text,
    whole,
)
from snn_compile.options.layers import METHODS, LayerOptions, tables, valid_thresholds
from snn_compile.options.traced import (
    CALIBRATED,
    CONVERTED,
    SPIKING,
    Facts,
    TracedOptions,
    source,
)

Input = Literal["current", "poisson", "graded", "events"]
Reset = Literal["subtract", "zero"]
Neurons = Literal["any", "stock"]
Equalization = Literal["auto", "none", "range", "l2", "l4", "data"]
Layout = Literal["nchw", "nhwc"]
Rounding = Literal["nearest", "compensated"]
Producer = Literal["snntorch", "norse", "spikingjelly", "sinabs", "other"]
EQUALIZE: tuple[str, ...] = get_args(Equalization)
PRODUCERS: tuple[str, ...] = get_args(Producer)

MAX_STEPS = 4096
"""Of a window."""
MAX_CHIPS = 1_000_000
"""Of a board; far more than any has."""
MAX_DISTANCE = 1e15
"""Of means and scales, up and down: what they make of weights has to stay finite when squared."""


_DATA, _NETWORK, _NUMBERS, _RESULT = "Data", "Network and coding", "Numbers", "Result"
_SPIKES = "Networks that were trained with spikes"

# Where an option has a meaning.
_TRAINED = {"network": (SPIKING,)}
_FLOAT = {"network": (CONVERTED,)}
_EQUAL = {**_FLOAT, "equalize": ("none",)}
_STEPS = {"coding": ("sync", "radix", "rate", "signed")}
_PAYLOADS = {**_FLOAT, "coding": ("graded", "sigma-delta")}
_TIMED = {**_FLOAT, "coding": ("rate", "signed")}
_RATE = {**_FLOAT, "coding": ("rate",)}
_BURSTS = {**_RATE, "reset": ("subtract",)}
_MEASURED = {**_FLOAT, "data": (CALIBRATED,)}
_BIASES = {**_MEASURED, "reset": ("subtract",)}
_STARTS = {**_MEASURED, **_BURSTS, "initial_potential": (None,)}
_RESETS = {**_MEASURED, **_RATE, "reset": ("zero",)}


@dataclass(frozen=True, kw_only=True)
class CompileOptions(TracedOptions):
    """The options of ``compile``. Field names are the keys of the TOML file.

    What is left out, or None, is left open.
    """

    calibrate: Path | None = option(
        None, file("NPZ"), "Data for thresholds: x, (N, *input shape).", _DATA
    )
    evaluate: Path | None = option(
        None, file("NPZ"), "Data for the accuracy ladder: x and, for accuracies, labels y.", _DATA
    )
    target: str = option("loihi2", text("NAME|FILE"), "A chip: see snn-compile targets.", _NETWORK)
    chips: int | None = option(
        None,
        whole(1, MAX_CHIPS),
        "Chips of the board, in place of the target's number.",
        _NETWORK,
        shown="as many as the target has",
    )
    placement: Path | None = option(
        None,
        file("FILE"),
        "Where blocks of neurons go: a placement.toml, or pins of layers.",
        _NETWORK,
    )
    coding: str | None = option(
        None, one_of(coding_names), "What a message means.", _NETWORK, by="target"
    )
    timesteps: int | Auto = option(
        32,
        whole(1, MAX_STEPS, auto=True),
        "Steps of a layer's window. radix takes 1 to 16, 8 by default.",
        _NETWORK,
        _STEPS,
        letter="-T",
        by="coding",
    )
    payload_bits: int | Auto = option(
        8, whole(1, 16, auto=True), "Width of a payload.", _NETWORK, _PAYLOADS
    )
    activation_segments: int = option(
        32,
        whole(1, 256),
        "Most lines with which a neuron approximates a function that is no rectifier.",
        _NETWORK,
        _PAYLOADS,
    )
    input: Input | None = option(
        None,
        choice(Input),
        "How the input arrives: current for rate and signed, else graded; poisson for rate and"
        " signed only; events for networks that were trained with spikes.",
        _NETWORK,
        by="coding",
    )
    input_bits: int = option(8, whole(1, 16), "The input has 2**N levels per channel.", _NETWORK)
    reset: Reset = option(
        "subtract",
        choice(Reset),
        "What a spike does to the potential.",
        _NETWORK,
        _RATE,
        idle="subtract",
    )
    burst: int = option(
        1, whole(1, 127), "Most spikes of one step, as a payload.", _NETWORK, _BURSTS, idle=1
    )
    initial_potential: float | None = option(
        None,
        number("V"),
        "Potential at the start of a window, in thresholds.",
        _NETWORK,
        _TIMED,
        shown="0.5, or 0 with reset to zero",
        idle=None,
    )
    thresholds: str = option(
        "mmse",
        text("METHOD", METHODS, valid_thresholds),
        "mmse, percentile:P, max, lbs, or spike-norm (rate and signed).",
        _NUMBERS,
        _FLOAT,
        of_layers=True,
    )
    per_layer: bool = option(
        False,
        switch("--per-layer/--per-channel"),
        "One threshold a layer, or one a channel. --equalize implies one a layer.",
        _NUMBERS,
        _EQUAL,
        shown="--per-channel",
        idle=True,
    )
    equalize: Equalization = option(
        "none",
        choice(Equalization),
        "Adjusts weights between layers; auto tries each mode on the calibration data.",
        _NUMBERS,
        _FLOAT,
        idle="none",
    )
    weight_bits: int | Auto = option(
        8, whole(2, 8, auto=True), "Width of a weight.", _NUMBERS, of_layers=True
    )
    state_bits: int = option(
        24, whole(12, 24), "Width of a potential; 18 makes room for stock LIF neurons.", _NUMBERS
    )
    neurons: Neurons = option(
        "any", choice(Neurons), "stock: only those that Lava has on the chip, too.", _NUMBERS
    )
    rounding: Rounding = option(
        "compensated",
        choice(Rounding),
        "Of weights: each by itself, or errors that cancel on the calibration data.",
        _NUMBERS,
        _MEASURED,
        idle="nearest",
    )
    bias_correction: bool = option(
        True,
        switch(),
        "Whether biases absorb the mean error that quantization makes.",
        _NUMBERS,
        _BIASES,
        idle=False,
    )
    potential_calibration: bool = option(
        True,
        switch(),
        "Whether neurons that reset by subtraction start where their spike counts come out right;"
        " their biases are then not corrected.",
        _NUMBERS,
        _STARTS,
        idle=False,
    )
    reset_calibration: bool = option(
        True,
        switch(),
        "Whether thresholds and biases make up for what a reset to zero throws away.",
        _NUMBERS,
        _RESETS,
        idle=False,
    )
    mean_values: tuple[float, ...] = option(
        (),
        numbers(
            "M[,M]",
            f"values up to {MAX_DISTANCE:g} in size",
            lambda mean: abs(mean) <= MAX_DISTANCE,
        ),
        "Subtracted from the raw input; one per channel, or one for all.",
        _DATA,
        _FLOAT,
    )
    scale_values: tuple[float, ...] = option(
        (),
        numbers(
            "S[,S]",
            f"values other than 0, from {1 / MAX_DISTANCE:g} to {MAX_DISTANCE:g} in size",
            lambda scale: 1 / MAX_DISTANCE <= abs(scale) <= MAX_DISTANCE,
        ),
        "Divides it then.",
        _DATA,
        _FLOAT,
    )
    layout: Layout = option("nchw", choice(Layout), "Layout of x in the data files.", _DATA, _FLOAT)
    emit: tuple[str, ...] = option(
        ("lava",), names("B[,B]"), "Backends to write: lava, netx, nir.", _RESULT
    )
    max_accuracy_drop: float | None = option(
        None,
        number("POINTS", "points, 0 or more", lambda points: points >= 0),
        "Points of top-1 accuracy (of agreement, without labels); a larger loss ends with exit"
        " code 6. Needs --evaluate.",
        _RESULT,
    )
    seed: int = option(
        0, whole(0), "Of Poisson input, and of the noise among the golden stimuli.", _RESULT
    )
    event_step: float | None = option(
        None,
        number("US", "microseconds, more than 0", lambda step: step > 0),
        "Microseconds in a time step of recorded events.",
        _SPIKES,
        _TRAINED,
        shown="the recording, cut into T",
    )
    nir_dt: float | None = option(
        None,
        number("S", "seconds, more than 0", lambda step: step > 0),
        "Seconds in a time step, where the neurons of a NIR file need it.",
        _SPIKES,
        _TRAINED,
        shown="asked for",
    )
    nir_reset: Reset | None = option(
        None,
        choice(Reset),
        "What a spike does in a NIR file.",
        _SPIKES,
        _TRAINED,
        shown="asked for",
    )
    nir_reset_delay: bool = option(
        True, switch(), "Whether snnTorch resets one step late, as it does.", _SPIKES, _TRAINED
    )
    nir_producer: Producer | None = option(
        None, choice(Producer), "Who wrote a NIR file.", _SPIKES, _TRAINED, shown="asked for"
    )
    layers: tuple[LayerOptions, ...] = option(
        (), tables(lambda: CompileOptions), "Overrides by layer name.", ""
    )

    def contradictions(self) -> Iterable[tuple[tuple[str, ...], CompileError]]:
        """Bursts where there are none, and a search without a measure."""
        if self.burst > 1 and not (self.reset == "subtract" and self._is_relevant("burst")):
            allowed = "bursts with --coding rate and --reset subtract"
            yield ("burst", "reset", "coding"), self.refusal("burst", allowed)
        if self.max_accuracy_drop is None:
            allowed = "it together with --max-accuracy-drop: what may be lost"
            for name in self.automatic:
                yield (name, "max_accuracy_drop"), self.refusal(name, allowed)

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
            values, complaints = resolve_names(cls, config_file.read_toml(config), str(config))
            values = {name: _beside(config, name, value) for name, value in values.items()}
            origins = {name: f"{config}:{name}" for name in values}
        given, more = resolve_names(cls, cli, COMMAND_LINE)
        origins |= dict.fromkeys(given, COMMAND_LINE)
        return checked(lambda: cls(**{**values, **given}, origins=origins), complaints + more)

    @classmethod
    def stated(
        cls, said: Mapping[str, Any], origins: Mapping[str, str] | None = None
    ) -> CompileOptions:
        """The options that a file states by the values that ``effective`` gives.

        Args:
            said: the values, of a stranger.
            origins: where they came from, as its report says.

        Raises:
            CompileError: they have wrong types, or are out of range.
            DamagedError: those of layers have.
        """
        layers = said.get("layers") or []
        if wrong := complaint(layers, list[dict[str, Any]], "layers"):
            raise DamagedError(wrong)
        overrides = tuple(made(LayerOptions, layer) for layer in layers)
        values = {name: said[name] for name in options_of(cls) if said.get(name) is not None}
        sources = {name: source((origins or {}).get(name, DEFAULT)) for name in values}
        return cls(**{**values, "layers": overrides}, origins={"layers": DEFAULT, **sources})

    def without_meaning(self, name: str, facts: Facts) -> str:
        """Why an option has none; steps that are ``auto`` may stand for payload bits."""
        if name == "timesteps" and self.timesteps == AUTO:
            coding = coding_class(facts["coding"])
            if coding.resolution() in coding.relevant_options:
                return ""
        return super().without_meaning(name, facts)

    def _allows(self, name: str, fact: str, value: Any, allowed: tuple[Any, ...]) -> bool:
        """A coding says itself which options it takes, another package's too."""
        if fact == "coding":
            return name in coding_class(value).relevant_options
        return super()._allows(name, fact, value, allowed)

    def relevant_to(self, coding: str) -> CompileOptions:
        """These options as a coding sees them: what it does not take is idle, or not given."""
        values = {
            name: item.default if item.idle is OPEN else item.idle
            for name, item in options_of(type(self)).items()
            if "coding" in item.only and not self._allows(name, "coding", coding, ())
        }
        return self._with(values, DEFAULT)

    def _is_relevant(self, name: str) -> bool:
        return self.coding is not None and name in coding_class(self.coding).relevant_options

    def number(self, name: str) -> int:
        """A number that may be ``auto``: the default stands for it then."""
        value = getattr(self, name)
        return int(options_of(type(self))[name].default if value == AUTO else value)

    @property
    def automatic(self) -> list[str]:
        """The options that are ``auto``."""
        return [name for name in _automatic() if getattr(self, name) == AUTO]

    @property
    def is_resolved(self) -> bool:
        """Whether no number is ``auto``."""
        return not self.automatic

    def thresholds_of(self, layer: str) -> str:
        """Threshold method of a layer: the last pattern that matches it, else the network's."""
        methods = [o.thresholds for o in self.layers if o.thresholds and o.matches(layer)]
        return methods[-1] if methods else self.thresholds


def _automatic() -> list[str]:
    """The options that may be ``auto``."""
    return [name for name, item in options_of(CompileOptions).items() if item.is_automatic]


def _beside(config: Path, name: str, value: Any) -> Any:
    """Paths in a configuration file are relative to its folder."""
    if not isinstance(value, str):
        return value
    if name in ("calibrate", "evaluate", "placement") or (
        name == "target" and value.endswith(".toml")
    ):
        return str(config.parent / value)
    return value
