"""The pass that places every neuron on a core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snn_compile.errors import raise_all
from snn_compile.ir.quantized import Input, QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping.place import place
from snn_compile.mapping.placement_file import PlacementFile
from snn_compile.mapping.program import MappedProgram
from snn_compile.mapping.resources import use_of_cores
from snn_compile.mapping.rules import violations
from snn_compile.passes import Finding, PassResult
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class MapToCores:
    """Partition populations into blocks and place them; the network itself is unchanged."""

    name: ClassVar[str] = "map-to-cores"

    target: Target
    placement: PlacementFile | None = None

    def __call__(self, program: QuantizedGraph, /) -> PassResult[MappedProgram]:
        """Map a network.

        Raises:
            CapacityError: it does not fit (``CompileErrors`` for several reasons).
        """
        placed = place(program, self.target, self.placement)
        found = violations(program, self.target, placed.blocks, placed.links)
        raise_all([violation.error for violation in found])
        mapped = MappedProgram(
            program, self.target, placed.blocks, placed.least, placed.links, is_checked=True
        )
        return PassResult(mapped, (_summary(mapped), *_input_notes(mapped)))


def map_program(
    program: QuantizedGraph, target: Target, placement: PlacementFile | None = None
) -> PassResult[MappedProgram]:
    """Map a network onto a target: see :class:`MapToCores`."""
    return MapToCores(target, placement)(program)


def _summary(mapped: MappedProgram) -> Finding:
    """Utilization in one line."""
    (_, binding), available = use_of_cores(mapped), mapped.target.cores
    of = "" if available is None else f" of {available}"
    tightest = f" · tightest: {binding}" if binding else ""
    chips = f"{mapped.chips} chip{'s' if mapped.chips != 1 else ''}"
    cores = f"{mapped.cores}{of} core{'s' if (available or mapped.cores) != 1 else ''}"
    message = f"{cores} on {chips}{tightest}"
    return Finding(message, code="mapped")


def _input_notes(mapped: MappedProgram) -> tuple[Finding, ...]:
    """Notes on inputs that the chip cannot receive as spikes, left to the host."""
    return tuple(
        note for source in mapped.program.inputs for note in _notes_on(source, mapped.target)
    )


def _notes_on(source: Input, target: Target) -> tuple[Finding, ...]:
    low, high = source.messages
    if target.graded_spikes.value or (low >= 0 and high <= 1):
        return ()
    if source.coding in (InputCoding.CURRENT, InputCoding.FRAME):
        when = " at the first step of each window" if source.coding is InputCoding.FRAME else ""
        message = (
            f"{target.name} cannot receive the input {low} to {high} as spikes: the host must add"
            f" it as a bias current{when}; the first synapses are counted as if they were on the"
            " chip"
        )
    else:
        message = (
            f"{target.name} cannot receive spikes of either sign on one axon: each input needs a"
            " second axon with negated weights, which is not counted"
        )
    return (Finding(message, source.origin, code="input-not-spikes", warning=True),)
