"""A network against the user's own file, layer by layer, in floating point and in integers.

>>> from snn_compile import inspect_against  # doctest: +SKIP
>>> found = inspect_against("model.onnx", x)  # doctest: +SKIP
>>> found.first  # the first layer beyond its bound, or None  # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.against.float_layers import FloatLayer, compare_float, first_beyond
from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UnsupportedError, UsageError, VerificationError
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.serialize import array_hashes, dump_program
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.pipeline.driver import lower_model
from snn_compile.pipeline.inputs import (
    is_converted,
    preprocess,
    preprocessing,
    read_model,
    unlabelled_samples,
)
from snn_compile.report.fixed_layers import FixedLayer, fixed_layers
from snn_compile.report.layer_bounds import has_bounds
from snn_compile.reproduce import inputs_of, options_of_sources
from snn_compile.samples.named import ArraysLike
from snn_compile.sim import ann

__all__ = ["FixedLayer", "FloatLayer", "LayerReport", "inspect_against"]

N_SAMPLES = 4
NOISE = "noise"
"""Source of samples where none are given."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerReport:
    """Every layer by itself, compared with a runtime of the user's file.

    Attributes:
        file: the user's file.
        runtime: the name of its runtime.
        samples: how many were used, the first ones.
        source: where they are from; ``noise`` if none were given.
        layers: of the float network, as imported, in order; those with a counterpart in the file.
        fixed: of the network in fixed point, in order; empty for a model without a folder.
        findings: of the import.
    """

    file: str
    runtime: str
    samples: int
    source: str
    layers: tuple[FloatLayer, ...]
    fixed: tuple[FixedLayer, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def first(self) -> FloatLayer | FixedLayer | None:
        """The first layer beyond its bound, those in floating point before those in integers."""
        return first_beyond(self.layers) or next((x for x in self.fixed if not x.within), None)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "file": self.file,
            "runtime": self.runtime,
            "samples": self.samples,
            "source": self.source,
            "first": None if self.first is None else _as_dict(self.first),
            "layers": [_as_dict(layer) for layer in self.layers],
            "fixed": [_as_dict(layer) for layer in self.fixed],
        }

    def require_within(self) -> None:
        """Check that every layer keeps to its bound.

        Raises:
            VerificationError: one does not; the first one is named.
        """
        if (layer := self.first) is None:
            return
        if isinstance(layer, FloatLayer):
            message = (
                f"layer '{layer.name}' is {layer.ours:.6g} where {self.runtime} has"
                f" {layer.theirs:.6g}: off by {layer.error:.3g}, and its bound is {layer.bound:.3g}"
            )
        else:
            message = (
                f"layer '{layer.name}' in integers is {layer.share:.3g} times as far off as its"
                f" bound allows: {layer.ours:.6g} where the float layer has {layer.theirs:.6g}"
            )
        raise VerificationError(
            message,
            code="layer-differs",
            origin=layer.origin,
            hint="this is a bug of the compiler, or of the runtime; please report it with the file",
        )


def inspect_against(
    path: str | Path,
    data: ArraysLike | str | Path | None = None,
    *,
    options: CompileOptions | None = None,
    sources: Mapping[str, Path] | None = None,
    n_samples: int = N_SAMPLES,
) -> LayerReport:
    """Compare a network with its file, each layer given the same inputs as in the file's runtime.

    Args:
        path: a model, or a compiled folder.
        data: samples or a file of them, as for a compilation; by default the evaluation data of
            a folder, else noise.
        options: of a model; those of a folder are recorded in it.
        sources: of a folder: ``model``, ``calibrate`` and ``evaluate`` that are not beside it.
        n_samples: samples to use at most.

    Raises:
        CompileError: model, folder or data cannot be used, or the runtime is missing.
    """
    if not Path(path).is_dir():
        return _compare(Path(path), options or CompileOptions(), data, n_samples)
    if options is not None:
        raise TypeError("a folder records its options")
    folder = Path(path)
    compiled = CompiledModel.load(folder)
    provenance, files = inputs_of(compiled, folder, sources or {})
    with tempfile.TemporaryDirectory(prefix="snn-compile-against-") as scratch:
        options, files = options_of_sources(folder, compiled, provenance, files, Path(scratch))
        lowered = lower_model(files["model"], options)
        _require_same(folder, compiled, lowered)
        if data is None and "evaluate" in files:
            data = files["evaluate"]
        return _compare(files["model"], options, data, n_samples, lowered)


def _compare(
    path: Path,
    options: CompileOptions,
    data: ArraysLike | str | Path | None,
    n_samples: int,
    lowered: Lowering | None = None,
) -> LayerReport:
    if lowered is not None and not has_bounds(lowered):
        raise UnsupportedError(
            "layers of this coding have no stated bounds by themselves",
            code="no-bounds",
            origin=Origin(str(path)),
            hint="compile with --coding graded, or inspect the model alone",
        )
    imported = read_model(path, options) if is_converted(path) else None
    if imported is None or imported.layer_values is None:
        raise UnsupportedError(
            "the runtime of this format does not give the values inside a file",
            code="no-layer-values",
            origin=Origin(str(path)),
            hint="inspect an ONNX file",
        )
    x, source = _samples(path, options, data, n_samples)
    shown = _preprocessed(imported.ann, options, x.astype(np.float32))
    theirs = imported.layer_values(shown)
    layers = compare_float(imported.ann, shown, theirs, imported.layer_values.approximated)
    fixed = [] if lowered is None else fixed_layers(lowered, x, theirs)
    runtime = imported.layer_values.name
    return LayerReport(
        str(path), runtime, len(x), source, tuple(layers), tuple(fixed), imported.findings
    )


def _preprocessed(network: ANNGraph, options: CompileOptions, x: Array) -> Array:
    """What the file is given for raw samples."""
    if not options.mean_values and not options.scale_values:
        return x
    scaled = network
    for fold in preprocessing(options):
        scaled = fold(scaled).graph
    inputs = {node.id: node.id for node in network.inputs}
    inputs |= {NodeId(f"{name}.preprocessed"): name for name in inputs}
    found: dict[NodeId, Array] = {}

    def keep(node: AnnNode, value: Array) -> Array:
        if node.id in inputs:
            found[inputs[node.id]] = np.moveaxis(value, -1, 0)
        return value

    ann.forward(scaled, ann.batch_last(x), keep)
    return network.inputs.join(found)


def _samples(
    path: Path, options: CompileOptions, data: ArraysLike | str | Path | None, n_samples: int
) -> tuple[Array, str]:
    """The first samples in the float network's input format, and where they are from."""
    network = preprocess(read_model(path, options), options)
    shape = network.inputs.shape
    if n_samples < 1:
        raise UsageError(
            f"{n_samples} samples cannot be compared", code="bad-argument", hint="use 1 or more"
        )
    if data is None:
        generator = np.random.default_rng(options.seed)
        return generator.normal(size=(n_samples, *shape)).astype(np.float32), NOISE
    given, source = (Path(data), str(data)) if isinstance(data, str | Path) else (data, "arrays")
    return unlabelled_samples(network, options, given).x[:n_samples], source


def _require_same(folder: Path, compiled: CompiledModel, lowered: Lowering) -> None:
    """Check that the sources give the network of the folder.

    Raises:
        VerificationError: they give another one.
    """
    ours, theirs = (dump_program(one.program) for one in (compiled, lowered))
    if (ours[0], array_hashes(ours[1])) != (theirs[0], array_hashes(theirs[1])):
        raise VerificationError(
            "compiled again from its sources, it is another network",
            code="not-reproduced",
            origin=Origin(str(folder)),
            hint=f"snn-compile reproduce {folder} shows where",
        )


def _as_dict(layer: FloatLayer | FixedLayer) -> dict[str, Any]:
    """A layer in JSON's types; numbers that are none are null."""
    found: dict[str, Any] = {**asdict(layer), "origin": str(layer.origin), "within": layer.within}
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return list(value) if isinstance(value, tuple) else value
