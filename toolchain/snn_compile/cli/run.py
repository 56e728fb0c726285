"""``snn-compile run``: the bit-accurate simulation of a compiled network."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import trust
from snn_compile.cli.console import (
    as_json,
    common,
    messages,
    progress_observer,
    progress_options,
    results,
)
from snn_compile.errors import Origin, UsageError
from snn_compile.files.presence import require_present
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.cli.growing import GrowingNpz
    from snn_compile.plugins.host import HostRunner
    from snn_compile.report.observer import Observer
    from snn_compile.samples.arrays import Array, Samples
    from snn_compile.sim.reference import Run


@click.command("run", short_help="Simulate a compiled network, bit for bit.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, metavar="NPZ", help="x, optionally y."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="NPZ", help="File for the results."
)
@click.option(
    "--host-tail",
    is_flag=True,
    help="Also compute what is left to the host, with onnxruntime: the model file's own outputs.",
)
@click.option("--trace", is_flag=True, help="Also write every message of every layer.")
@trust.signer
@as_json
@progress_options
@common
def command(
    folder: Path,
    data: Path,
    output: Path | None,
    host_tail: bool,
    trace: bool,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run the network in DIR on the samples of an npz file.

    Writes outputs (real values), potentials (the integers behind them), argmax, the messages that
    each layer sent over all samples (spikes/LAYER) and, with --trace, each of them (trace/LAYER).
    Of several outputs, each is there under its own name, and outputs is the first. With
    --host-tail, the outputs of the model file are there by their names.
    """
    from snn_compile.cli.growing import GrowingNpz

    if trace and output is None:
        raise UsageError(
            "--trace needs an output file", code="bad-option", hint="name a file: -o OUT.npz"
        )
    require_present({"--data": data})
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    host = compiled.host() if host_tail else None
    samples = load(compiled, data)
    names = label_arrays(compiled, data) if compiled.tail and compiled.tail.cut else []
    if names and not quiet:
        messages().print(
            f"the labels {', '.join(names)} are not compared: the network is cut before the outputs"
            " that they may belong to; the rung 'host' of the report judges those"
        )
    if output is None:
        outcome = simulate(compiled, samples, observer, host=host)
    else:
        if trace:
            observer.stage("traces", require_room(compiled, len(samples), output))
        with GrowingNpz(output) as file:
            outcome = simulate(compiled, samples, observer, file, trace, host)
            file.save({f"spikes/{name}": total for name, total in outcome.spikes.items()})
    inputs = [node.id for node in compiled.program.inputs]
    _show(facts(outcome, samples, inputs), output, as_json)


@dataclass
class Outcome:
    """Totals over all samples; everything else is in the output file.

    Attributes:
        answers: of each output that has labels or targets, by its index.
        spikes: message counts of each layer.
    """

    answers: dict[int, list[Array]] = field(default_factory=dict)
    spikes: Counter[str] = field(default_factory=Counter)


def load(compiled: CompiledModel, path: Path) -> Samples:
    """The samples, read like the data of the compilation."""
    from snn_compile.ir.spiking import InputCoding
    from snn_compile.pipeline.inputs import samples_for

    samples, most = samples_for(compiled, path), compiled.encoding.high
    if compiled.program.input_coding is InputCoding.EVENTS:
        if crowded := int((samples.x > most * compiled.encoding.unit[0]).sum()):
            messages().print(
                f"{crowded:,} event counts exceed {most}, the largest input of the network, and are"
                " clipped to it"
            )
    return samples


def label_arrays(compiled: CompiledModel, path: Path) -> list[str]:
    """The arrays of a file of samples that may be labels: y, and those named after outputs."""
    import numpy as np

    outputs = compiled.tail.outputs if compiled.tail is not None else ()
    labels = {"y", *outputs, *(f"y_{name}" for name in outputs)} - {*compiled.input_shapes, "x"}
    with np.load(path) as file:
        return [name for name in file.files if name in labels]


def require_room(compiled: CompiledModel, n_samples: int, output: Path) -> str:
    """Check the free disk space for all traces, and return their size in words.

    They are compressed layer by layer at the end: until then they take their full size, and then
    that of the largest one in addition.

    Raises:
        UsageError: the space is insufficient.
        FileNotFoundError: the folder does not exist.
    """
    traces = compiled.message_bytes.values()
    each = 16 if len(compiled.decodings) == 1 else 32  # under two names
    answers = [each * prod(decoding.shape) for decoding in compiled.decodings.values()]
    needed = n_samples * (sum(traces) + sum(answers) + max(traces))
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise UsageError(
            f"the traces of {pluralize(n_samples, 'sample')} need {needed / 1e9:,.3g} GB"
            f" on the disk while they are written, and {free / 1e9:,.3g} GB are free",
            code="disk-space",
            origin=Origin(str(output)),
            hint=f"use fewer samples ({free * n_samples // needed:,} fit); or keep messages other"
            " than 0 only: snn-compile hil DIR --device engine --data NPZ --record FILE",
        )
    return f"{sum(traces) / 1e6:,.3g} MB a sample, {needed / 1e9:,.3g} GB while they are written"


def simulate(
    compiled: CompiledModel,
    samples: Samples,
    observer: Observer,
    file: GrowingNpz | None = None,
    trace: bool = False,
    host: HostRunner | None = None,
) -> Outcome:
    """Run the network on the samples, a few at a time; into a file, if there is one."""
    from snn_compile.report import metrics
    from snn_compile.report.evaluation import decoded

    outcome = Outcome()
    judged = [index for index, one in enumerate(samples.expected) if one.y is not None]
    text = pluralize(len(samples), "sample")
    with observer.progress("simulate", text, len(samples)) as advance:
        record, done = trace and file is not None, 0
        named = host.tail.outputs if host is not None else ()
        for run in compiled.simulate_in_pieces(samples.x, record=record, advance=advance):
            values = decoded(compiled.decodings, run)
            rows = output_arrays(compiled, run, values)
            for index in judged:
                answers = metrics.answers(samples.expected[index], values[index])
                outcome.answers.setdefault(index, []).append(answers)
            outcome.spikes.update({name: int(n.sum()) for name, n in run.activity.items()})
            piece = samples.x[done : done + run.n_stimuli]
            done += run.n_stimuli
            hosted = compiled.host_rows(host, run, piece) if host is not None else ()
            if file is not None:
                for name, array in rows.items():
                    if name not in named:
                        file.append(name, array)
            for outputs in hosted:
                for name, array in outputs.items():
                    if file is not None:
                        file.append(name, array)
            del run, rows, values, hosted  # before the next piece is simulated
    return outcome


def output_arrays(compiled: CompiledModel, run: Run, values: Sequence[Array]) -> dict[str, Array]:
    """The output file's arrays for each sample, from the outputs' real values."""
    from snn_compile.report import metrics

    expected = metrics.classes_of(compiled.report, values[0].shape[1:])
    arrays: dict[str, Array] = {
        "outputs": values[0],
        "potentials": _potentials(compiled, run, 0),
        "argmax": metrics.answers(expected, values[0]),
    }
    names = list(compiled.output_names.values())
    for index, name in enumerate(names if len(names) > 1 else ()):
        arrays |= {name: values[index]} if name not in arrays else {}
        arrays[f"outputs/{name}"] = values[index]
        arrays[f"potentials/{name}"] = _potentials(compiled, run, index)
    return arrays | {f"trace/{name}": messages for name, messages in run.messages.items()}


def _potentials(compiled: CompiledModel, run: Run, index: int) -> Array:
    """The integers behind an output, in the shape of the user's network."""
    name, decoding = list(compiled.decodings.items())[index]
    potentials = run.outputs[name]
    return potentials.reshape(len(potentials), *decoding.shape)


def facts(outcome: Outcome, samples: Samples, inputs: Sequence[str]) -> dict[str, Any]:
    """Summary figures of the run."""
    import numpy as np

    from snn_compile.report import metrics
    from snn_compile.samples.outputs import OutputKind
    from snn_compile.sim import engine

    n = len(samples)
    judged, top1 = [], None
    for index, answers in outcome.answers.items():
        expected, found = samples.expected[index], np.concatenate(answers)
        judged.append(metrics.compare(expected, found, found))
        if expected.kind is OutputKind.CLASSES and top1 is None:
            top1 = 100 * float((found == expected.y).mean())
    return {
        "samples": n,
        "top1": top1,
        "outputs": [
            {key: value for key, value in one.items() if key not in metrics.AGAINST_FIRST}
            for one in judged
        ],
        "input": inputs[0] if len(inputs) == 1 else list(inputs),
        "spikes_per_inference": {name: total / n for name, total in outcome.spikes.items()},
        "simulator": engine.simulator(),
    }


def _show(known: Mapping[str, Any], output: Path | None, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    from snn_compile.report import figures, output_figures
    from snn_compile.report.terminal import row

    console = results()
    console.print(row("samples", f"{known['samples']:,}"))
    for one in known["outputs"]:
        of_output = f"   {one['name']}" if len(known["outputs"]) > 1 else ""
        label = "error" if one["kind"] == "regression" else "accuracy"
        console.print(row(label, output_figures.against_labels(one) + of_output))
    spikes: dict[str, float] = known["spikes_per_inference"]
    given = known["input"] if isinstance(known["input"], list) else [known["input"]]
    total = sum(mean for name, mean in spikes.items() if name not in given)
    console.print(row("spikes", f"{figures.short(total)} per inference, without the input's"))
    width = max((len(name) for name in spikes), default=0)
    for name, mean in spikes.items():
        console.print(row("", f"{name:<{width}}  {figures.short(mean):>10}"))
    if simulator := figures.slow_simulator(known):
        console.print(row("simulator", simulator))
    if output is not None:
        console.print(row("wrote", str(output)))
