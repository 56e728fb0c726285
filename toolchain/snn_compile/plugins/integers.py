"""The contract of frontends that read networks which are integers already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.passes import Finding


@dataclass(frozen=True, eq=False)
class ImportedIntegers:
    """Result of a frontend on a file with a network in fixed point.

    Attributes:
        network: the network.
        encoding: of the inputs.
        decodings: of each output.
        findings: everything that was dropped or assumed.
        n_nodes: operators in the file.
    """

    network: QuantizedGraph
    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    findings: tuple[Finding, ...]
    n_nodes: int


@runtime_checkable
class ReadsIntegers(Protocol):
    """A frontend whose files may hold a network in fixed point, which nothing is to change."""

    def read_integers(self, path: Path) -> ImportedIntegers | None:
        """Read a file; None if it holds no such network.

        Raises:
            ModelError: it says that it does, and is damaged or was changed.
            UsageError: it exceeds the memory budget.
        """
        ...
