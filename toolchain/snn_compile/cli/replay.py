"""``snn-compile replay``: rerun the pass in which a compilation failed."""

from __future__ import annotations

from pathlib import Path

import click

from snn_compile.cli.console import common, messages, results


@click.command("replay", short_help="Rerun a pass that failed with an internal error.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@common
def command(file: Path) -> None:
    """Rerun the pass of FILE, which a compilation writes when it ends with an internal error.

    Ends with the same error, or shows the network after the pass.
    """
    from snn_compile.ir.text import to_text
    from snn_compile.pipeline import replay

    found = replay.load(file)
    messages().print(f"pass {found.spec}\nfailed with {found.error} in version {found.tool}")
    result = found.step(found.graph)
    results().print(to_text(getattr(result.graph, "program", result.graph)), end="")
