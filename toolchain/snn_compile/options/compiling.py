"""The options of a compilation, each with the origin of its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.errors import CompileError, raise_all
from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import complaint, instantiate
from snn_compile.options import config_file
from snn_compile.options.declared import (
    COMMAND_LINE,
    DEFAULT,
    OPEN,
    make_checked,
    option,
    options_of,
    resolve_names,
)
from snn_compile.options.kinds import (
    AUTO,
    Auto,
    OfInputs,
    assignments,
    budget,
    choice,
    class_names,
    file,
    input_shapes,
    names,
    number,
    numbers_of_inputs,
    one_of,
    recipe,
    switch,
    text,
    whole_number,
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
from snn_compile.recipes import AudioRecipe, Recipe, read_recipe

Input = Literal["current", "poisson", "graded", "events"]
Reset = Literal["subtract", "zero"]
Neurons = Literal["any", "stock"]
Equalization = Literal["auto", "none", "range", "l2", "l4", "data"]
Layout = Literal["nchw", "nhwc"]
OutputKinds = Literal["classes", "regression", "segmentation"]
Rounding = Literal["nearest", "compensated", "reconstructed"]
Producer = Literal["snntorch", "norse", "spikingjelly", "sinabs", "rockpool", "other"]
EQUALIZE: tuple[str, ...] = get_args(Equalization)
PRODUCERS: tuple[str, ...] = get_args(Producer)

MAX_STEPS = 4096
"""Maximal length of a window."""
MAX_CHIPS = 1_000_000
"""Maximal number of chips of a board."""
MAX_DISTANCE = 1e15
"""Bound of means and scales, up and down: scaled weights must stay finite when squared."""


BY_RECIPE = "--preprocess"
"""Origin of what a recipe states."""

_DATA, _NETWORK, _NUMBERS, _RESULT = "Data", "Network and coding", "Numbers", "Result"
_SPIKES = "Networks trained with spikes"

# Where an option applies.
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

    An omitted option, or None, is open: the coding or the target decides.
    """

    calibrate: Path | None = option(
        None,
        file("NPZ"),
        "Calibration data: x, (N, *input shape); of several inputs each by its name.",
        _DATA,
    )
    evaluate: Path | None = option(
        None, file("NPZ"), "Data for the accuracy of each stage: x and, for top-1, labels y.", _DATA
    )
    preprocess: str | None = option(
        None,
        recipe(),
        "What happens to images or sound before the network: a name (imagenet, timm:NAME,"
        " log-mel), a TOML file, or words key=value. Mean and std of images are folded into the"
        " network.",
        _DATA,
        _FLOAT,
    )
    samples: int | None = option(
        None,
        whole_number(1),
        "Number of calibration samples that are drawn, the same of each class.",
        _DATA,
        shown="1024 of a folder or list of files, all of an array",
    )
    labels: tuple[str, ...] = option(
        (),
        class_names(),
        "Names of the classes, in their order: a line each, or JSON.",
        _DATA,
        shown="names of the folders of images",
    )
    input_shape: tuple[str, ...] = option(
        (),
        input_shapes(),
        "Shape of an input, in place of the file's; a word leaves the batch open: N,3,224,224.",
        _DATA,
        _FLOAT,
    )
    outputs: tuple[str, ...] = option(
        (),
        names("A[,B]"),
        "Tensors of the file that are outputs, in place of its own.",
        _DATA,
        _FLOAT,
        shown="the file's",
    )
    cut_at: tuple[str, ...] = option(
        (),
        names("A[,B]"),
        "Tensors of the file where the spiking network ends; the rest is left to the host.",
        _DATA,
        _FLOAT,
        shown="where nothing but functions without a spiking form follows",
    )
    target: str = option(
        "loihi2", text("NAME|FILE"), "Target chip; snn-compile targets lists them.", _NETWORK
    )
    chips: int | None = option(
        None,
        whole_number(1, MAX_CHIPS),
        "Number of chips of the board, in place of the target's.",
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
        None, one_of(coding_names), "Coding: how messages represent values.", _NETWORK, by="target"
    )
    timesteps: int | Auto = option(
        32,
        whole_number(1, MAX_STEPS, auto=True),
        "Time steps of a layer's window. radix: 1 to 16, 8 by default.",
        _NETWORK,
        _STEPS,
        letter="-T",
        by="coding",
    )
    payload_bits: int | Auto = option(
        8, whole_number(1, 16, auto=True), "Payload width.", _NETWORK, _PAYLOADS, of_layers=True
    )
    activation_segments: int = option(
        32,
        whole_number(1, 256),
        "Maximal number of segments in the approximation of an activation other than ReLU.",
        _NETWORK,
        _PAYLOADS,
    )
    input: Input | None = option(
        None,
        choice(Input),
        "Input encoding: current for rate and signed, else graded; poisson for rate and"
        " signed only; events for networks trained with spikes.",
        _NETWORK,
        by="coding",
    )
    input_bits: int = option(
        8, whole_number(1, 16), "Input width: 2**N levels per channel.", _NETWORK
    )
    reset: Reset = option(
        "subtract",
        choice(Reset),
        "Reset of the membrane potential after a spike.",
        _NETWORK,
        _RATE,
        idle="subtract",
    )
    burst: int = option(
        1,
        whole_number(1, 127),
        "Maximal number of spikes per time step, sent as a payload.",
        _NETWORK,
        _BURSTS,
        idle=1,
    )
    initial_potential: float | None = option(
        None,
        number("V"),
        "Membrane potential at the start of a window, in thresholds.",
        _NETWORK,
        _TIMED,
        shown="0.5, or 0 with reset to zero",
        idle=None,
    )
    thresholds: str = option(
        "mmse",
        text("METHOD", METHODS, valid_thresholds),
        "mmse, percentile:P, max, l4, lbs, or spike-norm (rate and signed).",
        _NUMBERS,
        _FLOAT,
        of_layers=True,
    )
    per_layer: bool = option(
        False,
        switch("--per-layer/--per-channel"),
        "One threshold per layer or per channel. --equalize implies per layer.",
        _NUMBERS,
        _EQUAL,
        shown="--per-channel",
        idle=True,
    )
    equalize: Equalization = option(
        "none",
        choice(Equalization),
        "Cross-layer equalization of weights; auto evaluates each mode on the calibration data.",
        _NUMBERS,
        _FLOAT,
        idle="none",
    )
    weight_bits: int | Auto = option(
        8, whole_number(2, 8, auto=True), "Weight width.", _NUMBERS, of_layers=True
    )
    budget: str | None = option(
        None,
        budget(),
        "Synapse memory of all cores, or dynamic energy of an inference: each layer gets the weight"
        " bits (for energy, payload bits too) with the least error of the outputs within it."
        " Requires --calibrate.",
        _NUMBERS,
        _FLOAT,
    )
    state_bits: int = option(
        24,
        whole_number(12, 24),
        "Membrane potential width; 18 leaves headroom for stock LIF neurons.",
        _NUMBERS,
        by="target",
    )
    neurons: Neurons = option(
        "any",
        choice(Neurons),
        "stock: only neuron models that Lava also provides on the chip.",
        _NUMBERS,
    )
    allow_approximate: bool = option(
        False,
        switch("--allow-approximate/--exact"),
        "Whether synapses may be pruned where a neuron has more sources than a core has input axons"
        " and no exact remedy exists.",
        _NUMBERS,
    )
    rounding: Rounding = option(
        "compensated",
        choice(Rounding),
        "Weight rounding: to nearest, with errors that cancel on the calibration data, or learned"
        " from the float network's answers to it (minutes).",
        _NUMBERS,
        _MEASURED,
        idle="nearest",
    )
    bias_correction: bool = option(
        True,
        switch(),
        "Correct biases for the mean quantization error.",
        _NUMBERS,
        _BIASES,
        idle=False,
    )
    potential_calibration: bool = option(
        True,
        switch(),
        "Choose the initial potentials of neurons with reset by subtraction for correct spike"
        " counts; replaces the correction of their biases.",
        _NUMBERS,
        _STARTS,
        idle=False,
    )
    reset_calibration: bool = option(
        True,
        switch(),
        "Adjust thresholds and biases for the charge lost in a reset to zero.",
        _NUMBERS,
        _RESETS,
        idle=False,
    )
    mean_values: OfInputs = option(
        (),
        numbers_of_inputs(
            "[INPUT=]M[,M]",
            f"values up to {MAX_DISTANCE:g} in size",
            lambda mean: abs(mean) <= MAX_DISTANCE,
        ),
        "Subtracted from the raw input; one value, or one per channel. Of several inputs, those"
        " that are named.",
        _DATA,
        _FLOAT,
    )
    scale_values: OfInputs = option(
        (),
        numbers_of_inputs(
            "[INPUT=]S[,S]",
            f"values other than 0, from {1 / MAX_DISTANCE:g} to {MAX_DISTANCE:g} in size",
            lambda scale: 1 / MAX_DISTANCE <= abs(scale) <= MAX_DISTANCE,
        ),
        "Divides the difference; one value, or one per channel. Of several inputs, those that are"
        " named.",
        _DATA,
        _FLOAT,
    )
    output_kind: tuple[str, ...] = option(
        (),
        assignments(
            "[NAME=]KIND[,...]", get_args(OutputKinds), 'output_kind = ["value=regression"]'
        ),
        "What outputs are, where neither labels nor shapes tell: classes, regression (real values)"
        " or segmentation (a class for each position).",
        _DATA,
        shown="by labels or shape",
    )
    layout: Layout = option("nchw", choice(Layout), "Layout of x in the data files.", _DATA, _FLOAT)
    emit: tuple[str, ...] = option(
        ("lava",), names("B[,B]"), "Backends to emit: c, lava, netx, nir, onnx.", _RESULT
    )
    max_accuracy_drop: float | None = option(
        None,
        number("POINTS", "points, 0 or more", lambda points: points >= 0),
        "Largest loss of top-1 accuracy (of agreement, without labels), of pixel accuracy or of"
        " 100 R2, of any output; beyond it, exit code 6. Requires --evaluate.",
        _RESULT,
    )
    max_energy: float | None = option(
        None,
        number("UJ", "microjoules, 0 or more", lambda energy: energy >= 0),
        "Largest dynamic energy of an inference, in microjoules, by the estimate; beyond it, exit"
        " code 6. Requires --evaluate or --calibrate.",
        _RESULT,
    )
    max_latency: float | None = option(
        None,
        number("US", "microseconds, 0 or more", lambda latency: latency >= 0),
        "Largest latency of an inference, in microseconds, likewise.",
        _RESULT,
    )
    max_cores: int | None = option(
        None, whole_number(1), "Largest number of cores; beyond it, exit code 6.", _RESULT
    )
    seed: int = option(
        0,
        whole_number(0),
        "Seed of Poisson input and of the noise among the golden stimuli.",
        _RESULT,
    )
    event_step: float | None = option(
        None,
        number("US", "microseconds, more than 0", lambda step: step > 0),
        "Time step of recorded events, in microseconds.",
        _SPIKES,
        _TRAINED,
        shown="the recording, cut into T",
    )
    nir_dt: float | None = option(
        None,
        number("S", "seconds, more than 0", lambda step: step > 0),
        "Time step of a NIR file in seconds, if its neurons require it.",
        _SPIKES,
        _TRAINED,
        shown="required",
    )
    nir_reset: Reset | None = option(
        None,
        choice(Reset),
        "Reset of the neurons of a NIR file.",
        _SPIKES,
        _TRAINED,
        shown="required",
    )
    nir_reset_delay: bool = option(
        True, switch(), "snnTorch's delay of the reset by one time step.", _SPIKES, _TRAINED
    )
    nir_producer: Producer | None = option(
        None,
        choice(Producer),
        "Framework that wrote a NIR file.",
        _SPIKES,
        _TRAINED,
        shown="required",
    )
    layers: tuple[LayerOptions, ...] = option(
        (), tables(lambda: CompileOptions), "Overrides by layer name.", ""
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preprocess is not None:
            self._take(read_recipe(self.preprocess))

    def _take(self, recipe: Recipe | AudioRecipe) -> None:
        """What a recipe states, such as the mean; that of an earlier one is replaced."""
        origins, errors = dict(self.origins), list[CompileError]()
        for name, value in recipe.stated.items():
            if self.is_given(name) and origins[name] != BY_RECIPE and getattr(self, name) != value:
                allowed = f"it without --preprocess, which states {name.replace('_', ' ')} itself"
                errors.append(self.refusal(name, allowed))
            object.__setattr__(self, name, value)
            origins.setdefault(name, BY_RECIPE)
        raise_all(errors)
        object.__setattr__(self, "origins", origins)

    def contradictions(self) -> Iterable[tuple[tuple[str, ...], CompileError]]:
        """Bursts without rate coding or reset by subtraction, and a search without a bound."""
        if self.burst > 1 and not (self.reset == "subtract" and self._is_relevant("burst")):
            allowed = "bursts with --coding rate and --reset subtract"
            yield ("burst", "reset", "coding"), self.refusal("burst", allowed)
        if self.budget is not None:
            for name in {"weight_bits"} & set(self.automatic):
                allowed = "the most that a layer may have, beside --budget"
                yield (name, "budget"), self.refusal(name, allowed)
        if self.max_accuracy_drop is None:
            allowed = "it together with --max-accuracy-drop"
            for name in self.automatic:
                yield (name, "max_accuracy_drop"), self.refusal(name, allowed)

    @classmethod
    def from_sources(cls, config: Path | None, cli: Mapping[str, Any]) -> CompileOptions:
        """Options from a TOML file and the command line; the command line wins.

        Args:
            config: a TOML file, or None. Paths in it are relative to its folder.
            cli: options set on the command line, by field name.

        Raises:
            UsageError: unknown keys, values of the wrong type or out of range, or a file that
                cannot be read (``CompileErrors`` if several).
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        complaints: list[CompileError] = []
        if config is not None:
            values, complaints = resolve_names(cls, config_file.read_toml(config), str(config))
            values = {name: beside_config(config, name, value) for name, value in values.items()}
            origins = {name: f"{config}:{name}" for name in values}
        given, more = resolve_names(cls, cli, COMMAND_LINE)
        origins |= dict.fromkeys(given, COMMAND_LINE)
        return make_checked(lambda: cls(**{**values, **given}, origins=origins), complaints + more)

    @classmethod
    def stated(
        cls, values: Mapping[str, Any], origins: Mapping[str, str] | None = None
    ) -> CompileOptions:
        """The options recorded in a file, from the values that ``effective`` returns.

        Args:
            values: untrusted values.
            origins: their origins, from its report.

        Raises:
            CompileError: wrong types, or values out of range.
            DamagedError: wrong types in the options of layers.
        """
        layers = values.get("layers") or []
        if wrong := complaint(layers, list[dict[str, Any]], "layers"):
            raise DamagedError(wrong)
        overrides = tuple(instantiate(LayerOptions, layer) for layer in layers)
        stated = {name: values[name] for name in options_of(cls) if values.get(name) is not None}
        sources = {name: source((origins or {}).get(name, DEFAULT)) for name in stated}
        return cls(**{**stated, "layers": overrides}, origins={"layers": DEFAULT, **sources})

    def without_meaning(self, name: str, facts: Facts) -> str:
        """Why an option does not apply; ``auto`` time steps may stand for payload bits."""
        if name == "timesteps" and self.timesteps == AUTO:
            coding = coding_class(facts["coding"])
            if coding.resolution() in coding.relevant_options:
                return ""
        return super().without_meaning(name, facts)

    def _allows(self, name: str, fact: str, value: Any, allowed: tuple[Any, ...]) -> bool:
        """The coding decides which options apply, in other packages too."""
        if fact == "coding":
            return name in coding_class(value).relevant_options
        return super()._allows(name, fact, value, allowed)

    def relevant_to(self, coding: str) -> CompileOptions:
        """These options for a coding: those that do not apply are idle, or unset."""
        values = {
            name: item.default if item.idle is OPEN else item.idle
            for name, item in options_of(type(self)).items()
            if "coding" in item.only and not self._allows(name, "coding", coding, ())
        }
        return self._with(values, DEFAULT)

    def ignored(self, facts: Facts) -> list[str]:
        """Also options of single layers that do not apply."""
        found = super().ignored(facts)
        for name, item in options_of(type(self)).items():
            layers = [one.pattern for one in self.layers if item.of_layers and getattr(one, name)]
            if layers and (reason := self.without_meaning(name, facts)):
                names = ", ".join(f"layers.{pattern}.{item.words}" for pattern in layers)
                found.append(f"ignored: {names}; {reason}")
        return found

    def _is_relevant(self, name: str) -> bool:
        return self.coding is not None and name in coding_class(self.coding).relevant_options

    def number(self, name: str) -> int:
        """The value of a number; the default in place of ``auto``."""
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

    def of_layers(self, name: str) -> tuple[tuple[str, Any], ...]:
        """Patterns of layers with their values of an option, in order."""
        values = ((one.pattern, getattr(one, name)) for one in self.layers)
        return tuple((pattern, value) for pattern, value in values if value is not None)

    def thresholds_of(self, layer: str) -> str:
        """Threshold method of a layer: the last pattern that matches it, else the network's."""
        methods = [o.thresholds for o in self.layers if o.thresholds and o.matches(layer)]
        return methods[-1] if methods else self.thresholds


def _automatic() -> list[str]:
    """The options that may be ``auto``."""
    return [name for name, item in options_of(CompileOptions).items() if item.is_automatic]


def beside_config(config: Path, name: str, value: Any) -> Any:
    """Paths in a configuration file are relative to its folder."""
    if not isinstance(value, str):
        return value
    if name in ("calibrate", "evaluate", "placement", "labels") or (
        name in ("target", "preprocess") and value.endswith(".toml")
    ):
        return str(config.parent / value)
    return value
