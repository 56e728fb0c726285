"""The second half of every compilation: from integers to a compiled network, whatever made them.

A frontend's network is prepared (``driver`` converts what was trained without spikes,
``spiking_models`` takes what was trained with them, ``tune`` trains a compiled one further);
``finish`` maps it, checks it, evaluates it and puts the folder's content together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.errors import raise_all
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.mapping import MappedProgram, map_program, resources
from snn_compile.mapping.placement_file import (
    CORES,
    PLACEMENT,
    PlacementFile,
    read_placement,
    to_csv,
    to_toml,
)
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding, PassObserver
from snn_compile.pipeline.verify_each import VerifyEach
from snn_compile.plugins import BACKENDS, Backend, Imported, ImportedSpiking
from snn_compile.quantize.quantize import Quantization
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples
from snn_compile.sealed.provenance import provenance
from snn_compile.targets.target import Target

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Task:
    """What a compilation is asked for.

    Attributes:
        path: the model file.
        options: as the user stated them.
        target: the chip.
        calibrate: samples in place of ``options.calibrate``.
        evaluate: samples and labels (or None) in place of ``options.evaluate``.
    """

    path: Path
    options: CompileOptions
    target: Target
    calibrate: Array | None = None
    evaluate: tuple[Array, Array | None] | None = None

    @property
    def is_measured(self) -> bool:
        """Whether there are samples to calibrate with."""
        return self.calibrate is not None or self.options.calibrate is not None

    @property
    def provenance(self) -> Mapping[str, str]:
        """Hashes of everything that the network is made from."""
        given = {"calibrate": self.calibrate, "evaluate": self.evaluate}
        return provenance(self.path, self.options, given)

    @cached_property
    def placement(self) -> PlacementFile | None:
        """The placement that is asked for."""
        path = self.options.placement
        return None if path is None else read_placement(path)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network in integers, and what is particular to the way in which it was made.

    Attributes:
        program: the network.
        encoding: of the input.
        decodings: of each output.
        stimulus: encoded frames for verification.
        target: the chip.
        backends: that will write the network.
        provenance: hashes of what it was made from.
        evaluate_stages: evaluates it and the stages before it.
        report: the content of ``report.json``, given the keys that are the same for all.
        quantization: what is told about the integers; None if a compilation has told it before.
        placement: the one that is asked for.
    """

    program: QuantizedGraph
    encoding: InputEncoding
    decodings: Mapping[NodeId, OutputDecoding]
    stimulus: Int
    target: Target
    backends: tuple[str, ...]
    provenance: Mapping[str, str]
    evaluate_stages: Callable[[Journal], Outcome]
    report: Callable[[MappedProgram, Outcome, Mapping[str, Any]], dict[str, Any]]
    quantization: Quantization | None = None
    placement: PlacementFile | None = None


@dataclass(frozen=True)
class CheckResult:
    """What importing alone says about a model.

    Attributes:
        imported: the network as the file states it.
        folded: after the passes that need no data; None of a network that spikes already.
        findings: of the import, of these passes and of the mapping.
        timing: seconds of each pass.
    """

    imported: Imported | ImportedSpiking
    folded: ANNGraph | None
    findings: tuple[Finding, ...]
    timing: list[dict[str, Any]]


def pass_observer(
    journal: Journal, network: ANNGraph | SpikingGraph, samples: Samples | None = None
) -> PassObserver:
    """The observer of the passes: the journal, after the verifier of each pass if requested."""
    if not journal.instruments.verify_each:
        return journal.record_pass
    return VerifyEach(journal.record_pass, network, samples)


def finish(prepared: Prepared, journal: Journal) -> CompiledModel:
    """Map a network, see that the backends can write it, evaluate it, and report.

    Raises:
        CompileError: it does not fit, or a backend cannot express it; all complaints at once.
    """
    program = prepared.program
    if prepared.quantization is not None:
        assemble.report_quantization(journal.observer, prepared.quantization)
    with journal.timed("map"):
        mapped = map_program(program, prepared.target, prepared.placement)
    journal.add_findings(mapped.findings)
    if prepared.quantization is not None:
        journal.observer.stage("map", mapped.findings[0].message)
    require_writable(program, prepared.backends)
    outcome = prepared.evaluate_stages(journal)
    with journal.timed("portability"):
        portability = assemble.portability_of(program, prepared.stimulus)
    return CompiledModel(
        program,
        prepared.encoding,
        prepared.decodings,
        prepared.report(mapped.graph, outcome, {**outcome.more, "portability": portability}),
        prepared.stimulus,
        prepared.provenance,
        backends=prepared.backends,
        placement={
            PLACEMENT: to_toml(mapped.graph.placements, prepared.target),
            CORES: to_csv(resources(mapped.graph).per_core),
        },
    )


def require_writable(program: QuantizedGraph, backends: Iterable[str]) -> None:
    """See that backends can write a network.

    Raises:
        CompileError: they cannot; all complaints at once.
    """
    loaded: list[Backend] = [BACKENDS.load(name) for name in backends]
    raise_all([error for backend in loaded for error in backend.check(program)])
