"""Reads ``.layers`` files: npz with the input's ``shape``, and ``w0``, ``b0``, ``w1``, ``b1``..."""

from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import DAMAGE, describe_error
from snn_compile.ir.ann import AnnNode, Dense, Input, Output, Relu, Reshape
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.plugins import Imported

Layers = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]


class LayersFrontend:
    """Dense layers with a rectifier after each but the last."""

    contract_version = 1
    suffixes = (".layers",)

    def read(self, path: Path) -> Imported:
        """Read a file, which may be a stranger's: ``Archive`` holds it against its own words."""
        try:
            with Archive(path) as archive:
                arrays = dict(Arrays(archive, kinds="fiu"))
            shape = tuple(int(size) for size in arrays.pop("shape"))
            layers = [(arrays.pop(f"w{k}"), arrays.pop(f"b{k}")) for k in range(len(arrays) // 2)]
        except (*DAMAGE, TypeError) as error:
            raise ModelError(
                f"not a file of layers, or damaged: {describe_error(error)}",
                origin=Origin(str(path)),
            ) from error
        raise_all(complaints(str(path), shape, layers, arrays))
        graph = Graph(nodes(str(path), shape, layers))
        return Imported(ANNGraph(graph, file=str(path)), (), 2 * len(layers), 0)


def complaints(
    file: str, shape: tuple[int, ...], layers: Layers, left: Iterable[str]
) -> list[CompileError]:
    """Everything that is no such network, all at once."""
    errors: list[CompileError] = [
        UnsupportedError(f"an array '{name}' of no layer", origin=Origin(file, name))
        for name in left
    ]
    wanted = prod(shape)
    for number, (weight, bias) in enumerate(layers):
        if weight.shape != (len(bias), wanted) or bias.ndim != 1:
            message = f"weights {weight.shape} and biases {bias.shape} for {wanted} inputs"
            errors.append(ModelError(message, origin=Origin(file, f"w{number}")))
        elif not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            message = "numbers that are not finite"
            errors.append(ModelError(message, origin=Origin(file, f"w{number}")))
        wanted = len(bias)
    if not layers or len(shape) not in (1, 3) or min(shape) < 1:
        errors.append(ModelError(f"{len(layers)} layers on {shape}", origin=Origin(file)))
    return errors


def nodes(file: str, shape: tuple[int, ...], layers: Layers) -> list[AnnNode]:
    """The operators, each of which knows where it came from."""

    def place(name: str, source: str, shape: tuple[int, ...]) -> dict[str, Any]:
        inputs = (NodeId(source),) if source else ()
        return {"id": NodeId(name), "inputs": inputs, "shape": shape, "origin": Origin(file, name)}

    found: list[AnnNode] = [Input(**place("x", "", shape))]
    found.append(Reshape(**place("flat", "x", (prod(shape),))))
    source = "flat"
    for number, (weight, bias) in enumerate(layers):
        name, shape = f"w{number}", (len(bias),)
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        found.append(Dense(**place(name, source, shape), weight=weight, bias=bias))
        source = name
        if number < len(layers) - 1:
            source = f"relu{number}"
            found.append(Relu(**place(source, name, shape)))
    return [*found, Output(**place("y", source, shape))]
