"""The joints: frontends, backends and devices, found by entry points, built-ins included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from snn_compile.errors import CompileError, UsageError
from snn_compile.hil.device import Device
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.sim.batches import Advance


@dataclass(frozen=True)
class Imported:
    """What a frontend makes of a file.

    Attributes:
        ann: the network.
        findings: everything that was dropped, folded or assumed.
        n_nodes: operators in the file.
        n_folded: those of them that were constants and are gone.
    """

    ann: ANNGraph
    findings: tuple[Finding, ...]
    n_nodes: int
    n_folded: int


@dataclass(frozen=True)
class ImportedSpiking:
    """What a frontend makes of a file that holds a spiking network.

    Attributes:
        network: the network, its paths aligned, for an input in real values: a unit of 1.
        input_shape: of one step of the input, as the file states it.
        output_shapes: of each readout, as the file states it.
        findings: everything that was dropped, repaired or assumed.
        n_nodes: nodes in the file.
        n_weights: weights in the file, without biases.
    """

    network: SpikingGraph
    input_shape: Shape
    output_shapes: Mapping[NodeId, Shape]
    findings: tuple[Finding, ...]
    n_nodes: int
    n_weights: int


class Frontend(Protocol):
    """Reads a model file. Refuses everything it cannot read at once, never one node at a time."""

    suffixes: tuple[str, ...]

    def read(self, path: Path) -> Imported:
        """Read a file.

        Raises:
            ModelError: the file is not a valid model.
            UnsupportedError: operators without a spiking form (``CompileErrors`` if several).
        """
        ...


@runtime_checkable
class SpikingFrontend(Protocol):
    """Reads a file that holds a spiking network already: nothing is left to convert."""

    suffixes: tuple[str, ...]

    def read_spiking(self, path: Path, options: CompileOptions) -> ImportedSpiking:
        """Read a file; the options say what it leaves open.

        Raises:
            UsageError: the file or the library that reads it is missing, or the options do not say
                what the file leaves open.
            ModelError: the file is not a valid network.
            UnsupportedError: nodes without a form here (``CompileErrors`` if several).
        """
        ...


class Original(Protocol):
    """The user's own file, run by a library that was made for it."""

    name: str

    def __call__(self, x: npt.NDArray[Any], advance: Advance) -> npt.NDArray[Any]:
        """The first output for every sample (N, *input shape), (N, *output shape)."""
        ...


@runtime_checkable
class RunsFiles(Protocol):
    """A frontend that knows such a library."""

    def original(self, path: Path) -> Original | None:
        """The file, ready to run; None where it cannot be run faster than by our evaluator."""
        ...


class Backend(Protocol):
    """Writes a quantized network in the form of some other system, and can run it there."""

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """Everything about the network that this backend cannot express, all at once."""
        ...

    def emit(self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any]) -> None:
        """Write the network into an existing, empty folder."""
        ...


@dataclass(frozen=True)
class Plugins:
    """The registered implementations of one kind, loaded on first use."""

    group: str
    kind: str = field(default="plug-in")

    def names(self) -> list[str]:
        """Names of all registered implementations."""
        return sorted({entry.name for entry in entry_points(group=self.group)})

    def load(self, name: str, *arguments: Any) -> Any:
        """An instance of the named implementation, made with the arguments.

        Raises:
            UsageError: there is none of that name, or its own dependencies are missing.
        """
        found = [entry for entry in entry_points(group=self.group) if entry.name == name]
        if not found:
            raise UsageError(
                f"no {self.kind} named '{name}'",
                code=f"unknown-{self.kind}",
                hint=f"available: {', '.join(self.names()) or 'none'}",
            )
        try:
            return found[0].load()(*arguments)
        except ImportError as error:
            raise UsageError(
                f"the {self.kind} '{name}' cannot be loaded: {error}", code=f"broken-{self.kind}"
            ) from error


FRONTENDS = Plugins("snn_compile.frontends", "frontend")
BACKENDS = Plugins("snn_compile.backends", "backend")
DEVICES = Plugins("snn_compile.devices", "device")


def open_device(name: str, options: Mapping[str, str]) -> Device:
    """A device, by what ``--device`` says: its name and perhaps, after a colon, an argument.

    Raises:
        UsageError: there is no such device, or it does not take the argument or an option.
    """
    kind, _, argument = name.partition(":")
    device: Device = DEVICES.load(kind, argument, options)
    return device


def frontend_for(path: Path) -> Frontend | SpikingFrontend:
    """The frontend that reads files with this suffix; ONNX if none claims it."""
    for name in FRONTENDS.names():
        frontend: Frontend | SpikingFrontend = FRONTENDS.load(name)
        if path.suffix.lower() in frontend.suffixes:
            return frontend
    default: Frontend = FRONTENDS.load("onnx")
    return default
