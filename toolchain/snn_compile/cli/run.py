"""``snn-compile run``: the bit-accurate simulation of a compiled network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli.console import as_json, common, messages, results, talkative

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.data import Array, Samples
    from snn_compile.report.observer import Observer


@click.command("run", short_help="Simulate a compiled network, bit for bit.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, metavar="NPZ", help="x, perhaps y."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="NPZ", help="Where to write results."
)
@click.option("--trace", is_flag=True, help="Also write every message of every layer.")
@as_json
@talkative
@common
def command(
    folder: Path,
    data: Path,
    output: Path | None,
    trace: bool,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run the network in DIR on the samples of an npz file.

    Writes outputs (real values), potentials (the integers behind them), argmax, the messages that
    each layer sent over all samples (spikes/LAYER) and, with --trace, each of them (trace/LAYER).
    """
    from snn_compile.bundle import CompiledModel
    from snn_compile.report.progress import TerminalObserver

    compiled = CompiledModel.load(folder)
    samples = load(compiled, data)
    observer = TerminalObserver(messages(), quiet=quiet, bars=not no_progress)
    arrays = simulate(compiled, samples, trace, observer)
    if output is not None:
        write_npz(output, arrays)
    _show(facts(arrays, samples, compiled.program.input.id), output, as_json)


def load(compiled: CompiledModel, path: Path) -> Samples:
    """The samples, read as the data of the compilation was."""
    from snn_compile.inputs import samples_for
    from snn_compile.ir.spiking import InputCoding

    samples, most = samples_for(compiled, path), compiled.encoding.high
    if compiled.program.input.coding is InputCoding.EVENTS:
        if crowded := int((samples.x > most * compiled.encoding.unit[0]).sum()):
            messages().print(
                f"{crowded:,} counts of events are above {most}, the most that the network takes,"
                " and are cut down to it"
            )
    return samples


def simulate(
    compiled: CompiledModel, samples: Samples, trace: bool, observer: Observer
) -> dict[str, Array]:
    """What the network does with the samples, as arrays for a file."""
    text = f"{len(samples):,} samples"
    with observer.progress("simulate", text, len(samples)) as advance:
        run = compiled.simulate(samples.x, record=trace, advance=advance)
    arrays: dict[str, Array] = {}
    for index, (name, decoding) in enumerate(compiled.decodings.items()):
        potentials = run.outputs[name]
        outputs = decoding(potentials)
        if index == 0:
            arrays["outputs"] = outputs
            arrays["potentials"] = potentials.reshape(outputs.shape)
            arrays["argmax"] = outputs.reshape(len(samples), -1).argmax(axis=1)
        else:
            arrays[f"outputs/{name}"] = outputs
            arrays[f"potentials/{name}"] = potentials.reshape(outputs.shape)
    arrays |= {f"spikes/{name}": active.sum() for name, active in run.activity.items()}
    arrays |= {f"trace/{name}": messages for name, messages in run.messages.items()}
    return arrays


def facts(arrays: Mapping[str, Array], samples: Samples, source: str) -> dict[str, Any]:
    """What the run says in a few numbers."""
    from snn_compile.sim import engine

    n = len(samples)
    spikes = {
        name.partition("/")[2]: float(total) / n
        for name, total in arrays.items()
        if name.startswith("spikes/")
    }
    top1 = None if samples.y is None else 100 * float((arrays["argmax"] == samples.y).mean())
    return {
        "samples": n,
        "top1": top1,
        "input": source,
        "spikes_per_inference": spikes,
        "simulator": engine.simulator(),
    }


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as a whole or not at all."""
    import numpy as np

    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
