"""``snn-compile targets``: the available targets."""

from __future__ import annotations

import click

from snn_compile.cli.console import as_json, common, results, show_table
from snn_compile.report import figures


@click.command("targets", short_help="List the target chips.")
@as_json
@common
def command(as_json: bool) -> None:
    """List the targets with their limits. A TOML file of the same form describes another chip."""
    from snn_compile.targets import available, load_target

    targets = [load_target(name) for name in available()]
    if as_json:
        import json
        from dataclasses import asdict

        from snn_compile.report.schema import plain

        click.echo(json.dumps(plain([asdict(target) for target in targets]), indent=2))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("target", "coding", "chips", "cores a chip", "neurons a core", "synapse memory"):
        table.add_column(name, justify="left" if name in ("target", "coding") else "right")
    for target in targets:
        memory = target.synapse_memory_per_core.value
        table.add_row(
            target.name,
            target.default_coding.value,
            *(
                _limit(limit.value)
                for limit in (target.chips, target.cores_per_chip, target.neurons_per_core)
            ),
            _limit(None if memory is None else memory // 8192) + (" KiB" if memory else ""),
        )
    console = results()
    show_table(console, table)
    for target in targets:
        console.print(f" {target.name}: {target.description}", style="dim")


def _limit(value: int | None) -> str:
    return "no limit" if value is None else figures.number(value)
