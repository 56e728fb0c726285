"""``snn-compile run``: the bit-accurate simulation of a compiled network."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli import run_stream, trust
from snn_compile.cli.console import (
    as_json,
    common,
    messages,
    progress_observer,
    progress_options,
)
from snn_compile.errors import Origin, UsageError
from snn_compile.files.presence import require_present
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snn_compile.bundle import CompiledModel
    from snn_compile.cli.run_pieces import Outcome
    from snn_compile.plugins.host import HostRunner
    from snn_compile.predictions.columns import OutputColumns
    from snn_compile.predictions.tables import ParquetFile, TextRows
    from snn_compile.report.observer import Observer
    from snn_compile.samples.arrays import Samples
    from snn_compile.samples.outputs import Expected

TOP = 5
"""Classes in a row of a table, unless told otherwise."""


@click.command("run", short_help="Simulate a compiled network, bit for bit.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NPZ",
    help="x, optionally y; with --stream, - reads npy arrays from standard input.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results: arrays as .npz, or a row for each sample as .csv, .jsonl or .parquet;"
    " with --stream, - writes JSON lines to standard output.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes: a line each, or JSON.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help=f"Classes in a row, the best first (default: {TOP}).",
)
@click.option(
    "--host-tail",
    is_flag=True,
    help="Also compute what is left to the host, with onnxruntime: the model file's own outputs.",
)
@click.option("--trace", is_flag=True, help="Also write every message of every layer.")
@click.option(
    "--stream", is_flag=True, help="One sample at a time, as from a sensor; shows the latency."
)
@click.option(
    "--keep-state",
    is_flag=True,
    help="With --stream: neurons are not reset between samples.",
)
@trust.signer
@as_json
@progress_options
@common
def command(
    folder: Path,
    data: Path,
    output: Path | None,
    labels: Path | None,
    top: int | None,
    host_tail: bool,
    trace: bool,
    stream: bool,
    keep_state: bool,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run the network in DIR on the samples of an npz file.

    An npz file gets outputs (real values), potentials (the integers behind them), argmax, the
    messages that each layer sent over all samples (spikes/LAYER) and, with --trace, each of them
    (trace/LAYER). Of several outputs, each is there under its own name, and outputs is the first.
    With --host-tail, the outputs of the model file are there by their names. Other files get a row
    for each sample: classes with names and scores, or values.

    With --stream, samples are answered one at a time, each as soon as it is there, and the
    percentiles of the latency are shown; answers are the same.
    """
    from snn_compile.cli.run_pieces import facts, require_room
    from snn_compile.cli.run_show import show
    from snn_compile.files.writing import require_file
    from snn_compile.predictions import tables

    if stream:
        run_stream.refuse(output, as_json=as_json, trace=trace, host_tail=host_tail)
        run_stream.stream(
            trust.open_folder(folder, signer),
            data,
            output,
            labels,
            top,
            keep_state=keep_state,
            as_json=as_json,
            observer=progress_observer(quiet=quiet, no_progress=no_progress),
        )
        return
    run_stream.require_stream(data, output, keep_state=keep_state)
    require_present({"--data": data})
    if output is not None:
        require_file(output)
    form = None if output is None else tables.of_suffix(output)
    refuse(output, form, trace=trace, host_tail=host_tail, top=top)
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    host = compiled.host() if host_tail else None
    samples = load(compiled, data)
    _name_unread(samples)
    outputs = outputs_of(compiled, samples, labels, top)
    if trace and output is not None:
        observer.stage("traces", require_room(compiled, len(samples), output))
    outcome = _simulated(compiled, samples, outputs, output, form, host, observer, trace=trace)
    show(facts(outcome, len(samples), [*compiled.input_shapes]), output, as_json=as_json)


def _name_unread(samples: Samples) -> None:
    """Say which labels nothing is compared with."""
    if names := samples.unread:
        messages().print(
            f"the labels {', '.join(names)} are not compared: the network is cut before the outputs"
            " that they may belong to; the rung 'host' of the report judges those"
        )


def _simulated(
    compiled: CompiledModel,
    samples: Samples,
    outputs: Sequence[OutputColumns],
    output: Path | None,
    form: type[TextRows] | type[ParquetFile] | None,
    host: HostRunner | None,
    observer: Observer,
    *,
    trace: bool,
) -> Outcome:
    """Simulate all samples, and write the answers as they come."""
    from snn_compile.cli.run_pieces import Outcome, Sinks, simulate

    outcome = Outcome.of(samples, outputs)
    with ExitStack() as stack:
        sinks = Sinks(outputs, trace=trace)
        if output is not None:
            sinks.open(form, output, stack)
        simulate(compiled, samples, observer, outcome, sinks, host)
        if sinks.arrays is not None:
            sinks.arrays.save(outcome.arrays())
    return outcome


def refuse(
    output: Path | None,
    form: object,
    *,
    trace: bool = False,
    host_tail: bool = False,
    top: int | None,
) -> None:
    """Refuse options that the form of the output has no place for."""
    if trace and output is None:
        raise UsageError(
            "--trace needs an output file", code="bad-option", hint="name a file: -o OUT.npz"
        )
    arrays = [name for name, given in (("trace", trace), ("host-tail", host_tail)) if given]
    if form is not None and arrays:
        raise UsageError(
            f"--{arrays[0]} writes arrays, which rows have no place for",
            code="bad-option",
            hint="name a file .npz",
        )
    if form is None and top is not None:
        raise UsageError(
            "--top is for rows, one for each sample",
            code="bad-option",
            hint="name a file .csv, .jsonl or .parquet",
        )


def outputs_of(
    compiled: CompiledModel, samples: Samples, labels: Path | None, top: int | None
) -> list[OutputColumns]:
    """The outputs, with what is expected of them and the names of their classes.

    Raises:
        UsageError: there are names, and no output has so many classes.
    """
    from snn_compile.options.class_names import read_class_names
    from snn_compile.predictions.columns import columns_of
    from snn_compile.samples.class_names import class_names
    from snn_compile.samples.outputs import OutputKind

    expected = samples.expected or _unlabelled(compiled)
    kept = class_names(compiled.report) or samples.classes
    names = read_class_names(labels) if labels is not None else kept
    found: list[tuple[str, ...]] = []
    for one in expected:
        fits = one.kind is not OutputKind.REGRESSION and one.n_classes == len(names)
        found.append(names if fits else ())
    if labels is not None and not any(found):
        sizes = [one.n_classes for one in expected if one.kind is not OutputKind.REGRESSION]
        classes = " and ".join(f"{n:,} classes" for n in sizes) or "no classes"
        raise UsageError(
            f"it has {pluralize(len(names), 'name')}, and the network {classes}",
            code="bad-class-names",
            origin=Origin(str(labels)),
            hint="one name for each class, in the order of the network's outputs",
        )
    return columns_of(expected, found, top or TOP)


def _unlabelled(compiled: CompiledModel) -> list[Expected]:
    """The outputs of a network that is cut before those which labels are of."""
    from snn_compile.samples.outputs import Expected, OutputKind, kind_of_shape

    kinds = {one["name"]: one["kind"] for one in compiled.report.get("outputs") or ()}
    return [
        Expected(name, shape, OutputKind(kinds.get(name) or kind_of_shape(shape)))
        for name, shape in (
            (compiled.output_names[node], one.shape) for node, one in compiled.decodings.items()
        )
    ]


def load(compiled: CompiledModel, path: Path) -> Samples:
    """The samples, read like the data of the compilation."""
    from snn_compile.ir.spiking import InputCoding
    from snn_compile.pipeline.compiled_data import samples_for
    from snn_compile.pipeline.spiking_input import n_crowded

    samples, encoding = samples_for(compiled, path), compiled.encoding
    if compiled.program.input_coding is InputCoding.EVENTS:
        if crowded := n_crowded(samples, encoding):
            messages().print(
                f"{crowded:,} event counts exceed {encoding.high}, the largest input of the"
                " network, and are clipped to it"
            )
    return samples
