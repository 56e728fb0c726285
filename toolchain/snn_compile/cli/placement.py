"""``snn-compile placement``: compare two placements."""

from __future__ import annotations

from pathlib import Path

import click

from snn_compile.cli.console import as_json, common, results, show_json, show_table


@click.command("placement", short_help="Compare two placements, layer by layer.")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@as_json
@common
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare two placements, given as compiled folders or placement files.

    For each layer: blocks and cores of both placements, and the neurons that are on a different
    core or chip.
    """
    from snn_compile.mapping.placement_file import PLACEMENT, compared, read_placement

    files = [path / PLACEMENT if path.is_dir() else path for path in (first, second)]
    rows = compared(*(read_placement(file) for file in files))
    if as_json:
        show_json({"a": str(first), "b": str(second), "layers": rows})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    names = ("layer", "blocks", "cores", "on another core", "on another chip")
    for name in names:
        table.add_column(name, justify="left" if name == "layer" else "right")
    for row in rows:
        blocks = f"{row['blocks_a']} -> {row['blocks_b']}"
        cores = f"{row['cores_a']} -> {row['cores_b']}"
        moved = f"{row['moved']:,}", f"{row['chips_moved']:,}"
        table.add_row(row["layer"], blocks, cores, *moved)
    show_table(results(), table)
