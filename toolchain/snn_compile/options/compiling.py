"""The options of a compilation, each with the origin of its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile.coding_registry import coding_class
from snn_compile.errors import CompileError, raise_all
from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import complaint, instantiate
from snn_compile.options import config_file
from snn_compile.options.data import DataKeywords, DataOptions
from snn_compile.options.declared import (
    COMMAND_LINE,
    DEFAULT,
    OPEN,
    make_checked,
    option,
    options_of,
    resolve_names,
)
from snn_compile.options.kinds import AUTO
from snn_compile.options.layers import LayerOptions, tables
from snn_compile.options.network import NetworkKeywords, NetworkOptions
from snn_compile.options.numbers import NumberKeywords, NumberOptions
from snn_compile.options.results import ResultKeywords, ResultOptions
from snn_compile.options.spike_trained import SpikeTrainedKeywords, SpikeTrainedOptions
from snn_compile.options.traced import Facts, TracedOptions, source
from snn_compile.recipes import AudioRecipe, Recipe, read_recipe

BY_RECIPE = "--preprocess"
"""Origin of what a recipe states."""


# Fields are in the order of the bases from right to left.
@dataclass(frozen=True, kw_only=True)
class CompileOptions(
    SpikeTrainedOptions, ResultOptions, NumberOptions, NetworkOptions, DataOptions, TracedOptions
):
    """The options of ``compile``. Field names are the keys of the TOML file.

    An omitted option, or None, is open: the coding or the target decides.
    """

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


class Keywords(
    DataKeywords,
    NetworkKeywords,
    NumberKeywords,
    ResultKeywords,
    SpikeTrainedKeywords,
    total=False,
):
    """The options as keywords of a call: an editor completes them, mypy checks them.

    A test holds them to the declarations; samples are arguments of their own.
    """

    layers: Sequence[LayerOptions] | Mapping[str, Mapping[str, Any]]


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
