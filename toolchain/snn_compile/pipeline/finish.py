"""The common second half of every compilation: from integers to a compiled network.

A frontend's network is prepared (``driver`` converts networks trained without spikes,
``spiking_models`` imports those trained with spikes, ``tune`` trains a compiled one further);
``finish`` maps it, checks it, evaluates it and assembles the folder's content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.errors import one_per_kind, raise_all
from snn_compile.fit import fit_findings
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.lowering import Lowering
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
from snn_compile.plugins import (
    BACKENDS,
    Backend,
    Imported,
    ImportedFixed,
    ImportedIntegers,
    ImportedSpiking,
)
from snn_compile.quantize.quantize import Quantization
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome
from snn_compile.report.journal import Journal
from snn_compile.report.layers import Activity
from snn_compile.report.observed.messages import observed_messages
from snn_compile.samples.arrays import Labels, Samples
from snn_compile.samples.named import ArraysLike
from snn_compile.sealed import tail
from snn_compile.sealed.provenance import provenance
from snn_compile.targets.target import Target

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs of a compilation.

    Attributes:
        path: the model file.
        options: the user's options.
        target: the chip.
        calibrate: samples instead of ``options.calibrate``.
        evaluate: samples and labels (or None) instead of ``options.evaluate``.
    """

    path: Path
    options: CompileOptions
    target: Target
    calibrate: ArraysLike | None = None
    evaluate: tuple[ArraysLike, Labels | None] | None = None

    @property
    def is_measured(self) -> bool:
        """Whether a calibration set is available."""
        return self.calibrate is not None or self.options.calibrate is not None

    @property
    def provenance(self) -> Mapping[str, str]:
        """Hashes of all inputs of the compilation."""
        given = {"calibrate": self.calibrate, "evaluate": self.evaluate}
        return provenance(self.path, self.options, given)

    @cached_property
    def placement(self) -> PlacementFile | None:
        """The requested placement."""
        path = self.options.placement
        return None if path is None else read_placement(path)


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """A network in integers, and the results specific to its kind of model.

    Attributes:
        program: the network.
        encoding: encoding of the inputs.
        decodings: decoding of each output.
        stimulus: encoded frames for verification.
        target: the chip.
        backends: backends to emit.
        provenance: hashes of its inputs.
        evaluate_stages: evaluates it and all earlier stages.
        report: the content of ``report.json``, from the keys common to all kinds.
        quantization: scales of the integers to report; None if already reported.
        placement: the requested placement.
        lowering: all stages of the network, if it was converted.
        tail: what is left to the host, if anything.
    """

    program: QuantizedGraph
    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    stimulus: Int
    target: Target
    backends: tuple[str, ...]
    provenance: Mapping[str, str]
    evaluate_stages: Callable[[Journal], Outcome]
    report: Callable[[MappedProgram, Outcome, Mapping[str, Any]], dict[str, Any]]
    quantization: Quantization | None = None
    placement: PlacementFile | None = None
    lowering: Lowering | None = None
    tail: HostTail | None = None


@dataclass(frozen=True)
class CheckResult:
    """Result of a check of a model without data.

    Attributes:
        imported: the imported network.
        folded: the network after the passes without data; None for a spiking network.
        mapped: the network on the target.
        findings: findings of the import, of these passes and of the mapping.
        timing: seconds of each pass.
        activity: of a network in fixed point, if samples were given.
    """

    imported: Imported | ImportedSpiking | ImportedFixed | ImportedIntegers
    folded: ANNGraph | None
    mapped: MappedProgram
    findings: tuple[Finding, ...]
    timing: list[dict[str, Any]]
    activity: Activity | None = None


def pass_observer(
    journal: Journal, network: ANNGraph | SpikingGraph, samples: Samples | None = None
) -> PassObserver:
    """The observer of the passes: the journal, after the verifier of each pass if requested."""
    if not journal.instruments.verify_each:
        return journal.record_pass
    return VerifyEach(journal.record_pass, network, samples)


def finish(prepared: PreparedNetwork, journal: Journal) -> CompiledModel:
    """Map a network, check that the backends support it, evaluate it, and report.

    Raises:
        CompileError: it does not fit, or a backend cannot express it; all complaints at once.
    """
    program = prepared.program
    if prepared.quantization is not None:
        assemble.report_quantization(journal.observer, prepared.quantization)
    for finding in fit_findings(journal.findings):
        journal.observer.stage("fit", finding.message)
    with journal.timed("map"):
        mapped = map_program(program, prepared.target, prepared.placement)
    journal.add_findings(mapped.findings)
    if prepared.quantization is not None:
        journal.observer.stage("map", mapped.findings[0].message)
    require_writable(program, prepared.backends)
    outcome = prepared.evaluate_stages(journal)
    with journal.timed("portability"):
        portability = assemble.portability_of(program, prepared.stimulus)
    more = {
        **assemble.inputs_of(program, prepared.encoding),
        **assemble.units_of(prepared.decodings),
        "portability": portability,
    }
    with journal.timed("observe-messages"):
        frames = prepared.stimulus if outcome.frames is None else outcome.frames
        more |= observed_messages(program, prepared.decodings, frames)
    if prepared.tail is not None and prepared.tail.cut:
        more["tail"] = tail.report_entry(prepared.tail)
    elif prepared.tail is None and prepared.lowering is not None:
        more["tail"] = tail.NOTHING
    return CompiledModel(
        program,
        prepared.encoding,
        prepared.decodings,
        prepared.report(mapped.graph, outcome, {**outcome.more, **more}),
        prepared.stimulus,
        {**prepared.provenance, **tail.seal_of(prepared.tail)},
        backends=prepared.backends,
        placement={
            PLACEMENT: to_toml(mapped.graph.placements, prepared.target),
            CORES: to_csv(resources(mapped.graph).per_core),
        },
        tail=prepared.tail,
    )


def require_writable(program: QuantizedGraph, backends: Iterable[str]) -> None:
    """Check that backends support a network.

    Raises:
        CompileError: they do not; all complaints at once.
    """
    loaded: list[Backend] = [BACKENDS.load(name) for name in backends]
    raise_all([error for backend in loaded for error in one_per_kind(backend.check(program))])
