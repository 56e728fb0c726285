"""The device contract: a device runs a compiled network and returns each layer's messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from snn_compile.errors import DeviceError, UsageError
from snn_compile.hil.trace import Messages
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.pluralize import pluralize

MAX_MESSAGE = (1 << 31) - 1
CANNOT_RUN = "cannot-run"
"""Code of a ``DeviceError``: the device is available but does not support the network."""


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of a device for the network that it has loaded.

    Attributes:
        exact: whether it claims bit accuracy. Otherwise spike-train distances are measured as
            well.
        layers: populations whose messages it records; all of them if None.
        facts: its own description: versions, board, build.
    """

    exact: bool = True
    layers: tuple[str, ...] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for messages between processes."""
        layers = None if self.layers is None else list(self.layers)
        return {"exact": self.exact, "layers": layers, "facts": dict(self.facts)}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Capabilities:
        """Inverse of ``as_dict``."""
        layers = document["layers"]
        return Capabilities(
            bool(document["exact"]),
            None if layers is None else tuple(str(name) for name in layers),
            {str(key): str(value) for key, value in document["facts"].items()},
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """Recorded messages for consecutive stimuli.

    Attributes:
        first: index of the first stimulus.
        messages: of each layer that is recorded, (n, T, *shape) integers; of a readout, its
            potential after each step. Step t of a layer is step t of its own window,
            independent of the device's clock.
    """

    first: int
    messages: Messages


class Device(Protocol):
    """A simulator, a board, a recording, or a fake with a fault.

    Made by ``Kind(argument, options)``, where the argument is what follows the colon in
    ``--device NAME:ARGUMENT`` and the options are those of ``--set KEY=VALUE``. Every failure is a
    ``DeviceError``; the command line runs devices in a process of their own, so that one that hangs
    or crashes does no harm (``isolation.py``). ``docs/how-to/write-a-device.md`` has a complete
    one.

    >>> class Simulator:
    ...     contract_version = 1
    ...
    ...     def __init__(self, argument, options):
    ...         refuse_arguments("simulator", argument, options)
    ...
    ...     def load(self, program, folder):
    ...         self.program = program
    ...         return Capabilities(facts={"simulator": "ours"})
    ...
    ...     def run(self, frames, time_limit):
    ...         yield Measured(0, reference.run(self.program, frames, record=True).messages)
    ...
    ...     def close(self):
    ...         pass
    >>> complaints(Simulator("", {}), DEVICES)
    []
    """

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Prepare to run a network, and check that all prerequisites are present.

        Args:
            program: the network.
            folder: the compiled folder, with the files that the backends emitted.

        Raises:
            DeviceError: the device is missing; or, with the code ``cannot-run``, it does not
                support this network.
            UsageError: an option is invalid.
        """
        ...

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Run encoded stimuli as one stream, and yield every layer's messages piece by piece.

        Args:
            frames: (N, *input shape) encoded values.
            time_limit: seconds.

        Raises:
            DeviceError: it failed or took too long.
        """
        ...

    def close(self) -> None:
        """Release all resources. Called exactly once, also after an error."""
        ...


def refuse_arguments(name: str, argument: str, options: Mapping[str, str], *known: str) -> None:
    """Refuse an argument to a device that takes none, and unsupported options.

    Raises:
        UsageError: an argument or option is refused.
    """
    if argument:
        raise UsageError(
            f"the device '{name}' takes no argument, but got '{argument}'", code="bad-device"
        )
    refuse_unknown_options(name, options, *known)


def refuse_unknown_options(name: str, options: Mapping[str, str], *known: str) -> None:
    """Refuse options that a device does not support.

    Raises:
        UsageError: an argument or option is refused.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            f"the device '{name}' has no option '{unknown[0]}'",
            code="bad-device",
            hint=f"its options are {', '.join(known)}" if known else "it has no options",
        )


def layers_of(program: QuantizedGraph, capabilities: Capabilities) -> list[str]:
    """Layers that a device records, in topological order.

    Raises:
        DeviceError: it names no layer, or one that the network lacks.
    """
    there = [node.id for node in program.populations]
    named = there if capabilities.layers is None else capabilities.layers
    unknown = sorted(set(named) - set(there))
    if unknown or not named:
        raise bad_messages(
            f"it records {unknown[0]!r}, not a layer" if unknown else "it records no layer"
        )
    return [name for name in there if name in named]


def validate_pieces(
    pieces: Iterable[Measured], program: QuantizedGraph, layers: list[str], n_stimuli: int
) -> Iterator[Measured]:
    """Validated pieces of a run; an incomplete run is an error at its end.

    Raises:
        DeviceError: the device violates the protocol or stops early.
    """
    done = 0
    shapes = {node.id: (program.window.n_steps, *node.shape) for node in program.populations}
    for piece in pieces:
        if piece.first != done:
            raise bad_messages(f"stimulus {piece.first} follows {pluralize(done, 'stimulus')}")
        if sorted(piece.messages) != sorted(layers):
            raise bad_messages(f"messages of {sorted(piece.messages)}, not of {sorted(layers)}")
        counts = {len(values) for values in piece.messages.values()}
        count = counts.pop()
        if counts or not 1 <= count <= n_stimuli - done:
            raise bad_messages(f"{pluralize(count, 'stimulus')} after {done} of {n_stimuli}")
        for name, values in piece.messages.items():
            if values.dtype.kind not in "iub" or values.shape[1:] != shapes[name]:
                raise bad_messages(
                    f"'{name}' has messages of type {values.dtype} and shape {values.shape[1:]},"
                    f" not integers of shape {shapes[name]}"
                )
            if values.dtype.itemsize > 4 or values.dtype == np.uint32:
                low, high = int(values.min()), int(values.max())
                if low < -MAX_MESSAGE - 1 or high > MAX_MESSAGE:
                    raise bad_messages(f"'{name}' sent {high}, which needs more than 32 bits")
        yield piece
        done += count
    if done < n_stimuli:
        raise DeviceError(
            f"the device stopped after {done} of {pluralize(n_stimuli, 'stimulus')}",
            code="device-incomplete",
            hint="run it again, or with fewer stimuli: --stimuli",
        )


def bad_messages(what: str) -> DeviceError:
    """A protocol violation by a device."""
    return DeviceError(
        f"protocol violation by the device: {what}",
        code="bad-messages",
        hint="this is a bug in the device plug-in",
    )
