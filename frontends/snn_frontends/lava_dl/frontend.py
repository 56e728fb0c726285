"""Reading a ``.net`` file: all checks that precede the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile.errors import (
    CompileError,
    CompileErrors,
    ModelError,
    Origin,
    raise_all,
)
from snn_compile.extras import missing
from snn_compile.files.documents import TooLargeError, first_line, too_large
from snn_compile.files.presence import no_such_file
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import Window
from snn_compile.options import CompileOptions
from snn_compile.plugins import Arrival, ImportedFixed

LAYERS, SIMULATION = "layer", "simulation"
MAX_LAYERS = 10_000


class LavaDlFrontend:
    """Reads ``.net`` files, as lava-dl's blocks export them; h5py is imported on the first read."""

    suffixes: tuple[str, ...] = (".net",)

    def read_fixed(self, path: Path, options: CompileOptions) -> ImportedFixed:
        """Read a file; the options supply the number of steps that it leaves open.

        Raises:
            UsageError: the file does not exist, or the library is missing.
            ModelError: the file is not a valid network.
            UnsupportedError: layers without a form here (``CompileErrors`` if several).
        """
        if not path.is_file():
            raise no_such_file(path)
        file = str(path)
        raise_all(missing("h5py", "netx", ".net files are read by", origin=Origin(file)))
        document = _document(path)
        from snn_frontends.lava_dl import inputs, network

        try:
            layers = _layers(document, file)
            n_steps = _n_steps(document, file, options)
            arrivals = inputs.arrivals(layers)
            build = _Build(tuple(layers), file, n_steps)
            _, made, findings = network.build(layers, file, n_steps, arrivals[0])
        except TooLargeError as error:
            raise too_large(Origin(file), error, ModelError) from error
        return ImportedFixed(
            build,
            arrivals,
            Window("rate", n_steps),
            inputs.input_shape(layers, file),
            made.output_shapes,
            made.units,
            tuple(findings),
            len(layers),
            sum(layer.weight.size for layer in layers if layer.weight is not None),
        )


@dataclass(frozen=True, eq=False)
class _Build:
    """Makes the network for an input."""

    layers: tuple[Any, ...]
    file: str
    n_steps: int

    def __call__(self, arrival: Arrival) -> QuantizedGraph:
        from snn_frontends.lava_dl import network

        try:
            return network.build(self.layers, self.file, self.n_steps, arrival)[0]
        except TooLargeError as error:
            raise too_large(Origin(self.file), error, ModelError) from error


def _document(path: Path) -> dict[str, Any]:
    """The content of the file.

    Raises:
        ModelError: it is not HDF5, is damaged or beyond the memory budget, or holds no layers.
    """
    from snn_compile.files import hdf5

    try:
        document = hdf5.read(path)
    except TooLargeError as error:
        raise too_large(path, error, ModelError) from error
    except CompileError:
        raise
    except Exception as error:
        raise ModelError(
            f"not a .net file, or a damaged one: {first_line(error)}",
            code="unreadable-model",
            origin=Origin(str(path)),
            hint="export it again with lava-dl",
        ) from error
    layers = document.get(LAYERS)
    if not isinstance(layers, dict) or not layers or len(layers) > MAX_LAYERS:
        raise ModelError(
            f"it has no group '{LAYERS}' with layers",
            code="unreadable-model",
            origin=Origin(str(path)),
            hint="lava-dl's .net files have one group for each layer, such as layer/0",
        )
    return document


def _layers(document: dict[str, Any], file: str) -> Sequence[Any]:
    """All layers, in order.

    Raises:
        CompileErrors: some have no form here; all complaints at once.
    """
    from snn_frontends.lava_dl.fields import Fields
    from snn_frontends.lava_dl.layers import layer_of

    root = Fields(document, Origin(file, "/", "file"))
    root.read |= {LAYERS, SIMULATION}
    errors, found = root.unknown(), list[Any]()
    groups = document[LAYERS]
    for number in range(len(groups)):
        where = Origin(file, f"{LAYERS}/{number}")
        if not isinstance(groups.get(str(number)), dict):
            errors.append(
                ModelError(
                    f"its layers are not numbered from 0 to {len(groups) - 1}: this one is missing",
                    code="invalid-model",
                    origin=where,
                    hint="export the network again with lava-dl",
                )
            )
            continue
        try:
            found.append(layer_of(number, Fields(groups[str(number)], where)))
        except CompileErrors as several:
            errors += several.errors
        except CompileError as error:
            errors.append(error)
    raise_all(errors)
    return found


def _n_steps(document: dict[str, Any], file: str, options: CompileOptions) -> int:
    """Steps of a window: the option's, else the file's, else the default."""
    from snn_frontends.lava_dl.fields import Fields

    simulation = Fields(document, Origin(file, "/")).group(SIMULATION)
    if simulation is None:
        return options.number("timesteps")
    stated = simulation.integer("tSample", options.number("timesteps"))
    simulation.read.add("Ts")
    raise_all(simulation.unknown())
    if stated < 1:
        raise simulation.invalid(f"its tSample is {stated}")
    return options.number("timesteps") if options.is_given("timesteps") else stated
