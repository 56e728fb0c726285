"""Compilation of a network that is integers already: as others, but no pass changes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from snn_compile.bundle import CompiledModel
from snn_compile.errors import CompileError, raise_all
from snn_compile.ir.quantized import Synapses
from snn_compile.ir.schedule import integer_network
from snn_compile.lowering import for_target
from snn_compile.mapping import map_program
from snn_compile.options import INTEGERS, UNCALIBRATED, CompileOptions
from snn_compile.passes import Finding
from snn_compile.pipeline.compiled_data import samples_for
from snn_compile.pipeline.finish import CheckResult, PreparedNetwork, Task
from snn_compile.pipeline.given_network import GivenNetwork
from snn_compile.pipeline.inputs import named_outputs, stimulus
from snn_compile.plugins import ImportedIntegers, ReadsIntegers, frontend_for
from snn_compile.report import assemble
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples

SETTLED = (
    "coding",
    "timesteps",
    "input",
    "input_bits",
    "weight_bits",
    "state_bits",
    "neurons",
    "allow_approximate",
)
"""Options of every network that decide its integers."""


def integers_in(path: Path) -> ImportedIntegers | None:
    """The network of a file that is integers already; None for any other file.

    Raises:
        ModelError: the file is damaged, or was changed after it was written.
        UsageError: it exceeds the memory budget.
    """
    frontend = frontend_for(path)
    return frontend.read_integers(path) if isinstance(frontend, ReadsIntegers) else None


def check_integers(task: Task, imported: ImportedIntegers, journal: Journal) -> CheckResult:
    """Map a network, without data.

    Raises:
        CompileError: it does not fit the target.
    """
    mapped = map_program(imported.network, task.target, task.placement)
    findings = (*imported.findings, *mapped.findings)
    return CheckResult(imported, None, mapped.graph, findings, journal.timing)


def prepare_integers(task: Task, imported: ImportedIntegers, journal: Journal) -> PreparedNetwork:
    """Prepare a network for ``finish`` as it is: data only evaluate it, and are its stimuli.

    Raises:
        CompileError: defects of the data or the options; all at once.
    """
    options = for_target(task.options, task.target)
    program = imported.network
    facts = {"network": INTEGERS, "coding": program.window.coding, "data": UNCALIBRATED}
    journal.add_findings(imported.findings)
    journal.add_findings([*assemble.ignored(options, facts), *_settled(task.options)])
    bare = CompiledModel(program, imported.encoding, imported.decodings, {}, np.empty(0, np.int64))
    calibrate, evaluate = _samples(bare, task)
    shapes = {name: one.shape for name, one in imported.decodings.items()}
    outputs = named_outputs(shapes, options, imported.encoding.shape)
    weights = sum(node.weight.values.size for node in program.graph if isinstance(node, Synapses))
    of_file = {"input_shape": list(imported.encoding.shape), "weights": weights}
    expected = evaluate.expected if evaluate else outputs.expected({}, 0, "")
    given = GivenNetwork(program, imported.encoding, imported.decodings, expected)
    journal.observer.stage("import", f"{imported.n_nodes} nodes, a network in integers already")
    in_effect = options.in_effect(
        facts, assemble.used(program, integer_network(program).input_coding)
    )
    return PreparedNetwork(
        program,
        imported.encoding,
        imported.decodings,
        stimulus(evaluate or calibrate, program, imported.encoding, options.seed),
        task.target,
        options.emit,
        task.provenance,
        partial(given.evaluated, evaluate),
        partial(assemble.report, task.path, in_effect, of_file, given.numbers(), None, journal),
        None,
        task.placement,
    )


def _settled(options: CompileOptions) -> list[Finding]:
    """A warning about options that ask for another network."""
    given = [name.replace("_", "-") for name in SETTLED if options.is_given(name)]
    text = f"ignored: {', '.join(given)}; the file states the network in integers"
    hint = "compile the model that the file was made of"
    return [Finding(text, code="option-ignored", hint=hint, warning=True)] if given else []


def _samples(bare: CompiledModel, task: Task) -> tuple[Samples | None, Samples | None]:
    """Both sets of samples, as a compiled network takes them; all complaints at once."""
    errors, found = list[CompileError](), list[Samples | None]()
    in_memory = None if task.calibrate is None else (task.calibrate, None)
    for given in (in_memory or task.options.calibrate, task.evaluate or task.options.evaluate):
        try:
            found.append(None if given is None else samples_for(bare, given))
        except CompileError as error:
            errors.append(error)
    raise_all(errors)
    return found[0], found[1]
