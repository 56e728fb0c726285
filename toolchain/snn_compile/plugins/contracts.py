"""The contracts of frontends and backends; that of a device stands in ``snn_compile.hil.device``.

A plug-in is a class that an installed distribution registers as an entry point. It needs no base
class: it has the methods of a contract, arguments before ``*`` by position and the rest by name. It
may state its version of the contracts as ``contract_version``, by default 1. All of this is checked
on loading. It refuses input with a ``CompileError``; any other exception is reported as a bug of
the plug-in, by its name and distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError
from snn_compile.hil.verification import Verification
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.options import CompileOptions
from snn_compile.plugins.imported import Imported, ImportedFixed, ImportedSpiking
from snn_compile.sim.batches import Advance

VERSION = 1
"""Version of the contracts, raised by an incompatible change."""


class Frontend(Protocol):
    """Reads model files with a network to convert.

    It is registered under ``snn_compile.frontends`` and created without arguments, for each file
    with its suffix: slow imports belong in ``read``. It reports all unsupported nodes at once,
    never one at a time. ``docs/how-to/write-a-frontend.md`` has a
    complete one.

    Attributes:
        suffixes: of its files, in lower case, each with its dot.

    >>> class Nothing:
    ...     contract_version = 1
    ...     suffixes = (".nothing",)
    ...
    ...     def read(self, path):
    ...         raise ModelError("there is nothing in it", origin=Origin(str(path)))
    >>> complaints(Nothing(), FRONTENDS)
    []
    """

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
    """Reads files with a spiking network, which needs no conversion.

    It is registered and created like a ``Frontend``, and has ``read_spiking`` instead of ``read``.

    Attributes:
        suffixes: of its files, in lower case, each with its dot.

    >>> class Silence:
    ...     suffixes = (".silence",)
    ...
    ...     def read_spiking(self, path, options):
    ...         raise ModelError("it has no neurons", origin=Origin(str(path)))
    >>> complaints(Silence(), FRONTENDS)
    []
    """

    suffixes: tuple[str, ...]

    def read_spiking(self, path: Path, options: CompileOptions) -> ImportedSpiking:
        """Read a file; the options supply what it leaves open.

        Raises:
            UsageError: the file or its library is missing, or an option is required that the file
                leaves open.
            ModelError: the file is not a valid network.
            UnsupportedError: nodes without a form here (``CompileErrors`` if several).
        """
        ...


@runtime_checkable
class FixedFrontend(Protocol):
    """Reads files with a network in fixed point, whose integers are taken as they stand.

    It is registered and created like a ``Frontend``, and has ``read_fixed`` instead of ``read``.

    Attributes:
        suffixes: of its files, in lower case, each with its dot.

    >>> class Zeros:
    ...     suffixes = (".zeros",)
    ...
    ...     def read_fixed(self, path, options):
    ...         raise ModelError("it has no integers", origin=Origin(str(path)))
    >>> complaints(Zeros(), FRONTENDS)
    []
    """

    suffixes: tuple[str, ...]

    def read_fixed(self, path: Path, options: CompileOptions) -> ImportedFixed:
        """Read a file; the options supply what it leaves open.

        Raises:
            UsageError: the library is missing.
            ModelError: the file is not a valid network.
            UnsupportedError: layers without a form here (``CompileErrors`` if several).
        """
        ...


@runtime_checkable
class ConfigurableFrontend(Protocol):
    """A frontend whose reading depends on the options of the compilation."""

    def read_with(self, path: Path, options: CompileOptions) -> Imported:
        """As ``read``, by the options that concern the file."""
        ...

    def source_runtime_with(
        self, path: Path, options: CompileOptions, inputs: Sequence[str]
    ) -> SourceRuntime | None:
        """As ``source_runtime`` of ``HasSourceRuntime``, by the same options.

        A sample has the values of these inputs, one after another.
        """
        ...


@runtime_checkable
class WritesModels(Protocol):
    """A frontend that writes models which Python holds to files of its format."""

    def written(self, model: object, example_input: object, folder: Path) -> Path | None:
        """The file of a model in a folder; None of an object that it does not know.

        Args:
            model: any object.
            example_input: what it takes, where its file is made by running it; or None.
            folder: to write into.

        Raises:
            UsageError: the example is missing, or is none.
            ModelError: the model cannot be written.
        """
        ...


class SourceRuntime(Protocol):
    """The user's own file, executed by the runtime of its format."""

    name: str

    def __call__(self, x: npt.NDArray[Any], advance: Advance) -> npt.NDArray[Any]:
        """The first output for every sample (N, *input shape), (N, *output shape)."""
        ...


@runtime_checkable
class RunsEveryOutput(SourceRuntime, Protocol):
    """A runtime that gives further outputs, too."""

    def every_output(self, x: npt.NDArray[Any], advance: Advance) -> Mapping[str, npt.NDArray[Any]]:
        """Each output for every sample, by its name in the file."""
        ...


@runtime_checkable
class ReadsMoreFiles(Protocol):
    """A frontend whose format spreads a network over several files."""

    def files_beside(self, path: Path) -> list[Path]:
        """The other files that a file refers to, in its folder or below it."""
        ...


@runtime_checkable
class HasSourceRuntime(Protocol):
    """A frontend whose format has its own runtime."""

    def source_runtime(self, path: Path) -> SourceRuntime | None:
        """The file, ready to run; None if it runs no faster than our evaluator."""
        ...


class HostRuntime(Protocol):
    """A model, executed on the host for one sample at a time.

    Attributes:
        name: of the runtime.
        inputs: names of the model's inputs.
        shapes: shape of each output, with None for sizes that vary; None if unknown.
        integers: whether each output holds integers, or true and false.
    """

    name: str
    inputs: list[str]
    shapes: list[tuple[int | None, ...] | None]
    integers: list[bool]

    def __call__(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """All outputs, in order, for the values of all inputs.

        Raises:
            UsageError: it fails, or takes more memory than it may.
        """
        ...


@runtime_checkable
class KnowsProbabilities(Protocol):
    """A ``HostRuntime`` that knows more of its outputs.

    Attributes:
        probabilities: whether each output is of an operator with values within [0, 1].
    """

    probabilities: list[bool]


@runtime_checkable
class RunsOnHost(Protocol):
    """A frontend whose files, and the tails cut from them, a runtime of the host executes."""

    def tail_runtime(self, tail: HostTail) -> HostRuntime | None:
        """An untrusted tail, ready to run in bounded memory; None if the runtime is missing.

        Raises:
            ModelError: it is not what this tool writes.
        """
        ...

    def whole_runtime(self, path: Path, options: CompileOptions) -> HostRuntime | None:
        """The whole file, with the outputs of the options; None if the runtime is missing."""
        ...


class Backend(Protocol):
    """Writes a quantized network in the form of another system.

    It is registered under ``snn_compile.backends`` and created without arguments. Its name is the
    value of ``--emit`` and the name of its folder: small letters, digits, ``-`` and ``_``.
    ``docs/how-to/write-a-backend.md`` has a complete one.

    >>> class Names:
    ...     contract_version = 1
    ...
    ...     def check(self, program):
    ...         return []
    ...
    ...     def emit(self, program, folder, *, options):
    ...         names = ", ".join(node.id for node in program.graph)
    ...         (folder / "names.txt").write_text(names)
    >>> complaints(Names(), BACKENDS)
    []
    >>> isinstance(Names(), Verifiable)
    False
    """

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """All features of the network that this backend cannot express."""
        ...

    def emit(self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any]) -> None:
        """Write the network into an existing, empty folder.

        The same network gives the same bytes, so that a folder can be reproduced.

        Raises:
            UsageError: an option is unknown.
            CompileError: as of ``check``.
        """
        ...


@runtime_checkable
class Verifiable(Protocol):
    """A backend that can verify its own output against the network.

    Without this, ``snn-compile verify`` reports "not compared" for the backend's files.

    >>> class Looks:
    ...     def check(self, program):
    ...         return []
    ...
    ...     def emit(self, program, folder, *, options):
    ...         (folder / "n").write_text(str(len(program.graph)))
    ...
    ...     def verify(self, program, folder, frames, *, time_limit, progress):
    ...         equal = (folder / "n").read_text() == str(len(program.graph))
    ...         return Verification("looks", "the number of nodes", 0, 0, 1, equal=equal)
    >>> complaints(Looks(), BACKENDS)
    []
    >>> isinstance(Looks(), Verifiable)
    True
    """

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float,
        progress: Advance,
    ) -> Verification:
        """Compare a folder's files, and their behaviour in the other system, bit for bit.

        The folder is untrusted. Nothing in it is ever run: code to run is emitted again, and
        compared with the folder's files.

        Args:
            program: the network.
            folder: the output of ``emit``, possibly altered.
            frames: encoded stimuli, (N, *input shape).
            time_limit: seconds.
            progress: progress callback, in stimuli compared.

        Raises:
            DeviceError: the other system is missing, failed or exceeded the time limit.
        """
        ...


@runtime_checkable
class StatesEncoding(Protocol):
    """A backend whose files say how real values become the integers that the network takes."""

    def options_for(self, encoding: Encoding) -> Mapping[str, Any]:
        """Options of ``emit`` that state an encoding."""
        ...


@runtime_checkable
class StatesBorders(Protocol):
    """A backend whose files take and return real values, and are verified with them."""

    def with_borders(
        self, encoding: Encoding, decodings: Mapping[NodeId, OutputDecoding]
    ) -> Backend:
        """The backend for a network with these units."""
        ...


@runtime_checkable
class NeedsEnvironment(Protocol):
    """A backend whose system needs a separate environment."""

    def environment_status(self) -> object | None:
        """The existing environment, or None."""
        ...

    def create_environment(self) -> object:
        """Return the environment, created if necessary."""
        ...
