"""Reading a NIR file: all checks that precede the nodes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile.errors import (
    CompileError,
    ModelError,
    Origin,
    UnsupportedError,
    raise_all,
)
from snn_compile.extras import missing
from snn_compile.files.documents import DamagedError, TooLargeError, first_line, too_large
from snn_compile.files.presence import no_such_file
from snn_compile.options import CompileOptions
from snn_compile.plugins import ImportedSpiking

if TYPE_CHECKING:
    import nir


PACKAGES = ("nir", "networkx")
AXES = 32
FEW = {
    **dict.fromkeys(("input_shape", "shape", "input_type", "kernel_size", "stride"), AXES),
    **dict.fromkeys(("padding", "dilation", "groups", "start_dim", "end_dim", "type"), AXES),
    "edges": 100_000,
}
"""Most numbers of a field; the library iterates over them."""


class NirFrontend:
    """Reads ``.nir`` files (Pedersen et al. 2024). The library is imported on the first read."""

    suffixes: tuple[str, ...] = (".nir",)

    def read_spiking(self, path: Path, options: CompileOptions) -> ImportedSpiking:
        """Read a file; the options supply what it leaves open.

        Raises:
            UsageError: the file does not exist, the library is missing, or options are missing that
                the file leaves open: all of them at once.
            ModelError: the file is not a valid network.
            UnsupportedError: nodes without a form here (``CompileErrors`` if several).
        """
        if not path.is_file():
            raise no_such_file(path)
        graph = _graph(path)
        from snn_frontends.nir.importer import import_graph

        try:
            return import_graph(graph, str(path), options)
        except CompileError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ModelError(
                f"the file contradicts itself: {first_line(error)}", origin=Origin(str(path))
            ) from error


def _graph(path: Path) -> nir.NIRGraph:
    origin = Origin(str(path))
    what = "NIR files are read by"
    raise_all([e for package in PACKAGES for e in missing(package, "nir", what, origin=origin)])
    import nir
    import numpy as np

    from snn_compile.files import hdf5

    try:
        document = hdf5.read(path, "node")["node"]
        raise_all(_unknown_fields(_checked(document), str(path), ""))
        # Types are inferred here: the library's own check refuses files that are only incomplete.
        with np.errstate(all="ignore"):
            graph = nir.dict2NIRNode({**document, "type_check": False})
    except TooLargeError as error:
        raise too_large(path, error, ModelError) from error
    except CompileError:
        raise
    except Exception as error:
        raise ModelError(
            f"not a NIR file, or a damaged one: {first_line(error)}",
            code="unreadable-model",
            origin=origin,
            hint="export it again",
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"nir made a {type(graph).__name__} of a graph")
    return graph


def _checked(document: Any) -> dict[str, Any]:
    """The content of a file's graph.

    Raises:
        DamagedError: it is none.
    """
    if not isinstance(document, dict) or document.get("type") != "NIRGraph":
        raise DamagedError("it holds no graph")
    return document


def _unknown_fields(document: dict[str, Any], file: str, name: str) -> list[CompileError]:
    """Errors for fields that NIR does not define.

    Raises:
        DamagedError: a node is invalid, or has thousands of numbers in a field of two or three.
    """
    import nir
    import numpy as np

    kind = document.get("type")
    known = {"type", "metadata"}
    if kind == "NIRGraph":
        known |= {"nodes", "edges"}
    elif isinstance(kind, str) and isinstance(node := getattr(nir, kind, None), type):
        known |= {item.name for item in fields(node) if item.init} if is_dataclass(node) else set()
        known |= {"shape"} if kind in ("Input", "Output") else set()
    errors: list[CompileError] = [
        UnsupportedError(
            f"its field '{field[:80]}' is unknown to NIR",
            code="nir-field",
            origin=Origin(file, name[:200], str(kind)[:80]),
            hint="export it without the field, or with the NIR version that this tool reads",
        )
        for field in document.keys() - known
    ]
    for field, most in FEW.items():
        if np.size(document.get(field, 0)) > most:
            raise DamagedError(
                f"'{name[:200]}' has {np.size(document[field]):,} numbers of {field}"
            )
    nodes = document.get("nodes") if kind == "NIRGraph" else None
    for inner, node in nodes.items() if isinstance(nodes, dict) else ():
        if not isinstance(node, dict):
            raise DamagedError(f"'{inner[:200]}' is not a node")
        errors += _unknown_fields(node, file, f"{name}.{inner}" if name else inner)
    return errors
