"""What NeuroBench counts beside what ``report.json`` says, and where they mean something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.quantized import QuantizedGraph, SparseSynapses

WIDTHS = (1, 2, 4, 8)
"""Bytes of the integers that torch has."""
INDEX_BYTES = 4
EXACT, ROUNDED, SINGLE = 1e-12, 5e-5, 1e-6
"""Largest relative difference of counts; of what NeuroBench rounds to four digits; of a mean that
it takes in float32."""


@dataclass(frozen=True)
class Row:
    """A metric.

    Attributes:
        metric: NeuroBench's name.
        theirs: by the package ``neurobench``; None where it counts nothing.
        ours: by ``snn_compile.report.neurobench``.
        equal: whether both are the same; None where their definitions differ.
        why: what differs.
    """

    metric: str
    theirs: float | None
    ours: float
    equal: bool | None
    why: str = ""


def rows(theirs: Mapping[str, Any], ours: Mapping[str, Any], program: QuantizedGraph) -> list[Row]:
    """A row for each metric.

    Args:
        theirs: results of the harness, by the names of its classes.
        ours: as ``report.neurobench.neurobench`` gives them.
        program: the network.
    """
    there, here = theirs["SynapticOperations"], ours["synaptic_operations"]
    kinds = ("Effective_MACs", "Effective_ACs")
    total, own = (sum(float(counts[kind]) for kind in kinds) for counts in (there, here))
    by_values = "MACs or ACs by the values in a batch; in the report by those that can occur"
    found = [
        _footprint(float(theirs["Footprint"]), float(ours["footprint"]), program),
        _same("connection_sparsity", theirs["ConnectionSparsity"], ours, absolute=ROUNDED),
        _same("activation_sparsity", theirs["ActivationSparsity"], ours, relative=EXACT),
    ]
    for kind in kinds:
        alike = _near(float(there[kind]), float(here[kind]), relative=EXACT)
        why = "" if alike else by_values
        found.append(Row(kind, float(there[kind]), float(here[kind]), alike or None, why))
    return [
        *found,
        Row("effective operations", total, own, _near(total, own, relative=EXACT)),
        _same("Dense", there["Dense"], here, relative=EXACT),
        _same("classification_accuracy", theirs["ClassificationAccuracy"], ours, absolute=SINGLE),
        Row(
            "membrane_updates",
            None,
            float(ours["membrane_updates"]),
            None,
            "NeuroBench counts them of snnTorch's neurons only",
        ),
    ]


def _same(
    name: str, there: Any, here: Mapping[str, Any], *, relative: float = 0, absolute: float = 0
) -> Row:
    theirs, ours = float(there), float(here[name])
    return Row(name, theirs, ours, _near(theirs, ours, relative=relative, absolute=absolute))


def _near(theirs: float, ours: float, *, relative: float = 0, absolute: float = 0) -> bool:
    return abs(theirs - ours) <= absolute + relative * abs(ours)


def _footprint(theirs: float, ours: float, program: QuantizedGraph) -> Row:
    """Bits there are whole bytes here; and where sparse weights are is stored, too."""
    numbers, places = stored_bytes(program)
    why = f"NeuroBench: whole bytes, {numbers:,}"
    why += f", and {places:,} for the places of sparse weights" if places else ""
    return Row("footprint", theirs, ours, None if theirs == numbers + places else False, why)


def stored_bytes(program: QuantizedGraph) -> tuple[int, int]:
    """Bytes of all parameters in types of whole bytes, and of the places of sparse weights."""
    numbers = places = 0
    for node in program.graph:
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, QTensor):
                numbers += value.values.size * bytes_of(value.format)
        if isinstance(node, SparseSynapses):
            places += INDEX_BYTES * (node.indptr.size + node.indices.size)
    return numbers, places


def bytes_of(format: QFormat) -> int:
    """Bytes of the narrowest signed integer that holds a format."""
    bits = format.bits + (not format.signed)
    return next(width for width in WIDTHS if bits <= 8 * width)
