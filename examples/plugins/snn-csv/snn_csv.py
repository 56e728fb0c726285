"""Writes networks of dense layers as tables of integers, one CSV file a layer."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, UnsupportedError, UsageError, raise_all
from snn_compile.hil.verification import Verification
from snn_compile.ir.quantized import DenseSynapses, QuantizedGraph, Synapses
from snn_compile.sim.batches import Advance


class CsvBackend:
    """A row for each neuron of a layer: the weights of its synapses."""

    contract_version = 1

    def check(self, program: QuantizedGraph) -> list[CompileError]:
        """All layers that are not dense."""
        return [
            UnsupportedError(
                f"'{node.id}' is no dense layer",
                code="csv",
                origin=node.origin,
                hint="emit it for another backend",
            )
            for node in program.graph
            if isinstance(node, Synapses) and not isinstance(node, DenseSynapses)
        ]

    def emit(self, program: QuantizedGraph, folder: Path, *, options: Mapping[str, Any]) -> None:
        """Write the tables."""
        if options:
            raise UsageError(f"the CSV backend takes no options, not {sorted(options)}")
        raise_all(self.check(program))
        for name, weights in tables(program).items():
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(weights.tolist())

    def verify(
        self,
        program: QuantizedGraph,
        folder: Path,
        frames: npt.NDArray[np.integer],
        *,
        time_limit: float,
        progress: Advance,
    ) -> Verification:
        """Compare every weight in the files with the network's."""
        expected = tables(program)
        faults = [
            f"{name} does not hold the weights of its layer"
            for name, weights in expected.items()
            if read(folder / name) != weights.tolist()
        ]
        return Verification(
            against="csv",
            mode="every weight in the files; nothing was run",
            stimuli=0,
            steps=0,
            compared=sum(weights.size for weights in expected.values()),
            equal=not faults,
            details=tuple(faults),
        )


def tables(program: QuantizedGraph) -> dict[str, npt.NDArray[np.int64]]:
    """The weights of each layer; files are called by numbers, since names may be anything."""
    layers = [node for node in program.graph if isinstance(node, DenseSynapses)]
    return {f"{number}.csv": layer.weight.values for number, layer in enumerate(layers)}


def read(path: Path) -> list[list[int]] | None:
    """The integers of a table; None if there is no such table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [[int(cell) for cell in row] for row in csv.reader(file)]
    except (OSError, ValueError):
        return None
