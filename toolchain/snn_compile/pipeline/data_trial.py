"""The evaluation samples on the user's own model file, before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.data_checks.readings import Reading
from snn_compile.data_checks.trial import Model, Run, evaluation_findings
from snn_compile.ir.ann import output_name
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.pipeline.inputs import preprocessing, runtime_of_file
from snn_compile.plugins import Imported, RunsEveryOutput, SourceRuntime
from snn_compile.report.host import HostStage, gathered
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.sim import ann

OWN_EVALUATOR, SINGLE_SAMPLES = 4, 4
"""How many times as long a multiplication takes in our evaluator, and one sample at a time."""

Array = npt.NDArray[Any]


def tried_on_model(
    path: Path,
    options: CompileOptions,
    imported: Imported,
    host: HostStage | None,
    samples: Samples | None,
    of_file: Sequence[Expected],
    journal: Journal,
) -> list[Finding]:
    """Doubts about the evaluation samples, from what the model file answers to them.

    Args:
        path: the file.
        options: of the compilation.
        imported: the network of the file.
        host: runs the whole file, where a tail is left to the host.
        samples: of the evaluation set.
        of_file: what is expected of the outputs of the file.
        journal: of the compilation.
    """
    if samples is None or all(one.y is None for one in of_file):
        return []
    with_tail = imported.tail is not None and imported.tail.cut
    if with_tail and host is None:
        return []
    network = imported.ann
    if host is not None:
        run, slower = _on_host(host, of_file), SINGLE_SAMPLES
    elif (runtime := runtime_of_file(path, options, network)) is not None:
        run, slower = _in_runtime(runtime, of_file), 1
    else:
        run, slower = _in_evaluator(network), OWN_EVALUATOR
    steps = {step.input: step for step in preprocessing(options)}
    present = {}
    for node in network.inputs:
        step = steps.get(str(node.id), steps.get(""))
        mean, scale = ((), ()) if step is None else (step.mean_values, step.scale_values)
        present[str(node.id)] = Reading(np.array(mean or (0.0,)), np.array(scale or (1.0,)))
    cost = slower * ann.multiplications(network)
    model = Model(run, cost, network.inputs, present, options.layout)
    with journal.timed("check-data"):
        return evaluation_findings(model, replace(samples, expected=tuple(of_file)))


def _in_runtime(runtime: SourceRuntime, expected: Sequence[Expected]) -> Run:
    def run(x: Array) -> Mapping[str, Array]:
        if isinstance(runtime, RunsEveryOutput):
            return runtime.every_output(x, lambda n: None)
        return {expected[0].name: runtime(x, lambda n: None)}

    return run


def _in_evaluator(network: ANNGraph) -> Run:
    def run(x: Array) -> Mapping[str, Array]:
        names = map(output_name, network.outputs)
        return dict(zip(names, ann.evaluate_outputs(network, x), strict=True))

    return run


def _on_host(host: HostStage, expected: Sequence[Expected]) -> Run:
    """The whole file, for samples to which the preprocessing has been applied."""
    tail = host.whole.tail
    entries = tuple(replace(entry, mean=(), scale=()) for entry in tail.entries)
    whole = replace(host.whole, tail=replace(tail, entries=entries))
    everything = slice(None)
    return lambda x: {k: rows[everything] for k, rows in gathered(expected, whole(x)).items()}
