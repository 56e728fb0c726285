"""``snn-compile ui``: a page over a folder, for this machine's browser."""

from __future__ import annotations

from pathlib import Path

import click

from snn_compile import extras
from snn_compile.cli.console import common
from snn_compile.errors import Origin, UsageError, raise_all
from snn_compile.files.presence import no_such_file


@click.command("ui", short_help="Show a folder in a browser: networks, running work, sessions.")
@click.argument("folder", metavar="[FOLDER]", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port to listen on (default: any free one).",
)
@click.option("--open/--no-open", "opened", default=False, help="Open the address in a browser.")
@click.option(
    "--idle",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End after S seconds without a request (default: never).",
)
@common
def command(folder: Path, port: int, opened: bool, idle: float | None) -> None:
    """Show FOLDER (default: this one) as a page, for browsers of this machine only.

    Prints the address, with its token; Ctrl-C ends it. Compiled networks can be sorted and
    compared, compilations and sweeps that run are followed, recordings of devices are compared with
    the reference, and a model that is dropped on the page is checked.
    """
    raise_all([*_absent("starlette"), *_absent("uvicorn")])
    if not folder.exists():
        raise no_such_file(folder)
    if not folder.is_dir():
        raise UsageError(
            "it is no folder",
            code="not-a-folder",
            origin=Origin(str(folder)),
            hint="name the folder that your compiled networks are in",
        )
    from snn_compile.ui.server import Server

    server = Server(folder, port, idle)

    def ready() -> None:
        click.echo(server.address)
        if opened:
            click.launch(server.address)

    server.run(ready)


def _absent(package: str) -> list[UsageError]:
    return extras.missing(package, "ui", "the page is served by")
