"""Reading a NIR file: everything that can be judged before looking at its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snn_compile.errors import CompileError, ModelError, Origin, UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.options import CompileOptions
from snn_compile.plugins import ImportedSpiking

if TYPE_CHECKING:
    import nir


class NirFrontend:
    """Reads ``.nir`` files (Pedersen et al. 2024). The library is imported on the first read."""

    suffixes: tuple[str, ...] = (".nir",)

    def read_spiking(self, path: Path, options: CompileOptions) -> ImportedSpiking:
        """Read a file; the options say what it leaves open.

        Raises:
            UsageError: there is no such file, the library is missing, or the options do not say
                what the file leaves open: all of it at once.
            ModelError: the file is not a valid network.
            UnsupportedError: nodes without a form here (``CompileErrors`` if several).
        """
        if not path.is_file():
            raise UsageError(
                f"there is no file '{path}'", code="no-such-file", hint="check the path"
            )
        graph = _graph(path)
        from snn_frontends.nir.importer import import_graph

        try:
            return import_graph(graph, str(path), options)
        except CompileError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ModelError(
                f"the file contradicts itself: {_first_line(error)}", origin=Origin(str(path))
            ) from error


def _graph(path: Path) -> nir.NIRGraph:
    origin = Origin(str(path))
    raise_all(missing("nir", "nir", "NIR files are read by", origin=origin))
    import nir

    try:
        # Types are inferred here: the library's own check refuses files that are only incomplete.
        graph = nir.read(str(path), type_check=False)
    except Exception as error:
        raise ModelError(
            f"this is not a NIR file, or it is damaged: {_first_line(error)}",
            code="unreadable-model",
            origin=origin,
            hint="export it again",
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise ModelError(
            "the file holds a single node, not a graph", code="unreadable-model", origin=origin
        )
    return graph


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
