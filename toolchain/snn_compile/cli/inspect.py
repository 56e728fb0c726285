"""``snn-compile inspect``: the content of a model, or of a compiled folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import inspect_against, trust
from snn_compile.cli.console import as_json, common, results, show_table
from snn_compile.cli.settings import options_named, read_options
from snn_compile.printable import printable
from snn_compile.report import figures

if TYPE_CHECKING:
    from rich.table import Table

    from snn_compile.ir.reading import Stage


@click.command("inspect", short_help="Show the contents of a model or a compiled folder.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the network's text: of a folder, its program; of a model, as it was imported.",
)
@click.option(
    "--against",
    type=click.Choice(["onnxruntime"]),
    help="Compare every layer with the user's file, given the same inputs.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Samples for --against: x, as for a compilation (default: of a folder, the evaluation"
    " data; else noise).",
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    metavar="N",
    help="Most samples for --against, the first ones.",
)
@click.option("--model", type=click.Path(path_type=Path), metavar="M", help="A folder's model.")
@click.option(
    "--calibrate", type=click.Path(path_type=Path), metavar="D", help="A folder's calibration data."
)
@click.option(
    "--evaluate", type=click.Path(path_type=Path), metavar="D", help="A folder's evaluation data."
)
@options_named(*inspect_against.OPTIONS)
@trust.signer
@as_json
@common
def command(
    path: Path,
    text: Path | None,
    against: str | None,
    data: Path | None,
    n_samples: int,
    signer: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the operators of a model before and after folding, or what a folder holds.

    With --against, show each layer beside the user's file instead: its largest difference, given
    the same inputs, and its bound; of a folder also in integers. Exit code 7 if one exceeds it.
    """
    if against is not None:
        if signer is not None:
            trust.open_folder(path, signer)
        inspect_against.compare(path, data, n_samples, given, as_json=as_json)
        return
    if data is not None or as_json or any(given[name] for name in inspect_against.SOURCES):
        raise click.UsageError("--data, --json, --model, --calibrate, --evaluate need --against.")
    given = {name: given[name] for name in inspect_against.OPTIONS}
    if path.is_dir() or signer is not None:
        _show_folder(path, signer, text)
    else:
        _show_model(path, text, given)


def _show_model(path: Path, text: Path | None, given: dict[str, Any]) -> None:
    from snn_compile.errors import Origin, UsageError
    from snn_compile.pipeline.driver import check_model
    from snn_compile.plugins import Imported, ImportedFixed

    result = check_model(path, read_options(None, given))
    imported, folded = result.imported, result.folded
    if isinstance(imported, ImportedFixed):
        _show_fixed(path, result.mapped.program, text)
        return
    if not isinstance(imported, Imported) or folded is None:
        raise UsageError(
            "a spiking network depends on import options, one in integers has no float form",
            code="bad-argument",
            origin=Origin(str(path)),
            hint=f"compile it, then inspect the folder: snn-compile {path} --help",
        )
    _write_text(imported.ann, text)
    console = results()
    console.print(
        f"{printable(path.name)}   opset {imported.ann.opset} · {imported.n_nodes} nodes,"
        f" {imported.n_folded} of them constant · {len(folded.graph)} after folding\n"
    )
    show_table(console, _operators(imported.ann.graph, folded.graph))
    console.print()
    show_table(console, _nodes(folded.graph))
    for finding in result.findings:
        console.print(f"  {finding}", style="dim")


def _show_fixed(path: Path, program: Any, text: Path | None) -> None:
    """The layers of a network in fixed point."""
    _write_text(program, text)
    console = results()
    window = program.window
    console.print(
        f"{printable(path.name)}   in fixed point · {window.n_steps} steps ·"
        f" {len(program.populations)} populations\n"
    )
    table = _table("layer", "neurons", "shape", "bits", "threshold", "from")
    for node in program.populations:
        bits = max(group.weight.format.bits for group in program.synapses_into(node))
        steps = node.threshold_steps
        threshold = "" if steps is None else figures.span([float(steps.min()), float(steps.max())])
        source = f"{node.origin.node} ({node.origin.op})" if node.origin.op else node.origin.node
        shape = figures.times(node.shape)
        table.add_row(str(node.id), node.model, shape, str(bits), threshold, printable(source))
    show_table(console, table)


def _write_text(stage: Stage, path: Path | None) -> None:
    if path is not None:
        from snn_compile.files.writing import require_file
        from snn_compile.reduction.case import write_text

        require_file(path)
        write_text(path, stage)


def _operators(before: Any, after: Any) -> Table:
    """Operators of the file by type, and their forms after folding."""
    sources: dict[str, set[str]] = {}
    for node in before:
        sources.setdefault(node.origin.op, set()).add(node.origin.node)
    kinds: dict[str, Counter[str]] = {}
    for node in after:
        kinds.setdefault(node.origin.op, Counter())[type(node).__name__] += 1
    table = _table("operator of the file", "", "after folding")
    for op in sorted(sources.keys() - {""}, key=lambda op: (-len(sources[op]), op)):
        left = ", ".join(f"{n} {kind}" for kind, n in kinds.get(op, Counter()).items())
        table.add_row(op, str(len(sources[op])), left or "part of others")
    return table


def _nodes(graph: Any) -> Table:
    table = _table("after folding", "operator", "shape", "from")
    for node in graph:
        origin = node.origin
        source = f"{origin.node} ({origin.op})" if origin.op else ""
        table.add_row(str(node.id), type(node).__name__, figures.times(node.shape), source)
    return table


def _show_folder(path: Path, signer: Path | None, text: Path | None) -> None:
    from snn_compile.report import terminal

    compiled = trust.open_folder(path, signer)
    _write_text(compiled.program, text)
    report = compiled.report
    console = results()
    console.print(terminal.header(report))
    console.print()
    if report.get("inputs"):
        show_table(console, _inputs(report["inputs"]))
        console.print()
    names = ["layer", "operator", "shape", "neurons", "synapses", "bits", "threshold", "rate"]
    layers = report.get("layers", [])
    learned = any("drive_error" in layer for layer in layers)
    table = _table(*names, *["drive error"] * learned)
    for layer in layers:
        table.add_row(
            layer["name"],
            layer.get("op", ""),
            figures.times(layer.get("shape", ())),
            figures.short(layer.get("neurons")),
            figures.short(layer.get("synapses")),
            str(layer.get("weight_bits") or ""),
            figures.span(layer.get("threshold")),
            figures.percent(layer["rate"]) if layer.get("rate") is not None else "",
            *[figures.drive_error(layer)] * learned,
        )
    show_table(console, table)
    resources = report.get("resources") or {}
    if resources.get("cores") is not None:
        console.print(f"\n{figures.resources(report)}")
    if signed := trust.signature_of(path, signer):
        console.print(f"\n{signed}")


def _inputs(inputs: Sequence[Mapping[str, Any]]) -> Table:
    """The encoding of each of several inputs."""
    table = _table("input", "shape", "sent as", "levels", "real value of a level")
    for one in inputs:
        levels = f"{one['low']:,} to {one['high']:,}"
        shape = figures.times(one["shape"])
        table.add_row(one["name"], shape, one["coding"], levels, figures.span(one["unit"]))
    return table


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = name in ("", "neurons", "synapses", "bits", "rate") and index > 0
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    return table
