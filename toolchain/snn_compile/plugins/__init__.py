"""Frontends, backends and devices, found by entry points, the built-in ones included."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from snn_compile.errors import CompileError, DeviceError, UsageError, raise_all
from snn_compile.hil.device import Device
from snn_compile.plugins.contracts import (
    Backend,
    ConfigurableFrontend,
    FixedFrontend,
    Frontend,
    HasSourceRuntime,
    HostRuntime,
    KnowsProbabilities,
    NeedsEnvironment,
    ReadsMoreFiles,
    RunsEveryOutput,
    RunsOnHost,
    SourceRuntime,
    SpikingFrontend,
    StatesBorders,
    StatesEncoding,
    Verifiable,
    WritesModels,
)
from snn_compile.plugins.imported import (
    Arrival,
    FixedNetwork,
    Imported,
    ImportedFixed,
    ImportedSpiking,
    LayerValues,
)
from snn_compile.plugins.integers import ImportedIntegers, ReadsIntegers
from snn_compile.plugins.loading import Plugins

__all__ = [
    "BACKENDS",
    "BACKEND_NAME",
    "DEVICES",
    "FRONTENDS",
    "Arrival",
    "Backend",
    "ConfigurableFrontend",
    "FixedFrontend",
    "FixedNetwork",
    "Frontend",
    "HasSourceRuntime",
    "HostRuntime",
    "Imported",
    "ImportedFixed",
    "ImportedIntegers",
    "ImportedSpiking",
    "KnowsProbabilities",
    "LayerValues",
    "NeedsEnvironment",
    "Plugins",
    "ReadsIntegers",
    "ReadsMoreFiles",
    "RunsEveryOutput",
    "RunsOnHost",
    "SourceRuntime",
    "SpikingFrontend",
    "StatesBorders",
    "StatesEncoding",
    "Verifiable",
    "WritesModels",
    "frontend_for",
    "open_device",
]

BACKEND_NAME = re.compile(r"(?!(golden|engine)\Z)[a-z0-9][a-z0-9_-]{0,63}")
"""Allowed names: also a folder's name, and an argument of ``verify --against``."""

AnyFrontend = Frontend | SpikingFrontend | FixedFrontend

FRONTENDS: Plugins[AnyFrontend] = Plugins(
    "snn_compile.frontends",
    "frontend",
    (Frontend, SpikingFrontend, FixedFrontend),
    (
        HasSourceRuntime,
        ConfigurableFrontend,
        ReadsIntegers,
        ReadsMoreFiles,
        RunsOnHost,
        WritesModels,
    ),
)
BACKENDS: Plugins[Backend] = Plugins(
    "snn_compile.backends",
    "backend",
    (Backend,),
    (Verifiable, NeedsEnvironment, StatesEncoding, StatesBorders),
    BACKEND_NAME,
)
DEVICES: Plugins[Device] = Plugins(
    "snn_compile.devices", "device", (Device,), failure=DeviceError, code="device-crashed"
)


def open_device(name: str, options: Mapping[str, str]) -> Device:
    """A device from the value of ``--device``: its name and, after a colon, an optional argument.

    Raises:
        UsageError: the device is unknown, or refuses the argument or an option.
    """
    kind, _, argument = name.partition(":")
    return DEVICES.load(kind, argument, options)


def frontend_for(path: Path) -> AnyFrontend:
    """The frontend that reads files with this suffix; ONNX by default.

    Raises:
        UsageError: two claim it; or none does, and one cannot be loaded.
    """
    claims: dict[str, AnyFrontend] = {}
    broken: list[CompileError] = []
    for name in FRONTENDS.names():
        try:
            frontend = FRONTENDS.load(name)
        except CompileError as error:
            broken.append(error)
            continue
        if path.suffix.lower() in frontend.suffixes:
            claims[name] = frontend
    if len(claims) > 1:
        raise UsageError(
            f"files with the suffix '{path.suffix}' are read by {' and by '.join(claims)}",
            code="ambiguous-frontend",
            hint="uninstall all but one",
        )
    if claims:
        return next(iter(claims.values()))
    raise_all(broken)
    return FRONTENDS.load("onnx")
