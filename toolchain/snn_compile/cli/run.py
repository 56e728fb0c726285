"""``snn-compile run``: the bit-accurate simulation of a compiled network."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import trust
from snn_compile.cli.console import as_json, common, messages, progress_options, results
from snn_compile.errors import Origin, UsageError
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
    each layer sent over all samples (spikes/LAYER) and, with --trace, each of them (trace/LAYER);
    with --host-tail, the outputs of the model file by their names.
    """
    from snn_compile.cli.growing import GrowingNpz
    from snn_compile.report.progress import TerminalObserver

    if trace and output is None:
        raise UsageError(
            "--trace needs an output file", code="bad-option", hint="name a file: -o OUT.npz"
        )
    compiled = trust.open_folder(folder, signer)
    host = compiled.host() if host_tail else None
    samples = load(compiled, data)
    observer = TerminalObserver(messages(), quiet=quiet, bars=not no_progress)
    if output is None:
        outcome = simulate(compiled, samples, observer, host=host)
    else:
        if trace:
            observer.stage("traces", require_room(compiled, len(samples), output))
        with GrowingNpz(output) as file:
            outcome = simulate(compiled, samples, observer, file, trace, host)
            file.save({f"spikes/{name}": total for name, total in outcome.spikes.items()})
    _show(facts(outcome, samples, compiled.program.input.id), output, as_json)


@dataclass
class Outcome:
    """Totals over all samples; everything else is in the output file.

    Attributes:
        argmax: of the first output.
        spikes: message counts of each layer.
    """

    argmax: list[Array] = field(default_factory=list)
    spikes: Counter[str] = field(default_factory=Counter)


def load(compiled: CompiledModel, path: Path) -> Samples:
    """The samples, read like the data of the compilation."""
    from snn_compile.ir.spiking import InputCoding
    from snn_compile.pipeline.inputs import samples_for

    samples, most = samples_for(compiled, path), compiled.encoding.high
    if compiled.program.input.coding is InputCoding.EVENTS:
        if crowded := int((samples.x > most * compiled.encoding.unit[0]).sum()):
            messages().print(
                f"{crowded:,} event counts exceed {most}, the largest input of the network, and are"
                " clipped to it"
            )
    return samples


def require_room(compiled: CompiledModel, n_samples: int, output: Path) -> str:
    """Check the free disk space for all traces, and return their size in words.

    They are compressed layer by layer at the end: until then they take their full size, and then
    that of the largest one in addition.

    Raises:
        UsageError: the space is insufficient.
        FileNotFoundError: the folder does not exist.
    """
    traces = compiled.message_bytes.values()
    answers = [16 * prod(decoding.shape) for decoding in compiled.decodings.values()]
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
    outcome = Outcome()
    text = pluralize(len(samples), "sample")
    with observer.progress("simulate", text, len(samples)) as advance:
        record, done = trace and file is not None, 0
        named = host.tail.outputs if host is not None else ()
        for run in compiled.simulate_in_pieces(samples.x, record=record, advance=advance):
            rows = decode_outputs(compiled, run)
            piece = samples.x[done : done + run.n_stimuli]
            done += run.n_stimuli
            hosted = compiled.host_rows(host, run, piece) if host is not None else ()
            outcome.argmax.append(rows["argmax"])
            outcome.spikes.update({name: int(n.sum()) for name, n in run.activity.items()})
            if file is not None:
                for name, values in rows.items():
                    if name not in named:
                        file.append(name, values)
            for outputs in hosted:
                for name, values in outputs.items():
                    if file is not None:
                        file.append(name, values)
            del run, rows, hosted  # before the next piece is simulated
    return outcome


def decode_outputs(compiled: CompiledModel, run: Run) -> dict[str, Array]:
    """The output file's arrays for each sample."""
    arrays: dict[str, Array] = {}
    for index, (name, decoding) in enumerate(compiled.decodings.items()):
        outputs = decoding(run.outputs[name])
        further = f"/{name}" if index else ""
        arrays[f"outputs{further}"] = outputs
        arrays[f"potentials{further}"] = run.outputs[name].reshape(outputs.shape)
        if not index:
            arrays["argmax"] = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return arrays | {f"trace/{name}": messages for name, messages in run.messages.items()}


def facts(outcome: Outcome, samples: Samples, source: str) -> dict[str, Any]:
    """Summary figures of the run."""
    import numpy as np

    from snn_compile.sim import engine

    n = len(samples)
    answers = np.concatenate(outcome.argmax)
    return {
        "samples": n,
        "top1": None if samples.y is None else 100 * float((answers == samples.y).mean()),
        "input": source,
        "spikes_per_inference": {name: total / n for name, total in outcome.spikes.items()},
        "simulator": engine.simulator(),
    }


def _show(known: Mapping[str, Any], output: Path | None, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    from snn_compile.report import figures
    from snn_compile.report.terminal import row

    console = results()
    console.print(row("samples", f"{known['samples']:,}"))
    if known["top1"] is not None:
        console.print(row("accuracy", f"{known['top1']:.2f} %"))
    spikes: dict[str, float] = known["spikes_per_inference"]
    total = sum(mean for name, mean in spikes.items() if name != known["input"])
    console.print(row("spikes", f"{figures.short(total)} per inference, without the input's"))
    width = max((len(name) for name in spikes), default=0)
    for name, mean in spikes.items():
        console.print(row("", f"{name:<{width}}  {figures.short(mean):>10}"))
    if simulator := figures.slow_simulator(known):
        console.print(row("simulator", simulator))
    if output is not None:
        console.print(row("wrote", str(output)))
