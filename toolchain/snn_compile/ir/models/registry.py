"""The list of neuron models: the built-in ones and those of installed packages.

A package adds a model by an entry point in the group ``snn_compile.neurons`` that names its class.
Files never cause imports: a file names a model, which is either installed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint
from inspect import get_annotations
from typing import Any, get_type_hints

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import MissingError
from snn_compile.installed import distribution, load_entry_point, registered
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.graph import Node
from snn_compile.ir.models.clip_floor import ClipFloorNeurons
from snn_compile.ir.models.cuba import CubaLIFNeurons
from snn_compile.ir.models.delay import DelayNeurons
from snn_compile.ir.models.graded import GradedNeurons
from snn_compile.ir.models.integrate_and_fire import IFNeurons
from snn_compile.ir.models.piecewise_linear import (
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
)
from snn_compile.ir.models.population import ChangeNeurons, Neurons, Population
from snn_compile.ir.models.product import ProductDeltaNeurons, ProductNeurons
from snn_compile.ir.models.radix import RadixIFNeurons
from snn_compile.ir.models.readout import (
    LeakyReadout,
    ProbedReadout,
    Readout,
    SigmaDeltaReadout,
    StartedReadout,
    SyncReadout,
)
from snn_compile.ir.models.sigma_delta import SigmaDeltaNeurons
from snn_compile.ir.models.signed import SignedIFNeurons
from snn_compile.ir.models.sync import SyncIFNeurons
from snn_compile.ir.models.threshold_delta import ThresholdDeltaNeurons
from snn_compile.ir.spiking import Reset

GROUP = "snn_compile.neurons"
BUILT_IN: tuple[type[Population], ...] = (
    GradedNeurons,
    PiecewiseLinearNeurons,
    ProductNeurons,
    ClipFloorNeurons,
    IFNeurons,
    SignedIFNeurons,
    SyncIFNeurons,
    RadixIFNeurons,
    PiecewiseLinearWindowNeurons,
    SigmaDeltaNeurons,
    PiecewiseLinearDeltaNeurons,
    ProductDeltaNeurons,
    CubaLIFNeurons,
    ThresholdDeltaNeurons,
    DelayNeurons,
    Readout,
    ProbedReadout,
    StartedReadout,
    LeakyReadout,
    SyncReadout,
    SigmaDeltaReadout,
)
PARAMETERS = (QTensor, QTensor | None, QFormat, Overflow, Reset, bool, int)
"""Types of fields that files can represent."""
_FAMILIES = (Neurons, Readout)
_OF_THE_EQUATIONS = ("potential", "sums_windows", "in_engine", "in_lava", "as_lif", "trained")
"""Members that depend on the equations, and must not be inherited from other ones."""


class UnknownNeuronsError(MissingError, KeyError):
    """A file has neurons whose model is not installed."""

    code = "unknown-neurons"
    __str__ = Exception.__str__  # a KeyError's has quotes around it


def models() -> Mapping[str, type[Population]]:
    """Every model by its class name, which is its ``$type`` in files.

    Raises:
        UsageError: an installed model cannot be loaded, or lacks an answer; all at once.
    """
    raise_all(broken())
    return usable_models()


def broken() -> list[CompileError]:
    """Errors of models of other packages."""
    return [model for _, model in of_other_packages() if isinstance(model, CompileError)]


def usable_models() -> dict[str, type[Population]]:
    """The valid models, whatever the errors of others."""
    found = {model.__name__: model for model in BUILT_IN}
    for _, model in of_other_packages():
        if not isinstance(model, CompileError):
            found[model.__name__] = model
    return found


@cache
def of_other_packages() -> tuple[tuple[EntryPoint, type[Population] | CompileError], ...]:
    """Models of other packages: the model, or its error."""
    found = {model.__name__: model for model in BUILT_IN}
    results: list[tuple[EntryPoint, type[Population] | CompileError]] = []
    for entry in registered(GROUP):
        try:
            model = _loaded(entry, found)
        except CompileError as error:
            results.append((entry, error))
        else:
            found[model.__name__] = model
            results.append((entry, model))
    return tuple(results)


def _loaded(entry: EntryPoint, found: Mapping[str, type[Population]]) -> type[Population]:
    def error(what: str) -> CompileError:
        return UsageError(
            f"the neuron model '{entry.name}' ({distribution(entry)}) {what}",
            code="broken-neurons",
            origin=Origin(entry.value),
            hint="update the package that adds it, or uninstall it",
        )

    model: type[Population] = load_entry_point(entry, error)
    if wrong := tuple(_complaints(model)) or tuple(_taken(model, found)):
        raise error(f"is not complete: {'; '.join(wrong)}")
    return model


def model_of(name: str) -> type[Population]:
    """The model of a ``$type``; built-in ones are found whatever else is installed.

    Raises:
        UnknownNeuronsError: there is none of that name.
    """
    return _one(lambda model: model.__name__, name)


def of_conformance_file(name: str) -> type[Population]:
    """The model of a ``kind`` in conformance files.

    Raises:
        UnknownNeuronsError: there is none of that name.
    """
    return _one(lambda model: model.conformance, name)


def _one(name_of: Callable[[type[Population]], str], name: str) -> type[Population]:
    for listed in (lambda: BUILT_IN, lambda: usable_models().values(), lambda: models().values()):
        for model in listed():
            if name_of(model) == name:
                return model
    known = ", ".join(name_of(model) for model in models().values())
    raise UnknownNeuronsError(
        f"there are no neurons '{name}' here; the neuron models installed are {known}"
    )


@cache
def complaints(model: Any) -> tuple[str, ...]:
    """What a class lacks to be a neuron model."""
    return tuple(_complaints(model))


def _complaints(model: Any) -> Iterator[str]:
    if not (isinstance(model, type) and is_dataclass(model) and issubclass(model, _FAMILIES)):
        yield "it is no dataclass that derives from Neurons or Readout"
        return
    stated = {field.name for field in fields(model)}
    for name in open_questions(model):
        yield f"it does not state '{name}'"
    for other in model.__mro__[1:] if "respond" in vars(model) else ():
        if "conformance" in vars(other) and other is not Readout:
            yield f"it has equations of its own and derives from {other.__name__}"
        if other is Readout:
            missing = [name for name in _OF_THE_EQUATIONS if name not in vars(model)]
            yield from (f"it has equations of its own and not its own '{n}'" for n in missing)
    try:
        hints = get_type_hints(model)
    except (NameError, TypeError, AttributeError) as error:
        yield f"the types of its fields are not known: {error}"
        return
    for name in sorted(stated - {field.name for field in fields(Node)}):
        if hints[name] not in PARAMETERS:
            yield f"files have no form for the type of its '{name}'"


def open_questions(model: type[Population]) -> list[str]:
    """Names of abstract members that a model does not define."""
    stated = {field.name for field in fields(model)}
    names: list[str] = []
    owners: tuple[Any, ...] = (Population, Neurons, ChangeNeurons)
    for owner in owners:
        if issubclass(model, owner):
            names += get_annotations(owner)
            names += [name for name in vars(owner) if _is_open(owner, name)]
    return [n for n in names if n not in stated and (not hasattr(model, n) or _is_open(model, n))]


def _is_open(owner: type[Population], name: str) -> bool:
    return bool(getattr(getattr(owner, name), "__isabstractmethod__", False))


def _taken(model: type[Population], found: Mapping[str, type[Population]]) -> Iterator[str]:
    if model.__name__ in found:
        yield f"there is another '{model.__name__}'"
    if any(model.conformance == other.conformance for other in found.values()):
        yield f"there is another '{model.conformance}' in conformance files"
